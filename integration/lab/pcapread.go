package lab

import (
	"bufio"
	"encoding/binary"
	"net/netip"
	"os"
	"time"

	"github.com/mip6/mip6/internal/pcap"
)

// Seen is what one captured IPv6 packet shows from outside, extension headers
// walked, nothing decrypted.
type Seen struct {
	Time     time.Time
	Src, Dst netip.Addr // of the outer header
	Proto    uint8      // the upper layer: 50 ESP, 17 UDP, 58 ICMPv6, 135 Mobility Header, 41 IPv6 in IPv6
	HomeAddr netip.Addr // of a home address option (RFC 6275 §6.3), or the zero Addr
	Type2    netip.Addr // of a type 2 routing header (§6.4), or the zero Addr
	SPort    uint16     // UDP and TCP
	DPort    uint16
	Type     uint8  // the type of ICMPv6 and Mobility Header messages
	Code     uint8  // of ICMPv6
	SPI      uint32 // ESP
	ESPSeq   uint32
	AH       bool   // an authentication header stands before the upper layer
	AHSPI    uint32 // its SPI
	MH       []byte // a Mobility Header message outside ESP, whole: a copy
	BadSum   bool   // the checksum is wrong; looked at where a home address stands in an option or routing header
	Inner    *Seen  // of IPv6 in IPv6
	Length   int    // of the frame on the wire
}

// ReadCapture gives the IPv6 packets of a capture file captured in [from, to), in
// the file's order; the zero times bound nothing. It needs no tshark.
func ReadCapture(file string, from, to time.Time) ([]Seen, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packets, err := pcap.ReadAll(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, err
	}
	var out []Seen
	for _, p := range packets {
		if !from.IsZero() && p.Time.Before(from) || !to.IsZero() && !p.Time.Before(to) {
			continue
		}
		b, ok := p.IPv6()
		if !ok {
			continue
		}
		if s, ok := look(b); ok {
			s.Time, s.Length = p.Time, p.Length
			out = append(out, s)
		}
	}
	return out, nil
}

// look reads one IPv6 packet; false for what is too short for a header.
func look(b []byte) (s Seen, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return s, false
	}
	s.Src, s.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	next, rest := b[6], b[40:]
	for {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(rest) < 8 || len(rest) < 8+int(rest[1])*8 {
				s.Proto = next
				return s, true
			}
			h := rest[:8+int(rest[1])*8]
			s.extension(next, h)
			next, rest = h[0], rest[len(h):]
		case 51: // authentication header (RFC 4302 §2): its length counts words of 32 bits, less two
			if len(rest) < 12 || len(rest) < 8+int(rest[1])*4 {
				s.Proto = next
				return s, true
			}
			s.AH, s.AHSPI = true, binary.BigEndian.Uint32(rest[4:])
			next, rest = rest[0], rest[8+int(rest[1])*4:]
		case 44: // fragment
			if len(rest) < 8 {
				s.Proto = next
				return s, true
			}
			first := binary.BigEndian.Uint16(rest[2:])>>3 == 0
			next, rest = rest[0], rest[8:]
			if !first {
				s.Proto = next
				return s, true
			}
		default:
			s.upper(next, rest)
			s.checksum(rest)
			return s, true
		}
	}
}

// extension reads what Mobile IPv6 puts into extension headers.
func (s *Seen) extension(typ byte, h []byte) {
	switch {
	case typ == 43 && h[2] == 2 && len(h) >= 24:
		s.Type2 = netip.AddrFrom16([16]byte(h[8:]))
	case typ == 60:
		for o := h[2:]; len(o) > 0; {
			if o[0] == 0 { // Pad1
				o = o[1:]
				continue
			}
			if len(o) < 2 || len(o) < 2+int(o[1]) {
				return
			}
			if o[0] == 201 && o[1] == 16 {
				s.HomeAddr = netip.AddrFrom16([16]byte(o[2:]))
			}
			o = o[2+int(o[1]):]
		}
	}
}

// upper reads the upper layer's first fields.
func (s *Seen) upper(proto byte, b []byte) {
	s.Proto = proto
	switch {
	case proto == 50 && len(b) >= 8:
		s.SPI, s.ESPSeq = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	case (proto == 17 || proto == 6) && len(b) >= 4:
		s.SPort, s.DPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case proto == 58 && len(b) >= 2:
		s.Type, s.Code = b[0], b[1]
	case proto == 135 && len(b) >= 3:
		s.Type = b[2]
		s.MH = append([]byte(nil), b...)
	case proto == 41:
		if in, ok := look(b); ok {
			s.Inner = &in
		}
	}
}

// checksum checks that of a packet whose home address stands elsewhere than in the
// IPv6 header: it covers the addresses as the upper layers see them (RFC 6275 §6.1.1,
// §11.3.1; RFC 8200 §8.1). Others may leave their sums to hardware that is not there.
func (s *Seen) checksum(upper []byte) {
	if !s.HomeAddr.IsValid() && !s.Type2.IsValid() {
		return
	}
	switch s.Proto {
	case 6, 17, 58, 135:
	default:
		return
	}
	src, dst := s.Src, s.Dst
	if s.HomeAddr.IsValid() {
		src = s.HomeAddr
	}
	if s.Type2.IsValid() {
		dst = s.Type2
	}
	a, b := src.As16(), dst.As16()
	n := len(upper)
	pseudo := append(append(a[:], b[:]...), byte(n>>24), byte(n>>16), byte(n>>8), byte(n), 0, 0, 0, s.Proto)
	sum := uint64(0)
	for _, part := range [][]byte{pseudo, upper} {
		for len(part) > 1 {
			sum += uint64(part[0])<<8 | uint64(part[1])
			part = part[2:]
		}
		if len(part) == 1 {
			sum += uint64(part[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	s.BadSum = sum != 0xffff
}

// Direct tells whether the packet goes between a node with this home address and a
// correspondent without the home agent: with the home address in an option or in a
// type 2 routing header, behind the addresses of the path.
func (s Seen) Direct(hoa netip.Addr) bool { return s.HomeAddr == hoa || s.Type2 == hoa }

// Packet is one captured IPv6 packet, whole.
type Packet struct {
	Seen
	Data []byte // from the IPv6 header on
}

// ReadPackets gives the IPv6 packets of a capture file in [from, to) that are wanted,
// with their octets.
func ReadPackets(file string, from, to time.Time, want func(Seen) bool) ([]Packet, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packets, err := pcap.ReadAll(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, err
	}
	var out []Packet
	for _, p := range packets {
		if p.Time.Before(from) || !p.Time.Before(to) {
			continue
		}
		b, ok := p.IPv6()
		if !ok {
			continue
		}
		s, ok := look(b)
		s.Time, s.Length = p.Time, p.Length
		if ok && want(s) {
			out = append(out, Packet{s, append([]byte(nil), b...)})
		}
	}
	return out, nil
}

// IsIKE tells whether the packet is IKE: UDP from or to port 500 or 4500.
func (s Seen) IsIKE() bool {
	return s.Proto == 17 && (s.SPort == 500 || s.DPort == 500 || s.SPort == 4500 || s.DPort == 4500)
}

// Bare tells whether the packet shows a home address, or a Mobility Header, outside
// ESP: as source or destination, in an option, a routing header or a tunnel; a
// Binding Error (type 7) is allowed bare (RFC 6275 §9.3.3). It is for captures
// between a node that is away and its agent.
func (s Seen) Bare(hoa netip.Addr) bool {
	switch {
	case s.Proto == 135:
		return s.Type != 7
	case s.Inner != nil && s.Inner.Bare(hoa):
		return true
	case s.Src == hoa || s.Dst == hoa:
		return true
	}
	return (s.HomeAddr == hoa || s.Type2 == hoa) && s.Proto != 50
}
