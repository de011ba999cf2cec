package lab

import (
	"encoding/binary"
	"io"
	"time"
)

// pcapng is a writer of capture files (draft-ietf-opsawg-pcapng): one section, one
// Ethernet interface, nanoseconds. Each packet is one block and one write, so that
// a file cut off by an abrupt end is good up to its last whole block.
type pcapng struct {
	w   io.Writer
	buf []byte
}

const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6
	linkEthernet   = 1
	optName        = 2 // if_name
	optTSResol     = 9 // if_tsresol
)

// newPcapng writes the file's head.
func newPcapng(w io.Writer, iface string) (*pcapng, error) {
	p := &pcapng{w: w}
	// Byte order magic, version 1.0, section length unknown.
	p.begin(blockSection)
	p.u32(0x1a2b3c4d)
	p.u32(1)
	p.buf = binary.LittleEndian.AppendUint64(p.buf, ^uint64(0))
	if err := p.end(); err != nil {
		return nil, err
	}
	p.begin(blockInterface)
	p.u32(linkEthernet)
	p.u32(0) // no snapshot limit
	p.option(optName, []byte(iface))
	p.option(optTSResol, []byte{9})
	p.option(0, nil)
	return p, p.end()
}

// packet writes one packet; size is its length on the wire.
func (p *pcapng) packet(at time.Time, data []byte, size int) error {
	ns := uint64(at.UnixNano())
	p.begin(blockPacket)
	p.u32(0) // interface
	p.u32(uint32(ns >> 32))
	p.u32(uint32(ns))
	p.u32(uint32(len(data)))
	p.u32(uint32(size))
	p.padded(data)
	return p.end()
}

func (p *pcapng) u32(v uint32) { p.buf = binary.LittleEndian.AppendUint32(p.buf, v) }

func (p *pcapng) padded(b []byte) {
	p.buf = append(p.buf, b...)
	for len(p.buf)%4 != 0 {
		p.buf = append(p.buf, 0)
	}
}

func (p *pcapng) option(code uint16, value []byte) {
	p.u32(uint32(code) | uint32(len(value))<<16)
	p.padded(value)
}

func (p *pcapng) begin(typ uint32) {
	p.buf = p.buf[:0]
	p.u32(typ)
	p.u32(0) // total length, set by end
}

func (p *pcapng) end() error {
	n := uint32(len(p.buf) + 4)
	binary.LittleEndian.PutUint32(p.buf[4:], n)
	p.u32(n)
	_, err := p.w.Write(p.buf)
	return err
}
