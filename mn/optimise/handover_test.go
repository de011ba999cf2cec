package optimise

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// pair is a mobile node that speaks with one correspondent; ways have no jitter and hosts take no time: what
// is left is what the protocol takes.
func pair(t *testing.T) (*world, *node) {
	w := newWorld(t, 1)
	w.still = true
	w.fixed("CN1", cn1)
	mn := w.mobile("MN1", hoa, Config{Rules: anyone()})
	mn.speaks[cn1] = true
	mn.move(coa1)
	mn.settle()
	if err := mn.optimised(); err != nil {
		w.bad("%v", err)
	}
	return w, mn
}

// settle lets a node speak for two seconds.
func (n *node) settle() {
	for range 200 {
		n.w.run(10 * time.Millisecond)
		n.speak()
	}
}

// messages are those sent since then, each with the milliseconds that it took, and when the path was direct.
func messages(log []string, since time.Time) (out []string) {
	for _, l := range log {
		f := strings.Fields(l)
		what := slices.IndexFunc(f, func(s string) bool { return s == "BU" || s == "HoTI" || s == "CoTI" || s == "direct" })
		if what < 0 || !slices.Contains(f, "send") && !slices.Contains(f, "=") {
			continue
		}
		var at float64
		_, _ = fmt.Sscan(f[0], &at)
		out = append(out, fmt.Sprintf("%.0f %s", at*1000-float64(since.Sub(epoch).Milliseconds()), f[what]))
	}
	return out
}

// TestHandover: what leaves and when, and when packets go directly again. The care-of address is usable
// after 5 ms, the Binding Update to the agent leaves 1 ms later and is acknowledged 30 ms after; to the
// correspondent and back it is 20 ms, through the agent 50.
func TestHandover(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(w *world, n *node)
		want   []string
	}{
		{"home token", func(*world, *node) {}, []string{"5 CoTI", "25 BU", "45 direct"}},
		{"both tokens", func(_ *world, n *node) { n.move(coa2); n.settle(); n.move(coa1); n.settle() },
			[]string{"5 BU", "25 direct"}},
		// The first home test overtakes the agent's registration, the second one goes when that is told.
		{"care-of token", func(_ *world, n *node) {
			n.move(coa2)
			n.settle()
			n.move(coa1)
			n.settle()
			n.m.s.Peers[0].Home = token{}
		}, []string{"6 HoTI", "36 HoTI", "86 BU", "106 direct"}},
		{"no tokens", func(w *world, n *node) {
			n.speaks[cn1] = false
			w.run(230 * time.Second)
			n.speaks[cn1] = true
		}, []string{"5 CoTI", "6 HoTI", "36 HoTI", "86 BU", "106 direct"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, n := pair(t)
			c.before(w, n)
			w.log = nil
			since := w.now
			n.move(coa2)
			n.settle()
			if got := messages(w.log, since); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q\n%s", got, c.want, strings.Join(w.log, "\n"))
			}
			if n.lost > 0 {
				t.Errorf("%d packets lost", n.lost)
			}
		})
	}
}

// TestBothMove: two mobile nodes that speak with each other directly move at the same moment. All their tests
// go by the home addresses, so neither needs to know where the other is.
func TestBothMove(t *testing.T) {
	for _, d := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 12 * time.Millisecond, 25 * time.Millisecond, 60 * time.Millisecond} {
		t.Run(d.String(), func(t *testing.T) {
			w := newWorld(t, 1)
			w.still = true
			a, b := w.mobile("MN1", hoa, Config{Rules: anyone()}), w.mobile("MN2", hoa2, Config{Rules: anyone()})
			a.speaks[hoa2], b.speaks[hoa] = true, true
			both := func(d time.Duration) error {
				for end := w.now.Add(d); w.now.Before(end); {
					w.run(10 * time.Millisecond)
					a.speak()
					b.speak()
				}
				if err := a.optimised(); err != nil {
					return err
				}
				return b.optimised()
			}
			a.move(coa1)
			b.move(far[0])
			if err := both(2 * time.Second); err != nil {
				w.bad("%v", err)
			}
			for k := range 4 {
				a.move(care[(k+1)%3])
				w.run(d)
				b.move(far[(k+1)%2])
				if err := both(400 * time.Millisecond); err != nil {
					w.bad("move %d: %v", k, err)
				}
				if err := both(2 * time.Second); err != nil {
					w.bad("move %d: %v", k, err)
				}
			}
			if a.lost+b.lost > 0 {
				w.bad("%d packets lost", a.lost+b.lost)
			}
		})
	}
}
