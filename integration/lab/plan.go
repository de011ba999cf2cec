// Package lab builds a small Internet out of network namespaces and watches it.
//
//	cn ── core ── ha ──[home link 2001:db8:1::/64]── (mn when at home)
//	       │
//	     router ──[foreign 1: 2001:db8:f1::/64]── mn
//	        └─────[foreign 2: 2001:db8:f2::/64]
//
// Six hosts, each a namespace: mn, ha, cn, core and router, and "links", which
// holds the three links as bridges (home, f1, f2) and nothing of IPv6. The wire
// between core and router delays every packet by Plan.Delay each way, so the
// round trip between a foreign link and the home agent is twice that. ha and
// router run radvd. The mobile node has one interface, eth0, whose other end is a
// port of one of the bridges: Move drops the carrier, moves the port, raises it.
//
// The lab runs in the kernel that runs it (root is needed): in a guest of package
// vm, or on the host. It does nothing for Mobile IPv6 itself; the programs under
// test are started in its hosts by Spawn. It looks from outside: captures of all
// interfaces, pings, streams, an XFRM monitor, dumps of the kernel's tables.
package lab

import (
	"net/netip"
	"time"
)

// Link is one of the three links a mobile node can be on.
type Link string

// The links; None is no link, without carrier.
const (
	None     Link = ""
	Home     Link = "home"
	Foreign1 Link = "f1"
	Foreign2 Link = "f2"
)

// The hosts. MN2 is there only after Join.
const (
	MN     = "mn"
	MN2    = "mn2"
	HA     = "ha"
	CN     = "cn"
	Core   = "core"
	Router = "router"
	Links  = "links"
)

// Interfaces that others name. The captures are called HOST-IFACE.pcapng.
const (
	MNIface     = "eth0"  // mn, and mn2
	CNIface     = "eth0"  // cn
	HAHomeIface = "home0" // ha, on the home link
	HACoreIface = "core0" // ha, towards core
)

// DAD says how the mobile node's kernel treats a new address.
type DAD string

// The modes: off has accept_dad=0 on "all" and on the interface, which alone
// removes the random delay too; on is Linux's default of one probe; optimistic is
// RFC 4429 (CONFIG_IPV6_OPTIMISTIC_DAD, not in Debian's user-mode Linux).
const (
	DADOff        DAD = "off"
	DADOn         DAD = "on"
	DADOptimistic DAD = "optimistic"
)

// Plan is the lab's addresses and settings. DefaultPlan gives the usual one.
type Plan struct {
	HomePrefix netip.Prefix // of the home link
	HoA        netip.Addr   // the home address; the lab assigns it to nobody
	HoA2       netip.Addr   // that of a second mobile node
	HA         netip.Addr   // the home agent, on the home link
	HACore     netip.Addr   // its address towards core
	F1Prefix   netip.Prefix // of foreign link 1
	F1Router   netip.Addr
	F2Prefix   netip.Prefix // of foreign link 2
	F2Router   netip.Addr
	CNPrefix   netip.Prefix // of the wire between core and cn
	CN         netip.Addr   // the correspondent node
	Start      Link         // where the mobile node is at first
	Delay      time.Duration
	DAD        DAD
	MTU        int // of all wires and links
}

// DefaultPlan is the topology of the package's picture: 10 ms each way between
// router and core, DAD off, the mobile node on foreign link 1.
func DefaultPlan() Plan {
	a, p := netip.MustParseAddr, netip.MustParsePrefix
	return Plan{
		HomePrefix: p("2001:db8:1::/64"), HoA: a("2001:db8:1::10"), HoA2: a("2001:db8:1::20"), HA: a("2001:db8:1::1"), HACore: a("2001:db8:ffff:1::2"),
		F1Prefix: p("2001:db8:f1::/64"), F1Router: a("2001:db8:f1::1"),
		F2Prefix: p("2001:db8:f2::/64"), F2Router: a("2001:db8:f2::1"),
		CNPrefix: p("2001:db8:c::/64"), CN: a("2001:db8:c::10"),
		Start: Foreign1, Delay: 10 * time.Millisecond, DAD: DADOff, MTU: 1500,
	}
}

// Inside addresses of the wires, which nobody needs by name.
var (
	coreToCN     = netip.MustParseAddr("2001:db8:c::1")
	coreToHA     = netip.MustParseAddr("2001:db8:ffff:1::1")
	coreToRouter = netip.MustParseAddr("2001:db8:ffff:2::1")
	routerToCore = netip.MustParseAddr("2001:db8:ffff:2::2")
)

// RTT is the round trip between a foreign link and the home agent.
func (p Plan) RTT() time.Duration { return 2 * p.Delay }

// Prefix is the prefix of a link.
func (p Plan) Prefix(l Link) netip.Prefix {
	switch l {
	case Home:
		return p.HomePrefix
	case Foreign1:
		return p.F1Prefix
	case Foreign2:
		return p.F2Prefix
	}
	return netip.Prefix{}
}

// macs of the mobile nodes are fixed, so that the care-of addresses of the documents
// are those seen.
var macs = map[string][6]byte{MN: {0x02, 0, 0, 0, 0, 0x10}, MN2: {0x02, 0, 0, 0, 0, 0x20}}

// SLAAC is the address that the mobile node's kernel forms on a link from the
// prefix and its MAC address (RFC 4291 appendix A).
func (p Plan) SLAAC(l Link) netip.Addr { return p.SLAACOf(MN, l) }

// SLAACOf is the same for either mobile node.
func (p Plan) SLAACOf(node string, l Link) netip.Addr {
	b, m := p.Prefix(l).Addr().As16(), macs[node]
	copy(b[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(b)
}
