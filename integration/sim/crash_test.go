package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/mip6/mip6/ha"
)

// fresh tells whether a host has none of the SPIs.
func fresh(h *Host, old []string) bool {
	for _, s := range h.SPIs() {
		for _, o := range old {
			if s.String() == o {
				return false
			}
		}
	}
	return len(h.SPIs()) > 0
}

func text(h *Host) (out []string) {
	for _, s := range h.SPIs() {
		out = append(out, s.String())
	}
	return out
}

// TestAgentCrash: payload goes on by the old SAs while the program is down and after, the
// binding is kept, and there are new keys within five seconds.
func TestAgentCrash(t *testing.T) {
	for _, down := range []time.Duration{0, 300 * time.Millisecond, 20 * time.Second} {
		for n := range 3 {
			t.Run(fmt.Sprint(down, n), func(t *testing.T) {
				w := bound(t, Options{Seed: 11, Nodes: n + 1})
				agent := w.Agent()
				var old []string
				var meters []*Meter
				for _, h := range w.Nodes() {
					meters = append(meters, w.Measure(h))
				}
				old = text(agent)
				agent.Crash()
				w.Run(down)
				agent.Start()
				if _, ok := w.RunUntil(5*time.Second, func() bool { return fresh(agent, old) }); !ok {
					t.Fatalf("old SAs are still there: %v, were %v", text(agent), old)
				}
				w.Run(15 * time.Second)
				settled(t, w)
				for i, m := range meters {
					if m.Up.Longest > 0 || m.Down.Longest > 0 {
						t.Errorf("mn%d: up %v (%v), down %v (%v)", i, m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
					}
				}
			})
		}
	}
}

// TestAgentCrashAnywhere crashes the agent at every moment of registration and move.
func TestAgentCrashAnywhere(t *testing.T) {
	for at := time.Second; at < 2300*time.Millisecond; at += 9 * time.Millisecond {
		if at > 1200*time.Millisecond && at < 2050*time.Millisecond {
			at += 70 * time.Millisecond
		}
		for _, who := range []string{"agent", "node", "both"} {
			t.Run(fmt.Sprint(who, at), func(t *testing.T) {
				w := world(t, Options{Seed: uint64(at)})
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

func crash(w *World, who string) {
	if who != "node" {
		w.Agent().Crash()
	}
	if who != "agent" {
		w.Node(0).Crash()
	}
}

func restart(w *World, who string) {
	if who != "node" {
		w.Agent().Start()
	}
	if who != "agent" {
		w.Node(0).Start()
	}
}

// TestCrashInMove crashes either end at every moment of a move.
func TestCrashInMove(t *testing.T) {
	for _, who := range []string{"agent", "node", "both"} {
		for _, to := range []string{"b", "home"} {
			for at := time.Duration(0); at < 110*time.Millisecond; at += 4 * time.Millisecond {
				t.Run(fmt.Sprint(who, to, at), func(t *testing.T) {
					w := bound(t, Options{Seed: uint64(at)})
					h := w.Node(0)
					w.Attach(h, wlan, link(w, "b"))
					registered(t, w, h, 5*time.Second)
					w.Attach(h, wlan, link(w, "a"))
					registered(t, w, h, 5*time.Second)
					w.Run(3 * time.Second)
					w.Attach(h, wlan, link(w, to))
					w.Run(at)
					crash(w, who)
					w.Run(20 * time.Millisecond)
					restart(w, who)
					if to == "home" {
						if _, ok := w.RunUntil(2*time.Minute, func() bool { return w.AtHome(h) }); !ok {
							t.Fatalf("not at home: %+v", h.MN.Info())
						}
					} else {
						registered(t, w, h, 2*time.Minute)
					}
					w.Run(5 * time.Minute)
					settled(t, w)
				})
			}
		}
	}
}

// TestNodeCrash: payload goes on while the node's program is down; with it back the same
// binding is confirmed with new keys.
func TestNodeCrash(t *testing.T) {
	for _, who := range []string{"node", "both"} {
		for _, down := range []time.Duration{0, 300 * time.Millisecond, 20 * time.Second} {
			t.Run(fmt.Sprint(who, down), func(t *testing.T) {
				w := bound(t, Options{Seed: 12})
				h := w.Node(0)
				m := w.Measure(h)
				old := text(h)
				crash(w, who)
				w.Run(down)
				restart(w, who)
				if _, ok := w.RunUntil(6*time.Second, func() bool { return fresh(h, old) }); !ok {
					t.Fatalf("old SAs are still there: %v, were %v", text(h), old)
				}
				registered(t, w, h, 6*time.Second)
				w.Run(5 * time.Minute)
				settled(t, w)
				if m.Up.Longest > 0 || m.Down.Longest > 0 {
					t.Errorf("up %v (%v), down %v (%v)", m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
				}
			})
		}
	}
}

// TestMovedWhileDown: the node's program is down while the node moves.
func TestMovedWhileDown(t *testing.T) {
	for _, to := range []string{"b", "home"} {
		t.Run(to, func(t *testing.T) {
			w := bound(t, Options{Seed: 13})
			h := w.Node(0)
			h.Crash()
			w.Attach(h, wlan, link(w, to))
			w.Run(5 * time.Second)
			h.Start()
			if to == "home" {
				if _, ok := w.RunUntil(20*time.Second, func() bool { return w.AtHome(h) }); !ok {
					t.Fatalf("not at home: %+v", h.MN.Info())
				}
			} else {
				registered(t, w, h, 20*time.Second)
			}
			w.Run(5 * time.Minute)
			settled(t, w)
		})
	}
}

// TestMovedWhileAgentDown: the node moves while the agent's program is down.
func TestMovedWhileAgentDown(t *testing.T) {
	w := bound(t, Options{Seed: 14})
	h := w.Node(0)
	w.Agent().Crash()
	w.Attach(h, wlan, link(w, "b"))
	w.Run(10 * time.Second)
	w.Agent().Start()
	registered(t, w, h, 40*time.Second)
	if n, _ := w.Agent().HA.Lookup(h.Home); n.State != ha.Bound {
		t.Errorf("%+v", n)
	}
	w.Run(5 * time.Minute)
	settled(t, w)
}

// TestRestartAtHome: at home nobody notices that the program began anew, and elsewhere than
// at home nothing leaves in the clear.
func TestRestartAtHome(t *testing.T) {
	w := bound(t, Options{Seed: 19})
	h := w.Node(0)
	w.Attach(h, wlan, link(w, "home"))
	if _, ok := w.RunUntil(5*time.Second, func() bool { return w.AtHome(h) }); !ok {
		t.Fatalf("not at home: %+v", h.MN.Info())
	}
	w.Run(5 * time.Second)
	m := w.Measure(h)
	h.Crash()
	w.Run(time.Second)
	h.Start()
	w.Run(20 * time.Second)
	if !w.AtHome(h) || m.Up.Longest > 0 || m.Down.Longest > 0 {
		t.Errorf("%+v: up %v (%v), down %v (%v)", h.MN.Info(), m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
	}
	w.meters = nil
	h.Crash()
	w.Detach(h, wlan)
	w.Run(time.Second)
	h.Start()
	w.Run(time.Second)
	w.Attach(h, wlan, link(w, "b"))
	w.Run(200 * time.Millisecond)
	if h.leaks() {
		t.Error("what the home address sends leaves in the clear")
	}
	registered(t, w, h, 20*time.Second)
	w.Run(5 * time.Minute)
	settled(t, w)
}
