package conformance

import (
	"net/netip"
	"time"
)

// Wire is the link between the Tester and the node under test. What belongs to the
// link itself (neighbour and router discovery) happens inside.
type Wire interface {
	// Send puts a whole IPv6 packet on the link, from the router.
	Send(packet []byte) error
	// Next waits for the node's next packet, at most for limit; zero gives only what is there.
	Next(limit time.Duration) (packet []byte, ok bool)
	// Sleep lets time pass for the node.
	Sleep(d time.Duration)
	// Now is the node's time.
	Now() time.Time
	// Nodes are the addresses of the node under test, one on each prefix of the link.
	Nodes() []netip.Addr
	// Log tells what the node said in its log, for a case that failed.
	Log() string
}

// The network of all cases. Everything but link 0 exists only as addresses.
var (
	link0  = netip.MustParsePrefix("2001:db8:100::/64") // the node under test and R0
	link0b = netip.MustParsePrefix("2001:db8:200::/64") // a second prefix of that link

	routerLL = netip.MustParseAddr("fe80::1")           // R0 on link 0
	router1  = netip.MustParseAddr("2001:db8:101::1")   // R1, the router of the foreign link 1
	careOf1  = netip.MustParseAddr("2001:db8:101::a:1") // MN on the foreign link 1
	careOf2  = netip.MustParseAddr("2001:db8:102::a:1") // MN on the foreign link 2
	home1    = netip.MustParseAddr("2001:db8:104::a:1") // MN's home address
	home2    = netip.MustParseAddr("2001:db8:104::a:2") // another one's

	testerMAC = [6]byte{0x02, 0, 0, 0xff, 0, 1}
	nodeMAC   = [6]byte{0x02, 0, 0, 0xff, 0, 2}
)

// eui64 is the address that stateless configuration gives a MAC on a prefix (RFC
// 4291 appendix A).
func eui64(p netip.Prefix, mac [6]byte) netip.Addr {
	a := p.Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}
