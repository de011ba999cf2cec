package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

var toPeer = []optimise.Rule{{To: netip.PrefixFrom(Correspondent, 128)}}

// optimised makes a world whose node goes directly to the correspondent.
func optimised(t testing.TB, o Options) *World {
	t.Helper()
	if o.Rules == nil {
		o.Rules = toPeer
	}
	w := bound(t, o)
	w.Say(w.Node(0), w.Peer(), 100*time.Millisecond)
	direct(t, w, w.Node(0), w.Peer(), 5*time.Second)
	return w
}

// direct waits until packets go directly both ways.
func direct(t testing.TB, w *World, a, b *Host, limit time.Duration) time.Duration {
	t.Helper()
	var err error
	took, ok := w.RunUntil(limit, func() bool {
		var d bool
		d, err = w.Direct(a, b)
		return err == nil && d
	})
	if !ok {
		var infos string
		if a.Opt != nil {
			infos = fmt.Sprintf("%+v", a.Opt.Info())
		}
		t.Fatalf("%s and %s do not speak directly after %v: %v\n%s\nfaults %v\ncounts %+v", a.Name, b.Name, limit, err, infos, w.Faults(), w.Count)
	}
	return took
}

func TestDirect(t *testing.T) {
	w := optimised(t, Options{Seed: 1})
	w.Run(10 * time.Second)
	if d, err := w.Direct(w.Node(0), w.Peer()); !d || err != nil {
		t.Errorf("direct %v: %v", d, err)
	}
	if w.Count.LostData != 0 {
		t.Errorf("%d of %d packets were lost by switching", w.Count.LostData, w.Count.LostData+w.Count.Delivered)
	}
	settled(t, w)
}

// TestDirectMove: a move costs a care-of test, a move back not even that, and no message waits for a timer.
func TestDirectMove(t *testing.T) {
	w := optimised(t, Options{Seed: 2})
	h := w.Node(0)
	rtt := 2 * w.Delay
	for i, to := range []string{"b", "a", "b", "a"} {
		w.Attach(h, wlan, link(w, to))
		registered(t, w, h, 5*time.Second)
		took := direct(t, w, h, w.Peer(), 2*time.Second)
		t.Logf("move %d to %s: direct %v after the registration", i, to, took)
		if most := rtt + rtt/2; took > most {
			t.Errorf("move %d to %s: direct only %v after the registration, at most %v", i, to, took, most)
		}
		w.Run(5 * time.Second)
		settled(t, w)
	}
}

// TestDirectWays: each way to prove a binding, with and without SAs of the pair.
func TestDirectWays(t *testing.T) {
	for name, r := range map[string]optimise.Rule{
		"static":  {Auth: optimise.StaticKey, Key: rr.Kbm{1, 2, 3}},
		"esp":     {Auth: optimise.IPsec, Protect: xfrm.ESP},
		"ah":      {Auth: optimise.IPsec, Protect: xfrm.AH},
		"counted": {Packets: 20},
	} {
		t.Run(name, func(t *testing.T) {
			r.To = netip.PrefixFrom(Correspondent, 128)
			if r.Protect != 0 {
				r.Conn, r.ReqID = "cn", protect.PathReqID(protect.Node, 0)
			}
			w := optimised(t, Options{Seed: 3, Rules: []optimise.Rule{r}})
			h := w.Node(0)
			for _, to := range []string{"b", "home", "a", "b"} {
				w.Attach(h, wlan, link(w, to))
				if to == "home" {
					if _, ok := w.RunUntil(20*time.Second, func() bool { return w.AtHome(h) }); !ok {
						t.Fatal("not at home")
					}
				} else {
					registered(t, w, h, 20*time.Second)
					direct(t, w, h, w.Peer(), 60*time.Second)
				}
				w.Run(5 * time.Second)
			}
			w.Hosts[0].Stop()
			h.Stop()
			w.Peer().Stop()
			w.Run(larvalTime + 10*time.Second)
			for _, x := range w.Hosts {
				if db := x.db(); !x.Stopped || len(db.SAs)+len(db.Policies) != 0 {
					t.Errorf("%s stopped %v, has left %+v", x.Name, x.Stopped, *db)
				}
			}
		})
	}
}

// TestDirectBothMobile: two nodes, each the other's correspondent, and both move at once.
func TestDirectBothMobile(t *testing.T) {
	all := netip.PrefixFrom(homePrefix.Addr(), 64)
	w := bound(t, Options{Seed: 4, Nodes: 2, Rules: []optimise.Rule{{To: all}}, NodesAnswer: true})
	a, b := w.Node(0), w.Node(1)
	w.Say(a, b, 100*time.Millisecond)
	direct(t, w, a, b, 10*time.Second)
	for range 3 {
		w.Attach(a, wlan, link(w, "b"))
		w.Attach(b, wlan, link(w, "c"))
		direct(t, w, a, b, 10*time.Second)
		w.Run(5 * time.Second)
		w.Attach(a, wlan, link(w, "c"))
		w.Attach(b, wlan, link(w, "a"))
		direct(t, w, a, b, 10*time.Second)
		w.Run(5 * time.Second)
	}
}

// TestDirectCrash: a correspondent that is killed and started again says so, or its node would send into
// nothing: most of all where what it sends needs SAs that are gone.
func TestDirectCrash(t *testing.T) {
	for _, p := range []xfrm.Proto{0, xfrm.ESP, xfrm.AH} {
		r := optimise.Rule{To: netip.PrefixFrom(Correspondent, 128)}
		if p != 0 {
			r.Auth, r.Protect, r.Conn, r.ReqID = optimise.IPsec, p, "cn", protect.PathReqID(protect.Node, 0)
		}
		w := optimised(t, Options{Seed: 5, Rules: []optimise.Rule{r}})
		w.Run(5 * time.Second)
		w.Peer().Crash()
		w.Run(time.Second)
		w.Peer().Start()
		w.Run(50 * time.Millisecond) // what the run before has left is gone
		if took := direct(t, w, w.Node(0), w.Peer(), 10*time.Second); took > time.Second {
			t.Errorf("%v: directly again only after %v", p, took)
		}
		w.Run(10 * time.Second)
		settled(t, w)
	}
}

// TestForgedRefusalThenMove: a correspondent that is left alone for an error that anybody may have sent
// still has the binding, and is told of the next care-of address.
func TestForgedRefusalThenMove(t *testing.T) {
	w := optimised(t, Options{Seed: 11})
	h := w.Node(0)
	w.Run(5 * time.Second)
	h.Post(couple.FromHost{Event: host.ICMPError{Type: 4, Code: 2, From: Correspondent, Src: h.MN.Info().CareOf,
		Dst: Correspondent, Home: h.Home, Refuses: true}})
	if _, ok := w.RunUntil(100*time.Millisecond, func() bool { d, _ := w.Direct(h, w.Peer()); return !d }); !ok {
		t.Error("the error was not heeded")
	}
	w.Run(2 * time.Second)
	if d, err := w.Direct(h, w.Peer()); !d || err != nil { // tested anew, it shows that it was not true
		t.Errorf("after the error: direct %v, %v", d, err)
	}
	w.Attach(h, wlan, link(w, "b"))
	registered(t, w, h, 5*time.Second)
	var err error
	if _, ok := w.RunUntil(time.Second, func() bool { _, err = w.Direct(h, w.Peer()); return err == nil }); !ok {
		t.Errorf("after the move: %v", err)
	}
}

// TestAnswersWithoutRules: a node that only answers can be spoken to directly while it is away.
func TestAnswersWithoutRules(t *testing.T) {
	w := bound(t, Options{Seed: 4, Nodes: 2, Rules: []optimise.Rule{{To: homePrefix}}, NodesAnswer: true,
		MN: func(n int, c *mn.Config) {
			if n == 0 {
				c.Optimises, c.Triggers = false, nil
			}
		}})
	a, b := w.Node(0), w.Node(1)
	w.Say(a, b, 100*time.Millisecond)
	if _, ok := w.RunUntil(30*time.Second, func() bool {
		i := b.Opt.Info()
		return len(i) == 1 && i[0].State == optimise.Optimised
	}); !ok {
		t.Errorf("%+v\n%+v", b.Opt.Info(), w.Count)
	}
}
