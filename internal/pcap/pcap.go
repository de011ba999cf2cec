// Package pcap reads packet captures, pcap and pcapng, for tests and for the
// tools that check captures. It is total and bounded: a damaged file gives an
// error and never an allocation by a length that the file tells.
package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

var (
	// ErrFormat is a file that is neither pcap nor pcapng, or a damaged one.
	ErrFormat = errors.New("pcap: bad format")
	// ErrTooLong is a packet or block longer than this reader accepts.
	ErrTooLong = errors.New("pcap: block too long")
)

// maxBlock bounds a packet or block. Captures of Linux hold at most 256 KiB a
// packet; anything longer is damage.
const maxBlock = 1 << 20

// Packet is one captured packet.
type Packet struct {
	Time      time.Time // in UTC
	LinkType  uint32    // one of the LINKTYPE values, such as LinkEthernet
	Interface string    // pcapng: the name of the interface, where the file tells it
	Length    int       // length on the wire, of which Data may be the beginning
	Data      []byte
}

// Reader reads the packets of one capture, in the order of the file.
type Reader struct {
	r     io.Reader
	order binary.ByteOrder
	ng    bool

	link uint32        // pcap
	tick time.Duration // pcap: unit of the fraction of a second

	ifs []iface // pcapng: interfaces of the section
}

type iface struct {
	link    uint32
	name    string
	perSec  uint64 // ticks a second
	offset  int64  // seconds to add
	snapLen uint32
}

const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
	magicNG    = 0x0a0d0d0a
	orderNG    = 0x1a2b3c4d
)

// NewReader reads the file header from r and tells pcap from pcapng by it.
func NewReader(r io.Reader) (*Reader, error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("%w: no file header", ErrFormat)
	}
	p := &Reader{r: r}
	if binary.BigEndian.Uint32(h[:]) == magicNG {
		p.ng = true
		return p, p.section()
	}
	return p, p.fileHeader(h)
}

// fileHeader reads the rest of a pcap file header behind its magic.
func (p *Reader) fileHeader(magic [4]byte) error {
	for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch o.Uint32(magic[:]) {
		case magicMicro:
			p.order, p.tick = o, time.Microsecond
		case magicNano:
			p.order, p.tick = o, time.Nanosecond
		}
	}
	if p.order == nil {
		return fmt.Errorf("%w: magic %x", ErrFormat, magic)
	}
	var h [20]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil {
		return fmt.Errorf("%w: short file header", ErrFormat)
	}
	p.link = p.order.Uint32(h[16:]) & 0x0fffffff // the high bits tell of a frame check sequence
	return nil
}

// Next is the next packet. The error is io.EOF at the end of the file,
// io.ErrUnexpectedEOF where the file ends inside a packet (as one that is still
// being written does), or wraps ErrFormat or ErrTooLong.
func (p *Reader) Next() (Packet, error) {
	if p.ng {
		return p.nextNG()
	}
	var h [16]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil {
		return Packet{}, err
	}
	data, err := p.take(p.order.Uint32(h[8:]))
	if err != nil {
		return Packet{}, err
	}
	sec, frac := p.order.Uint32(h[0:]), p.order.Uint32(h[4:])
	return Packet{
		Time:     time.Unix(int64(sec), int64(frac)*int64(p.tick)).UTC(),
		LinkType: p.link,
		Length:   int(p.order.Uint32(h[12:])),
		Data:     data,
	}, nil
}

// take reads n octets. The buffer grows with what really comes.
func (p *Reader) take(n uint32) ([]byte, error) {
	if n > maxBlock {
		return nil, fmt.Errorf("%w: %d octets", ErrTooLong, n)
	}
	var buf bytes.Buffer
	if m, err := io.CopyN(&buf, p.r, int64(n)); err != nil {
		if m < int64(n) && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return buf.Bytes(), nil
}

// ReadAll is all the packets of a capture. With an error the packets before it
// are returned too.
func ReadAll(r io.Reader) ([]Packet, error) {
	p, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	var out []Packet
	for {
		k, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, k)
	}
}
