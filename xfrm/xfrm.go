// Package xfrm is the vocabulary of the IPsec databases: what a security
// association, a policy, a template, a migration, an acquire and an expire are,
// and the Backend that keeps them. It holds no kernel structure and touches no
// operating system; xfrm/kernel and xfrm/userspace do.
//
// Terms follow RFC 4301 (SPD, SAD, selector) and Linux XFRM where the RFC has no
// word (template, request id, route optimization mode).
package xfrm

import (
	"fmt"
	"net/netip"
)

// SPI is a security parameters index (RFC 4301 §4.1) in host order. Route
// optimization states have SPI 0.
type SPI uint32

func (s SPI) String() string { return fmt.Sprintf("0x%08x", uint32(s)) }

// ReqID ties a template of a policy to its states. One for each child SA: a
// MIGRATE finds its states by addresses, protocol, mode and request id.
type ReqID uint32

// Proto is the protocol of a state: an IPsec protocol or one of the two
// extension headers of Mobile IPv6.
type Proto uint8

// The protocols that a state may have.
const (
	ESP    Proto = 50
	AH     Proto = 51
	Route2 Proto = 43 // type 2 routing header (RFC 6275 §6.4)
	HAO    Proto = 60 // home address option in a destination options header (RFC 6275 §6.3)
)

func (p Proto) String() string {
	switch p {
	case ESP:
		return "esp"
	case AH:
		return "ah"
	case Route2:
		return "route2"
	case HAO:
		return "hao"
	}
	return fmt.Sprintf("proto-%d", uint8(p))
}

// Mode is how a state changes a packet.
type Mode uint8

// The modes, numbered as Linux does.
const (
	Transport Mode = 0
	Tunnel    Mode = 1
	RouteOpt  Mode = 2 // the headers of Mobile IPv6; SPI 0, a care-of address, no keys
)

func (m Mode) String() string {
	switch m {
	case Transport:
		return "transport"
	case Tunnel:
		return "tunnel"
	case RouteOpt:
		return "ro"
	}
	return fmt.Sprintf("mode-%d", uint8(m))
}

// Selector chooses packets by their addresses, upper protocol and ports. For
// the Mobility Header and ICMPv6 the message type stands in SrcPort and, for
// ICMPv6, the code in DstPort, as Linux has it. A zero Proto means any protocol;
// a zero mask means any port. Src and Dst are as the packet has them on its way
// in the policy's direction.
type Selector struct {
	Src, Dst    netip.Prefix
	Proto       uint8
	SrcPort     uint16
	SrcPortMask uint16
	DstPort     uint16
	DstPortMask uint16
	IfIndex     int  // 0: any
	AddressesV4 bool // family when both prefixes are zero values; normally false
}

func (s Selector) String() string {
	out := fmt.Sprintf("%v->%v", s.Src, s.Dst)
	if s.Proto != 0 {
		out += fmt.Sprintf(" proto %d", s.Proto)
	}
	if s.SrcPortMask != 0 {
		out += fmt.Sprintf(" type %d", s.SrcPort)
	}
	return out
}

// Reverse is the selector of the packets that answer.
func (s Selector) Reverse() Selector {
	s.Src, s.Dst = s.Dst, s.Src
	s.SrcPort, s.DstPort = s.DstPort, s.SrcPort
	s.SrcPortMask, s.DstPortMask = s.DstPortMask, s.SrcPortMask
	return s
}
