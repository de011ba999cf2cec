package sim

import (
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
)

// world makes one that is started, its nodes attached to link a.
func world(t testing.TB, o Options) *World {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	w := New(o)
	w.Log = trace(t)
	w.Start()
	for _, h := range w.Nodes() {
		w.Attach(h, wlan, w.Links[1])
	}
	return w
}

// bound makes one whose nodes are registered at link a and ready.
func bound(t testing.TB, o Options) *World {
	t.Helper()
	w := world(t, o)
	for _, h := range w.Nodes() {
		registered(t, w, h, 20*time.Second)
	}
	w.Run(5 * time.Second)
	settled(t, w)
	return w
}

// registered waits for a registration.
func registered(t testing.TB, w *World, h *Host, limit time.Duration) time.Duration {
	t.Helper()
	took, ok := w.RunUntil(limit, func() bool { return w.Registered(h) })
	if !ok {
		t.Fatalf("%s is not registered after %v: %+v\nfaults %v\ncounts %+v", h.Name, limit, h.MN.Info(), w.Faults(), w.Count)
	}
	return took
}

// settled fails the test if anything is not as it should be.
func settled(t testing.TB, w *World) {
	t.Helper()
	if err := w.Check(); err != nil {
		t.Fatalf("at %v:\n%v\ncounts %+v", w.Now.Sub(start), err, w.Count)
	}
}

func link(w *World, n string) *Link {
	for _, l := range w.Links {
		if l.Name == n || l.Name == "link-"+n {
			return l
		}
	}
	panic("no link " + n)
}

func fastLives(c *ike.Conn) {
	c.ChildRekey, c.ChildHard = 40*time.Second, 60*time.Second
	c.IKERekey, c.IKEHard = 70*time.Second, 100*time.Second
}
