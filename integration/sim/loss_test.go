package sim

import (
	"fmt"
	"testing"
	"time"
)

// course is a registration, a move, and a return home.
func course(t *testing.T, w *World, each time.Duration) {
	h := w.Node(0)
	registered(t, w, h, each)
	w.Run(time.Second)
	w.Attach(h, wlan, link(w, "b"))
	registered(t, w, h, each)
	w.Run(time.Second)
	w.Attach(h, wlan, link(w, "home"))
	if _, ok := w.RunUntil(each, func() bool { return w.AtHome(h) }); !ok {
		t.Fatalf("not at home: %+v\ncounts %+v", h.MN.Info(), w.Count)
	}
	w.Run(time.Second)
	w.Attach(h, wlan, link(w, "a"))
	registered(t, w, h, each)
}

// TestEveryLoss drops each packet in turn; registration, move and return home go through
// all the same, within the time of one retransmission.
func TestEveryLoss(t *testing.T) {
	w := world(t, Options{Seed: 7})
	course(t, w, 5*time.Second)
	n := w.Count.Packets
	if n < 15 || n > 60 {
		t.Fatalf("%d packets without loss", n)
	}
	for k := 1; k <= n; k++ {
		for _, many := range []int{1, 2} { // packets lost in a row
			t.Run(fmt.Sprintf("%d+%d", k, many-1), func(t *testing.T) {
				var lost []string
				w := world(t, Options{Seed: 7})
				w.Drop = func(p Packet) bool {
					if p.N >= k && p.N < k+many {
						lost = append(lost, p.What)
						return true
					}
					return false
				}
				defer func() {
					if t.Failed() {
						t.Logf("lost: %q", lost)
					}
				}()
				course(t, w, 8*time.Second)
				w.Run(4 * time.Minute)
				settled(t, w)
			})
		}
	}
}

// TestEachKindTwiceLost: the same message is lost three times in a row.
func TestSameMessageLost(t *testing.T) {
	base := world(t, Options{Seed: 7})
	seen := map[string]bool{}
	var kinds []string
	key := func(p Packet) string {
		return fmt.Sprintf("%v %.14s %v", p.Kind, p.What, p.Dst)
	}
	base.Drop = func(p Packet) bool {
		if k := key(p); p.Kind != Discovery && !seen[k] {
			seen[k] = true
			kinds = append(kinds, k)
		}
		return false
	}
	course(t, base, 5*time.Second)
	for _, k := range kinds {
		t.Run(k, func(t *testing.T) {
			w := world(t, Options{Seed: 7})
			left := 3
			w.Drop = func(p Packet) bool {
				if left > 0 && key(p) == k {
					left--
					return true
				}
				return false
			}
			course(t, w, 20*time.Second)
			w.Run(4 * time.Minute)
			settled(t, w)
		})
	}
}

// TestLossyNetwork: a fifth of all packets is lost, some come twice, and they overtake each other.
func TestLossyNetwork(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := world(t, Options{Seed: seed})
			w.Loss, w.Dup, w.Jitter = 0.2, 0.1, 30*time.Millisecond
			course(t, w, 2*time.Minute)
			w.Loss, w.Dup, w.Jitter = 0, 0, 0
			w.Run(4 * time.Minute)
			settled(t, w)
		})
	}
}
