package mobility_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mip6/mip6/mobility"
)

func TestDestOptionErrors(t *testing.T) {
	alter := func(at int, v byte) []byte {
		b := golden(t, "ext-hao")
		b[at] = v
		return b
	}
	twice := append(golden(t, "ext-hao"), golden(t, "ext-hao")...)
	copy(twice[24:30], "\x01\x04\x00\x00\x00\x00")
	twice[1] = 5
	for _, c := range []struct {
		what string
		b    []byte
		want error
		at   int
	}{
		{"multicast home address", alter(8, 0xff), mobility.ErrHomeAddr, 8},
		{"second home address", twice, mobility.ErrHomeAddrTwice, 30},
		{"home address of 15 octets", alter(7, 15), mobility.ErrHomeAddrLen, 7},
		{"home address beyond the header", alter(7, 17), mobility.ErrOption, 6},
		{"padding beyond the header", alter(3, 0xff), mobility.ErrOption, 2},
	} {
		var d mobility.DestOptions
		_, err := d.Decode(c.b)
		var f *mobility.FieldError
		if !errors.Is(err, c.want) || !errors.As(err, &f) || f.Pointer != c.at {
			t.Errorf("%s: %v, want %v at %d", c.what, err, c.want, c.at)
		}
		// In a packet the pointer counts from the packet's start.
		b := append(golden(t, "packet-bu")[:40], c.b...)
		b[5] = byte(len(c.b))
		var p mobility.Packet
		err = p.Walk(b)
		if !errors.Is(err, c.want) || !errors.As(err, &f) || f.Pointer != 40+c.at {
			t.Errorf("%s in a packet: %v, want %v at %d", c.what, err, c.want, 40+c.at)
		}
	}
	for typ, want := range map[uint8]mobility.Unknown{
		0x1e: mobility.UnknownSkip, 0x5e: mobility.UnknownDiscard, 0x9e: mobility.UnknownReport, mobility.OptHomeAddr: mobility.UnknownReportUni,
	} {
		if got := (mobility.TLVOption{Type: typ}).Unknown(); got != want {
			t.Errorf("option %x: %d, want %d", typ, got, want)
		}
	}
}

func TestRoutingErrors(t *testing.T) {
	for what, c := range map[string]struct {
		at   int
		v    byte
		want error
	}{
		"type 0":          {2, 0, mobility.ErrRoutingType},
		"length 1":        {1, 1, mobility.ErrRoutingLen},
		"segments left 0": {3, 0, mobility.ErrRoutingSegments},
		"segments left 2": {3, 2, mobility.ErrRoutingSegments},
		"multicast":       {8, 0xff, mobility.ErrRoutingAddr},
		"too long":        {1, 3, mobility.ErrTruncated},
	} {
		b := golden(t, "rh-type2")
		b[c.at] = c.v
		var r mobility.Routing2
		if _, err := r.Decode(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	b := golden(t, "rh-type2")
	b[5] = 0xff // reserved
	var r mobility.Routing2
	if _, err := r.Decode(b); err != nil || r.HomeAddr != home {
		t.Errorf("reserved: %+v, %v", r, err)
	}
}

// ipv6 is an IPv6 packet from careOf to agent.
func ipv6(next uint8, payload []byte) []byte {
	b := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), next, 64}
	s, d := careOf.As16(), agent.As16()
	return append(append(append(b, s[:]...), d[:]...), payload...)
}

func TestWalkFragments(t *testing.T) {
	first := []byte{mobility.ProtoDestOpts, 0, 0, 1, 0, 0, 0, 9}
	var p mobility.Packet
	if err := p.Walk(ipv6(mobility.ProtoFragment, append(first, golden(t, "ext-hao")...))); err != nil {
		t.Fatal(err)
	}
	if !p.Fragment || !p.MoreFragments || p.FragmentOffset != 0 || p.FragmentID != 9 || p.HomeAddr != home || p.Proto != mobility.ProtoMobility {
		t.Errorf("first fragment: %+v", p)
	}
	later := []byte{mobility.ProtoDestOpts, 0, 0x05, 0x08, 0, 0, 0, 9}
	if err := p.Walk(ipv6(mobility.ProtoFragment, append(later, 1, 2, 3))); err != nil {
		t.Fatal(err)
	}
	if p.FragmentOffset != 0x508 || p.MoreFragments || p.Proto != mobility.ProtoDestOpts || len(p.Payload) != 3 || p.HomeAddr.IsValid() || p.ChecksumOK() {
		t.Errorf("later fragment: %+v", p)
	}
}

// TestWalkBounded gives a packet of nothing but extension headers.
func TestWalkBounded(t *testing.T) {
	var many []byte
	for range 100 {
		many = append(many, mobility.ProtoDestOpts, 0, 1, 4, 0, 0, 0, 0)
	}
	var p mobility.Packet
	if err := p.Walk(ipv6(mobility.ProtoDestOpts, many)); !errors.Is(err, mobility.ErrTooManyHeaders) {
		t.Errorf("%v", err)
	}
	// A home address option in a hop-by-hop header is none.
	if err := p.Walk(ipv6(mobility.ProtoHopByHop, golden(t, "ext-hao"))); err != nil || p.HomeAddr.IsValid() {
		t.Errorf("%+v, %v", p, err)
	}
	short := golden(t, "rh-type2")
	short[1] = 0
	if err := p.Walk(ipv6(mobility.ProtoRouting, short)); !errors.Is(err, mobility.ErrRoutingLen) {
		t.Errorf("%v", err)
	}
	visited := golden(t, "rh-type2")
	visited[3] = 0
	if err := p.Walk(ipv6(mobility.ProtoRouting, visited)); err != nil || p.TransportDst() != agent || p.RoutingAddr != home {
		t.Errorf("visited: %+v, %v", p, err)
	}
}

func TestICMPErrors(t *testing.T) {
	for what, c := range map[string]struct {
		b    []byte
		want error
	}{
		"echo":                {[]byte{128, 0, 0, 0, 0, 0, 0, 0}, mobility.ErrICMPType},
		"code 1":              {[]byte{144, 1, 0, 0, 0, 0, 0, 0}, mobility.ErrICMPCode},
		"half an address":     {[]byte{145, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}, mobility.ErrTruncated},
		"option of length 0":  {[]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, mobility.ErrNDOption},
		"option too long":     {[]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0}, mobility.ErrNDOption},
		"option of one octet": {[]byte{133, 0, 0, 0, 0, 0, 0, 0, 1}, mobility.ErrNDOption},
		"multicast target":    {append([]byte{135, 0, 0, 0, 0, 0, 0, 0, 0xff}, make([]byte, 15)...), mobility.ErrICMPField},
		"empty":               {nil, mobility.ErrTruncated},
	} {
		if _, err := mobility.DecodeICMP(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, m := range map[string]mobility.ICMP{
		"raw option of 7 octets": mobility.RouterSolicitation{Options: mobility.NDOptions{mobility.RawNDOption{Type: 99, Data: make([]byte, 5)}}},
		"no option":              mobility.PrefixSolicitation{Options: mobility.NDOptions{nil}},
		"error of type 128":      mobility.ICMPError{Type: 128},
	} {
		if b, err := mobility.AppendICMP([]byte{7}, m); !errors.Is(err, mobility.ErrEncode) || len(b) != 1 {
			t.Errorf("%s: %x, %v", what, b, err)
		}
	}
	big := mobility.ICMPError{Type: mobility.ICMPTooBig, Value: 1400, Packet: make([]byte, 1500)}
	if b, err := mobility.AppendICMP(nil, big); err != nil || len(b) != mobility.MinMTU-40 {
		t.Errorf("error message of %d octets, %v", len(b), err)
	}
	// Known options of a wrong length are kept and not understood.
	b := []byte{133, 0, 0, 0, 0, 0, 0, 0, 5, 2, 15: 0, 23: 0}
	if m, err := mobility.DecodeICMP(b); err != nil || m.(mobility.RouterSolicitation).Options[0].(mobility.RawNDOption).Type != mobility.NDMTU {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestHomeAgentDefaults(t *testing.T) {
	ra := mobility.RouterAdvertisement{Flags: mobility.RouterHomeAgent, RouterLifetime: 5}
	if p, l, ok := ra.HomeAgent(); p != 0 || l != 5 || !ok {
		t.Errorf("%d %v %v", p, l, ok)
	}
	pi := mobility.PrefixInfo{Addr: agent, Bits: 64, Flags: mobility.PrefixRouter}
	if a, ok := pi.RouterAddr(); !ok || a != agent || pi.Prefix() != netip.MustParsePrefix("2001:db8:1::/64") {
		t.Errorf("%v %v %v", a, ok, pi.Prefix())
	}
}

func TestAddresses(t *testing.T) {
	for s, want := range map[string]bool{
		"2001:db8::1": true, "fd00::1": true, "3ffe::1": true, "::": false, "::1": false, "fe80::1": false,
		"ff02::1": false, "ff0e::1": false, "::ffff:192.0.2.1": false, "192.0.2.1": false, "fe80::1%eth0": false,
	} {
		if got := mobility.UnicastRoutable(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
	if mobility.UnicastRoutable(netip.Addr{}) {
		t.Error("no address is routable")
	}
	if got := mobility.SolicitedNode(netip.MustParseAddr("2001:db8::1:2345:6789")); got != netip.MustParseAddr("ff02::1:ff45:6789") {
		t.Errorf("solicited-node address %v", got)
	}
	for p, want := range map[string]string{
		"2001:db8:1::/64":    "2001:db8:1:0:fdff:ffff:ffff:fffe",
		"2001:db8:1::7/64":   "2001:db8:1:0:fdff:ffff:ffff:fffe",
		"2001:db8:1::/48":    "2001:db8:1:ffff:ffff:ffff:ffff:fffe",
		"2001:db8::ab00/120": "2001:db8::abfe",
	} {
		if got := mobility.HomeAgentsAnycast(netip.MustParsePrefix(p)); got.String() != want {
			t.Errorf("%s: %v, want %s", p, got, want)
		}
	}
	if !mobility.SamePrefix(home, agent, 64) || mobility.SamePrefix(home, careOf, 64) || !mobility.SamePrefix(home, careOf, 32) || mobility.SamePrefix(home, home, 129) {
		t.Error("prefix match")
	}
	if got := mobility.WithPrefix(netip.MustParsePrefix("fe80::/64"), careOf); got.String() != "fe80::abc" {
		t.Errorf("link-local address %v", got)
	}
	if got := mobility.WithPrefix(netip.MustParsePrefix("2001:db8:ff::/52"), netip.MustParseAddr("::fff:1:2:3:4")); got.String() != "2001:db8:ff:fff:1:2:3:4" {
		t.Errorf("address %v", got)
	}
}
