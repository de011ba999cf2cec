package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// Block types of pcapng.
const (
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

const (
	optEnd      = 0
	optIfName   = 2
	optTSResol  = 9
	optTSOffset = 14
)

const maxInterfaces = 4096

// section reads the rest of a section header block behind its type.
func (p *Reader) section() error {
	var h [8]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil {
		return fmt.Errorf("%w: short section header", ErrFormat)
	}
	switch {
	case binary.LittleEndian.Uint32(h[4:]) == orderNG:
		p.order = binary.LittleEndian
	case binary.BigEndian.Uint32(h[4:]) == orderNG:
		p.order = binary.BigEndian
	default:
		return fmt.Errorf("%w: byte order magic", ErrFormat)
	}
	p.ifs = p.ifs[:0]
	n := p.order.Uint32(h[0:])
	if n < 28 || n%4 != 0 {
		return fmt.Errorf("%w: section header of %d octets", ErrFormat, n)
	}
	_, err := p.take(n - 12)
	return err
}

func (p *Reader) nextNG() (Packet, error) {
	for {
		var h [4]byte
		if _, err := io.ReadFull(p.r, h[:]); err != nil {
			return Packet{}, err
		}
		if binary.BigEndian.Uint32(h[:]) == magicNG {
			if err := p.section(); err != nil {
				return Packet{}, err
			}
			continue
		}
		body, err := p.block()
		if err != nil {
			return Packet{}, err
		}
		switch p.order.Uint32(h[:]) {
		case blockInterface:
			if err := p.addInterface(body); err != nil {
				return Packet{}, err
			}
		case blockEnhanced:
			return p.enhanced(body, p.order.Uint32)
		case blockPacket: // interface and drop count have 16 bits each
			return p.enhanced(body, func(b []byte) uint32 { return uint32(p.order.Uint16(b)) })
		case blockSimple:
			return p.simple(body)
		}
	}
}

// block reads a block behind its type, without its two lengths.
func (p *Reader) block() ([]byte, error) {
	var h [4]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	n := p.order.Uint32(h[:])
	if n < 12 || n%4 != 0 {
		return nil, fmt.Errorf("%w: block of %d octets", ErrFormat, n)
	}
	b, err := p.take(n - 8)
	if err != nil {
		return nil, err
	}
	if p.order.Uint32(b[len(b)-4:]) != n {
		return nil, fmt.Errorf("%w: block lengths differ", ErrFormat)
	}
	return b[:len(b)-4], nil
}

func (p *Reader) addInterface(b []byte) error {
	if len(b) < 8 || len(p.ifs) >= maxInterfaces {
		return fmt.Errorf("%w: interface block", ErrFormat)
	}
	f := iface{link: uint32(p.order.Uint16(b)), snapLen: p.order.Uint32(b[4:]), perSec: 1e6}
	for b = b[8:]; len(b) >= 4; {
		code, n := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		if code == optEnd || n > len(b)-4 {
			break
		}
		v := b[4 : 4+n]
		switch {
		case code == optIfName:
			f.name = string(v)
		case code == optTSResol && n == 1:
			f.perSec = ticks(v[0])
		case code == optTSOffset && n == 8:
			f.offset = int64(p.order.Uint64(v))
		}
		b = b[min(4+(n+3)&^3, len(b)):]
	}
	p.ifs = append(p.ifs, f)
	return nil
}

// ticks is the number of ticks a second of an if_tsresol octet: a power of 2
// with the high bit set, else of 10.
func ticks(res byte) uint64 {
	if res&0x80 != 0 {
		return 1 << min(res&0x7f, 63)
	}
	n := uint64(1)
	for i := 0; i < int(min(res, 19)); i++ {
		n *= 10
	}
	return n
}

func (p *Reader) enhanced(b []byte, ifNumber func([]byte) uint32) (Packet, error) {
	if len(b) < 20 {
		return Packet{}, fmt.Errorf("%w: short packet block", ErrFormat)
	}
	n, i := p.order.Uint32(b[12:]), ifNumber(b)
	if uint64(n) > uint64(len(b)-20) || uint64(i) >= uint64(len(p.ifs)) {
		return Packet{}, fmt.Errorf("%w: packet block", ErrFormat)
	}
	f := p.ifs[i]
	stamp := uint64(p.order.Uint32(b[4:]))<<32 | uint64(p.order.Uint32(b[8:]))
	sec, rest := stamp/f.perSec, stamp%f.perSec
	hi, lo := bits.Mul64(rest, uint64(time.Second))
	nsec, _ := bits.Div64(hi, lo, f.perSec)
	return Packet{
		Time:      time.Unix(int64(sec)+f.offset, int64(nsec)).UTC(),
		LinkType:  f.link,
		Interface: f.name,
		Length:    int(p.order.Uint32(b[16:])),
		Data:      b[20 : 20+n],
	}, nil
}

// simple reads a simple packet block: of the first interface, without a time.
func (p *Reader) simple(b []byte) (Packet, error) {
	if len(b) < 4 || len(p.ifs) == 0 {
		return Packet{}, fmt.Errorf("%w: simple packet block", ErrFormat)
	}
	f := p.ifs[0]
	length := p.order.Uint32(b)
	n := min(uint64(length), uint64(len(b)-4))
	if f.snapLen != 0 {
		n = min(n, uint64(f.snapLen))
	}
	return Packet{LinkType: f.link, Interface: f.name, Length: int(length), Data: b[4 : 4+n]}, nil
}
