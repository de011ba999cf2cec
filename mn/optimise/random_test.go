package optimise

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// others are homes and care-of addresses beside those of the scenarios.
var (
	hoa2 = netip.MustParseAddr("2001:db8:5::10")
	care = []netip.Addr{coa1, coa2, addrs["COA3"]}
	far  = []netip.Addr{netip.MustParseAddr("2001:db8:6::10"), netip.MustParseAddr("2001:db8:7::10")}
)

func anyone() []Rule { return []Rule{{To: netip.MustParsePrefix("::/0")}} }

// chaos is a node among three correspondents, one of them mobile, in a world where everything goes wrong.
func chaos(t *testing.T, seed uint64, copies bool) *world {
	w := newWorld(t, seed)
	w.copies = copies
	w.fixed("CN1", cn1)
	w.fixed("CN2", cn2)
	cfg := Config{Rules: anyone(), Remember: 2 * time.Minute, Idle: 20 * time.Second}
	if seed%3 == 0 {
		cfg.Lifetime = 60 * time.Second
	}
	a := w.mobile("MN1", hoa, cfg)
	b := w.mobile("MN2", hoa2, cfg)
	for _, n := range []*node{a, b} {
		for _, o := range w.nodes {
			n.speaks[o.home] = o != n && w.rng.IntN(3) > 0
		}
	}
	a.move(coa1)
	b.move(far[0])
	w.loss, w.fail = 0.15, 0.03
	for range 250 {
		w.run(time.Duration(w.rng.IntN(300)) * time.Millisecond)
		a.speak()
		b.speak()
		switch w.rng.IntN(24) {
		case 0, 1:
			a.wander(care)
		case 2, 3:
			b.wander(far)
		case 4:
			w.nodes[w.rng.IntN(4)].restart()
		case 5:
			w.run(time.Duration(w.rng.IntN(90)) * time.Second)
		case 6:
			o := w.nodes[w.rng.IntN(4)]
			a.speaks[o.home] = o != a && !a.speaks[o.home]
		case 7:
			if w.rng.IntN(4) == 0 {
				w.say("MN1 CRASH")
				a.start()
				a.move(a.loc)
			}
		default:
			w.forge(a)
			w.forge(b)
		}
	}
	return w
}

func (n *node) wander(to []netip.Addr) {
	switch k := n.w.rng.IntN(len(to) + 2); {
	case k < len(to):
		n.move(to[k])
	case k == len(to):
		n.move(n.home)
	default:
		n.move(netip.Addr{})
	}
}

// calm lets everything come to its end: with traffic all is direct, without it all is forgotten.
func (w *world) calm() {
	w.loss, w.fail = 0, 0
	a, b := w.nodes[2], w.nodes[3]
	a.move(coa2)
	b.move(far[1])
	var err error
	for range 1000 { // refusals end after 2 minutes
		w.run(200 * time.Millisecond)
		a.speak()
		b.speak()
		err = a.optimised()
		if e := b.optimised(); err == nil {
			err = e
		}
	}
	if err != nil {
		w.bad("%v", err)
	}
	a.lost, b.lost = 0, 0
	for range 3000 { // tokens and bindings are renewed
		w.run(200 * time.Millisecond)
		a.speak()
		b.speak()
		if err := a.optimised(); err != nil {
			w.bad("%v", err)
		}
	}
	if a.lost+b.lost > 0 {
		w.bad("%d packets were lost", a.lost+b.lost)
	}
}

func TestWorlds(t *testing.T) {
	seeds := 120
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		w := chaos(t, uint64(seed), false)
		w.calm()
		a, b := w.nodes[2], w.nodes[3]
		a.speaks, b.speaks = nil, nil
		if seed%2 == 0 { // forgotten for want of use
			w.run(30 * time.Second)
			sent := len(a.all) + len(b.all)
			w.run(30 * time.Minute)
			if n := len(a.all) + len(b.all) - sent; n > 0 {
				w.bad("%d messages that serve nothing", n)
			}
			if d := a.m.Deadline(); len(a.m.Info()) > 0 || !d.IsZero() {
				w.bad("not at rest: %v, deadline %v", a.m.Info(), d)
			}
		} else { // told at the end
			a.step(Stop{})
			w.run(1100 * time.Millisecond)
			for _, o := range w.nodes {
				if c := o.as[a.home]; c != nil && c.bound(w.now) {
					w.bad("%s still has a binding", o.name)
				}
			}
			if !a.stopped {
				w.bad("not stopped")
			}
		}
		for _, r := range a.routes {
			if r.Accept || r.Direct || r.Ack {
				w.bad("left: %s", routeText(r))
			}
		}
		if len(a.records) > 0 {
			w.bad("records are left: %v", a.records)
		}
	}
}

// TestCopies: a copy of the state between any two steps gives the same trace.
func TestCopies(t *testing.T) {
	for seed := range uint64(6) {
		a, b := chaos(t, seed, false), chaos(t, seed, true)
		if !slices.Equal(a.log, b.log) {
			for i := range a.log {
				if i >= len(b.log) || a.log[i] != b.log[i] {
					t.Fatalf("line %d: %s", i, a.log[i])
				}
			}
		}
	}
}
