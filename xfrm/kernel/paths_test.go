package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// on and off switch route optimization between a node and a correspondent, in the order in which
// signalling leads to it; meanwhile waits for traffic.
func switchOn(mn, cn *wHost, a, b protect.Path, meanwhile func()) (protect.Path, protect.Path) {
	a = mn.change(a, func(x *protect.Path) { x.Accept, x.Ack = true, true })
	b = cn.change(b, func(x *protect.Path) { x.RemoteCareOf = a.CareOf })
	meanwhile()
	return mn.change(a, func(x *protect.Path) { x.Direct, x.Ack = true, false }), b
}

func switchOff(mn, cn *wHost, a, b protect.Path, meanwhile func()) (protect.Path, protect.Path) {
	a = mn.change(a, func(x *protect.Path) { x.Direct = false })
	meanwhile()
	b = cn.change(b, func(x *protect.Path) { x.RemoteCareOf = netip.Addr{} })
	meanwhile()
	return mn.change(a, func(x *protect.Path) { x.Accept = false }), b
}

// TestSwitch switches between the tunnel and the direct path under traffic: nothing is lost.
func TestSwitch(t *testing.T) {
	w := newWorld(t, "ha", "cn", "mn")
	ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
	ha.start()
	cn.start()
	mn.start()
	mn.away()
	s := w.newStream(mn, cn)
	w.pass(s, 100)
	a, b := mn.path(wCN), cn.path(mn.addr)
	wait := func() { w.pass(s, 20) }
	w.look(s, "at first", "COA1>HA esp", "HOA>CN 17", "CN>HOA 17", "HA>COA1 esp")
	for range 10 {
		a, b = switchOn(mn, cn, a, b, wait)
		w.look(s, "on", "COA1>CN hao=HOA 17", "CN>COA1 route2=HOA 17")
		a, b = switchOff(mn, cn, a, b, wait)
		w.pass(s, 50)
	}
	sent, lost := s.stop()
	t.Logf("sent %v, lost %v; %s", sent, lost, w.drops())
	if lost != [2]int64{} {
		t.Errorf("%d packets lost to the node, %d to the correspondent", lost[0], lost[1])
	}
}

// TestMovesUnderRouteOptimization moves a node whose path is direct, as its machine does: the tunnel
// moves, the path goes back to it, the correspondent learns the new address, and the path is direct
// again. The agent learns of the move when a Binding Update would be there.
func TestMovesUnderRouteOptimization(t *testing.T) {
	w := newWorld(t, "ha", "cn", "mn")
	ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
	mn.plan.Answers = true
	mn.plan.Triggers = []protect.Trigger{{Proto: 6, Port: 22, Never: true}, {}}
	for _, h := range []*wHost{ha, cn, mn} {
		h.start()
	}
	mn.away()
	s := w.newStream(mn, cn)
	w.pass(s, 100)
	wait := func() { w.pass(s, 20) }
	a, b := switchOn(mn, cn, mn.path(wCN), cn.path(mn.addr), wait)
	// move is what the machines do about a new care-of address, all in one.
	move := func(careOf netip.Addr) {
		to := a
		to.CareOf, to.Direct, to.Ack = careOf, false, true
		mn.moveNode(careOf, [2]protect.Path{a, to})
		a = to
		mn.moveAgent()
	}
	for i := range 10 {
		other := func() netip.Addr {
			if mn.binding.CareOf == mn.careOf[0] {
				return mn.careOf[1]
			}
			return mn.careOf[0]
		}
		if i%3 == 2 { // and on, before the correspondent has learned of it
			move(other())
			w.pass(s, 10)
		}
		move(other())
		careOf := mn.binding.CareOf
		wait()
		b = cn.change(b, func(x *protect.Path) { x.RemoteCareOf = careOf })
		wait()
		a = mn.change(a, func(x *protect.Path) { x.Direct, x.Ack = true, false })
		c := wNames.Replace(careOf.String())
		w.look(s, fmt.Sprintf("move %d", i+1), c+">CN hao=HOA 17", "CN>"+c+" route2=HOA 17")
		for _, sa := range mn.larval() {
			t.Errorf("move %d: larval %s", i, wNames.Replace(protect.StateText(sa)))
		}
	}
	sent, lost := s.stop()
	t.Logf("sent %v, lost %v; %s", sent, lost, w.drops())
	if lost[0] > 2 || lost[1] > 2 {
		t.Errorf("%d packets lost to the node, %d to the correspondent", lost[0], lost[1])
	}
}

// TestBothMobile: two nodes that are both away and each other's correspondents. Both headers are on
// the wire, the routing header first (RFC 6275 §6.3, §6.4).
func TestBothMobile(t *testing.T) {
	w := newWorld(t, "ha", "mn", "mn2")
	ha, one, two := w.hosts["ha"], w.hosts["mn"], w.hosts["mn2"]
	one.plan.Answers, two.plan.Answers = true, true
	for _, h := range []*wHost{ha, one, two} {
		h.start()
	}
	one.away()
	two.away()
	s := w.newStream(one, two)
	w.pass(s, 50)
	a, b := one.path(two.addr), two.path(one.addr)
	wait := func() { w.pass(s, 30) }
	// The first binds at the second: its packets go to the second's home address.
	a = one.change(a, func(x *protect.Path) { x.Accept, x.Ack = true, true })
	b = two.change(b, func(x *protect.Path) { x.RemoteCareOf = one.binding.CareOf })
	wait()
	a = one.change(a, func(x *protect.Path) { x.Direct, x.Ack = true, false })
	w.look(s, "one way", "COA1>HOB hao=HOA 17", "HA>COB1 esp", "COB1>HA esp", "HA>COA1 esp")
	// The second binds at the first too.
	b = two.change(b, func(x *protect.Path) { x.Accept, x.Ack = true, true })
	a = one.change(a, func(x *protect.Path) { x.RemoteCareOf = two.binding.CareOf })
	wait()
	b = two.change(b, func(x *protect.Path) { x.Direct, x.Ack = true, false })
	w.look(s, "both ways", "COA1>COB1 route2=HOB hao=HOA 17", "COB1>COA1 route2=HOA hao=HOB 17")
	_, lost := s.stop()
	if lost != [2]int64{} {
		t.Errorf("lost %v; %s", lost, w.drops())
	}

	// Both move at once; each goes on by the tunnels until both have learned.
	s = w.newStream(one, two)
	wait()
	one.moveNode(one.careOf[1])
	a = one.change(a, func(x *protect.Path) { x.CareOf, x.Direct = one.careOf[1], false })
	two.moveNode(two.careOf[1])
	b = two.change(b, func(x *protect.Path) { x.CareOf, x.Direct = two.careOf[1], false })
	one.moveAgent()
	two.moveAgent()
	w.look(s, "by the tunnels", "COA2>HA esp", "HA>COB2 esp", "COB2>HA esp", "HA>COA2 esp")
	b = two.change(b, func(x *protect.Path) { x.RemoteCareOf = one.careOf[1] })
	a = one.change(a, func(x *protect.Path) { x.RemoteCareOf = two.careOf[1] })
	one.change(a, func(x *protect.Path) { x.Direct = true })
	two.change(b, func(x *protect.Path) { x.Direct = true })
	w.look(s, "after the move", "COA2>COB2 route2=HOB hao=HOA 17", "COB2>COA2 route2=HOA hao=HOB 17")
	_, lost = s.stop()
	t.Logf("both moved at once: lost %v; %s", lost, w.drops())
	for _, h := range []*wHost{one, two} {
		for _, sa := range h.larval() {
			t.Errorf("larval %s", wNames.Replace(protect.StateText(sa)))
		}
	}
}

// TestProtectedPaths: ESP and AH in transport mode between home address and correspondent, by the
// tunnel, directly, and between two nodes.
func TestProtectedPaths(t *testing.T) {
	for _, proto := range []xfrm.Proto{xfrm.ESP, xfrm.AH} {
		t.Run(proto.String(), func(t *testing.T) { testProtected(t, proto) })
	}
}

func testProtected(t *testing.T, proto xfrm.Proto) {
	w := newWorld(t, "ha", "cn", "mn", "mn2")
	ha, cn, one, two := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"], w.hosts["mn2"]
	one.plan.Answers, two.plan.Answers = true, true
	for _, h := range []*wHost{ha, cn, one, two} {
		h.start()
	}
	one.away()
	two.away()
	keys := func(a, b *wHost, spi xfrm.SPI, x, y *protect.Path) {
		out, in := testSA(a.addr, b.addr, proto, xfrm.Transport, spi, 0), testSA(b.addr, a.addr, proto, xfrm.Transport, spi+1, 0)
		for i, h := range []*wHost{a, b} {
			id := protect.PathReqID([]protect.Role{protect.Node, protect.Correspondent}[i], uint32(spi))
			out.ReqID, in.ReqID = id, id
			h.apply(xfrm.PutSA{SA: out}, xfrm.PutSA{SA: in})
			p := []*protect.Path{x, y}[i]
			*p = h.change(*p, func(p *protect.Path) { p.Protect, p.ReqID = proto, id })
		}
	}
	name := map[xfrm.Proto]string{xfrm.ESP: " esp", xfrm.AH: " ah 17"}[proto]
	a, b := one.path(wCN), cn.path(one.addr)
	keys(one, cn, 0x7000, &a, &b)
	s := w.newStream(one, cn)
	w.look(s, "by the tunnel", "COA1>HA esp", "HOA>CN"+name, "CN>HOA"+name, "HA>COA1 esp")
	a, b = switchOn(one, cn, a, b, func() { w.pass(s, 20) })
	w.look(s, "directly", "COA1>CN hao=HOA"+name, "CN>COA1 route2=HOA"+name)
	a, b = switchOff(one, cn, a, b, func() { w.pass(s, 20) })
	w.look(s, "by the tunnel again", "COA1>HA esp", "HOA>CN"+name, "CN>HOA"+name, "HA>COA1 esp")
	if _, lost := s.stop(); lost != [2]int64{} {
		t.Errorf("lost %v; %s", lost, w.drops())
	}

	a, b = one.path(two.addr), two.path(one.addr)
	keys(one, two, 0x7100, &a, &b)
	s = w.newStream(one, two)
	w.look(s, "both mobile, by the tunnels", "COA1>HA esp", "HA>COB1 esp", "COB1>HA esp", "HA>COA1 esp")
	set := func(peer *wHost) func(*protect.Path) {
		return func(x *protect.Path) { x.Accept, x.RemoteCareOf = true, peer.binding.CareOf }
	}
	a, b = one.change(a, set(two)), two.change(b, set(one))
	a = one.change(a, func(x *protect.Path) { x.Direct = true })
	b = two.change(b, func(x *protect.Path) { x.Direct = true })
	w.look(s, "both mobile", "COA1>COB1 route2=HOB hao=HOA"+name, "COB1>COA1 route2=HOA hao=HOB"+name)
	if _, lost := s.stop(); lost != [2]int64{} {
		t.Errorf("both mobile: lost %v; %s", lost, w.drops())
	}
}
