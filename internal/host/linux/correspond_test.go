package linux

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// correspondents makes a mobile node a without policies of its own, and a correspondent b, which
// takes Mobility Headers with a home address option from anybody.
func correspondents(t *testing.T) (a, b *space) {
	t.Helper()
	if os.Getenv("MIP6_KERNEL") == "" {
		t.Skip("needs a kernel with MIP6 (go run ./integration/cmd/vmtest ./internal/host/linux)")
	}
	a, b = joined(t)
	a.ip(fmt.Sprintf("addr add %v/128 dev lo home nodad", homeA))
	b.ip("xfrm state add src :: dst :: proto hao mode ro coa :: flag wildrecv")
	b.ip("xfrm policy add src ::/0 dst ::/0 proto 135 dir in priority 17 tmpl src :: dst :: proto hao mode ro level use")
	b.ip("xfrm policy add src ::/0 dst ::/0 proto 135 dir out priority 17")
	return a, b
}

// What a correspondent receives: from a care-of address and from home, to each of its
// addresses, of types that nobody knows, and nothing with a bad checksum.
func TestCorrespondent(t *testing.T) {
	a, b := correspondents(t)
	ha, hb := a.open(Options{}), b.open(Options{})
	lb := watch(t, hb)
	wait(lb, "b is up", linkIs("vb", true))
	other := netip.MustParseAddr("2001:db8:2::b")
	b.ip(fmt.Sprintf("addr add %v/128 dev lo nodad", other))
	a.ip(fmt.Sprintf("route add %v/128 dev va via %v", other, addrB))
	b.ip(fmt.Sprintf("route add %v/128 dev vb", homeA))
	unknown := encode(t, mobility.RawBody{T: 99, Data: make([]byte, 2)})
	messages := []host.MH{
		update(t),
		{Src: homeA, CareOf: addrA, Dst: other, Data: update(t).Data},
		{Src: homeA, CareOf: addrA, Dst: addrB, Data: unknown},
		{Src: addrA, Dst: other, Data: encode(t, mobility.CareOfTestInit{})},
		{Src: homeA, Dst: addrB, Data: encode(t, mobility.HomeTestInit{})},
	}
	for _, m := range messages {
		if m.CareOf.IsValid() {
			bad, err := appendExplicit(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			bad[len(bad)-1] ^= 1
			to := sockaddr(m.Dst, 0)
			to.Port = mobility.ProtoMobility
			if err := ha.explicit.send(bad, appendPktInfo(nil, addrA, 0), to); err != nil {
				t.Fatal(err)
			}
		}
		must(t, ha, host.SendMH{MH: m})
		got := wait(lb, "a mobility header", isMH).MH
		if got.Src != m.Src || got.Dst != m.Dst || got.CareOf != m.CareOf || got.RouteHeader || got.IfIndex != b.index("vb") ||
			len(got.Data) != len(m.Data) || got.Data[2] != m.Data[2] || !bytes.Equal(got.Data[6:], m.Data[6:]) {
			t.Errorf("received %+v, sent %+v", got, m)
		}
		if !mobility.VerifyChecksum(m.Src, m.Dst, mobility.ProtoMobility, got.Data) {
			t.Errorf("the checksum of %+v is wrong", got)
		}
	}
}

// A binding acknowledgement with a routing header reaches the home address, whatever else the
// node has.
func TestCorrespondentAck(t *testing.T) {
	a, b := correspondents(t)
	ha, hb := a.open(Options{}), b.open(Options{})
	a.ip(fmt.Sprintf("xfrm state add src %v dst %v proto route2 mode ro coa %v flag wildrecv", addrB, homeA, addrA))
	a.ip(fmt.Sprintf("xfrm policy add src %v dst %v proto 135 dir in priority 12 tmpl src %v dst %v proto route2 mode ro level use",
		addrB, homeA, addrB, homeA))
	la := watch(t, ha)
	wait(la, "a is up", linkIs("va", true))
	must(t, hb, host.SendMH{MH: ack(t)})
	got := wait(la, "the acknowledgement", isMH).MH
	if got.Src != addrB || got.Dst != homeA || got.CareOf.IsValid() || !got.RouteHeader || got.IfIndex != a.index("va") ||
		!bytes.Equal(got.Data[6:], ack(t).Data[6:]) {
		t.Errorf("received %+v", got)
	}
	// Without a routing header it is told so: the machine does not take it for an answer.
	b.ip(fmt.Sprintf("route add %v/128 dev vb via %v", homeA, addrA))
	plain := ack(t)
	plain.CareOf, plain.RouteHeader = netip.Addr{}, false
	must(t, hb, host.SendMH{MH: plain})
	if got := wait(la, "the plain one", isMH).MH; got.Dst != homeA || got.RouteHeader {
		t.Errorf("received %+v", got)
	}
}

// An application's packet to a care-of address that nobody reaches any more.
func TestErrorAboutRouting(t *testing.T) {
	a, b := correspondents(t)
	behindRouter(t, a, b)
	hb := b.open(Options{})
	b.ip(fmt.Sprintf("route add %v/128 via %v", homeA, addrA))
	b.ip(fmt.Sprintf("xfrm state add src %v dst %v proto route2 mode ro coa %v", addrB, homeA, away))
	b.ip(fmt.Sprintf("xfrm policy add src %v dst %v dir out priority 18 tmpl src %v dst %v proto route2 mode ro", addrB, homeA, addrB, homeA))
	lb := watch(t, hb)
	wait(lb, "b is up", linkIs("vb", true))
	b.udp(addrB, homeA, 1)
	e := wait(lb, "the error", func(host.ICMPError) bool { return true })
	if e.Type != 1 || e.Src != addrB || e.Dst != away || e.Final != homeA || e.Home.IsValid() || e.MH || e.Refuses {
		t.Errorf("%+v", e)
	}
}

// An application's packet with a home address option that the correspondent cannot deliver.
func TestErrorAboutApplication(t *testing.T) {
	a, b := correspondents(t)
	ha := a.open(Options{})
	for _, n := range []*space{a, b} {
		n.ip(fmt.Sprintf("xfrm state add src %v dst %v proto hao mode ro coa %v", homeA, addrB, addrA))
	}
	a.ip(fmt.Sprintf("xfrm policy add src %v dst %v dir out priority 18 tmpl src %v dst %v proto hao mode ro", homeA, addrB, homeA, addrB))
	b.ip(fmt.Sprintf("xfrm policy add src %v dst %v dir in priority 18 tmpl src %v dst %v proto hao mode ro level use", homeA, addrB, homeA, addrB))
	la := watch(t, ha)
	wait(la, "a is up", linkIs("va", true))
	a.udp(homeA, addrB, 1)
	e := wait(la, "the error", func(host.ICMPError) bool { return true })
	if e.Type != 1 || e.Code != 4 || e.From != addrB || e.Src != addrA || e.Dst != addrB || e.Home != homeA || e.MH || e.Refuses || e.Final.IsValid() {
		t.Errorf("%+v", e)
	}
}
