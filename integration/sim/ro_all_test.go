package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// waysToProve are rules for the correspondent, one for each way to prove a binding.
func waysToProve() map[string]optimise.Rule {
	to := netip.PrefixFrom(Correspondent, 128)
	id := protect.PathReqID(protect.Node, 0)
	return map[string]optimise.Rule{
		"rr":     {To: to},
		"static": {To: to, Auth: optimise.StaticKey, Key: rr.Kbm{1, 2, 3}},
		"esp":    {To: to, Auth: optimise.IPsec, Protect: xfrm.ESP, Conn: "cn", ReqID: id},
		"ah":     {To: to, Auth: optimise.IPsec, Protect: xfrm.AH, Conn: "cn", ReqID: id},
	}
}

// watch tells for how long nothing passes within d, and whether it is direct at the end.
func watch(w *World, d time.Duration) (bad time.Duration, last error, direct bool) {
	for end := w.Now.Add(d); w.Now.Before(end); {
		var err error
		if direct, err = w.Direct(w.Node(0), w.Peer()); err != nil {
			bad += 50 * time.Millisecond
			last = err
		}
		w.Run(50 * time.Millisecond)
	}
	return
}

// TestDirectThroughAll: for how long packets do not pass, and whether they go directly in the end, whatever
// happens to node, correspondent and agent, by each way to prove a binding.
func TestDirectThroughAll(t *testing.T) {
	// Each change of the link has a second of duplicate address detection.
	const atHomeAndBack = 2200 * time.Millisecond
	oconf := func(w *World, rules ...optimise.Rule) couple.Reconfigure {
		return couple.Reconfigure{Optimise: &optimise.Config{Home: w.Node(0).Home, HomeAgent: Agent, Rules: rules}}
	}
	type sc struct {
		name   string
		do     func(w *World, r optimise.Rule)
		direct bool
		limit  time.Duration
	}
	for name, r := range waysToProve() {
		for _, s := range []sc{
			{"off", func(w *World, r optimise.Rule) { w.Node(0).Post(oconf(w)) }, false, 0},
			{"offon", func(w *World, r optimise.Rule) {
				w.Node(0).Post(oconf(w))
				w.Run(10 * time.Second)
				w.Node(0).Post(oconf(w, r))
			}, true, 0},
			{"offonquick", func(w *World, r optimise.Rule) {
				w.Node(0).Post(oconf(w))
				w.Run(20 * time.Millisecond)
				w.Node(0).Post(oconf(w, r))
			}, true, 0},
			{"cnstop", func(w *World, r optimise.Rule) { w.Peer().Stop() }, false, 200 * time.Millisecond},
			{"cnrestart", func(w *World, r optimise.Rule) { w.Peer().Stop(); w.Run(3 * time.Second); w.Peer().Start() }, true, 200 * time.Millisecond},
			{"cncrash", func(w *World, r optimise.Rule) { w.Peer().Crash(); w.Run(time.Second); w.Peer().Start() }, true, 3 * time.Second},
			{"cndeny", func(w *World, r optimise.Rule) {
				w.Peer().Post(couple.Reconfigure{CN: &cn.Config{Default: cn.Deny, FirstReqID: protect.PathReqID(protect.Correspondent, 0)}})
			}, false, 200 * time.Millisecond},
			{"mncrash", func(w *World, r optimise.Rule) { w.Node(0).Crash(); w.Run(time.Second); w.Node(0).Start() }, true, time.Second},
			{"mncrashmove", func(w *World, r optimise.Rule) {
				w.Node(0).Crash()
				w.Attach(w.Node(0), wlan, link(w, "b"))
				w.Run(time.Second)
				w.Node(0).Start()
			}, true, 2 * time.Second},
			{"mnrestart", func(w *World, r optimise.Rule) {
				w.Node(0).Stop()
				w.Run(3 * time.Second)
				w.Node(0).Start()
			}, true, 2 * time.Second},
			{"move", func(w *World, r optimise.Rule) { w.Attach(w.Node(0), wlan, link(w, "b")) }, true, 1300 * time.Millisecond},
			{"movemove", func(w *World, r optimise.Rule) {
				for _, l := range []string{"b", "c", "a", "b"} {
					w.Attach(w.Node(0), wlan, link(w, l))
					w.Run(1100 * time.Millisecond)
				}
			}, true, 1500 * time.Millisecond},
			{"homeaway", func(w *World, r optimise.Rule) {
				w.Attach(w.Node(0), wlan, link(w, "home"))
				w.Run(10 * time.Second)
				w.Attach(w.Node(0), wlan, link(w, "b"))
			}, true, atHomeAndBack},
			{"homequick", func(w *World, r optimise.Rule) {
				w.Attach(w.Node(0), wlan, link(w, "home"))
				w.Run(1200 * time.Millisecond)
				w.Attach(w.Node(0), wlan, link(w, "b"))
			}, true, atHomeAndBack},
			{"agentcrash", func(w *World, r optimise.Rule) { w.Agent().Crash(); w.Run(time.Second); w.Agent().Start() }, true, time.Second},
			{"bothcrash", func(w *World, r optimise.Rule) {
				w.Peer().Crash()
				w.Node(0).Crash()
				w.Run(time.Second)
				w.Peer().Start()
				w.Node(0).Start()
			}, true, 2 * time.Second},
			{"cnstoppedmove", func(w *World, r optimise.Rule) {
				w.Peer().Crash()
				w.Attach(w.Node(0), wlan, link(w, "b"))
				w.Run(3 * time.Second)
				w.Peer().Start()
			}, true, 3 * time.Second},
			{"reqid", func(w *World, r optimise.Rule) {
				if r.ReqID != 0 {
					r.ReqID++
				}
				w.Node(0).Post(oconf(w, optimise.Rule{To: netip.MustParsePrefix("2001:db8:77::/64")}, r))
			}, true, 200 * time.Millisecond},
			{"cncrashhome", func(w *World, r optimise.Rule) {
				w.Peer().Crash()
				w.Attach(w.Node(0), wlan, link(w, "home"))
				w.Run(5 * time.Second)
				w.Peer().Start()
			}, true, 3 * time.Second},
			{"cncrashoff", func(w *World, r optimise.Rule) {
				w.Peer().Crash()
				w.Attach(w.Node(0), wlan, link(w, "b"))
				w.Node(0).Post(oconf(w))
				w.Run(5 * time.Second)
				w.Peer().Start()
			}, false, 4 * time.Second},
		} {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				w := optimised(t, Options{Seed: 31, Rules: []optimise.Rule{r}})
				w.Run(5 * time.Second)
				s.do(w, r)
				bad, last, direct := watch(w, 2*time.Minute)
				info := ""
				if w.Node(0).Opt != nil {
					for _, i := range w.Node(0).Opt.Info() {
						info += fmt.Sprintf("%v %q retry %v", i.State, i.Why, i.RetryAt.Sub(w.Now))
					}
				}
				if bad > s.limit || direct != s.direct {
					t.Errorf("no way for %v (%v), at most %v was expected; direct %v; %s", bad, last, s.limit, direct, info)
				}
				for _, f := range w.Faults() {
					t.Error(f)
				}
			})
		}
	}
}
