package kernel

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// TestMoves moves a tunnel to and fro under traffic: the node first, which takes
// packets on both addresses meanwhile, then the agent. SPIs, keys and replay windows
// stay, sequence numbers go on.
func TestMoves(t *testing.T) {
	h := newTwoHosts(t)
	tun := newTunnel()
	h.setUp(tun)
	h.mustPass("before the first move")

	var sent, back atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done, answered := make(chan struct{}), make(chan struct{})
	pass := func(n int) { // waits for so much traffic
		for range n {
			select {
			case <-answered:
			case <-time.After(30 * time.Second):
				t.Fatalf("traffic has stopped; node %v, agent %v", h.drops(h.nodeB), h.drops(h.agentB))
			}
		}
	}
	go func() { // packets all the time, each answered or not
		defer close(done)
		buf := make([]byte, 2000)
		for ctx.Err() == nil {
			sent.Add(1)
			h.client.WriteToUDPAddrPort([]byte("traffic"), netip.AddrPortFrom(peer, 7))
			h.client.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, _, err := h.client.ReadFromUDPAddrPort(buf); err == nil && string(buf[:n]) == "traffic" {
				back.Add(1)
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		}
	}()

	const moves = 10
	from, to := coa1, coa2
	var oseq uint64
	var took time.Duration
	for i := range moves {
		pass(20)
		start := time.Now()
		h.apply(h.nodeB, xfrm.CopySA{From: xfrm.ID{Dst: from, SPI: tun.down.SPI, Proto: xfrm.ESP}, NewDst: to},
			xfrmtest.Move(tun.nodeOut, from, ha, to, ha))
		took += time.Since(start)
		h.apply(h.agentB,
			xfrmtest.Move(tun.agentOut, ha, from, ha, to), xfrmtest.Move(tun.agentIn, from, ha, to, ha), xfrmtest.Move(tun.agentFwd, from, ha, to, ha))
		pass(5)
		h.apply(h.nodeB, xfrmtest.Move(tun.nodeIn, ha, from, ha, to)) // ends the grace of the old address

		up, ok := h.dumpSA(h.nodeB, tun.up.ID())
		if !ok || up.Src != to || !up.SameKeys(tun.up) || up.Replay.OSeq <= oseq {
			t.Fatalf("move %d: outbound SA %+v, sequence number was %d", i, up, oseq)
		}
		oseq = up.Replay.OSeq
		down, ok := h.dumpSA(h.nodeB, xfrm.ID{Dst: to, SPI: tun.down.SPI, Proto: xfrm.ESP})
		if !ok || !down.SameKeys(tun.down) || down.Replay.Seq == 0 {
			t.Fatalf("move %d: inbound SA %+v", i, down)
		}
		if _, left := h.dumpSA(h.nodeB, xfrm.ID{Dst: from, SPI: tun.down.SPI, Proto: xfrm.ESP}); left {
			t.Fatalf("move %d: something stayed at the old address", i)
		}
		from, to = to, from
	}
	stop()
	<-done
	lost := sent.Load() - back.Load()
	t.Logf("%d moves, %d packets to and fro, %d lost; the node's part took %v each", moves, sent.Load(), lost, took/moves)
	if lost > 3*moves {
		t.Errorf("%d packets lost in %d moves", lost, moves)
	}
	t.Logf("node %v", h.drops(h.nodeB))
	t.Logf("agent %v", h.drops(h.agentB))
}

// TestAcquire: a packet without a state gives an Acquire; the SA put with its
// number lets the packet go, which was held.
func TestAcquire(t *testing.T) {
	h := newTwoHosts(t)
	tun := newTunnel()
	h.setUp(tun)
	events := h.watch(h.nodeB)
	h.apply(h.nodeB, xfrm.DelSA{ID: tun.up.ID()})
	a := h.provoke(events)
	if a.Src != coa1 || a.Dst != ha || a.Proto != xfrm.ESP || a.Template.ReqID != 2 || a.Template.Mode != xfrm.Tunnel ||
		a.Sel.Src.Addr() != hoa || a.Sel.Dst.Addr() != peer || !a.Policy.Same(tun.nodeOut) {
		t.Fatalf("acquire %+v", a)
	}
	up := tun.up
	up.Acquire = a.Seq
	h.apply(h.nodeB, xfrm.PutSA{SA: up})
	h.mustPass("after the acquire was answered")
	for _, s := range h.larval(h.nodeB) {
		t.Errorf("still larval: %+v", s)
	}
}

// TestMigrateOverAcquire: a larval state of an acquire, which has no SPI, stands in
// the way of a migration.
func TestMigrateOverAcquire(t *testing.T) {
	h := newTwoHosts(t)
	tun := newTunnel()
	h.setUp(tun)
	events := h.watch(h.nodeB)
	h.apply(h.nodeB, xfrm.DelSA{ID: tun.up.ID()})
	h.provoke(events)
	if len(h.larval(h.nodeB)) != 1 {
		t.Fatalf("larval states: %+v", h.larval(h.nodeB))
	}
	h.apply(h.nodeB, xfrmtest.Move(tun.nodeOut, coa1, ha, coa2, ha), xfrmtest.Move(tun.nodeIn, ha, coa1, ha, coa2))
	h.apply(h.agentB, xfrmtest.Move(tun.agentOut, ha, coa1, ha, coa2), xfrmtest.Move(tun.agentIn, coa1, ha, coa2, ha))
	for _, s := range h.larval(h.nodeB) {
		if s.Src == coa1 {
			t.Errorf("still in the way: %+v", s)
		}
	}
	up := tun.up
	up.Src = coa2
	h.apply(h.nodeB, xfrm.PutSA{SA: up})
	h.mustPass("after the move")
}

// TestMigrateOntoCopyTells: a copy at the new address keeps the kernel from moving
// its original; key management hears of the migration all the same.
func TestMigrateOntoCopyTells(t *testing.T) {
	h := newTwoHosts(t)
	tun := newTunnel()
	h.setUp(tun)
	events := h.watch(h.nodeB)
	op := xfrmtest.Move(tun.nodeIn, ha, coa1, ha, coa2)
	h.apply(h.nodeB, xfrm.CopySA{From: tun.down.ID(), NewDst: coa2}, op)
	for {
		select {
		case ev := <-events:
			if m, ok := ev.(xfrm.Migrated); !ok || m.Migration.Policy.Canonical() != op.Migration.Policy.Canonical() {
				continue
			}
			if _, left := h.dumpSA(h.nodeB, tun.down.ID()); left {
				t.Error("the original stayed")
			}
			if _, there := h.dumpSA(h.nodeB, xfrm.ID{Dst: coa2, SPI: tun.down.SPI, Proto: xfrm.ESP}); !there {
				t.Error("nothing at the new address")
			}
			return
		case <-time.After(10 * time.Second):
			t.Fatal("no MIGRATE was told")
		}
	}
}

// TestExpire: a hard limit in packets removes the SA and tells.
func TestExpire(t *testing.T) {
	h := newTwoHosts(t)
	tun := newTunnel()
	tun.up.Life = xfrm.Lifetimes{SoftPackets: 2, HardPackets: 4}
	h.setUp(tun)
	events := h.watch(h.nodeB)
	soft := false
	for i := 0; i < 50; i++ {
		h.client.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(peer, 7))
		for wait := true; wait; {
			select {
			case ev := <-events:
				x, ok := ev.(xfrm.Expire)
				if !ok {
					continue
				}
				if x.SA.ID() != tun.up.ID() || x.SA.ReqID != 2 {
					t.Fatalf("expire of %+v", x.SA)
				}
				if x.Hard {
					if !soft {
						t.Error("hard without soft")
					}
					return
				}
				soft = true
			case <-time.After(20 * time.Millisecond):
				wait = false
			}
		}
	}
	t.Fatal("no hard expire in 50 packets")
}

// TestRouteOptimizationStates sends through home address options, and a packet
// from a care-of address that the agent does not know is reported.
func TestRouteOptimizationStates(t *testing.T) {
	h := newTwoHosts(t)
	direct := xfrm.Selector{Src: netip.PrefixFrom(hoa, 128), Dst: netip.PrefixFrom(peer, 128)}
	hao := xfrm.SA{Src: hoa, Dst: peer, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: coa1}
	rt2 := xfrm.SA{Src: peer, Dst: hoa, Proto: xfrm.Route2, Mode: xfrm.RouteOpt, CareOf: coa1, WildRecv: true}
	nodeOut := xfrm.Policy{Sel: direct, Dir: xfrm.Out, Priority: 10, Templates: []xfrm.Template{{Src: hoa, Dst: peer, Proto: xfrm.HAO, Mode: xfrm.RouteOpt}}}
	nodeIn := xfrm.Policy{Sel: direct.Reverse(), Dir: xfrm.In, Priority: 10, Templates: []xfrm.Template{{Src: peer, Dst: hoa, Proto: xfrm.Route2, Mode: xfrm.RouteOpt, Optional: true}}}
	peerIn, peerOut := nodeOut, nodeIn
	peerIn.Dir, peerOut.Dir = xfrm.In, xfrm.Out
	peerIn.Templates = []xfrm.Template{nodeOut.Templates[0]}
	peerIn.Templates[0].Optional = true
	peerOut.Templates = []xfrm.Template{nodeIn.Templates[0]}
	peerOut.Templates[0].Optional = false
	peerRT2 := rt2
	peerRT2.WildRecv = false
	h.apply(h.nodeB, xfrm.PutSA{SA: hao}, xfrm.PutSA{SA: rt2}, xfrm.PutPolicy{Policy: nodeOut}, xfrm.PutPolicy{Policy: nodeIn})
	// Without a state that takes any home address option the kernel drops an unknown
	// one without a word; with it the policy's template is what refuses it.
	any6 := netip.IPv6Unspecified()
	wild := xfrm.SA{Src: any6, Dst: any6, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: any6, WildRecv: true}
	h.apply(h.agentB, xfrm.PutSA{SA: wild}, xfrm.PutSA{SA: hao}, xfrm.PutSA{SA: peerRT2}, xfrm.PutPolicy{Policy: peerIn}, xfrm.PutPolicy{Policy: peerOut})
	h.mustPass("by route optimization")

	events := h.watch(h.agentB)
	hao.CareOf, rt2.CareOf = coa2, coa2
	h.apply(h.nodeB, xfrm.PutSA{SA: hao}, xfrm.PutSA{SA: rt2}, xfrm.PutPolicy{Policy: nodeOut})
	if _, ok := h.roundTrip(peer, 20*time.Millisecond); ok {
		t.Fatal("a packet from an unknown care-of address was taken")
	}
	for report := false; !report; {
		select {
		case ev := <-events:
			r, ok := ev.(xfrm.Report)
			if !ok {
				continue
			}
			report = true
			if r.Proto != xfrm.HAO || r.CareOf != coa2 || r.Sel.Src.Addr() != hoa || r.Sel.Dst.Addr() != peer {
				t.Errorf("report %+v", r)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no report")
		}
	}
	peerRT2.CareOf = coa2
	h.apply(h.agentB, xfrm.PutSA{SA: hao}, xfrm.PutSA{SA: peerRT2}, xfrm.PutPolicy{Policy: peerOut})
	h.mustPass("after the change of the care-of address")
}

// watch subscribes to a backend's events and returns once it hears: a migration of
// a policy of its own tells.
func (h *twoHosts) watch(b *Backend) <-chan xfrm.Event {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events, done := make(chan xfrm.Event, 4096), make(chan error, 1)
	go func() { done <- b.Watch(ctx, func(ev xfrm.Event) { events <- ev }) }()
	h.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.Error(err)
		}
	})
	p := xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 77)
	p.Sel.Src = netip.PrefixFrom(netip.MustParseAddr("100::1"), 128)
	h.apply(b, xfrm.PutPolicy{Policy: p})
	from, to := coa1, coa2
	for {
		h.apply(b, xfrmtest.Move(p, ha, from, ha, to))
		from, to = to, from
		select {
		case <-events:
			h.apply(b, xfrm.DelPolicy{ID: p.ID()})
			return events
		case err := <-done:
			done <- err
			h.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// provoke sends a packet that meets no state and gives the acquire.
func (h *twoHosts) provoke(events <-chan xfrm.Event) xfrm.Acquire {
	h.Helper()
	h.client.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(peer, 7))
	for {
		select {
		case ev := <-events:
			if a, ok := ev.(xfrm.Acquire); ok {
				return a
			}
		case <-time.After(10 * time.Second):
			h.Fatal("no acquire")
		}
	}
}

func (h *twoHosts) larval(b *Backend) (found []xfrm.SA) {
	h.Helper()
	err := b.Dump(context.Background(), xfrm.Filter{SAs: true}, func(o xfrm.Object) error {
		if s := o.(xfrm.SA); s.Larval {
			found = append(found, s)
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return found
}
