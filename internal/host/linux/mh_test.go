package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

var (
	addrA = netip.MustParseAddr("2001:db8::a")
	addrB = netip.MustParseAddr("2001:db8::b")
	homeA = netip.MustParseAddr("2001:db8:1::a")
)

// joined makes two namespaces with addrA and addrB on the link between them.
func joined(t *testing.T) (a, b *space) {
	t.Helper()
	a, b = pair(t)
	up(t, a, b)
	a.ip(fmt.Sprintf("addr add %v/64 dev va nodad", addrA))
	b.ip(fmt.Sprintf("addr add %v/64 dev vb nodad", addrB))
	return a, b
}

// refreshRequest is a Binding Refresh Request without a checksum.
func refreshRequest() []byte { return []byte{59, 0, 0, 0, 0, 0, 0, 0} }

func isMH(host.MHReceived) bool { return true }

func TestMH(t *testing.T) {
	a, b := joined(t)
	ha, hb := a.open(Options{}), b.open(Options{})
	c := b.capture("vb")
	lb := watch(t, hb)
	wait(lb, "b is up", linkIs("vb", true))
	a.ip(fmt.Sprintf("addr add %v/128 dev lo nodad", homeA))
	b.ip(fmt.Sprintf("route add %v/128 dev vb", homeA))
	for _, src := range []netip.Addr{addrA, homeA} {
		must(t, ha, host.SendMH{MH: host.MH{Src: src, Dst: addrB, Data: refreshRequest()}})
		m := wait(lb, "a mobility header", isMH).MH
		if m.Src != src || m.Dst != addrB || m.CareOf.IsValid() || m.RouteHeader || m.IfIndex != b.index("vb") {
			t.Errorf("received %+v", m)
		}
		frame := c.wait("it on the wire", func(f []byte) bool { return f[14+6] == mobility.ProtoMobility })
		var p mobility.Packet
		if err := p.Walk(frame[14:]); err != nil || !p.ChecksumOK() || p.Src != src || p.Dst != addrB || !bytes.Equal(p.Payload, m.Data) {
			t.Errorf("on the wire %+v, %v", p, err)
		}
	}
	// With the kernel's choice of source, and on a link-local address.
	must(t, ha, host.SendMH{MH: host.MH{Dst: addrB, Data: refreshRequest()}})
	if m := wait(lb, "a mobility header", isMH).MH; m.Src != addrA {
		t.Errorf("received %+v", m)
	}
}

// The kernel drops what has a bad checksum, and takes the same with a good one.
func TestMHBadChecksum(t *testing.T) {
	a, b := joined(t)
	hb := b.open(Options{})
	lb := watch(t, hb)
	wait(lb, "b is up", linkIs("vb", true))
	c := a.capture("va")
	packet := make([]byte, 40, 48)
	packet[0], packet[5], packet[6], packet[7] = 0x60, 8, mobility.ProtoMobility, 64
	copy(packet[8:], addrA.AsSlice())
	copy(packet[24:], mobility.AllNodes.AsSlice())
	packet = append(packet, refreshRequest()...)
	sum := mobility.Checksum(addrA, mobility.AllNodes, mobility.ProtoMobility, packet[40:])
	packet[44], packet[45] = byte(sum>>8), byte(sum)
	bad := bytes.Clone(packet)
	bad[47] = 1 // reserved before, so all else is as good
	c.send(a.index("va"), bad)
	c.send(a.index("va"), packet)
	if m := wait(lb, "the good one", isMH).MH; m.Data[7] != 0 || m.Dst != mobility.AllNodes {
		t.Errorf("received %+v", m)
	}
}

func TestSendMHErrors(t *testing.T) {
	a, _ := joined(t)
	h := a.open(Options{})
	send := func(src, dst netip.Addr) error {
		return one(h, host.SendMH{MH: host.MH{Src: src, Dst: dst, Data: refreshRequest()}})
	}
	if err := send(homeA, addrB); !errors.Is(err, ErrSource) {
		t.Errorf("from an address that is not here: %v", err)
	}
	a.setSysctl("net/ipv6/conf/va/accept_dad", "1")
	a.setSysctl("net/ipv6/conf/va/dad_transmits", "30")
	a.ip("addr add 2001:db8::7/64 dev va")
	if err := send(netip.MustParseAddr("2001:db8::7"), addrB); !errors.Is(err, ErrSource) {
		t.Errorf("from a tentative address: %v", err)
	}
	if err := send(addrA, netip.MustParseAddr("2001:db8:ffff::1")); err == nil || errors.Is(err, ErrSource) {
		t.Errorf("without a route: %v", err)
	}
	if out, err := a.run(fmt.Sprintf("ip xfrm policy add src %v dst %v proto 135 dir out action block", addrA, addrB)); err != nil {
		t.Skipf("the kernel has no IPsec policies: %s", out)
	}
	if err := send(addrA, addrB); !errors.Is(err, ErrBlocked) || errors.Is(err, host.ErrPermission) {
		t.Errorf("with a blocking policy: %v", err)
	}
	for _, bad := range []host.MH{{Src: addrA, Dst: addrB}, {Src: addrA, Data: refreshRequest()}} {
		if err := one(h, host.SendMH{MH: bad}); err == nil {
			t.Errorf("sent %+v", bad)
		}
	}
}

// A node that knows no Mobility Header answers it with a Parameter Problem.
func TestICMPError(t *testing.T) {
	a, _ := joined(t)
	h := a.open(Options{})
	l := watch(t, h)
	wait(l, "a is up", linkIs("va", true))
	must(t, h, host.SendMH{MH: host.MH{Src: addrA, Dst: addrB, Data: refreshRequest()}})
	e := wait(l, "the error", func(host.ICMPError) bool { return true })
	var p mobility.Packet
	if err := p.Walk(e.Data); err != nil || e.Type != 4 || e.Code != 1 || e.From != addrB || e.Src != addrA || e.Dst != addrB ||
		!e.MH || !e.Refuses || e.Pointer != 6 || e.Home.IsValid() || e.Final.IsValid() || p.Proto != mobility.ProtoMobility {
		t.Errorf("error %+v: %+v, %v", e, p, err)
	}
}

// A Mobility Header with a home address option, and one with a type 2 routing
// header, as a kernel with MIP6 makes and takes them.
func TestMHHomeAddress(t *testing.T) {
	if os.Getenv("MIP6_KERNEL") == "" {
		t.Skip("needs a kernel with MIP6 (go run ./integration/cmd/vmtest ./internal/host/linux)")
	}
	a, b := joined(t)
	xfrm := func(n *space, line string, args ...any) {
		t.Helper()
		n.ip("xfrm " + fmt.Sprintf(line, args...))
	}
	ha, hb := a.open(Options{}), b.open(Options{})
	must(t, ha, host.PutAddr{Prefix: netip.PrefixFrom(homeA, 128), Home: true, NoDAD: true})
	xfrm(a, "state add src %v dst %v proto hao mode ro coa %v", homeA, addrB, addrA)
	xfrm(a, "state add src %v dst %v proto route2 mode ro coa %v flag wildrecv", addrB, homeA, addrA)
	xfrm(a, "policy add src %v dst %v proto 135 dir out priority 10 tmpl src %v dst %v proto hao mode ro", homeA, addrB, homeA, addrB)
	xfrm(a, "policy add src %v dst %v proto 135 dir in priority 10 tmpl src %v dst %v proto route2 mode ro level use", addrB, homeA, addrB, homeA)
	xfrm(b, "state add src :: dst :: proto hao mode ro coa :: flag wildrecv")
	xfrm(b, "state add src %v dst %v proto route2 mode ro coa %v", addrB, homeA, addrA)
	xfrm(b, "policy add src %v dst %v proto 135 dir in priority 10 tmpl src :: dst :: proto hao mode ro level use", homeA, addrB)
	xfrm(b, "policy add src %v dst %v proto 135 dir out priority 10 tmpl src %v dst %v proto route2 mode ro", addrB, homeA, addrB, homeA)
	b.ip(fmt.Sprintf("route add %v/128 dev vb", homeA)) // routing comes before the policies
	la, lb := watch(t, ha), watch(t, hb)
	wait(la, "a is up", linkIs("va", true))
	wait(lb, "b is up", linkIs("vb", true))

	must(t, ha, host.SendMH{MH: host.MH{Src: homeA, Dst: addrB, Data: refreshRequest()}})
	m := wait(lb, "a mobility header with a home address option", isMH).MH
	if m.Src != homeA || m.Dst != addrB || m.CareOf != addrA || m.RouteHeader {
		t.Errorf("received %+v", m)
	}
	must(t, hb, host.SendMH{MH: host.MH{Src: addrB, Dst: homeA, Data: refreshRequest()}})
	m = wait(la, "a mobility header with a routing header", isMH).MH
	if m.Src != addrB || m.Dst != homeA || m.CareOf.IsValid() || !m.RouteHeader {
		t.Errorf("received %+v", m)
	}
}

func TestReadHomeOption(t *testing.T) {
	good := mobility.AppendHomeAddr(nil, 135, addrA)
	var a netip.Addr
	if !readHomeOption(good, &a) || a != addrA {
		t.Errorf("%v", a)
	}
	for n := range good {
		var a netip.Addr
		if readHomeOption(good[:n], &a) && a.IsValid() {
			t.Errorf("an address out of %d octets", n)
		}
	}
	if a = (netip.Addr{}); !readHomeOption([]byte{135, 0, 1, 4, 0, 0, 0, 0}, &a) || a.IsValid() {
		t.Errorf("no option, but %v", a)
	}
	short := append([]byte(nil), good...)
	short[7] = 8
	if readHomeOption(short, &a) {
		t.Error("a home address of 8 octets")
	}
}
