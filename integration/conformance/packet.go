package conformance

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers.
const (
	protoRouting  = 43
	protoICMP     = 58
	protoNone     = 59
	protoDestOpts = 60
	protoMH       = 135
)

// Packet is an IPv6 packet of the Tester before it is put into octets.
type Packet struct {
	Src, Dst netip.Addr
	Home     netip.Addr // home address option; not valid: none
	Route    netip.Addr // address in a type 2 routing header; not valid: none
	HopLimit byte       // 0: 64
	Proto    byte
	Payload  []byte
	// Sum is where the payload's checksum stands; it is filled in over the home address
	// and the address of the routing header where there are such. Negative: it is left as it is.
	Sum int
}

// Bytes are the packet's octets.
func (p Packet) Bytes() []byte {
	payload := append([]byte(nil), p.Payload...)
	src, dst := p.Src, p.Dst
	if p.Home.IsValid() {
		src = p.Home
	}
	if p.Route.IsValid() {
		dst = p.Route
	}
	if p.Sum >= 0 {
		putSum(src, dst, p.Proto, payload, p.Sum)
	}
	next := p.Proto
	if p.Route.IsValid() { // RFC 6275 §6.4.1
		a := p.Route.As16()
		h := append([]byte{next, 2, 2, 1, 0, 0, 0, 0}, a[:]...)
		next, payload = protoRouting, append(h, payload...)
	}
	if p.Home.IsValid() {
		// RFC 6275 §6.3: PadN of 4 octets, so that the option stands at 8n+6.
		a := p.Home.As16()
		h := append([]byte{next, 2, 1, 2, 0, 0, 0xc9, 16}, a[:]...)
		next, payload = protoDestOpts, append(h, payload...)
	}
	if p.HopLimit == 0 {
		p.HopLimit = 64
	}
	b := make([]byte, 8, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, p.HopLimit
	s, d := p.Src.As16(), p.Dst.As16()
	return append(append(append(b, s[:]...), d[:]...), payload...)
}

// putSum writes the Internet checksum with the pseudo header (RFC 8200 §8.1).
func putSum(src, dst netip.Addr, proto byte, b []byte, at int) {
	b[at], b[at+1] = 0, 0
	s, d := src.As16(), dst.As16()
	var sum uint32
	add := func(x []byte) {
		for ; len(x) > 1; x = x[2:] {
			sum += uint32(x[0])<<8 | uint32(x[1])
		}
		if len(x) == 1 {
			sum += uint32(x[0]) << 8
		}
	}
	add(s[:])
	add(d[:])
	sum += uint32(len(b)) + uint32(proto)
	add(b)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum))
}

// echoRequest is an ICMPv6 echo request.
func echoRequest(src, dst, home netip.Addr, id, seq uint16) Packet {
	b := []byte{128, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}
	return Packet{Src: src, Dst: dst, Home: home, Proto: protoICMP, Payload: append(b, "are you there, correspondent?"...), Sum: 2}
}

// unreachable is an ICMPv6 destination unreachable (RFC 4443 §3.1) about a packet.
func unreachable(src, dst netip.Addr, code byte, about []byte) Packet {
	about = about[:min(len(about), 1280-40-8)]
	return Packet{Src: src, Dst: dst, Proto: protoICMP, Payload: append([]byte{1, code, 0, 0, 0, 0, 0, 0}, about...), Sum: 2}
}
