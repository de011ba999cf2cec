package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/couple"
)

// moveAt makes a world, moves the node to link b at that time after its start (or
// after it was attached to a), and gives it time.
func moveAt(t *testing.T, seed uint64, at time.Duration, dest string) {
	w := world(t, Options{Seed: seed})
	h := w.Node(0)
	w.Run(at)
	w.Attach(h, wlan, link(w, dest))
	limit := 20 * time.Second
	if dest == "home" {
		if _, ok := w.RunUntil(limit, func() bool { return w.AtHome(h) }); !ok {
			t.Fatalf("not at home after %v: %+v", limit, h.MN.Info())
		}
	} else {
		registered(t, w, h, limit)
	}
	w.Run(4 * time.Minute) // half-open IKE SAs and reserved SPIs end in 30 s
	settled(t, w)
}

// TestMoveInTheMidst moves at every moment of the first registration: before the
// address is usable, within each message of IKE, during the agent's detection, after.
func TestMoveInTheMidst(t *testing.T) {
	for _, dest := range []string{"b", "home"} {
		for at := 0 * time.Millisecond; at < 2200*time.Millisecond; at += 7 * time.Millisecond {
			if at > 50*time.Millisecond && at < 1010*time.Millisecond || at > 1200*time.Millisecond && at < 2060*time.Millisecond {
				at += 60 * time.Millisecond // nothing but waiting happens there
			}
			t.Run(fmt.Sprint(dest, at), func(t *testing.T) { moveAt(t, uint64(at), at, dest) })
		}
	}
}

// TestMoveInRekey moves while child and IKE SAs are being rekeyed by either side.
func TestMoveInRekey(t *testing.T) {
	for side := range 2 {
		for what := range 3 { // the IKE SA, one child, the other
			for at := time.Duration(0); at < 60*time.Millisecond; at += 5 * time.Millisecond {
				t.Run(fmt.Sprint(side, what, at), func(t *testing.T) {
					w := bound(t, Options{Seed: uint64(at)})
					h := w.Node(0)
					by := w.Hosts[side]
					ev := couple.Rekey{SA: by.IKE.Snapshot()[0].SA}
					if what > 0 {
						ev.SPI = by.SPIs()[what-1]
					}
					// The new address is there already, so the move takes place at once.
					w.Attach(h, second, link(w, "b"))
					registered(t, w, h, 5*time.Second)
					w.Attach(h, wlan, link(w, "c"))
					w.Run(1030*time.Millisecond - 30*time.Millisecond)
					by.Post(ev)
					w.Run(at)
					w.Detach(h, second)
					registered(t, w, h, 10*time.Second)
					w.Run(4 * time.Minute)
					settled(t, w)
				})
			}
		}
	}
}

// TestMoveInMove moves on before the move before was acknowledged.
func TestMoveInMove(t *testing.T) {
	for at := 5 * time.Millisecond; at < 120*time.Millisecond; at += 5 * time.Millisecond {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := bound(t, Options{Seed: uint64(at)})
			h := w.Node(0)
			for _, to := range []string{"b", "c", "a"} { // each has an address from before
				w.Attach(h, wlan, link(w, to))
				registered(t, w, h, 5*time.Second)
			}
			w.Run(3 * time.Second)
			messages := w.Count.IKE
			for _, to := range []string{"b", "c", "b", "a", "c"} {
				w.Attach(h, wlan, link(w, to))
				w.Run(at)
			}
			registered(t, w, h, 10*time.Second)
			w.Run(5 * time.Second)
			settled(t, w)
			if w.Count.IKE != messages {
				t.Errorf("%d messages of IKE", w.Count.IKE-messages)
			}
		})
	}
}

// TestMakeBeforeBreak: with two interfaces the payload goes on during the whole move but
// for the time in which the agent does not know yet.
func TestMakeBeforeBreak(t *testing.T) {
	w := bound(t, Options{Seed: 5})
	h := w.Node(0)
	m := w.Measure(h)
	for range 3 {
		for _, to := range []string{"b", "c", "a"} {
			from, free := wlan, second
			if h.iface(wlan).link == nil {
				from, free = second, wlan
			}
			w.Attach(h, free, link(w, to))
			w.Run(2 * time.Second)
			registered(t, w, h, 3*time.Second)
			w.Detach(h, from)
			w.Run(3 * time.Second)
		}
	}
	settled(t, w)
	if m.Down.Longest > 0 {
		t.Errorf("down: %v in all, %v the longest: %v", m.Down.Total, m.Down.Longest, m.Down.Why)
	}
	if m.Up.Longest > 5*time.Millisecond {
		t.Errorf("up: %v in all, %v the longest: %v", m.Up.Total, m.Up.Longest, m.Up.Why)
	}
}

// TestHardMove: with one interface payload stops while there is no care-of address, and
// for a round trip and the agent's work after.
func TestHardMove(t *testing.T) {
	w := bound(t, Options{Seed: 6})
	h := w.Node(0)
	w.Attach(h, wlan, link(w, "b"))
	registered(t, w, h, 5*time.Second)
	w.Run(3 * time.Second)
	m := w.Measure(h)
	w.Attach(h, wlan, link(w, "a")) // where its address is still there
	registered(t, w, h, 5*time.Second)
	w.Run(time.Second)
	// Solicitation and advertisement, then the Binding Update; changes and news a few ms.
	if limit := 4*w.Delay + 15*time.Millisecond; m.Down.Longest > limit || m.Up.Longest > limit || m.Down.Longest == 0 {
		t.Errorf("down %v, up %v, want not more than %v", m.Down.Longest, m.Up.Longest, limit)
	}
}
