package ike

import (
	"bytes"
	"testing"
	"time"
)

// migrate moves an IKE SA and, as the kernel does at MIGRATE, the tunnel SAs.
func (n *node) migrate(ev Moved) {
	s := n.m.sas[ev.SA]
	l, r := s.local.Addr(), s.remote.Addr()
	n.step(ev)
	for spi, c := range n.kernel {
		if c.Mode == Tunnel && c.LocalAddr == l && c.RemoteAddr == r {
			c.LocalAddr, c.RemoteAddr = s.local.Addr(), s.remote.Addr()
			n.kernel[spi] = c
		}
	}
}

// TestMoveSendsNothing: the move of a care-of address costs no IKE message, and
// afterwards both ends talk over the new address.
func TestMoveSendsNothing(t *testing.T) {
	w, mn, ha := pair(t, 8, nil)
	a, b := connect(t, w, mn, ha)
	from := len(w.sent)
	mn.migrate(Moved{SA: a, Local: ap(coa2)})
	ha.migrate(Moved{SA: b, Remote: ap(coa2)})
	ha.migrate(Moved{SA: b, Remote: ap(coa2)}) // idempotent
	w.run(time.Minute, nil)
	if len(w.sent) != from {
		t.Fatalf("%d messages at a move", len(w.sent)-from)
	}
	if s := ha.m.Stats(); s.Moves != 1 {
		t.Errorf("%d moves", s.Moves)
	}
	mn.addrs = mn.addrs[1:] // the old address is gone
	ha.step(RekeyChild{b, ha.byName("payload").SPIIn})
	w.run(time.Second, nil)
	mn.step(RekeyChild{a, mn.byName("mh").SPIIn})
	w.run(time.Second, nil)
	agree(t, mn, ha, 2)
	ha.step(RekeySA{b})
	w.run(time.Second, nil)
	for _, n := range []*node{mn, ha} {
		if l := n.m.Snapshot(); len(l) != 1 || l[0].Moves != 1 {
			t.Errorf("%s: moves after a rekey: %+v", n.name, l)
		}
	}
	if c := mn.byName("payload"); c.LocalAddr.String() != coa2 || ha.byName("payload").RemoteAddr.String() != coa2 {
		t.Errorf("%+v", c)
	}
	if c := mn.byName("mh"); c.LocalAddr.String() != hoaA || !c.Proxy {
		t.Errorf("the transport child moved: %+v", c)
	}
	for _, s := range w.sent[from:] {
		if s.Local.Addr().String() != coa2 && s.Remote.Addr().String() != coa2 {
			t.Errorf("%v → %v", s.Local, s.Remote)
		}
	}
}

// TestMoveOfRequestInFlight: the repetitions go on from the new address, bit by
// bit the same, and the answer finds its way.
func TestMoveOfRequestInFlight(t *testing.T) {
	for _, by := range []string{"mn", "ha"} {
		w, mn, ha := pair(t, 8, nil)
		a, b := connect(t, w, mn, ha)
		n, sa := mn, a
		if by == "ha" {
			n, sa = ha, b
		}
		mn.addrs = mn.addrs[1:] // gone before anybody was told
		from := len(w.sent)
		n.step(RekeyChild{sa, n.byName("payload").SPIIn})
		w.run(200*time.Millisecond, nil)
		mn.migrate(Moved{SA: a, Local: ap(coa2)})
		ha.migrate(Moved{SA: b, Remote: ap(coa2)})
		w.run(20*time.Second, nil)
		agree(t, mn, ha, 2)
		same := 0
		for _, s := range w.sent[from+1:] {
			if bytes.Equal(w.sent[from].Data, s.Data) {
				same++
			}
		}
		if same != 1 || n.m.Stats().Retransmits != 1 {
			t.Errorf("%d repetitions, %d of them the same", n.m.Stats().Retransmits, same)
		}
		if c := ha.byName("payload"); c.RemoteAddr.String() != coa2 {
			t.Errorf("%s: the new pair has the old outer address: %+v", by, c)
		}
	}
}

// TestMoveWhileInstalling: a pair that went in with the old address is put in anew.
func TestMoveWhileInstalling(t *testing.T) {
	w, mn, ha := pair(t, 8, nil)
	a, b := connect(t, w, mn, ha)
	w.taskDelay = 50 * time.Millisecond
	ha.step(RekeyChild{b, ha.byName("payload").SPIIn})
	w.run(75*time.Millisecond, nil) // mn works on the request now
	mn.migrate(Moved{SA: a, Local: ap(coa2)})
	ha.migrate(Moved{SA: b, Remote: ap(coa2)})
	w.run(10*time.Second, nil)
	agree(t, mn, ha, 2)
	if c := mn.kernel[mn.byName("payload").SPIIn]; c.LocalAddr.String() != coa2 {
		t.Errorf("%+v", c)
	}
}

// TestSourceIsNotAdopted: authenticated packets from elsewhere are answered
// there, but only Mobile IPv6 moves the IKE SA (RFC 4877 §4.3).
func TestSourceIsNotAdopted(t *testing.T) {
	w, mn, ha := pair(t, 8, nil)
	a, b := connect(t, w, mn, ha)
	from := len(w.sent)
	mn.step(Probe{a})
	probe := w.sent[from]
	w.queue = nil
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa2), Data: probe.Data})
	if got := w.sent[from+1].Remote; got != ap(coa2) {
		t.Errorf("answered to %v", got)
	}
	if got := ha.m.sas[b].remote; got != ap(coa1) {
		t.Errorf("adopted %v", got)
	}
}

func TestRekeySA(t *testing.T) {
	for _, by := range []string{"mn", "ha"} {
		w, mn, ha := pair(t, 8, nil)
		a, b := connect(t, w, mn, ha)
		n, sa := mn, a
		if by == "ha" {
			n, sa = ha, b
		}
		n.step(RekeySA{sa})
		w.run(time.Minute, nil)
		agree(t, mn, ha, 2)
		ra, rb := one[SARekeyed](mn), one[SARekeyed](ha)
		if ra.Old != a || rb.Old != b || len(mn.m.sas) != 1 || len(ha.m.sas) != 1 {
			t.Fatalf("%+v %+v: %d and %d IKE SAs", ra, rb, len(mn.m.sas), len(ha.m.sas))
		}
		if len(find[SADown](mn))+len(find[SADown](ha)) != 0 {
			t.Error("SADown at a rekey")
		}
		// The new IKE SA works: children rekeyed by both, deleted, and its own end.
		mn.step(RekeyChild{ra.New, mn.byName("payload").SPIIn})
		ha.step(RekeyChild{rb.New, ha.byName("mh").SPIIn})
		w.run(time.Second, nil)
		agree(t, mn, ha, 2)
		mn.step(RekeySA{ra.New})
		w.run(time.Second, nil)
		agree(t, mn, ha, 2)
		ha.step(Close{SA: find[SARekeyed](ha)[1].New})
		w.run(time.Minute, nil)
		agree(t, mn, ha, 0)
		if s := mn.m.Stats(); s.Established != 0 || s.Children != 0 || len(mn.m.sas)+len(ha.m.sas)+len(mn.m.spis)+len(mn.m.peers) != 0 {
			t.Errorf("left: %+v", s)
		}
	}
}

// TestRekeySAWhileInstalling: the agent rekeys the IKE SA as soon as it is up, while the node still
// installs the first child: that one stays.
func TestRekeySAWhileInstalling(t *testing.T) {
	w, mn, ha := pair(t, 9, nil)
	w.taskDelay = 40 * time.Millisecond
	mn.initiate(mhWant(), payloadWant())
	w.run(time.Second, func() bool { return len(find[SAUp](mn)) == 1 })
	ha.step(RekeySA{one[SAUp](ha).SA})
	w.run(time.Minute, nil)
	agree(t, mn, ha, 2)
	if ha.m.Stats().SARekeys != 1 || len(find[ChildDown](mn))+len(find[ChildDown](ha)) != 0 {
		t.Errorf("%d rekeys%s%s", ha.m.Stats().SARekeys, mn.dump(), ha.dump())
	}
	for _, c := range find[ChildUp](mn) {
		if c.Child.Name == "mh" && c.Child.SA != one[SAUp](mn).SA {
			t.Errorf("%+v", c)
		}
	}
}

func TestRekeySACrossing(t *testing.T) {
	for seed := uint64(0); seed < 40; seed++ {
		w, mn, ha := pair(t, seed, nil)
		a, b := connect(t, w, mn, ha)
		if seed%2 == 1 {
			w.loss, w.jitter = 0.15, 50*time.Millisecond
		}
		mn.step(RekeySA{a})
		w.run(time.Duration(w.r.IntN(12))*time.Millisecond, nil)
		ha.step(RekeySA{b})
		w.run(5*time.Minute, nil)
		agree(t, mn, ha, 2)
		if len(mn.m.sas) != 1 || len(ha.m.sas) != 1 {
			t.Fatalf("seed %d: %d and %d IKE SAs%s%s", seed, len(mn.m.sas), len(ha.m.sas), mn.dump(), ha.dump())
		}
		x, y := mn.m.Snapshot()[0], ha.m.Snapshot()[0]
		if x.SPIi != y.SPIi || x.SPIr != y.SPIr || x.State != "established" || y.State != "established" || len(x.Children) != 2 {
			t.Fatalf("seed %d: %+v\n%+v", seed, x, y)
		}
	}
}

func TestLifetimes(t *testing.T) {
	w, mn, ha := pair(t, 8, nil)
	connect(t, w, mn, ha)
	w.run(26*time.Hour, nil)
	agree(t, mn, ha, 2)
	s := mn.m.Stats()
	if s.SARekeys < 6 || s.ChildRekeys < 50 || len(find[ChildDown](mn)) != 0 || len(find[SADown](mn)) != 0 {
		t.Errorf("%+v", s)
	}
	if len(mn.m.sas) != 1 || len(ha.m.sas) != 1 || len(mn.m.tasks)+len(ha.m.tasks) != 0 {
		t.Error("something is left behind")
	}
}

// TestChaos: whatever crosses on a bad network, both ends agree in the end.
func TestChaos(t *testing.T) {
	for seed := uint64(0); seed < 60; seed++ {
		w, mn, ha := pair(t, seed, nil)
		connect(t, w, mn, ha)
		chaos(t, seed, w, mn, ha, func(n *node) ChildWant {
			want := payloadWant()
			if n == ha {
				want.Local, want.Remote = want.Remote, want.Local
			}
			return want
		})
	}
}

// TestChaosOfPaths: the same with children of ESP and AH that share an IKE SA, and with kernels
// that give both the same SPIs.
func TestChaosOfPaths(t *testing.T) {
	for seed := uint64(100); seed < 140; seed++ {
		w, mn, cn, _, _ := paths(t, seed)
		mn.twins, cn.twins = true, true
		chaos(t, seed, w, mn, cn, func(n *node) ChildWant {
			want := pathWant("more", []uint8{ESP, AH}[w.r.IntN(2)], hoaB, 15)
			if n == cn {
				want.Local, want.Remote = want.Remote, want.Local
			}
			return want
		})
		for _, n := range []*node{mn, cn} {
			for _, s := range n.m.Snapshot() {
				for _, c := range s.Children {
					if c.Child.Proto == AH != (len(n.kernel[c.Child.SPIIn].AuthIn) > 0) {
						t.Errorf("seed %d: %+v", seed, c)
					}
				}
			}
		}
	}
}

func chaos(t *testing.T, seed uint64, w *world, mn, ha *node, want func(*node) ChildWant) {
	t.Helper()
	w.loss, w.dup, w.jitter = 0.25, 0.1, 300*time.Millisecond
	w.taskDelay = time.Duration(w.r.IntN(40)) * time.Millisecond
	for range 30 {
		n := w.nodes[w.r.IntN(2)]
		snap := n.m.Snapshot()
		var up []SAInfo
		for _, s := range snap {
			if s.State == "established" {
				up = append(up, s)
			}
		}
		if len(up) == 0 {
			break
		}
		s := up[w.r.IntN(len(up))]
		switch k := w.r.IntN(6); {
		case k < 2 && len(s.Children) > 0:
			n.step(RekeyChild{s.SA, s.Children[w.r.IntN(len(s.Children))].Child.SPIIn})
		case k == 2 && len(s.Children) > 0:
			n.step(CloseChild{s.SA, s.Children[w.r.IntN(len(s.Children))].Child.SPIIn})
		case k == 3:
			n.step(RekeySA{s.SA})
		case k == 4:
			n.step(CreateChild{SA: s.SA, Want: want(n)})
		default:
			n.step(Probe{s.SA})
		}
		w.run(time.Duration(w.r.IntN(1500))*time.Millisecond, nil)
	}
	w.loss = 0
	w.run(10*time.Minute, nil)
	if len(find[SADown](mn)) > 0 || len(find[SADown](ha)) > 0 {
		t.Fatalf("seed %d: an IKE SA went down%s%s", seed, mn.dump(), ha.dump())
	}
	if len(mn.kernel) != len(ha.kernel) || len(mn.larval)+len(ha.larval) > 0 {
		t.Errorf("seed %d%s%s", seed, mn.dump(), ha.dump())
		for _, n := range w.nodes {
			for _, s := range n.m.sas {
				for _, c := range s.children {
					t.Logf("%s %s %x/%x %v", n.name, c.Name, c.SPIIn, c.SPIOut, c.state)
				}
			}
		}
	}
	agree(t, mn, ha, len(mn.kernel))
	if len(mn.m.sas) != 1 || len(ha.m.sas) != 1 {
		t.Fatalf("seed %d: %d and %d IKE SAs", seed, len(mn.m.sas), len(ha.m.sas))
	}
	for _, n := range w.nodes {
		s := n.m.Snapshot()[0]
		if len(s.Children) != len(n.kernel) || len(n.m.tasks) != 0 {
			t.Fatalf("seed %d: %s knows %d children, its kernel %d", seed, n.name, len(s.Children), len(n.kernel))
		}
		for _, c := range s.Children {
			if c.State != "installed" {
				t.Errorf("seed %d: %s: child is %s", seed, n.name, c.State)
			}
		}
		if got := n.m.Stats().Children; got != len(n.kernel) {
			t.Errorf("seed %d: counter %d, %d children", seed, got, len(n.kernel))
		}
	}
}
