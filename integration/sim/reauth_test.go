package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
)

// TestReauthentication: nodes prove themselves anew, again and again, over new IKE SAs; neither roles nor
// payload notice, whatever the agent does with the old ones.
func TestReauthentication(t *testing.T) {
	for _, unique := range []ike.Unique{ike.UniqueContact, ike.UniqueReplace} {
		w := bound(t, Options{Seed: 16, Conn: func(c *ike.Conn) { c.Reauth, c.Unique = time.Minute, unique }})
		h := w.Node(0)
		m := w.Measure(h)
		w.Run(10 * time.Minute)
		if n := h.IKE.Stats().Handshakes; n < 9 || n > 13 {
			t.Errorf("policy %d: %d handshakes in ten minutes", unique, n)
		}
		if m.Up.Longest > 0 || m.Down.Longest > 0 {
			t.Errorf("policy %d: up %v (%v), down %v (%v)", unique, m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
		}
		if _, ok := w.RunUntil(time.Minute, func() bool { return w.Check() == nil }); !ok {
			settled(t, w)
		}
		if i := w.Agent().IKE.Stats(); i.Established > 2 || i.Children > 4 {
			t.Errorf("policy %d: %+v", unique, i)
		}
	}
}

// TestMoveInReauthentication moves at every moment of it.
func TestMoveInReauthentication(t *testing.T) {
	for at := time.Duration(0); at < 120*time.Millisecond; at += 5 * time.Millisecond {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := bound(t, Options{Seed: uint64(at), Conn: func(c *ike.Conn) { c.Reauth, c.Jitter = time.Minute, -1 }})
			h := w.Node(0)
			w.Attach(h, second, link(w, "b")) // the new address is there already, so the move takes place at once
			registered(t, w, h, 5*time.Second)
			due := h.IKE.Snapshot()[0].Established.Add(time.Minute)
			w.Run(due.Sub(w.Now) - time.Second)
			w.Attach(h, wlan, link(w, "c"))
			w.Run(time.Second)
			if h.IKE.Stats().Handshakes != 1 || len(h.IKE.Snapshot()) != 2 {
				t.Fatal("it has not begun")
			}
			w.Run(at)
			w.Detach(h, second)
			registered(t, w, h, 10*time.Second)
			w.Run(50 * time.Second)
			if _, ok := w.RunUntil(time.Minute, func() bool { return w.Check() == nil }); !ok {
				settled(t, w)
			}
		})
	}
}
