package optimise

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

func (r *rig) runAll(cmds string) {
	for c := range strings.SplitSeq(cmds, ";") {
		r.run(strings.TrimSpace(c))
	}
}

const (
	tested = "rule ::/0; start; at COA1 bound; met CN1; hot CN1; cot CN1"
	bound  = "rule ::/0; start; at COA1 bound; optimise CN1; wait 1s"
)

// TestIgnored: what is not for us, not awaited or not proved changes nothing but a counter.
func TestIgnored(t *testing.T) {
	tests := func(c *Counters) *uint64 { return &c.TestsIgnored }
	acks := func(c *Counters) *uint64 { return &c.AcksIgnored }
	for _, c := range []struct {
		id, name, before, then string
		counter                func(*Counters) *uint64
	}{
		{"MN-11.6.2-1", "home test with another cookie", "rule ::/0; start; at COA1 bound; met CN1", "hot CN1 badcookie", tests},
		{"MN-11.6.2-1", "home test of another correspondent", "rule ::/0; start; at COA1 bound; met CN1; met CN3", "hot CN1 other", tests},
		{"MN-11.6.2-1", "home test of nobody that is tested", "rule ::/0; start; at COA1 bound; met CN1", "hot CN1 other", tests},
		{"MN-11.6.2-1", "home test not to the home address", "rule ::/0; start; at COA1 bound; met CN1", "hot CN1 elsewhere", tests},
		{"MN-11.6.2-1", "home test that came directly", "rule ::/0; start; at COA1 bound; met CN1", "hot CN1 otherheader", tests},
		{"MN-11.6.2-1", "home test with a home address option", "rule ::/0; start; at COA1 bound; met CN1", "hot CN1 option", tests},
		{"MN-11.6.2-1", "home test while messages come directly", tested, "hot CN1", tests},
		{"MN-11.6.2-2", "care-of test with another cookie", "rule ::/0; start; at COA1 bound; met CN1", "cot CN1 badcookie", tests},
		{"MN-11.6.2-2", "care-of test to another address", "rule ::/0; start; at COA1 bound; met CN1", "cot CN1 elsewhere", tests},
		{"MN-11.6.2-2", "care-of test with a routing header", "rule ::/0; start; at COA1 bound; met CN1", "cot CN1 otherheader", tests},
		{"MN-11.6.2-2", "care-of test twice", "rule ::/0; start; at COA1 bound; met CN1; cot CN1", "cot CN1", tests},
		{"MN-11.7.3-1", "acknowledgement with another authenticator", tested, "ba CN1 badauth", acks},
		{"MN-11.7.3-1", "acknowledgement of another sequence number", tested, "ba CN1 status=0 seq=1", acks},
		{"MN-11.7.3-1", "resynchronisation with another authenticator", tested, "ba CN1 badauth status=135 seq=1", acks},
		{"MN-11.7.3-1", "acknowledgement without a routing header", tested, "ba CN1 otherheader", acks},
		{"MN-11.7.3-1", "acknowledgement of another correspondent", tested, "ba CN1 other", acks},
		{"MN-11.7.3-1", "acknowledgement not to the home address", tested, "ba CN1 elsewhere", acks},
		{"MN-11.7.3-1", "acknowledgement twice", tested + "; ba CN1", "ba CN1", acks},
		{"MN-11.7.3-1", "acknowledgement of the care-of address of before", tested + "; at COA2", "ba CN1", acks},
		{"MN-11.7.3-1", "expired nonces of another sequence number", tested, "ba CN1 status=138 seq=1", acks},
		{"MN-11.7.3-1", "refusal with another authenticator", tested, "ba CN1 badauth status=129", acks},
	} {
		t.Run(c.id+" "+c.name, func(t *testing.T) {
			r := newRig(t)
			r.runAll(c.before)
			was := copyMachine(t, r.m)
			r.out.Reset()
			r.runAll(c.then)
			if got := r.out.String(); got != "" {
				t.Errorf("it did\n%s", got)
			}
			if *c.counter(&r.m.s.Count) != *c.counter(&was.s.Count)+1 {
				t.Errorf("not counted: %+v", r.m.s.Count)
			}
			was.s.Count = r.m.s.Count
			if now := copyMachine(t, r.m); !reflect.DeepEqual(now.s, was.s) {
				t.Errorf("state\n%+v, was\n%+v", now.s, was.s)
			}
		})
	}
}

// TestOldCareTest: an answer to the test of another care-of address is none for the present one.
func TestOldCareTest(t *testing.T) {
	r := newRig(t)
	r.runAll("rule ::/0; start; at COA1 bound; met CN1")
	a, _ := r.peers[cn1].take(r.now, r.sent[cn1][mobility.TypeCoTI])
	r.runAll("at COA2 bound")
	a.Dst = coa2
	r.step(MHReceived{a})
	if c := r.m.Counters(); c.CareOfTests != 0 || c.TestsIgnored != 1 {
		t.Errorf("%+v", c)
	}
}

// TestBackInTheMidst: back at the care-of address that was acknowledged, after another one was told: the
// correspondent may know either, so it is told again first.
func TestBackInTheMidst(t *testing.T) {
	r := newRig(t)
	r.runAll(bound + "; at COA2; cot CN1")
	if r.updates != 2 {
		t.Fatal(r.out.String())
	}
	r.runAll("at COA1")
	if p := r.m.peer(cn1); p.Route.Direct || r.updates != 3 {
		t.Fatalf("%s", r.out.String())
	}
	r.runAll("ba CN1")
	if p := r.m.peer(cn1); !p.Route.Direct {
		t.Fatalf("%s", r.out.String())
	}
}

// TestUnsigned: an acknowledgement without an authenticator is one of expired nonces, or none (§11.7.3, §9.5.4).
func TestUnsigned(t *testing.T) {
	for s := range 256 {
		r := newRig(t)
		r.runAll(tested)
		var m mobility.Message
		if err := m.Decode(r.sent[cn1][mobility.TypeBU].Data); err != nil {
			t.Fatal(err)
		}
		ack := mobility.BindingAck{Status: mobility.Status(s), Seq: m.Body.(mobility.BindingUpdate).Seq, Lifetime: 100}
		r.step(MHReceived{host.MH{Src: cn1, Dst: hoa, RouteHeader: true, Data: encode(ack)}})
		if taken := r.m.s.Count.AcksIgnored == 0; taken != (s >= 136 && s <= 138) {
			t.Errorf("status %d: taken is %v", s, taken)
		}
	}
}

// TestStatuses answers a Binding Update with every status there is (MN-11.7.3-2 to -4).
func TestStatuses(t *testing.T) {
	for status := range 256 {
		r := newRig(t)
		r.runAll(tested)
		first := r.updates
		seq := ""
		if status == 135 {
			seq = " seq=4000"
		}
		r.runAll(fmt.Sprintf("ba CN1 status=%d%s", status, seq))
		i := r.m.Info()[0]
		st := mobility.Status(status)
		switch {
		case st.Accepted():
			if i.State != Optimised || r.updates != first || i.LastStatus != status {
				t.Errorf("status %d: %+v", status, i)
			}
		case status == 135:
			if i.Seq != 4001 || r.updates != first+1 {
				t.Errorf("status %d: sequence number %d", status, i.Seq)
			}
		case status == 136 && i.HomeToken.IsZero() && !i.CareToken.IsZero(), status == 137 && !i.HomeToken.IsZero() && i.CareToken.IsZero(),
			status == 138 && i.HomeToken.IsZero() && i.CareToken.IsZero():
			if i.State != Testing || i.RetryAt.After(r.now) {
				t.Errorf("status %d: %+v", status, i)
			}
		default:
			if i.State != Refused || !strings.Contains(i.Why, st.String()) || r.m.s.Peers[0].Route.Direct {
				t.Errorf("status %d: %+v", status, i)
			}
			again := 10 * time.Minute
			if status == 128 || status == 130 {
				again = 4 * time.Second
			}
			if i.RetryAt != r.now.Add(again) {
				t.Errorf("status %d: again at %s", status, stamp(i.RetryAt))
			}
		}
	}
}

// TestRefusedAgain: refusals for now wait longer each time, and MAX_RO_FAILURE of them are one for long.
func TestRefusedAgain(t *testing.T) {
	r := newRig(t)
	r.runAll(tested + "; ba CN1 status=130; traffic CN1 on; wait 3900ms; met CN1")
	if r.updates != 1 {
		t.Fatal("too early")
	}
	r.runAll("wait 100ms; ba CN1 status=128; wait 7900ms; met CN1")
	if r.updates != 2 {
		t.Fatalf("%d updates, want a second one after 4 s", r.updates)
	}
	r.runAll("wait 100ms; ba CN1 status=130; wait 9m")
	i := r.m.Info()[0]
	if r.updates != 3 || i.State != Refused || i.RetryAt.Sub(r.now) != time.Minute {
		t.Errorf("%d updates; %+v", r.updates, i)
	}
}

// TestInvalidCareOf: status 174 is about one care-of address, not about the next.
func TestInvalidCareOf(t *testing.T) {
	r := newRig(t)
	r.runAll(tested + "; ba CN1 status=174; wait 5s; at COA1 bound")
	if i := r.m.Info()[0]; i.State != Refused {
		t.Fatal(i)
	}
	r.runAll("traffic CN1 on; met CN1; at COA2 bound; cot CN1; ba CN1")
	if i := r.m.Info()[0]; i.State != Optimised || i.CareOf != coa2 {
		t.Error(i)
	}
}

// TestNoncesForEver: a correspondent that never accepts its own nonces is left alone.
func TestNoncesForEver(t *testing.T) {
	r := newRig(t)
	r.runAll(tested)
	for range 3 {
		r.runAll("ba CN1 status=138; wait 700ms; hot CN1; cot CN1")
	}
	r.runAll("wait 700ms; ba CN1 status=138")
	if i := r.m.Info()[0]; i.State != Refused {
		t.Errorf("%+v", i)
	}
	n := r.updates
	r.runAll("wait 3s")
	if r.updates != n {
		t.Error("it goes on")
	}
}

// TestStrangers: who has no entry makes none, whatever is sent (MN-11.3.5-1, MN-11.3.6-1, MN-11.7.4-1).
func TestStrangers(t *testing.T) {
	r := newRig(t)
	r.runAll("rule ::/0; start; at COA1 bound; be CN1 1; be CN1 2; brr CN1; icmp CN1; icmp CN1 option")
	r.step(MHReceived{host.MH{Src: cn1, Dst: hoa, Data: encode(mobility.HomeTest{})}})
	r.step(MHReceived{host.MH{Src: cn1, Dst: coa1, Data: encode(mobility.CareOfTest{})}})
	r.step(MHReceived{host.MH{Src: cn1, Dst: hoa, RouteHeader: true, Data: encode(mobility.BindingAck{})}})
	r.step(MHReceived{host.MH{Src: cn1, Dst: hoa, Data: []byte{59, 0, 3}}})
	if len(r.m.Info()) != 0 || r.out.String() != "" || !r.m.Deadline().IsZero() {
		t.Errorf("%+v\n%s", r.m.Info(), r.out.String())
	}
	if c := r.m.Counters(); c.BindingErrors != 2 || c.RefreshRequests != 1 || c.TestsIgnored != 2 || c.AcksIgnored != 1 || c.Malformed != 1 {
		t.Errorf("%+v", c)
	}
}

// TestParameterProblems: which ICMPv6 errors are taken (§11.3.5).
func TestParameterProblems(t *testing.T) {
	good := host.ICMPError{Type: 4, Code: 1, From: cn1, Src: hoa, Dst: cn1, MH: true, Refuses: true}
	option := host.ICMPError{Type: 4, Code: 2, From: cn1, Src: coa1, Dst: cn1, Home: hoa, Refuses: true}
	with := func(e host.ICMPError, f func(*host.ICMPError)) host.ICMPError { f(&e); return e }
	const untested = "rule ::/0; start; at COA1 bound; met CN1"
	for _, c := range []struct {
		name, before string
		e            host.ICMPError
		taken        bool
		forged       bool // the quoted test is none of ours
	}{
		{"about a test of somebody else's", untested, good, false, true},
		{"about a home test", untested, good, true, false},
		{"about a care-of test", untested, with(good, func(e *host.ICMPError) { e.Src = coa1 }), true, false},
		{"about a binding update", tested, with(good, func(e *host.ICMPError) { e.Src, e.Home = coa1, hoa }), true, false},
		{"about a packet of data", bound + "; wait 1s", option, true, false},
		{"about data to a mobile correspondent", bound + "; wait 1s", with(option, func(e *host.ICMPError) { e.Dst, e.From, e.Final = coa2, coa2, cn1 }), true, false},
		{"of somebody else", untested, with(good, func(e *host.ICMPError) { e.From = cn2 }), false, false},
		{"from another source", untested, with(good, func(e *host.ICMPError) { e.Src = coa2 }), false, false},
		{"of another home address", bound, with(option, func(e *host.ICMPError) { e.Home = hoa2 }), false, false},
		{"about something else", untested, with(good, func(e *host.ICMPError) { e.Refuses = false }), false, false},
		{"nothing is awaited", bound, good, false, false},
		{"no packet had an option", untested, option, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.runAll(c.before)
			if c.e.MH {
				c.e.Data = r.quote(c.e, cn1)
				if c.forged {
					c.e.Data = packetOf(c.e, mobility.HomeTestInit{Cookie: mobility.Cookie{1, 2, 3}})
				}
			}
			r.step(ICMPError{c.e})
			i := r.m.Info()[0]
			if taken := r.m.Counters().ParameterProblems == 1; taken != c.taken {
				t.Errorf("%+v", i)
			}
			if c.taken && r.m.s.Peers[0].Route.Direct {
				t.Errorf("still directly: %+v", i)
			}
			// One that has just acknowledged is tested anew, any other is left alone.
			if acked := strings.HasPrefix(c.before, bound); c.taken && (i.State == Refused) == acked ||
				c.taken && !acked && i.RetryAt != r.now.Add(10*time.Minute) {
				t.Errorf("%+v", i)
			}
		})
	}
}

// TestRoom: more correspondents than there is room for. Those with a binding stay, of the others the
// idlest goes, and none within a second of a message to it.
func TestRoom(t *testing.T) {
	r := newRig(t)
	r.cfg.Max = 2
	r.runAll("rule ::/0; start; at COA1 bound; optimise CN1; met CN2; wait 100ms; met CN3")
	if got := len(r.m.Info()); got != 2 || r.m.peer(addrs["CN3"]) != nil {
		t.Fatalf("%+v", r.m.Info())
	}
	r.runAll("wait 15s; met CN3")
	if r.m.peer(cn1) == nil || r.m.peer(cn2) != nil || r.m.peer(addrs["CN3"]) == nil {
		t.Fatalf("%+v", r.m.Info())
	}
	r.runAll("hot CN3; cot CN3; ba CN3; wait 2s; met CN2")
	if r.m.peer(cn2) != nil {
		t.Error("one with a binding went")
	}
}

// TestRandomness: without it nothing is sent, and it is asked for again.
func TestRandomness(t *testing.T) {
	r := newRig(t)
	r.random = bytes.NewReader([]byte{0, 9, 1, 1, 1, 1, 1, 1, 1, 1})
	r.runAll("rule ::/0; start; at COA1 bound; met CN1")
	if c := r.m.Counters(); c.HomeTestInits != 1 || c.CareOfTestInits != 0 {
		t.Errorf("%+v", c)
	}
	if d := r.m.Deadline(); d.Before(r.now.Add(100*time.Millisecond)) || d.After(r.now.Add(time.Second)) {
		t.Errorf("deadline %s", stamp(d))
	}
	r.m.random = chance(1)
	r.runAll("wait 1s; hot CN1; cot CN1; ba CN1")
	if r.m.Info()[0].State != Optimised {
		t.Errorf("%+v", r.m.Info())
	}
	if _, err := New(r.cfg, nil); err == nil {
		t.Error("a machine without randomness")
	}
}

// TestMany: a move with very many correspondents is paced; all are told soon.
func TestMany(t *testing.T) {
	w := newWorld(t, 1)
	n := w.mobile("MN1", hoa, Config{Rules: anyone(), Max: 2000})
	for i := range 400 {
		a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 12, 14: byte(i >> 8), 15: byte(i)})
		w.fixed("CN", a)
		n.speaks[a] = true
	}
	n.move(coa1)
	for range 40 {
		w.run(100 * time.Millisecond)
		n.speak()
	}
	if err := n.optimised(); err != nil {
		t.Fatal(err)
	}
	n.move(coa2)
	w.run(3 * time.Second) // the host needs one millisecond on average for each path and message, five times
	if err := n.optimised(); err != nil {
		t.Fatal(err)
	}
}

func TestConfig(t *testing.T) {
	all := netip.MustParsePrefix("::/0")
	one := netip.PrefixFrom(cn1, 128)
	good := Config{Home: hoa, HomeAgent: ha, Rules: []Rule{{To: all}, {To: one, Auth: StaticKey, Key: rr.Kbm{1}},
		{To: one, Auth: IPsec, Protect: xfrm.ESP, Conn: "c", ReqID: 1}, {To: all, Proto: 6, Port: 80, Packets: 9}}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(*Config){
		"home":           func(c *Config) { c.Home = netip.Addr{} },
		"multicast home": func(c *Config) { c.Home = netip.MustParseAddr("ff02::1") },
		"agent":          func(c *Config) { c.HomeAgent = c.Home },
		"lifetime":       func(c *Config) { c.Lifetime = time.Second },
		"max":            func(c *Config) { c.Max = -1 },
		"idle":           func(c *Config) { c.Idle = -1 },
		"prefix":         func(c *Config) { c.Rules = []Rule{{}} },
		"port":           func(c *Config) { c.Rules = []Rule{{To: all, Port: 80}} },
		"key":            func(c *Config) { c.Rules = []Rule{{To: one, Auth: StaticKey}} },
		"key for many":   func(c *Config) { c.Rules = []Rule{{To: all, Auth: StaticKey, Key: rr.Kbm{1}}} },
		"ipsec":          func(c *Config) { c.Rules = []Rule{{To: one, Auth: IPsec}} },
		"protect many":   func(c *Config) { c.Rules = []Rule{{To: all, Protect: xfrm.ESP, Conn: "c", ReqID: 1}} },
		"no connection":  func(c *Config) { c.Rules = []Rule{{To: one, Protect: xfrm.ESP, ReqID: 1}} },
		"protocol":       func(c *Config) { c.Rules = []Rule{{To: one, Protect: 60, Conn: "c", ReqID: 1}} },
		"proof":          func(c *Config) { c.Rules = []Rule{{To: one, Auth: 9}} },
	} {
		c := good
		f(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
