package mobility

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

const (
	ipv6Header = 40
	maxHeaders = 12 // more extension headers than any real packet has
)

// Header is the place of one extension header in a packet.
type Header struct {
	Proto  uint8
	Offset int
	Len    int
}

// Packet is what Walk finds in an IPv6 packet: its addresses, its extension
// headers up to the first one that cannot be looked into, and what follows.
type Packet struct {
	Src, Dst     netip.Addr
	TrafficClass uint8
	FlowLabel    uint32
	HopLimit     uint8
	PayloadLen   int // as the IPv6 header tells it

	HomeAddr   netip.Addr // home address option; not valid where there is none
	HomeOffset int        // offset of that option's type octet

	RoutingAddr  netip.Addr // address in a type 2 routing header; not valid where there is none
	SegmentsLeft uint8      // of that header

	Fragment       bool // there is a fragment header
	FragmentOffset int  // in octets; beyond 0 Payload is the middle of something
	MoreFragments  bool
	FragmentID     uint32

	Proto   uint8  // the protocol of Payload: an upper layer, ESP, AH or none
	Payload []byte // a part of the packet, not a copy
	Offset  int    // of Payload in the packet

	headers [maxHeaders]Header
	n       int
}

// Headers are the extension headers that were walked over, outermost first.
func (p *Packet) Headers() []Header { return p.headers[:p.n] }

// TransportSrc is the source address of the pseudo header of checksums: the home
// address, where the packet tells one (RFC 6275 §11.3.1).
func (p *Packet) TransportSrc() netip.Addr {
	if p.HomeAddr.IsValid() {
		return p.HomeAddr
	}
	return p.Src
}

// TransportDst is the destination address of the pseudo header of checksums: the
// address in the type 2 routing header that is still to be visited (RFC 6275 §9.3.2).
func (p *Packet) TransportDst() netip.Addr {
	if p.RoutingAddr.IsValid() && p.SegmentsLeft > 0 {
		return p.RoutingAddr
	}
	return p.Dst
}

// ChecksumOK tells whether the checksum of the payload is right, for a Mobility
// Header, ICMPv6, TCP or UDP that is not a fragment.
func (p *Packet) ChecksumOK() bool {
	return !p.Fragment && VerifyChecksum(p.TransportSrc(), p.TransportDst(), p.Proto, p.Payload)
}

// Walk reads the IPv6 packet b from its header through hop-by-hop, destination
// options, routing and fragment headers. ESP and AH end the walk, as does every
// fragment but the first. Octets beyond the payload length are left out.
//
// With ErrTruncated the packet was cut: what was found before is in p, and
// Payload is what is there of it. Other errors are those of DestOptions.Decode,
// ErrRoutingLen, ErrTooManyHeaders and ErrNotIPv6; the pointer of a FieldError
// is then the offset in the packet.
func (p *Packet) Walk(b []byte) error {
	*p = Packet{}
	if len(b) < ipv6Header || b[0]>>4 != 6 {
		return ErrNotIPv6
	}
	word := binary.BigEndian.Uint32(b)
	p.TrafficClass, p.FlowLabel = uint8(word>>20), word&0xfffff
	p.PayloadLen = int(binary.BigEndian.Uint16(b[4:]))
	p.Proto, p.HopLimit = b[6], b[7]
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.Offset = ipv6Header
	total := ipv6Header + p.PayloadLen
	b = b[:min(total, len(b))]
	for {
		p.Payload = b[p.Offset:]
		n, next, err := p.step(p.Payload)
		if err != nil {
			return inPacket(err, p.Offset)
		}
		if n == 0 {
			break
		}
		if p.n == maxHeaders {
			return ErrTooManyHeaders
		}
		p.headers[p.n] = Header{Proto: p.Proto, Offset: p.Offset, Len: n}
		p.n++
		p.Proto, p.Offset = next, p.Offset+n
	}
	if len(b) < total {
		return fmt.Errorf("%w: %d octets of %d", ErrTruncated, len(b), total)
	}
	return nil
}

// inPacket makes the pointer of err, relative to the header at offset off,
// relative to the packet.
func inPacket(err error, off int) error {
	var f *FieldError
	if errors.As(err, &f) {
		f.Pointer += off
	}
	return err
}

// step reads one extension header and returns its length, 0 where there is none
// to read, and the protocol that follows.
func (p *Packet) step(b []byte) (n int, next uint8, err error) {
	if p.FragmentOffset > 0 {
		return 0, 0, nil
	}
	switch p.Proto {
	case ProtoHopByHop, ProtoDestOpts:
		return p.stepOptions(b)
	case ProtoRouting:
		return p.stepRouting(b)
	case ProtoFragment:
		if len(b) < 8 {
			return 0, 0, fmt.Errorf("%w: fragment header", ErrTruncated)
		}
		v := binary.BigEndian.Uint16(b[2:])
		p.Fragment, p.FragmentOffset, p.MoreFragments = true, int(v&^7), v&1 != 0
		p.FragmentID = binary.BigEndian.Uint32(b[4:])
		return 8, b[0], nil
	}
	return 0, 0, nil
}

func (p *Packet) stepOptions(b []byte) (int, uint8, error) {
	h, err := extension(b)
	if err != nil {
		return 0, 0, err
	}
	d := DestOptions{HomeAddr: p.HomeAddr, HomeOffset: p.HomeOffset}
	err = WalkOptions(h[2:], 2, func(off int, typ uint8, data []byte) error {
		if typ != OptHomeAddr || p.Proto == ProtoHopByHop {
			return nil
		}
		if err := d.setHome(off, data); err != nil {
			return err
		}
		p.HomeAddr, p.HomeOffset = d.HomeAddr, p.Offset+off
		return nil
	})
	return len(h), h[0], err
}

func (p *Packet) stepRouting(b []byte) (int, uint8, error) {
	h, err := extension(b)
	if err != nil {
		return 0, 0, err
	}
	if h[2] == 2 { // other types are stepped over
		if len(h) != routing2Len {
			return 0, 0, &FieldError{Err: ErrRoutingLen, Pointer: 1, Value: int(h[1])}
		}
		p.SegmentsLeft = h[3]
		p.RoutingAddr = netip.AddrFrom16([16]byte(h[8:24]))
	}
	return len(h), h[0], nil
}
