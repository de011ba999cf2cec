package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// answer gives an Authorise to the rig and returns what it is answered.
func (r *rig) answer(ev Authorise) Authorised {
	r.t.Helper()
	old := r.auto
	r.auto, r.out = true, nil
	defer func() { r.auto = old }()
	r.step(ev)
	var got []Authorised
	for _, a := range r.out {
		if x, ok := a.(Authorised); ok {
			got = append(got, x)
		}
	}
	if len(got) != 1 || got[0].ID != ev.ID {
		r.t.Fatalf("answers %+v", got)
	}
	return got[0]
}

func TestAuthorise(t *testing.T) {
	anyCert := func(c *Config) { c.AnyCertificate = true }
	pool := func(c *Config) { c.Pool = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::100/124")} }
	mhPort := func(local, remote uint16) func(*Authorise) {
		return func(ev *Authorise) {
			ev.Local[0].StartPort, ev.Local[0].EndPort = local, local
			ev.Remote[0].StartPort, ev.Remote[0].EndPort = remote, remote
		}
	}
	for _, tc := range []struct {
		name   string
		config func(*Config)
		ask    words
		change func(*Authorise)
		want   string
		err    error
	}{
		{name: "mobility header", ask: words{"mh": ""}, want: "hoa mh transport 0 local=ha/135 remote=hoa/135"},
		{name: "payload", ask: words{}, want: "hoa payload tunnel 1 local=any-last remote=hoa"},
		{name: "wide is narrowed", ask: words{"wide": ""}, want: "hoa payload tunnel 1 local=any-last remote=hoa"},
		{name: "wide mobility header", ask: words{"mh": "", "wide": ""}, want: "hoa mh transport 0 local=ha/135 remote=hoa/135"},
		{name: "HA-4877.4.2-3 another's home address", ask: words{"mh": "", "home": "hoa2"}, err: ErrTSUnacceptable},
		{name: "HA-4877.4.2-3 another's, payload", ask: words{"home": "hoa2"}, err: ErrTSUnacceptable},
		{name: "unknown identity", ask: words{"mh": "", "id": "stranger"}, err: ErrDenied},
		{name: "denied identity", ask: words{"mh": "", "id": "bad"}, err: ErrDenied},
		{name: "types of RFC 4877 §7.3", ask: words{"mh": ""}, change: mhPort(0x600, 0x500),
			want: "hoa mh transport 0 local=ha/135:0x600-0x600 remote=hoa/135:0x500-0x500"},
		{name: "type in the wrong octet", ask: words{"mh": ""}, change: mhPort(6, 5),
			want: "hoa mh transport 0 local=ha/135:0x6-0x6 remote=hoa/135:0x5-0x5"},
		{name: "range of types", ask: words{"mh": ""}, change: func(ev *Authorise) {
			ev.Remote[0].StartPort, ev.Remote[0].EndPort = 0x500, 0x600
		}, want: "hoa mh transport 0 local=ha/135 remote=hoa/135:0x500-0x600"},
		{name: "the specific selector is kept", ask: words{"mh": ""}, change: func(ev *Authorise) {
			first := one(cast["hoa"], 135)
			first.StartPort, first.EndPort = 0x500, 0x500
			ev.Remote = []Selector{first, everything(135)}
		}, want: "hoa mh transport 0 local=ha/135 remote=hoa/135:0x500-0x500,hoa/135"},
		{name: "any protocol in transport mode", ask: words{"mh": ""}, change: func(ev *Authorise) {
			ev.Local[0].Proto, ev.Remote[0].Proto = 0, 0
		}, want: "hoa mh transport 0 local=ha/135 remote=hoa/135"},
		{name: "transport for UDP", ask: words{"mh": ""}, change: func(ev *Authorise) {
			ev.Local[0].Proto, ev.Remote[0].Proto = 17, 17
		}, err: ErrTSUnacceptable},
		{name: "transport to a correspondent", ask: words{"mh": ""}, change: func(ev *Authorise) {
			ev.Local = []Selector{one(cast["cn"], 135)}
		}, err: ErrTSUnacceptable},
		{name: "transport mode was not asked for", ask: words{"mh": ""}, change: func(ev *Authorise) { ev.Transport = false }, err: ErrTSUnacceptable},
		{name: "payload to one prefix only", ask: words{}, change: func(ev *Authorise) {
			ev.Local = []Selector{one(cast["cn"], 0)}
		}, err: ErrTSUnacceptable},
		{name: "no selectors", ask: words{}, change: func(ev *Authorise) { ev.Local, ev.Remote = nil, nil }, err: ErrTSUnacceptable},
		{name: "selectors of IPv4", ask: words{}, change: func(ev *Authorise) {
			v4 := netip.MustParseAddr("192.0.2.1")
			ev.Remote = []Selector{{EndPort: anyPort, Start: v4, End: v4}}
		}, err: ErrTSUnacceptable},
		{name: "certificate", config: anyCert, ask: words{"mh": "", "id": "mn7", "san": "2001:db8:1::77", "home": "2001:db8:1::77"},
			want: "2001:db8:1::77 mh transport 0 local=ha/135 remote=2001:db8:1::77/135"},
		{name: "certificate for another", config: anyCert, ask: words{"mh": "", "id": "mn7", "san": "2001:db8:1::77"}, err: ErrTSUnacceptable},
		{name: "certificate of a listed home address", config: anyCert, ask: words{"mh": "", "id": "mn7", "san": "hoa"}, err: ErrTSUnacceptable},
		{name: "certificate of a foreign prefix", config: anyCert, ask: words{"mh": "", "id": "mn7", "san": "hoax", "home": "hoax"}, err: ErrDenied},
		{name: "certificate of the agent's address", config: anyCert, ask: words{"mh": "", "id": "mn7", "san": "ha", "home": "ha"}, err: ErrTSUnacceptable},
		{name: "certificate without the template", ask: words{"mh": "", "id": "mn7", "san": "2001:db8:1::77", "home": "2001:db8:1::77"}, err: ErrDenied},
		{name: "the list comes before the certificate", config: anyCert, ask: words{"mh": "", "san": "2001:db8:1::77", "home": "2001:db8:1::77"}, err: ErrTSUnacceptable},
		{name: "listed, by certificate", config: func(c *Config) { c.Nodes[0].Home = netip.Addr{} }, ask: words{"mh": "", "san": "hoa"},
			want: "hoa mh transport 0 local=ha/135 remote=hoa/135"},
		{name: "HA-4877.9-1 pool", config: pool, ask: words{"mh": "", "id": "mn7", "want": "", "wide": ""},
			want: "2001:db8:1::100 mh transport 0 local=ha/135 remote=2001:db8:1::100/135 assigned=2001:db8:1::100/64"},
		{name: "pool, suggested", config: pool, ask: words{"mh": "", "id": "mn7", "want": "2001:db8:1::105", "wide": ""},
			want: "2001:db8:1::105 mh transport 0 local=ha/135 remote=2001:db8:1::105/135 assigned=2001:db8:1::105/64"},
		{name: "pool, not asked for", config: pool, ask: words{"mh": "", "id": "mn7", "wide": ""}, err: ErrDenied},
		{name: "pool, another's suggested", config: pool, ask: words{"mh": "", "id": "mn7", "want": "hoa", "wide": ""},
			want: "2001:db8:1::100 mh transport 0 local=ha/135 remote=2001:db8:1::100/135 assigned=2001:db8:1::100/64"},
		{name: "HA-4877.9-1 no pool", ask: words{"mh": "", "id": "mn7", "want": "", "wide": ""}, err: ErrAddressFailure},
		{name: "listed and asking", ask: words{"mh": "", "want": "", "wide": ""},
			want: "hoa mh transport 0 local=ha/135 remote=hoa/135 assigned=hoa/64"},
		{name: "the home prefix is not served", config: func(c *Config) { c.Prefixes = nil }, ask: words{"mh": ""}, err: ErrTSUnacceptable},
		{name: "to another address of ours", ask: words{}, change: func(ev *Authorise) { ev.Agent = cast["ha2"] }, err: ErrTSUnacceptable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig()
			if tc.config != nil {
				tc.config(&cfg)
			}
			r := newRig(t, cfg)
			r.auto = true
			r.step(Start{})
			ev := r.ask(tc.ask)
			if tc.change != nil {
				tc.change(&ev)
			}
			got := r.answer(ev)
			if tc.err != nil {
				if !errors.Is(got.Err, tc.err) {
					t.Fatalf("got %v, want %v", got.Err, tc.err)
				}
				if len(r.m.byHome) != 0 || len(r.records) != 0 {
					t.Error("something is left of a refused peer")
				}
				return
			}
			if text := render(got)[0]; text != "authorised: "+tc.want {
				t.Errorf("got  %s\nwant authorised: %s", text, tc.want)
			}
		})
	}
}

// The answer waits for the policies: the first Binding Update must meet them.
func TestPoliciesBeforeAnswer(t *testing.T) {
	r := newRig(t, testConfig())
	r.step(Start{})
	r.done(nil)
	r.out = nil
	r.step(r.ask(words{"mh": ""}))
	for _, a := range r.out {
		if _, ok := a.(Authorised); ok {
			t.Fatal("answered before the policies are in")
		}
	}
	r.out = nil
	r.done(func(any) error { return xfrm.ErrPermission })
	found := false
	for _, a := range r.out {
		if x, ok := a.(Authorised); ok {
			found = errors.Is(x.Err, ErrDenied) && strings.Contains(x.Err.Error(), "not permitted")
		}
	}
	if !found {
		t.Errorf("the databases refused: %v", r.out)
	}
}

// HA-4877.10-1: an assigned address belongs to its identity; it is given to another
// only when the pool has run out and nothing of the first is left.
func TestPool(t *testing.T) {
	cfg := testConfig()
	cfg.Pool = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/126")} // ::1 is the agent, ::0 the routers' anycast
	r := newRig(t, cfg)
	r.step(Start{})
	want := func(id string) netip.Addr {
		t.Helper()
		ev := r.ask(words{"mh": "", "id": id, "want": "", "wide": ""})
		got := r.answer(ev)
		if got.Err != nil {
			if !errors.Is(got.Err, ErrAddressFailure) {
				t.Fatal(got.Err)
			}
			return netip.Addr{}
		}
		return got.Assigned
	}
	a, b := want("a"), want("b")
	if a != cast["ha2"] || b != netip.MustParseAddr("2001:db8:1::3") || want("a") != a {
		t.Fatalf("a has %v, b %v", a, b)
	}
	if c := want("c"); c.IsValid() {
		t.Fatalf("c has %v", c)
	}
	// Another identity cannot use it, asking by selector or not.
	ev := r.ask(words{"mh": "", "id": "d", "home": a.String(), "want": ""})
	if got := r.answer(ev); got.Err == nil {
		t.Fatal("d has a's address")
	}
	// Nobody came with keys: the policies go, the lease stays.
	r.auto = true
	r.advance(lookAfter)
	if i, ok := r.m.Lookup(a); !ok || i.Phase != protect.Absent || !i.Assigned || r.records[a].Identity != "a" {
		t.Fatalf("lease: %+v", i)
	}
	r.step(r.ask(words{"mh": "", "id": "b", "want": "", "wide": ""})) // b is back
	if c := want("c"); c != a {
		t.Fatalf("c has %v, want %v, the lease that is idle", c, a)
	}
	if c := want("a"); c.IsValid() {
		t.Fatalf("a has %v again", c)
	}
	// A crash keeps the leases.
	m, err := New(cfg, 3)
	if err != nil {
		t.Fatal(err)
	}
	recs := []Record{r.records[a], r.records[b]}
	r.m, r.waiting = m, nil
	r.step(Restored{Records: recs})
	r.step(Start{})
	if c := want("c"); c != a {
		t.Errorf("c has %v after the crash, want %v", c, a)
	}
}

// Nothing stays of a node that was authorised and never made its children.
func TestAuthorisedButNeverUp(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.step(Start{})
	if got := r.answer(r.ask(words{"mh": ""})); got.Err != nil {
		t.Fatal(got.Err)
	}
	r.advance(lookAfter)
	if len(r.m.byHome) != 0 || len(r.records) != 0 {
		t.Error("it is still there")
	}
}

// The end of a node's older keys does not take the policies from its new ones.
func TestOldKeysEndLate(t *testing.T) {
	r := served(t, nil)
	if got := r.answer(r.ask(words{"mh": ""})); got.Err != nil {
		t.Fatal(got.Err)
	}
	for _, ev := range []Event{ChildDown{Home: cast["hoa"], Kind: MH, InSPI: 0x101},
		ChildDown{Home: cast["hoa"], Kind: Payload, InSPI: 0x102}, KeysDown{Home: cast["hoa"], Handle: 1}} {
		r.step(ev)
	}
	r.step(ChildUp{Home: cast["hoa"], Kind: MH, InSPI: 0x201, Handle: 2})
	r.out = nil
	r.step(bu(words{"from": "coa1"}))
	if got := sent(r.out); len(got) != 1 || got[0] != "BA 0 seq=1 life=100 K" {
		t.Errorf("%v", got)
	}
}

// Two instances share the home addresses and the request ids.
func TestShards(t *testing.T) {
	const n = 3
	owners, ids := map[int]int{}, map[xfrm.ReqID]string{}
	for shard := range n {
		cfg := testConfig()
		cfg.Shard, cfg.Shards = shard, n
		cfg.Pool = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::1000/116")}
		r := newRig(t, cfg)
		r.auto = true
		r.step(Start{})
		generic := len(r.out) > 0
		if generic != (shard == 0) {
			t.Errorf("shard %d sets up what all share: %v", shard, generic)
		}
		for i := range 100 {
			ev := r.ask(words{"mh": "", "id": fmt.Sprintf("s%d-%d", shard, i), "want": "", "wide": ""})
			got := r.answer(ev)
			if got.Err != nil || ShardOf(got.Home, n) != shard {
				t.Fatalf("shard %d has %v: %v", shard, got.Home, got.Err)
			}
			if who, twice := ids[got.ReqID]; twice {
				t.Fatalf("request id of %s and %s", who, ev.Identity)
			}
			ids[got.ReqID] = ev.Identity
			owners[cfg.Owner(ev)]++
		}
		ev := r.ask(words{"mh": "", "id": "mn1"})
		if cfg.Owner(ev) != ShardOf(cast["hoa"], n) {
			t.Error("the owner of a listed identity is not that of its home address")
		}
	}
	if len(owners) != n {
		t.Errorf("identities go to %d instances", len(owners))
	}
}

func TestConfigValidate(t *testing.T) {
	good := testConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no address":       func(c *Config) { c.Agents = nil },
		"not unicast":      func(c *Config) { c.Agents[0] = cast["mc"] },
		"no home link":     func(c *Config) { c.HomeLink = HomeLink{} },
		"home prefix":      func(c *Config) { c.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:1::1/64") },
		"no part of":       func(c *Config) { c.Pool = []netip.Prefix{netip.MustParsePrefix("2001:db8:2::/120")} },
		"without an":       func(c *Config) { c.Nodes[0].Identity = "" },
		"identity mn2":     func(c *Config) { c.Nodes[0].Identity = "mn2" },
		"home address":     func(c *Config) { c.Nodes[0].Home = cast["hoa2"] },
		"home agent's own": func(c *Config) { c.Nodes[0].Home = cast["ha"] },
		"of mn1 is not":    func(c *Config) { c.Nodes[0].Home = cast["ll"] },
		"shard 2 of 2":     func(c *Config) { c.Shard, c.Shards = 2, 2 },
	} {
		cfg := testConfig()
		change(&cfg)
		err := cfg.Validate()
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(cfg, 1); err == nil {
			t.Errorf("%s: a machine is made", name)
		}
	}
}
