package mobility

import "net/netip"

// Well-known multicast addresses of neighbour discovery (RFC 4861 §2.3).
var (
	AllNodes   = netip.MustParseAddr("ff02::1")
	AllRouters = netip.MustParseAddr("ff02::2")
)

// UnicastRoutable tells whether a is a unicast routable address: global or
// unique local, so that other subnets can reach it (RFC 6275 §3.1). Home
// addresses and care-of addresses have to be (§6.3, §9.5.1).
func UnicastRoutable(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" &&
		!a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// SolicitedNode is the solicited-node multicast address of a (RFC 4291 §2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	v := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: v[13], 14: v[14], 15: v[15]})
}

// homeAgentsID is the anycast identifier of home agents (RFC 2526 §3).
const homeAgentsID = 0x7e

// HomeAgentsAnycast is the Mobile IPv6 home-agents anycast address of a subnet
// (RFC 2526 §2). Where the interface identifier has 64 bits it has the form of
// EUI-64, whose universal bit is zero: prefix::fdff:ffff:ffff:fffe.
func HomeAgentsAnycast(p netip.Prefix) netip.Addr {
	v := p.Masked().Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		v[i/8] |= 0x80 >> (i % 8)
	}
	v[15] = v[15]&0x80 | homeAgentsID
	if p.Bits() == 64 {
		v[8] &^= 0x02
	}
	return netip.AddrFrom16(v)
}

// SamePrefix tells whether a and b agree in their first bits bits.
func SamePrefix(a, b netip.Addr, bits int) bool {
	p, err := a.Prefix(bits)
	return err == nil && p.Contains(b)
}

// WithPrefix is the address whose first p.Bits() bits are those of p and whose
// other bits are those of a, such as the link-local address with the interface
// identifier of a home address (RFC 6275 §10.3.1, flag L).
func WithPrefix(p netip.Prefix, a netip.Addr) netip.Addr {
	v, w := p.Masked().Addr().As16(), a.As16()
	for i := p.Bits(); i < 128; i++ {
		v[i/8] |= w[i/8] & (0x80 >> (i % 8))
	}
	return netip.AddrFrom16(v)
}
