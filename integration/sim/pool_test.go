package sim

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/xfrm"
)

var pool = netip.MustParsePrefix("2001:db8:1::4000/116")

// fromPool has the agent give addresses of a prefix, and the nodes ask for them.
func fromPool(seed uint64, nodes int, p netip.Prefix) Options {
	return Options{Seed: seed, Nodes: nodes, Ask: true, HA: func(c *ha.Config) {
		c.Nodes, c.Pool = nil, []netip.Prefix{p}
	}}
}

// TestPool: twenty nodes get twenty home addresses, register and move.
func TestPool(t *testing.T) {
	const nodes = 20
	w := bound(t, fromPool(30, nodes, pool))
	seen := map[netip.Addr]string{}
	for _, h := range w.Nodes() {
		if who, twice := seen[h.Home]; twice || !pool.Contains(h.Home) {
			t.Errorf("%s has %v, %s too", h.Name, h.Home, who)
		}
		seen[h.Home] = h.Name
		if s := h.IKE.Stats(); s.Handshakes != 2 {
			t.Errorf("%s: %d handshakes, want one to ask and one to stay", h.Name, s.Handshakes)
		}
		if h.mnRecs[0].HomeBits != homePrefix.Bits() {
			t.Errorf("%s: home prefix of %d bits", h.Name, h.mnRecs[0].HomeBits)
		}
	}
	messages := w.Count.IKE
	for _, h := range w.Nodes() {
		w.Attach(h, wlan, link(w, "b"))
	}
	for _, h := range w.Nodes() {
		registered(t, w, h, 5*time.Second)
	}
	w.Run(5 * time.Second)
	settled(t, w)
	if w.Count.IKE != messages {
		t.Errorf("%d messages of IKE in the moves", w.Count.IKE-messages)
	}
	if s := w.Agent().HA.Summary(); s.Bindings != nodes {
		t.Errorf("%+v", s)
	}
}

// TestPoolFull: the one that comes too late is told so, asks again at leisure, and has the address
// of another one that has gone.
func TestPoolFull(t *testing.T) {
	w := world(t, fromPool(31, 3, netip.MustParsePrefix("2001:db8:1::/126"))) // without the agent and the anycast: two
	w.Run(10 * time.Second)
	var late, first *Host
	for _, h := range w.Nodes() {
		if w.Registered(h) {
			first = h
		} else if late != nil {
			t.Fatalf("%s and %s have nothing", late.Name, h.Name)
		} else {
			late = h
		}
	}
	b := late.Node.Boot()
	if late.MN != nil || !b.Active || !strings.Contains(b.Reason, "INTERNAL_ADDRESS_FAILURE") {
		t.Fatalf("%+v", b)
	}
	sent := late.IKESent
	w.Run(10 * time.Minute)
	if n := late.IKESent - sent; n < 9*3 || n > 12*3 { // SA_INIT, AUTH, Delete: about once a minute
		t.Errorf("%d messages in ten minutes", n)
	}
	settled(t, w)
	// The care-of address has its routes, as it will have later.
	if db := late.db(); len(db.SAs)+len(db.Policies) != 0 || len(late.rules) != 1 || strings.Contains(late.leftOvers(), "address") {
		t.Errorf("without a home address: %+v, %s", *db, late.leftOvers())
	}
	gone := first.Home
	first.Stop()
	w.Run(5 * time.Second)
	first.Node, first.MN = nil, nil
	registered(t, w, late, 3*time.Minute)
	if late.Home != gone {
		t.Errorf("home address %v, want %v", late.Home, gone)
	}
}

// TestPoolAgain: after an orderly restart the agent gives the same address again.
func TestPoolAgain(t *testing.T) {
	w := bound(t, fromPool(32, 3, pool))
	h := w.Node(1)
	before := h.Home
	h.Stop()
	w.Run(5 * time.Second)
	if len(h.mnRecs) != 0 {
		t.Fatal("a record is left")
	}
	h.Start()
	registered(t, w, h, 20*time.Second)
	if h.Home != before || h.IKE.Stats().Handshakes != 2 {
		t.Errorf("home address %v, was %v; %d handshakes", h.Home, before, h.IKE.Stats().Handshakes)
	}
	w.Run(5 * time.Second)
	settled(t, w)
}

// TestPoolCrash: a node that crashed has its address at once, without asking, and payload goes on.
func TestPoolCrash(t *testing.T) {
	for _, who := range []string{"node", "both"} {
		t.Run(who, func(t *testing.T) {
			w := bound(t, fromPool(33, 2, pool))
			h := w.Node(0)
			before := h.Home
			m := w.Measure(h)
			crash(w, who)
			w.Run(300 * time.Millisecond)
			restart(w, who)
			w.Run(10 * time.Millisecond)
			if h.MN == nil || h.MN.Info().Home != before {
				t.Fatalf("%+v, was %v", h.Node.Boot(), before)
			}
			w.Run(5 * time.Minute)
			settled(t, w)
			if who == "node" && h.IKE.Stats().Handshakes != 1 {
				t.Errorf("%d handshakes", h.IKE.Stats().Handshakes)
			}
			if m.Up.Longest > 0 || m.Down.Longest > 0 {
				t.Errorf("up %v (%v), down %v (%v)", m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
			}
		})
	}
}

// asking is when a node that appears asks for its address: advertised, tested and settled by then.
const asking = 1090 * time.Millisecond

// TestPoolCrashAnywhere crashes either end at every moment of the search.
func TestPoolCrashAnywhere(t *testing.T) {
	for at := asking; at < asking+250*time.Millisecond; at += 7 * time.Millisecond {
		for _, who := range []string{"agent", "node", "both"} {
			t.Run(fmt.Sprint(who, at), func(t *testing.T) {
				w := world(t, fromPool(uint64(at), 1, pool))
				w.Run(at)
				crash(w, who)
				w.Run(50 * time.Millisecond)
				restart(w, who)
				registered(t, w, w.Node(0), 2*time.Minute)
				w.Run(5 * time.Minute)
				settled(t, w)
			})
		}
	}
}

// TestPoolMove: the node moves at every moment of the search, abroad or home.
func TestPoolMove(t *testing.T) {
	for at := asking; at < asking+250*time.Millisecond; at += 7 * time.Millisecond {
		for _, to := range []string{"b", "home"} {
			t.Run(fmt.Sprint(to, at), func(t *testing.T) {
				w := world(t, fromPool(uint64(at), 1, pool))
				h := w.Node(0)
				w.Run(at)
				w.Attach(h, wlan, link(w, to))
				if to == "b" {
					registered(t, w, h, time.Minute)
				} else if _, ok := w.RunUntil(time.Minute, func() bool { return w.AtHome(h) }); !ok {
					t.Fatalf("not at home: %+v", h.Node.Boot())
				}
				w.Run(2 * time.Minute)
				settled(t, w)
			})
		}
	}
}

// TestPoolAtHome: a node that begins on the home link asks from there, and goes away later.
func TestPoolAtHome(t *testing.T) {
	w := New(fromPool(34, 1, pool))
	w.Log = trace(t)
	w.Start()
	h := w.Node(0)
	w.Attach(h, wlan, link(w, "home"))
	if _, ok := w.RunUntil(20*time.Second, func() bool { return w.AtHome(h) }); !ok {
		t.Fatalf("not at home: %+v", h.Node.Boot())
	}
	w.Run(5 * time.Second)
	settled(t, w)
	w.Attach(h, wlan, link(w, "a"))
	registered(t, w, h, 20*time.Second)
	w.Run(5 * time.Second)
	settled(t, w)
}

// TestPoolLoss: packets are lost, doubled and overtake each other.
func TestPoolLoss(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := world(t, fromPool(seed, 4, pool))
			w.Loss, w.Dup, w.Jitter = 0.25, 0.1, 15*time.Millisecond
			for _, h := range w.Nodes() {
				registered(t, w, h, 10*time.Minute)
			}
			w.Loss, w.Dup = 0, 0
			w.Run(5 * time.Minute)
			settled(t, w)
		})
	}
}

// TestPoolStop: a stop at every moment of the search leaves nothing at either end.
func TestPoolStop(t *testing.T) {
	for at := asking; at < asking+250*time.Millisecond; at += 4 * time.Millisecond {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := world(t, fromPool(uint64(at), 1, pool))
			w.Run(at)
			for _, h := range []*Host{w.Node(0), w.Agent()} {
				h.Stop()
				w.Run(5 * time.Second)
				if !h.Stopped {
					t.Errorf("%s has not stopped", h.Name)
				}
			}
			for _, h := range w.Hosts {
				if db := h.db(); len(db.SAs)+len(db.Policies) != 0 || h.leftOvers() != "" || len(h.mnRecs) != 0 {
					t.Errorf("%s has left %+v, %s, %v", h.Name, *db, h.leftOvers(), h.mnRecs)
				}
			}
			for _, f := range w.Faults() {
				t.Error(f)
			}
		})
	}
}

// forgetful crashes the agent, whose host then starts anew: nothing is left.
func (w *World) forgetful() {
	agent := w.Agent()
	agent.Crash()
	agent.haRecs = nil
	var ops []xfrm.Op
	for _, s := range agent.db().SAs {
		ops = append(ops, xfrm.DelSA{ID: s.ID()})
	}
	for _, p := range agent.db().Policies {
		ops = append(ops, xfrm.DelPolicy{ID: p.ID()})
	}
	agent.FW.Apply(context.Background(), ops)
	agent.routes, agent.rules, agent.proxies = nil, nil, nil
}

// TestPoolForgotten: an agent that lost its list of who has what gives everybody the same again.
func TestPoolForgotten(t *testing.T) {
	w := bound(t, fromPool(35, 6, pool))
	homes := map[*Host]netip.Addr{}
	for _, h := range w.Nodes() {
		homes[h] = h.Home
	}
	w.forgetful()
	w.Run(time.Second)
	w.Agent().Start()
	for n := range 6 {
		h := w.Node(5 - n)
		w.Attach(h, wlan, link(w, "b")) // so that they notice, the last one first
		w.Run(10 * time.Second)
	}
	for _, h := range w.Nodes() {
		registered(t, w, h, 5*time.Minute)
		if h.Home != homes[h] {
			t.Errorf("%s has %v, had %v", h.Name, h.Home, homes[h])
		}
	}
	w.Run(5 * time.Minute)
	settled(t, w)
}

// TestPoolTaken: an agent that lost its list gives a home address to another node. The one that
// had it is refused, and asks for another one.
func TestPoolTaken(t *testing.T) {
	w := New(fromPool(36, 3, pool))
	w.Log = trace(t)
	w.Start()
	early, late := w.Hosts[1:3], w.Node(2)
	for _, h := range early {
		w.Attach(h, wlan, link(w, "a"))
		registered(t, w, h, 20*time.Second)
	}
	homes := []netip.Addr{early[0].Home, early[1].Home}
	w.forgetful()
	for _, h := range early {
		w.Detach(h, wlan)
	}
	w.Agent().Start()
	w.Attach(late, wlan, link(w, "a"))
	registered(t, w, late, 20*time.Second)
	if late.Home != homes[0] {
		t.Fatalf("the agent gave %v, not %v", late.Home, homes[0])
	}
	for _, h := range early {
		w.Attach(h, wlan, link(w, "b"))
	}
	for _, h := range early {
		registered(t, w, h, 5*time.Minute)
	}
	if early[0].Home == homes[0] || early[0].Home == homes[1] || early[1].Home != homes[1] {
		t.Errorf("home addresses %v and %v, were %v; %v is with %s", early[0].Home, early[1].Home, homes, late.Home, late.Name)
	}
	if m := early[0].mnRecs; len(m) != 1 || m[0].Home != early[0].Home {
		t.Errorf("records %+v", m)
	}
	w.Run(5 * time.Minute)
	settled(t, w)
	for _, h := range w.Hosts {
		h.Stop()
		w.Run(5 * time.Second)
		if db := h.db(); !h.Stopped || len(db.SAs)+len(db.Policies) != 0 || h.leftOvers() != "" {
			t.Errorf("%s: stopped %v, left %+v, %s", h.Name, h.Stopped, *db, h.leftOvers())
		}
	}
}
