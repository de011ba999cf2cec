package cn

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

func fmtInt(n int) string { return strconv.Itoa(n) }

func TestConfig(t *testing.T) {
	good := testConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	peer := func(p Peer) func(*Config) { return func(c *Config) { c.Peers = append(c.Peers, p) } }
	for name, spoil := range map[string]func(*Config){
		"local of IPv4":    func(c *Config) { c.Locals = append(c.Locals, netip.MustParsePrefix("192.0.2.1/32")) },
		"local zero":       func(c *Config) { c.Locals = append(c.Locals, netip.Prefix{}) },
		"rule zero":        func(c *Config) { c.Rules = append(c.Rules, Rule{}) },
		"rule policy":      func(c *Config) { c.Rules[0].Policy = 7 },
		"default policy":   func(c *Config) { c.Default = 7 },
		"bindings":         func(c *Config) { c.MaxBindings = -1 },
		"rate":             func(c *Config) { c.TestRate = -1 },
		"lifetime":         func(c *Config) { c.MaxLifetime = 3 * time.Second },
		"negative life":    func(c *Config) { c.MaxLifetime = -time.Hour },
		"peer's address":   peer(Peer{Home: cast["mc"], Auth: StaticKey, Key: rr.Kbm{9}}),
		"peer twice":       peer(Peer{Home: cast["hoas"], Auth: StaticKey, Key: rr.Kbm{9}}),
		"peer without key": peer(Peer{Home: cast["hoa"], Auth: StaticKey}),
		"same key":         peer(Peer{Home: cast["hoa"], Auth: StaticKey, Key: staticKey}),
		"no identity":      peer(Peer{Home: cast["hoa"], Auth: IPsec}),
		"no IPsec":         peer(Peer{Home: cast["hoa"], Auth: IPsec, Identity: "x", Proto: xfrm.HAO}),
		"no way":           peer(Peer{Home: cast["hoa"], Auth: 7}),
	} {
		c := testConfig()
		spoil(&c)
		if _, err := New(c, new(counter), 1); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good, bytes.NewReader(nil), 1); err == nil {
		t.Error("a node key of no randomness")
	}
}

// TestOff: with nobody allowed there are no tests, and no bindings (CN-8.2-2).
func TestOff(t *testing.T) {
	cfg := testConfig()
	cfg.Default = Deny
	r := newRig(t, cfg)
	r.run("start; hoti; coti; bu from=coa1")
	if s := r.m.Summary(); s.Bindings != 0 || r.m.Counters().HomeTests+r.m.Counters().CareOfTests != 0 {
		t.Errorf("%+v", s)
	}
	cfg.Rules = []Rule{{Home: netip.PrefixFrom(cast["hoa"], 128)}}
	r.step(SetConfig{Config: cfg})
	r.run("tests; hoti src=hoa2; bu from=coa1")
	if c := r.m.Counters(); c.HomeTests != 1 || c.CareOfTests != 1 || c.Accepted != 1 {
		t.Errorf("only these: %+v", c)
	}
	cfg.Default = 9
	if acts := r.step(SetConfig{Config: cfg}); len(acts) != 1 || acts[0].(Note).Level != Warn {
		t.Errorf("a bad configuration: %v", acts)
	}
}

// TestPages goes through the bindings in pages, with changes between them.
func TestPages(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.run("start; coti")
	a := cast["hoa"].As16()
	for i := range 10 {
		a[15] = byte(i + 10)
		home := netip.AddrFrom16(a).String()
		r.run("hoti src=" + home + "; bu from=coa1 home=" + home)
	}
	for _, size := range []int{1, 3, 10, 11} {
		seen, pages := map[netip.Addr]bool{}, 0
		for at := 0; pages == 0 || at != 0; pages++ {
			at = r.m.Bindings(at, size, func(b BindingInfo) {
				if seen[b.Home] {
					t.Errorf("%v twice", b.Home)
				}
				seen[b.Home] = true
			})
		}
		if len(seen) != 10 || pages != (10+size-1)/size {
			t.Errorf("%d bindings in %d pages of %d", len(seen), pages, size)
		}
	}
	b, ok := r.m.Lookup(cast["cn"], cast["hoa"])
	if ok {
		t.Errorf("%+v", b)
	}
	a[15] = 12
	b, ok = r.m.Lookup(cast["cn"], netip.AddrFrom16(a))
	if !ok || b.CareOf != cast["coa1"] || b.Seq != 1 || b.Expires.Sub(r.now) != 40*time.Second || b.Since != r.now || b.Pending {
		t.Errorf("%+v", b)
	}
	if _, ok := r.m.Lookup(netip.Addr{}, netip.Addr{}); ok {
		t.Error("a binding of no addresses")
	}
}

// TestStopInPages: the end of many bindings comes in pieces.
func TestStopInPages(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.m.configure(Config{TestRatePerSource: 100000, TestRate: 100000})
	r.run("start; coti")
	a := cast["hoa"].As16()
	const many = 2*sweepPage + 10
	a[7] = 1 // no peer's
	for i := range many {
		a[14], a[15] = byte(i>>8), byte(i)
		home := netip.AddrFrom16(a).String()
		r.run("hoti src=" + home + "; bu from=coa1 flags= home=" + home)
	}
	r.auto, r.out = false, nil
	for n := 0; n < 10 && r.m.life != draining; n++ {
		before := len(r.out)
		if n == 0 {
			r.run("stop")
		} else {
			r.now = r.m.Deadline()
			r.took(r.m.Tick(r.now, nil))
		}
		if grew := len(r.out) - before; grew > 2*sweepPage {
			t.Errorf("%d actions in one step", grew)
		}
	}
	r.routed(nil)
	told, cleared := 0, 0
	for _, a := range r.out {
		switch a := a.(type) {
		case Host:
			told++
		case Route:
			cleared++
			if told != many || a.CareOf.IsValid() {
				t.Fatal("a route goes before all are told")
			}
		}
	}
	if _, ok := r.out[len(r.out)-1].(Stopped); !ok || told != many || cleared != many {
		t.Errorf("%d told, %d cleared", told, cleared)
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(perSecond(10, 5), 7)
	count := func(now time.Time, key uint64, n int) (ok int) {
		for range n {
			if l.take(now, key) {
				ok++
			}
		}
		return ok
	}
	if n := count(epoch, 1, 20); n != 5 {
		t.Errorf("%d at once", n)
	}
	if n := count(epoch, 2, 20); n != 5 {
		t.Errorf("%d of another", n)
	}
	if n := count(epoch.Add(200*time.Millisecond), 1, 20); n != 2 {
		t.Errorf("%d after 200 ms", n)
	}
	if n := count(epoch.Add(time.Hour), 1, 20); n != 5 {
		t.Errorf("%d after an hour", n)
	}
	if n := count(epoch, 1, 20); n != 5 { // the clock went back
		t.Errorf("%d an hour before", n)
	}
	// Those who have the same places share what they allow; nobody gets more by a neighbour.
	var same []uint64
	for key := uint64(1_000_000); len(same) < 3*limitWays; key++ {
		if mix(key^7)%limitSets == 5 {
			same = append(same, key)
		}
	}
	n := 0
	for range 3 {
		for _, key := range same {
			n += count(epoch.Add(time.Minute), key, 3)
		}
	}
	if n > limitWays*5 {
		t.Errorf("%d of one set", n)
	}
	// All places are taken, and still a few get through.
	for key := range uint64(100_000) {
		count(epoch, key+10, 5)
	}
	if n := count(epoch.Add(time.Second), 1, 20); n != 5 {
		t.Errorf("%d after a flood", n)
	}
}

// TestAnswersAllocate: what strangers can ask for costs little.
func TestAnswersAllocate(t *testing.T) {
	r := newRig(t, testConfig())
	r.m.configure(Config{TestRatePerSource: 1e6, TestRate: 1e6})
	r.run("start; tests")
	out := make([]Action, 0, 8)
	for _, c := range []struct {
		name string
		ev   Event
		most float64
	}{
		{"home test", hoti(words{}), 18},
		{"care-of test", coti(words{}), 18},
		{"home test with a home address option", hoti(words{"hao": "coa1"}), 2},
		{"forged update", r.bu(words{"from": "coa1", "auth": "bad"}), 36},
	} {
		n := testing.AllocsPerRun(200, func() { out = r.m.Step(r.now, c.ev, out[:0]) })
		if n > c.most {
			t.Errorf("%s: %v allocations, want at most %v", c.name, n, c.most)
		}
	}
}

func BenchmarkHomeTest(b *testing.B) {
	r := newRig(b, testConfig())
	r.m.configure(Config{TestRatePerSource: 1e9, TestRate: 1e9})
	r.run("start")
	ev, out := hoti(words{}), make([]Action, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		out = r.m.Step(r.now, ev, out[:0])
	}
}

// FuzzReceive gives any octets to the machine, from any address. Nothing but an update with the right
// authenticator leads packets elsewhere, and all that is sent can be read.
func FuzzReceive(f *testing.F) {
	boot := func(t testing.TB) *rig {
		r := newRig(t, testConfig())
		r.run("start; tests; tests home=hoa2 from=coa2; bu home=hoa2 from=coa2; routed")
		return r
	}
	r := boot(f)
	good := r.bu(words{"from": "coa1"}).MH.Data
	seeds := [][]byte{good, hoti(words{}).MH.Data, coti(words{}).MH.Data, r.bu(words{"from": "coa1", "life": "0"}).MH.Data,
		r.bu(words{"from": "coa1", "alt": "coa2", "auth": "bad"}).MH.Data, r.bu(words{"from": "coa1", "home": "hoas"}).MH.Data,
		r.bu(words{"flags": "AH", "nonces": "none", "auth": "none"}).MH.Data, {59, 0, 127, 0, 0, 0, 0, 0}}
	for _, s := range seeds {
		for who := range byte(4) {
			f.Add(s, who)
		}
	}
	base := r.m
	valid := func(data []byte) bool { // good, but for its checksum and what follows it
		if len(data) < len(good) {
			return false
		}
		data = append([]byte(nil), data[:len(good)]...)
		copy(data[4:6], good[4:6])
		return bytes.Equal(data, good)
	}
	f.Fuzz(func(t *testing.T, data []byte, who byte) {
		m := base.clone()
		home := cast[[]string{"hoa", "hoa2", "hoai", "coa1"}[who%4]]
		mh := host.MH{Src: home, Dst: cast["cn"], Data: data}
		if who&4 == 0 {
			mh.CareOf = cast["coa1"]
		}
		for _, a := range m.Step(epoch, MHReceived{MH: mh}, nil) {
			switch a := a.(type) {
			case Route:
				if a.CareOf.IsValid() && (!valid(data) || home != cast["hoa"]) {
					t.Errorf("%s", render(a))
				}
			case Host:
				var msg mobility.Message
				if err := msg.Decode(a.Ops[0].(host.SendMH).MH.Data); err != nil {
					t.Error(err)
				}
			}
		}
		if d := m.Deadline(); !d.IsZero() && !d.After(epoch) {
			t.Errorf("deadline %v", d)
		}
	})
}
