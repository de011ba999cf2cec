package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

var (
	dupAddr  = netip.MustParseAddr("2001:db8::d")
	freeAddr = netip.MustParseAddr("2001:db8::f")
)

// ndPacket makes a whole IPv6 packet with a neighbour discovery message.
func ndPacket(t *testing.T, src, dst netip.Addr, hopLimit byte, m mobility.ICMP) []byte {
	t.Helper()
	b := make([]byte, 40)
	s, d := src.As16(), dst.As16()
	b[0], b[6], b[7] = 0x60, 58, hopLimit
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	b, err := mobility.AppendICMPWithChecksum(b, m, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// icmpOf gives the ICMPv6 message of a frame, checked: hop limit, checksum.
func icmpOf(t *testing.T, frame []byte) (p mobility.Packet, m mobility.ICMP) {
	t.Helper()
	if err := p.Walk(frame[14:]); err != nil || p.Proto != 58 || p.HopLimit != 255 || !p.ChecksumOK() {
		t.Fatalf("not a neighbour discovery packet: %+v, %v", p, err)
	}
	m, err := mobility.DecodeICMP(p.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return p, m
}

func icmpType(typ mobility.ICMPType) func([]byte) bool {
	return func(f []byte) bool { return f[14+6] == 58 && f[54] == byte(typ) }
}

func TestRouterSeen(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h := a.open(Options{})
	l := watch(t, h)
	wait(l, "a is up", linkIs("va", true))
	c := b.capture("vb")
	src := netip.MustParseAddr("fe80::9")
	ra := mobility.RouterAdvertisement{
		Flags:          mobility.RouterHomeAgent | mobility.RouterManaged,
		RouterLifetime: 30 * time.Second,
		Options: mobility.NDOptions{
			mobility.SourceLinkLayer{Addr: []byte{2, 0, 0, 0, 0, 9}},
			mobility.PrefixInfo{Addr: netip.MustParseAddr("2001:db8:1::9"), Bits: 64, Valid: time.Hour, Preferred: time.Minute,
				Flags: mobility.PrefixOnLink | mobility.PrefixAutonomous | mobility.PrefixRouter},
			mobility.AdvertisementInterval(70 * time.Millisecond),
			mobility.HomeAgentInfo{Preference: 0xfffe, Lifetime: 20 * time.Second},
		},
	}
	i := b.index("vb")
	// What is to be discarded (RFC 4861 §6.1.2): a hop limit below 255, a global source, a bad checksum.
	c.send(i, ndPacket(t, src, mobility.AllNodes, 254, ra))
	c.send(i, ndPacket(t, dupAddr, mobility.AllNodes, 255, ra))
	bad := ndPacket(t, src, mobility.AllNodes, 255, ra)
	bad[42] ^= 0xff
	for range 5 {
		c.send(i, bad)
	}
	c.send(i, ndPacket(t, src, mobility.AllNodes, 255, ra))
	e := wait(l, "a router", func(host.RouterSeen) bool { return true })
	r := e.Router
	if r.IfIndex != a.index("va") || r.Addr != src || r.Lifetime != 30*time.Second || !r.HomeAgent || !r.Managed ||
		!bytes.Equal(r.HardAddr, []byte{2, 0, 0, 0, 0, 9}) || r.Interval != 70*time.Millisecond ||
		r.HomeAgentPreference != -2 || r.HomeAgentLifetime != 20*time.Second || len(r.Prefixes) != 1 {
		t.Fatalf("router %+v", r)
	}
	want := host.RouterPrefix{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), OnLink: true, Auto: true,
		RouterAddr: netip.MustParseAddr("2001:db8:1::9"), Valid: time.Hour, Preferred: time.Minute}
	if r.Prefixes[0] != want {
		t.Errorf("prefix %+v, want %+v", r.Prefixes[0], want)
	}
	if n := h.Stats().BadAdverts.Load(); n != 2 {
		t.Errorf("%d bad advertisements, want 2", n)
	}
}

func TestSolicitRouter(t *testing.T) {
	a, b := pair(t)
	a.setSysctl("net/ipv6/conf/all/accept_dad", "0")
	a.setSysctl("net/ipv6/conf/va/accept_dad", "0")
	a.setSysctl("net/ipv6/conf/va/router_solicitations", "0") // the kernel's own
	a.setSysctl("net/ipv6/conf/va/addr_gen_mode", "1")        // no link-local address
	b.ip("link set vb up")
	a.ip("link set va up")
	h := a.open(Options{})
	l := watch(t, h)
	hard := wait(l, "a is up", linkIs("va", true)).Link.HardAddr
	c := b.capture("vb")
	solicit := func() (mobility.Packet, mobility.RouterSolicitation) {
		t.Helper()
		must(t, h, host.SolicitRouter{IfIndex: a.index("va")})
		p, m := icmpOf(t, c.wait("a router solicitation", icmpType(mobility.ICMPRouterSol)))
		return p, m.(mobility.RouterSolicitation)
	}
	p, rs := solicit()
	if p.Src != netip.IPv6Unspecified() || p.Dst != mobility.AllRouters || len(rs.Options) != 0 {
		t.Errorf("without an address: from %v to %v, options %v", p.Src, p.Dst, rs.Options)
	}
	a.ip("addr add fe80::a/64 dev va nodad")
	p, rs = solicit()
	if o, _ := mobility.FindNDOption[mobility.SourceLinkLayer](rs.Options); p.Src != netip.MustParseAddr("fe80::a") || !bytes.Equal(o.Addr, hard) {
		t.Errorf("with an address: from %v, options %v, link layer %x", p.Src, rs.Options, hard)
	}
	if _, err := a.run("test -e /proc/sys/net/ipv6/conf/va/optimistic_dad"); err == nil {
		a.ip("addr del fe80::a/64 dev va")
		a.setSysctl("net/ipv6/conf/va/accept_dad", "1")
		a.setSysctl("net/ipv6/conf/va/optimistic_dad", "1")
		a.setSysctl("net/ipv6/conf/va/dad_transmits", "30") // optimistic for long enough
		a.ip("addr add fe80::b/64 dev va optimistic")
		p, rs = solicit()
		if p.Src != netip.MustParseAddr("fe80::b") || len(rs.Options) != 0 {
			t.Errorf("from an optimistic address: from %v, options %v", p.Src, rs.Options)
		}
	}
	if err := one(h, host.SolicitRouter{IfIndex: 99}); !errors.Is(err, host.ErrNoLink) {
		t.Errorf("on no link: %v", err)
	}
}

func TestAdvertiseNeighbour(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h := a.open(Options{})
	l := watch(t, h)
	ready := wait(l, "a link-local address", func(e host.LinkChanged) bool {
		return e.Link.Name == "va" && e.Link.Up && e.Link.LinkLocal.IsValid()
	})
	c := b.capture("vb")
	for _, flags := range []struct{ override, router bool }{{true, false}, {false, true}} {
		must(t, h, host.AdvertiseNeighbour{IfIndex: ready.Link.Index, Target: dupAddr, Override: flags.override, Router: flags.router})
		frame := c.wait("an advertisement", icmpType(mobility.ICMPNeighborAdv))
		p, m := icmpOf(t, frame)
		na := m.(mobility.NeighborAdvertisement)
		o, _ := mobility.FindNDOption[mobility.TargetLinkLayer](na.Options)
		if !bytes.Equal(frame[:6], []byte{0x33, 0x33, 0, 0, 0, 1}) || p.Src != ready.Link.LinkLocal || p.Dst != mobility.AllNodes ||
			na.Target != dupAddr || !bytes.Equal(o.Addr, ready.Link.HardAddr) || na.Flags.Has(mobility.NeighborSolicited) ||
			na.Flags.Has(mobility.NeighborOverride) != flags.override || na.Flags.Has(mobility.NeighborRouter) != flags.router {
			t.Errorf("advertisement %+v of %+v", na, p)
		}
	}
}

func TestProxy(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h := a.open(Options{})
	i := a.index("va")
	must(t, h,
		host.SetSysctl{Key: "net/ipv6/conf/va/forwarding", Value: "1"},
		host.SetSysctl{Key: "net/ipv6/conf/va/proxy_ndp", Value: "1"},
		host.SetSysctl{Key: "net/ipv6/neigh/va/proxy_delay", Value: "0"},
		host.PutProxy{IfIndex: i, Addr: dupAddr}, host.PutProxy{IfIndex: i, Addr: dupAddr})
	b.ip("addr add 2001:db8::b/64 dev vb nodad")
	if out := a.ip("neigh show proxy"); out != "2001:db8::d dev va proxy proto 135 \n" {
		t.Errorf("ip shows %q", out)
	}
	owned, err := h.Owned(context.Background())
	if err != nil || len(owned) != 1 || owned[0] != host.Op(host.PutProxy{IfIndex: i, Addr: dupAddr}) {
		t.Errorf("owned %+v, %v", owned, err)
	}
	c := b.capture("vb")
	ask := func() {
		ns := mobility.NeighborSolicitation{Target: dupAddr, Options: mobility.NDOptions{mobility.SourceLinkLayer{Addr: []byte{2, 0, 0, 0, 0, 9}}}}
		c.send(b.index("vb"), ndPacket(t, netip.MustParseAddr("2001:db8::b"), mobility.SolicitedNode(dupAddr), 255, ns))
	}
	ask()
	_, m := icmpOf(t, c.wait("the proxy's answer", func(f []byte) bool {
		return icmpType(mobility.ICMPNeighborAdv)(f) && bytes.Contains(f, dupAddr.AsSlice())
	}))
	if na := m.(mobility.NeighborAdvertisement); na.Target != dupAddr || na.Flags.Has(mobility.NeighborOverride) {
		t.Errorf("answer %+v", na)
	}
	must(t, h, host.DelProxy{IfIndex: i, Addr: dupAddr}, host.DelProxy{IfIndex: i, Addr: dupAddr})
	if out := a.ip("neigh show proxy"); out != "" {
		t.Errorf("it stays: %q", out)
	}
	if err := one(h, host.PutProxy{IfIndex: 99, Addr: dupAddr}); !errors.Is(err, host.ErrNoLink) {
		t.Errorf("on no link: %v", err)
	}
}
