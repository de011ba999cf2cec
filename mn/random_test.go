package mn

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// TestConverges: whatever happens in whatever order, no rule is broken on the way, and
// when it has become quiet the node is registered, or at home, and nothing is left over.
func TestConverges(t *testing.T) {
	seeds := 300
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		w := newWorld(t, uint64(seed))
		w.up = [3]bool{true, true, w.rng.IntN(2) == 0}
		w.net = [3]int{0, w.rng.IntN(3), w.rng.IntN(3)}
		w.boot(nil)
		for range 60 {
			w.run(time.Duration(w.rng.IntN(400)) * time.Millisecond)
			if w.rng.IntN(10) == 0 {
				w.run(time.Duration(w.rng.IntN(60)) * time.Second)
			}
			w.chaos()
		}
		w.calm()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestStatuses answers the first Binding Update with every status there is.
func TestStatuses(t *testing.T) {
	for status := range 256 {
		r := newRig(t)
		for _, c := range strings.Split("start; link eth0 up; ra eth0 from=R1 prefix=NET1; addr eth0 COA1; keys all", ";") {
			r.run(strings.TrimSpace(c))
		}
		first := r.bu.Seq
		seq := ""
		if status == 135 {
			seq = " seq=4000"
		}
		r.run(fmt.Sprintf("ba status=%d%s", status, seq))
		st := mobility.Status(status)
		state := r.m.Info().State
		switch how := react(st); {
		case st.Accepted():
			if how != accept || state != StateRegistered {
				t.Errorf("status %d: %v", status, state)
			}
		case how == final:
			r.run("wait 24h")
			if r.bu.Seq != first || state != StateRefused {
				t.Errorf("status %d is final, but %v and sequence number %d", status, state, r.bu.Seq)
			}
		case how == resync:
			if r.bu.Seq != 4001 {
				t.Errorf("status %d: next sequence number %d", status, r.bu.Seq)
			}
		case how == later:
			if r.bu.Seq != first {
				t.Errorf("status %d: sent again at once", status)
			}
			r.run("wait 1s")
			if r.bu.Seq != first+1 {
				t.Errorf("status %d: not sent again", status)
			}
		}
		// In the end an agent that consents is believed, whatever it said before.
		r.run("refresh")
		r.run("ba")
		r.run("wait 2s")
		r.run("refresh")
		r.run("ba")
		if state := r.m.Info().State; state != StateRegistered {
			t.Errorf("status %d: %v after consent", status, state)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	good := newRig(t).cfg
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no home":     func(c *Config) { c.Home = netip.Prefix{} },
		"link-local":  func(c *Config) { c.Home = netip.MustParsePrefix("fe80::1/64") },
		"same":        func(c *Config) { c.HomeAgent = c.Home.Addr() },
		"v4":          func(c *Config) { c.HomeAgent = netip.MustParseAddr("192.0.2.1") },
		"lifetime":    func(c *Config) { c.Lifetime = time.Second },
		"request ids": func(c *Config) { c.ReqIDs.Payload = c.ReqIDs.MH },
		"pattern":     func(c *Config) { c.Interfaces = []string{"[eth"} },
		"grace":       func(c *Config) { c.Grace = -1 },
		"rule":        func(c *Config) { c.RulePriority = 40000 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(c, xfrm.Caps{}, bytes.NewReader([]byte{1, 2})); err == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
	if _, err := New(good, xfrm.Caps{}, bytes.NewReader(nil)); err == nil {
		t.Error("New takes a random source that is dry")
	}
}

// An earlier run with another configuration has left things behind: they are taken down first.
func TestDemolish(t *testing.T) {
	r := newRig(t)
	rec := Record{Home: hoa, HomeAgent: netip.MustParseAddr("2001:db8:1::2"), ReqIDs: r.cfg.ReqIDs, Phase: protect.Away,
		CareOf: netip.MustParseAddr("2001:db8:2::10"), OnIf: 3, Table: 77, RulePriority: 500}
	r.verbose = true
	r.start([]Record{rec})
	for _, want := range []string{"addr del HOA/128 dev lo", "addr del HOA/64 dev 3", "rule del from HOA table 0x4d prio 501",
		"rule del from COA1 table 0x4d prio 500", "del policy dir out src HOA dst ::/0", "del state src HOA dst 2001:db8:1::2 proto hao", "forget"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, r.out.String())
		}
	}
	if got := r.m.Info(); got.State != StateStarting || len(r.m.WantHost()) != 0 || len(r.m.Want().Policies) != 0 {
		t.Errorf("after it: %+v", got)
	}
}

// A configuration that cannot be taken while running is refused, and changes nothing.
func TestSetConfigRefused(t *testing.T) {
	r := newRig(t)
	r.run("start")
	before := r.m.cfg
	c := r.cfg
	c.Table = 99
	r.step(SetConfig{c})
	if r.m.cfg.Table != before.Table || !strings.Contains(r.out.String(), "cannot be taken") {
		t.Errorf("table %d, %s", r.m.cfg.Table, r.out.String())
	}
}

// Bytes that are no Mobility Header are counted and change nothing else.
func TestMalformed(t *testing.T) {
	r := newRig(t)
	for _, c := range []string{"start", "link eth0 up", "ra eth0 from=R1 prefix=NET1", "addr eth0 COA1", "keys all", "ba"} {
		r.run(c)
	}
	before := r.m.Info()
	ba := mobility.Message{Body: mobility.BindingAck{Seq: r.bu.Seq, Lifetime: 1}, Options: mobility.Options{mobility.RefreshAdvice{Interval: 1}}}
	data, err := ba.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		r.step(HostEvent{host.MHReceived{MH: host.MH{Src: ha, Dst: hoa, RouteHeader: true, Data: data[:n]}}})
	}
	after := r.m.Info()
	if after.Counters.Malformed != uint64(len(data)) || after.State != before.State || after.Expires != before.Expires {
		t.Errorf("%d of %d counted, %v", after.Counters.Malformed, len(data), after.State)
	}
}
