package sim

import (
	"testing"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/mn"
)

// TestReturnHome goes home and away again without IKE, with the same keys, and nothing
// leaves in the clear.
func TestReturnHome(t *testing.T) {
	for _, to := range []string{"a", "b"} { // to where it was, and elsewhere
		w := bound(t, Options{Seed: 8})
		h := w.Node(0)
		w.Attach(h, wlan, link(w, "b"))
		registered(t, w, h, 5*time.Second)
		w.Attach(h, wlan, link(w, "a"))
		registered(t, w, h, 5*time.Second)
		w.Run(3 * time.Second)
		spis, messages := h.SPIs(), w.Count.IKE
		m := w.Measure(h)
		w.Attach(h, wlan, link(w, "home"))
		if _, ok := w.RunUntil(5*time.Second, func() bool { return w.AtHome(h) }); !ok {
			t.Fatalf("not at home: %+v", h.MN.Info())
		}
		w.Run(5 * time.Second)
		settled(t, w)
		if m.Up.Longest > 100*time.Millisecond || m.Down.Longest > 100*time.Millisecond {
			t.Errorf("home: up %v (%v), down %v (%v)", m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
		}
		w.Attach(h, wlan, link(w, to))
		registered(t, w, h, 5*time.Second)
		w.Run(5 * time.Second)
		settled(t, w)
		if w.Count.IKE != messages {
			t.Errorf("away to %s: %d messages of IKE", to, w.Count.IKE-messages)
		}
		if got := h.SPIs(); len(got) != len(spis) || got[0] != spis[0] || got[3] != spis[3] {
			t.Errorf("SPIs %v, were %v", got, spis)
		}
		if w.Count.PlainMH != 0 {
			t.Errorf("%d Mobility Headers without ESP", w.Count.PlainMH)
		}
	}
}

// TestStartAtHome: a node that begins at home has an address like any other, and registers when it leaves.
func TestStartAtHome(t *testing.T) {
	w := New(Options{Seed: 9, Nodes: 1})
	w.Log = trace(t)
	w.Start()
	h := w.Node(0)
	w.Attach(h, wlan, link(w, "home"))
	w.Run(5 * time.Second)
	if !w.AtHome(h) || w.Reachable(h) != nil {
		t.Fatalf("%v, %+v", w.Reachable(h), h.MN.Info())
	}
	if w.Count.IKE != 0 {
		t.Errorf("%d messages of IKE at home", w.Count.IKE)
	}
	w.Attach(h, wlan, link(w, "a"))
	registered(t, w, h, 10*time.Second)
	w.Run(5 * time.Second)
	settled(t, w)
}

// TestKeyMobilityRefused: with K refused by either side each move makes new keys, and payload
// has the old ones until then.
func TestKeyMobilityRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"agent": {HA: func(c *ha.Config) { c.RefuseK = true }},
		"node":  {MN: func(_ int, c *mn.Config) { c.NoKeyMobility = true }},
	} {
		t.Run(name, func(t *testing.T) {
			o.Seed = 10
			w := bound(t, o)
			h := w.Node(0)
			old := h.SPIs()
			for _, to := range []string{"b", "a", "c"} {
				w.Attach(h, wlan, link(w, to))
				registered(t, w, h, 5*time.Second)
				m := w.Measure(h)
				w.Run(10 * time.Second)
				settled(t, w)
				if now := h.SPIs(); now[0] == old[0] || now[3] == old[3] {
					t.Fatalf("to %s: SPIs %v, were %v", to, now, old)
				}
				if m.Up.Longest > 0 || m.Down.Longest > 0 {
					t.Errorf("to %s: up %v (%v), down %v (%v)", to, m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
				}
				w.meters = nil
				old = h.SPIs()
			}
		})
	}
}
