package ha

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// sent are the Mobility Headers among the actions, in words.
func sent(acts []Action) []string {
	var out []string
	for _, a := range acts {
		if h, ok := a.(Host); ok {
			for _, op := range h.Ops {
				if s, ok := op.(host.SendMH); ok {
					out = append(out, mhText(s.MH.Data))
				}
			}
		}
	}
	return out
}

// served is a rig whose node hoa has keys; nothing waits for answers.
func served(t testing.TB, change func(*Config)) *rig {
	cfg := testConfig()
	cfg.NoDAD = true
	if change != nil {
		change(&cfg)
	}
	r := newRig(t, cfg)
	r.auto = true
	r.step(Start{})
	r.keyed("mn1", cast["hoa"], cast["coa1"], 1)
	r.out = nil
	return r
}

// Every way in which a Binding Update is answered or dropped.
func TestUpdateAnswers(t *testing.T) {
	bound := func(r *rig) { r.step(bu(words{"from": "coa1", "seq": "15"})) }
	gone := func(r *rig) { bound(r); r.step(bu(words{"from": "coa1", "seq": "16", "life": "0"})) }
	reload := func(f func(*Config)) func(*rig) {
		return func(r *rig) {
			cfg := testConfig()
			f(&cfg)
			r.step(SetConfig{Config: cfg})
		}
	}
	for _, tc := range []struct {
		name   string
		config func(*Config)
		before func(*rig)
		bu     words
		want   string // empty: no answer
		count  func(Stats) uint64
	}{
		{name: "HA-10.3.1-5 first", bu: words{"from": "coa1"}, want: "BA 0 seq=1 life=100 K"},
		{name: "HA-10.3.1-1 unknown home address", bu: words{"from": "coa1", "home": "hoa2"},
			count: func(s Stats) uint64 { return s.Unprotected }},
		{name: "HA-5.1-1 another home address", bu: words{"from": "coa1", "home": "hoax"},
			count: func(s Stats) uint64 { return s.Unprotected }},
		{name: "HA-10.3.1-1 keys are gone", before: func(r *rig) { r.step(ChildDown{Home: cast["hoa"], Kind: MH, InSPI: 0x101}) },
			bu: words{"from": "coa1"}, count: func(s Stats) uint64 { return s.Unprotected }},
		{name: "to another address", bu: words{"from": "coa1", "to": "ha2"}, count: func(s Stats) uint64 { return s.Unprotected }},
		{name: "home address not routable", bu: words{"from": "coa1", "home": "lo"}, count: func(s Stats) uint64 { return s.BadAddress }},
		{name: "source not unicast", bu: words{"from": "mc"}, count: func(s Stats) uint64 { return s.BadAddress }},
		{name: "care-of address link-local", bu: words{"from": "coa1", "alt": "ll"}, count: func(s Stats) uint64 { return s.BadAddress }},
		{name: "care-of address multicast", bu: words{"from": "coa1", "alt": "mc"}, count: func(s Stats) uint64 { return s.BadAddress }},
		{name: "care-of address loopback", bu: words{"from": "coa1", "alt": "lo"}, count: func(s Stats) uint64 { return s.BadAddress }},
		{name: "care-of address unspecified", bu: words{"from": "coa1", "alt": "any"}, count: func(s Stats) uint64 { return s.BadAddress }},
		{name: "HA-9.5.1-1 nonce indices", bu: words{"from": "coa1", "nonces": ""}, count: func(s Stats) uint64 { return s.NonceIndices }},
		{name: "HA-10.3.1-5 no home address option", bu: words{"alt": "coa1"}, count: func(s Stats) uint64 { return s.NoHomeAddress }},
		{name: "without H, no binding", bu: words{"from": "coa1", "flags": "A"}, count: func(s Stats) uint64 { return s.NotHome }},
		{name: "139 type change", before: bound, bu: words{"from": "coa1", "flags": "A", "seq": "16"}, want: "BA 139 seq=16 life=0"},
		{name: "139 after the sequence", before: bound, bu: words{"from": "coa1", "flags": "A", "seq": "15"}, want: "BA 135 seq=15 life=0"},
		{name: "135 same", before: bound, bu: words{"from": "coa1", "seq": "15"}, want: "BA 135 seq=15 life=0"},
		{name: "135 zero", before: bound, bu: words{"from": "coa1", "seq": "0"}, want: "BA 135 seq=15 life=0"},
		{name: "135 32783", before: bound, bu: words{"from": "coa1", "seq": "32783"}, want: "BA 135 seq=15 life=0"},
		{name: "135 65535", before: bound, bu: words{"from": "coa1", "seq": "65535"}, want: "BA 135 seq=15 life=0"},
		{name: "32782 is new", before: bound, bu: words{"from": "coa1", "seq": "32782"}, want: "BA 0 seq=32782 life=100 K"},
		{name: "HA-10.3.2-3 delayed", before: gone, bu: words{"from": "coa1", "seq": "14"}, want: "BA 135 seq=16 life=0"},
		{name: "131 no prefixes", before: reload(func(c *Config) { c.Prefixes = nil }), bu: words{"from": "coa1"},
			want: "BA 131 seq=1 life=0"},
		{name: "HA-10.3.1-3 132 other prefix", bu: words{"from": "coa1"}, want: "BA 132 seq=1 life=0",
			before: reload(func(c *Config) { c.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:9::/64") })},
		{name: "132 prefix has ended", bu: words{"from": "coa1"}, want: "BA 132 seq=1 life=0",
			before: reload(func(c *Config) { c.Prefixes[0].ValidUntil = epoch.Add(time.Second) })},
		{name: "HA-10.3.1-4 129 denied", before: reload(func(c *Config) { c.Nodes[0].Deny = true }), bu: words{"from": "coa1"},
			want: "BA 129 seq=1 life=0"},
		{name: "129 has another home address", bu: words{"from": "coa1"}, want: "BA 129 seq=1 life=0",
			before: reload(func(c *Config) { c.Nodes[0].Home = netip.MustParseAddr("2001:db8:1::a9") })},
		{name: "HA-10.3.1-4 130 full", config: func(c *Config) { c.MaxBindings = 1 },
			before: func(r *rig) {
				r.keyed("mn2", cast["hoa2"], cast["coa2"], 2)
				r.step(bu(words{"from": "coa2", "home": "hoa2"}))
			}, bu: words{"from": "coa1"}, want: "BA 130 seq=1 life=0"},
		{name: "refresh in a full cache", config: func(c *Config) { c.MaxBindings = 1 }, before: bound,
			bu: words{"from": "coa1", "seq": "16"}, want: "BA 0 seq=16 life=100 K"},
		{name: "HA-15.1-1 174 home address of another", bu: words{"from": "coa1", "alt": "hoa2"}, want: "BA 174 seq=1 life=0"},
		{name: "HA-15.1-1 174 its own", bu: words{"from": "coa1", "alt": "hoa"}, want: "BA 174 seq=1 life=0"},
		{name: "HA-15.1-1 174 the agent", bu: words{"from": "coa1", "alt": "ha"}, want: "BA 174 seq=1 life=0"},
		{name: "HA-10.3.2-1 133 nothing to delete", bu: words{"from": "coa1", "life": "0"}, want: "BA 133 seq=1 life=0"},
		{name: "133 at home", bu: words{"life": "0"}, want: "BA 133 seq=1 life=0"},
		{name: "HA-10.3.2-2 deleted", before: bound, bu: words{"life": "0", "seq": "16"}, want: "BA 0 seq=16 life=0 K"},
		{name: "home address option at home", before: bound, bu: words{"from": "hoa", "life": "0", "seq": "16"}, want: "BA 0 seq=16 life=0 K"},
		{name: "HA-10.3.1-11 without A", bu: words{"from": "coa1", "flags": "HK"}, want: "BA 0 seq=1 life=100 K"},
		{name: "HA-10.3.1-13 without K", bu: words{"from": "coa1", "flags": "AH"}, want: "BA 0 seq=1 life=100"},
		{name: "HA-10.3.1-13 K refused", config: func(c *Config) { c.RefuseK = true }, bu: words{"from": "coa1"}, want: "BA 0 seq=1 life=100"},
		{name: "HA-10.3.1-13 K refused to one", config: func(c *Config) { c.Nodes[0].RefuseK = true }, bu: words{"from": "coa1"}, want: "BA 0 seq=1 life=100"},
		{name: "HA-10.3.1-9 less than asked", config: func(c *Config) { c.MaxLifetime = 41 * time.Second }, bu: words{"from": "coa1"},
			want: "BA 0 seq=1 life=10 K"},
		{name: "no more than asked", config: func(c *Config) { c.MaxLifetime = time.Hour }, bu: words{"from": "coa1", "life": "3"},
			want: "BA 0 seq=1 life=3 K"},
		{name: "HA-10.3.1-9 prefix ends sooner", config: func(c *Config) { c.Prefixes[0].ValidUntil = epoch.Add(43 * time.Second) },
			bu: words{"from": "coa1"}, want: "BA 1 seq=1 life=10 K"},
		{name: "HA-10.3.1-12 prefix ends with it", config: func(c *Config) { c.Prefixes[0].ValidUntil = epoch.Add(400 * time.Second) },
			bu: words{"from": "coa1"}, want: "BA 1 seq=1 life=100 K"},
		{name: "HA-10.3.1-12 prefix ends later", config: func(c *Config) { c.Prefixes[0].ValidUntil = epoch.Add(404 * time.Second) },
			bu: words{"from": "coa1"}, want: "BA 0 seq=1 life=100 K"},
		{name: "HA-10.3.1-12 deprecated", config: func(c *Config) { c.Prefixes[0].PreferredUntil = epoch },
			bu: words{"from": "coa1"}, want: "BA 1 seq=1 life=100 K"},
		{name: "HA-10.3.1-12 deprecated within", config: func(c *Config) { c.Prefixes[0].PreferredUntil = epoch.Add(399 * time.Second) },
			bu: words{"from": "coa1"}, want: "BA 1 seq=1 life=100 K"},
		{name: "HA-10.3.1-12 deprecated after", config: func(c *Config) { c.Prefixes[0].PreferredUntil = epoch.Add(400 * time.Second) },
			bu: words{"from": "coa1"}, want: "BA 0 seq=1 life=100 K"},
		{name: "HA-10.3.1-16 advice", config: func(c *Config) { c.RefreshAdvice = 80 * time.Second }, bu: words{"from": "coa1"},
			want: "BA 0 seq=1 life=100 K advice=20"},
		{name: "HA-10.3.1-16 advice not below", config: func(c *Config) { c.RefreshAdvice = 80 * time.Second }, bu: words{"from": "coa1", "life": "20"},
			want: "BA 0 seq=1 life=20 K"},
		{name: "HA-10.3.2-2 no advice", config: func(c *Config) { c.RefreshAdvice = 4 * time.Second }, before: bound,
			bu: words{"life": "0", "seq": "16"}, want: "BA 0 seq=16 life=0 K"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := served(t, tc.config)
			if tc.before != nil {
				tc.before(r)
			}
			r.out = nil
			was := r.m.Stats()
			info, _ := r.m.Lookup(cast["hoa"])
			r.step(bu(tc.bu))
			got := sent(r.out)
			if tc.want == "" {
				if len(got) != 0 {
					t.Fatalf("answered %v", got)
				}
				now, _ := r.m.Lookup(cast["hoa"])
				if now != info {
					t.Errorf("state changed: %+v, was %+v", now, info)
				}
				if tc.count(r.m.Stats()) != tc.count(was)+1 {
					t.Error("not counted")
				}
				return
			}
			if len(got) != 1 || got[0] != tc.want {
				t.Fatalf("got %v, want %s", got, tc.want)
			}
		})
	}
}

// A refused update changes nothing of the binding (§9.5.1).
func TestRefusalKeepsBinding(t *testing.T) {
	r := served(t, nil)
	r.step(bu(words{"from": "coa1", "seq": "15"}))
	before, _ := r.m.Lookup(cast["hoa"])
	for _, w := range []words{{"from": "coa2", "seq": "15"}, {"from": "coa2", "alt": "hoa2", "seq": "16"}, {"from": "coa2", "flags": "A", "seq": "16"}} {
		r.step(bu(w))
		if after, _ := r.m.Lookup(cast["hoa"]); after != before {
			t.Errorf("%v: %+v, was %+v", w, after, before)
		}
	}
}

// MH-9.2-1, MH-6.2.1-1 and the like: what cannot be read is counted, what is
// unknown within it is skipped.
func TestBadHeaders(t *testing.T) {
	r := served(t, nil)
	good := bu(words{"from": "coa1"})
	for n := range len(good.MH.Data) {
		cut := good
		cut.MH.Data = good.MH.Data[:n]
		r.step(cut)
	}
	if s := r.m.Stats(); s.Malformed != uint64(len(good.MH.Data)) || s.Updates != 0 {
		t.Errorf("%d malformed, %d updates", s.Malformed, s.Updates)
	}
	msg := mobility.Message{Body: mobility.BindingUpdate{Seq: 1, Flags: mobility.FlagHome, Lifetime: 9},
		Options: mobility.Options{mobility.RawOption{Type: 200, Data: []byte{1, 2, 3}}, mobility.AlternateCareOf{Addr: cast["coa3"]}}}
	data, err := msg.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.step(MHReceived{MH: host.MH{Src: cast["hoa"], Dst: cast["ha"], CareOf: cast["coa1"], Data: data}})
	if i, _ := r.m.Lookup(cast["hoa"]); i.CareOf != cast["coa3"] || i.State != Bound || i.Flags != mobility.FlagHome {
		t.Errorf("MH-6.2.1-1: %+v", i)
	}
	for _, body := range []mobility.Body{mobility.HomeTestInit{}, mobility.CareOfTestInit{}, mobility.BindingAck{}, mobility.BindingRefreshRequest{}} {
		m := mobility.Message{Body: body}
		data, _ := m.AppendTo(nil)
		r.out = nil
		r.step(MHReceived{MH: host.MH{Src: cast["cn"], Dst: cast["ha"], Data: data}})
		if len(r.out) != 0 {
			t.Errorf("%v: %v", body.Type(), r.out)
		}
	}
	if n := r.m.Stats().OtherTypes; n != 4 {
		t.Errorf("%d of other types", n)
	}
}

// CN-9.3.3-1: a flood gets a bounded number of Binding Errors.
func TestErrorRate(t *testing.T) {
	r := served(t, func(c *Config) { c.ErrorRate = 5 })
	flood := func() int {
		r.out = nil
		for range 1000 {
			if err := r.command("report from=coa3 dst=ha"); err != nil {
				t.Fatal(err)
			}
		}
		return len(sent(r.out))
	}
	if n := flood(); n != 5 {
		t.Errorf("%d at once", n)
	}
	r.now = r.now.Add(400 * time.Millisecond)
	if n := flood(); n != 2 {
		t.Errorf("%d after 400 ms", n)
	}
	r.now = r.now.Add(time.Hour)
	if n := flood(); n != 5 {
		t.Errorf("%d after an hour", n)
	}
	if s := r.m.Stats(); s.ErrorsSent != 12 || s.ErrorsWithheld != 2988 || s.UnknownBinding != 3000 {
		t.Errorf("%d sent, %d withheld", s.ErrorsSent, s.ErrorsWithheld)
	}
}

// HA-10.3.1-10: a binding ends with the valid lifetime of its home prefix.
func TestPrefixEnds(t *testing.T) {
	r := served(t, nil)
	r.step(bu(words{"from": "coa1"}))
	cfg := testConfig()
	cfg.Prefixes[0].ValidUntil = epoch.Add(20 * time.Second)
	r.step(SetConfig{Config: cfg})
	r.advance(19 * time.Second)
	if i, _ := r.m.Lookup(cast["hoa"]); i.State != Bound {
		t.Fatalf("%v before the end", i.State)
	}
	r.out = nil
	r.advance(time.Second)
	if i, _ := r.m.Lookup(cast["hoa"]); i.State == Bound {
		t.Errorf("%v after the end", i.State)
	}
	if !hasOp(r.out, host.DelProxy{IfIndex: 3, Addr: cast["hoa"]}) {
		t.Error("HA-10.4.1-4: still defended")
	}
}

// A node that is denied in the running service loses its binding and its keys.
func TestDeniedLater(t *testing.T) {
	r := served(t, nil)
	r.step(bu(words{"from": "coa1"}))
	cfg := testConfig()
	cfg.Nodes[0].Deny = true
	r.out = nil
	r.step(SetConfig{Config: cfg})
	down := false
	for _, a := range r.out {
		if k, ok := a.(KeyDown); ok && !k.Silent && k.Home == cast["hoa"] {
			down = true
		}
	}
	if !down || !hasOp(r.out, host.DelProxy{IfIndex: 3, Addr: cast["hoa"]}) {
		t.Errorf("%v", r.out)
	}
	if i, _ := r.m.Lookup(cast["hoa"]); i.State == Bound {
		t.Errorf("%v", i.State)
	}
}

func hasOp(acts []Action, want host.Op) bool {
	for _, a := range acts {
		if h, ok := a.(Host); ok {
			for _, op := range h.Ops {
				if op == want {
					return true
				}
			}
		}
	}
	return false
}
