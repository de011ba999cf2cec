package kernel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// events subscribes to a host's acquires and reports.
func (h *wHost) events() <-chan xfrm.Event {
	h.w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events, done := make(chan xfrm.Event, 4096), make(chan error, 1)
	go func() {
		done <- h.b.Watch(ctx, func(ev xfrm.Event) {
			switch ev.(type) {
			case xfrm.Acquire, xfrm.Report, xfrm.Migrated:
				events <- ev
			}
		})
	}()
	h.w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.w.Error(err)
		}
	})
	// A migration of a policy of its own tells when it hears.
	p := xfrm.Policy{Sel: xfrm.Selector{Src: netip.MustParsePrefix("100::1/128"), Dst: netip.MustParsePrefix("100::2/128")}, Dir: xfrm.In, Priority: 5,
		Templates: []xfrm.Template{{Src: wAgent, Dst: wCN, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: 77}}}
	h.apply(xfrm.PutPolicy{Policy: p})
	from, to := wCN, wAgent
	for {
		h.apply(xfrm.Migrate{Migration: xfrm.Migration{Policy: p.ID(), Moves: []xfrm.Move{{OldSrc: wAgent, OldDst: from, NewSrc: wAgent, NewDst: to, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: 77}}}})
		from, to = to, from
		select {
		case <-events:
			h.apply(xfrm.DelPolicy{ID: p.ID()})
			return events
		case err := <-done:
			done <- err
			h.w.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// acquire waits for an Acquire; ok is false if there is none in the time.
func acquire(events <-chan xfrm.Event, wait time.Duration) (xfrm.Acquire, bool) {
	limit := time.After(wait)
	for {
		select {
		case ev := <-events:
			if a, ok := ev.(xfrm.Acquire); ok {
				return a, true
			}
		case <-limit:
			return xfrm.Acquire{}, false
		}
	}
}

// TestTriggers: the first packet to a correspondent makes the kernel ask for a home address option, and
// goes by the tunnel, as do those after it. Nothing asks where a rule says never, and not again
// before it is allowed to.
func TestTriggers(t *testing.T) {
	w := newWorld(t, "ha", "cn", "mn")
	ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
	mn.plan.Triggers = []protect.Trigger{
		{To: netip.MustParsePrefix("2001:db8:c::/48"), Proto: 17, Port: 53, Never: true},
		{To: netip.MustParsePrefix("2001:db8:c::/48"), Proto: 17},
		{To: netip.MustParsePrefix("2001:db8:f::/48"), Never: true},
		{},
	}
	for _, h := range []*wHost{ha, cn, mn} {
		h.start()
	}
	mn.away()
	events := mn.events()
	send := func(to netip.Addr, port uint16) {
		t.Helper()
		var err error
		if e := mn.do(func() {
			var c net.Conn
			if c, err = net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(mn.addr, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port))); err == nil {
				_, err = c.Write([]byte("x"))
				c.Close()
			}
		}); e != nil || err != nil {
			t.Fatal(e, err)
		}
	}
	send(wCN, 53) // never
	send(netip.MustParseAddr("2001:db8:f::1"), 80)
	send(wAgent, 80)
	s := w.newStream(mn, cn) // the first
	a, ok := acquire(events, 10*time.Second)
	if !ok || a.Proto != xfrm.HAO || a.Sel.Dst.Addr() != wCN || a.Sel.Src.Addr() != mn.addr || a.Sel.Proto != 17 ||
		a.Sel.DstPort != 5000 || a.Template.Proto != xfrm.HAO || a.Template.Mode != xfrm.RouteOpt {
		t.Fatalf("acquire %+v, %v", a, ok)
	}
	w.look(s, "after the acquire", "COA1>HA esp", "HOA>CN 17", "CN>HOA 17", "HA>COA1 esp")
	send(wCN, 80) // is asked for already
	send(netip.MustParseAddr("2001:db8:9::9"), 443)
	if a, ok = acquire(events, 10*time.Second); !ok || a.Sel.Dst.Addr() != netip.MustParseAddr("2001:db8:9::9") || a.Sel.DstPort != 443 {
		t.Fatalf("second acquire %+v, %v", a, ok)
	}
	if n := len(mn.larval()); n != 2 {
		t.Errorf("%d larval states, want 2", n)
	}
	mn.apply(protect.Rearm(mn.addr, wCN)...)
	send(wCN, 81)
	if a, ok = acquire(events, 10*time.Second); !ok || a.Sel.Dst.Addr() != wCN || a.Sel.DstPort == 53 {
		t.Fatalf("after Rearm: acquire %+v, %v", a, ok)
	}

	// Moves and the switch go over larval states. A migration may itself lose what is sent in its moment
	// on more than one processor (the clone repeats sequence numbers); the switch may not.
	sent, lost := s.stop()
	t.Logf("triggers: sent %v, lost %v; %s", sent, lost, w.drops())
	if lost != [2]int64{} {
		t.Errorf("triggers: lost %v", lost)
	}
	s = w.newStream(mn, cn)
	const moves = 6
	for i := range moves {
		mn.moveNode(mn.careOf[(i+1)%2])
		mn.moveAgent()
		w.pass(s, 30)
	}
	sent, lost = s.stop()
	t.Logf("%d moves: sent %v, lost %v; %s", moves, sent, lost, w.drops())
	if lost[0]+lost[1] > 10*moves {
		t.Errorf("moves: lost %v", lost)
	}
	s = w.newStream(mn, cn)
	w.pass(s, 20)
	x, y := switchOn(mn, cn, mn.path(wCN), cn.path(mn.addr), func() { w.pass(s, 20) })
	w.look(s, "on", "COA1>CN hao=HOA 17", "CN>COA1 route2=HOA 17")
	if n := len(mn.larval()); n != 1 {
		t.Errorf("%d larval states, want that of the other correspondent", n)
	}
	switchOff(mn, cn, x, y, func() { w.pass(s, 20) })
	w.look(s, "off", "COA1>HA esp", "HOA>CN 17", "CN>HOA 17", "HA>COA1 esp")
	sent, lost = s.stop()
	t.Logf("switch: sent %v, lost %v; %s", sent, lost, w.drops())
	if lost != [2]int64{} {
		t.Errorf("switch: lost %v", lost)
	}
	for {
		a, ok := acquire(events, 100*time.Millisecond)
		if !ok {
			break
		}
		if a.Sel.DstPort == 53 || a.Sel.Dst.Addr() == wAgent || a.Proto != xfrm.HAO {
			t.Errorf("acquire %+v", a)
		}
	}
	for _, sa := range mn.larval() {
		if sa.Proto != xfrm.HAO {
			t.Errorf("larval %s", wNames.Replace(protect.StateText(sa)))
		}
	}
}

// TestUse: what the states of a path tell of its use.
func TestUse(t *testing.T) {
	w := newWorld(t, "ha", "cn", "mn")
	ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
	for _, h := range []*wHost{ha, cn, mn} {
		h.start()
	}
	mn.away()
	s := w.newStream(mn, cn)
	start := time.Now().Truncate(time.Second)
	a, b := switchOn(mn, cn, mn.path(wCN), cn.path(mn.addr), func() { w.pass(s, 20) })
	w.pass(s, 200)
	for _, h := range []*wHost{mn, cn} {
		x := map[*wHost]protect.Path{mn: a, cn: b}[h]
		for _, sa := range h.plan.WantPath(x).SAs {
			got, err := h.b.Get(context.Background(), sa.ID())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s %s: %+v", h.name, wNames.Replace(protect.StateText(sa)), got.Stats)
			if got.Stats.Packets < 100 {
				t.Errorf("%s %s: %d packets", h.name, wNames.Replace(protect.StateText(sa)), got.Stats.Packets)
			}
			if got.Stats.LastUsed.Before(start) || got.Stats.LastUsed.After(time.Now().Add(time.Second)) {
				t.Errorf("%s %s: last used %v", h.name, wNames.Replace(protect.StateText(sa)), got.Stats.LastUsed)
			}
		}
	}
	if _, err := mn.b.Get(context.Background(), xfrm.ID{Src: mn.addr, Dst: wAgent.Next(), Proto: xfrm.HAO}); !errors.Is(err, xfrm.ErrNotFound) {
		t.Errorf("a state that is not there: %v", err)
	}
}
