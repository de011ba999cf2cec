package cn

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// TestForgedAuthenticator: an update in which any bit of what is signed differs is not answered,
// whichever bit (CN-9.5.1-9). Indices alone show themselves.
func TestForgedAuthenticator(t *testing.T) {
	r := newRig(t, testConfig())
	r.run("start; tests")
	good := r.bu(words{"from": "coa1", "alt": "coa1"})
	for i := range good.MH.Data {
		for bit := range 8 {
			if i == 4 || i == 5 { // the checksum is the kernel's, and is not signed
				continue
			}
			bad := good
			bad.MH.Data = append([]byte(nil), good.MH.Data...)
			bad.MH.Data[i] ^= 1 << bit
			for _, a := range r.step(bad) {
				h, ok := a.(Host)
				if _, note := a.(Note); note {
					continue
				}
				if !ok {
					t.Fatalf("octet %d bit %d: %s", i, bit, render(a))
				}
				msg := sent(t, []Action{h})
				ack, _ := msg.Body.(mobility.BindingAck)
				if _, signed := msg.Options.Authenticator(); signed || msg.Type() == mobility.TypeBA && ack.Status.Accepted() {
					t.Fatalf("octet %d bit %d: %s", i, bit, render(a))
				}
			}
		}
		r.now = r.now.Add(10 * time.Second / 100) // limits are not what is tested
	}
	if r.m.Summary().Bindings != 0 {
		t.Error("bound")
	}
	if acts := r.step(good); len(acts) != 1 {
		t.Errorf("the right one: %v", acts)
	}
}

// TestOldNonces: tokens end 240 s after the first use of their nonce at the latest, and
// are good for 210 s at least (CN-5.2.7-1).
func TestOldNonces(t *testing.T) {
	for _, late := range []int{0, 1, 15, 29} {
		r := newRig(t, testConfig())
		r.auto = true
		r.run("start; tests home=hoa2 from=coa2")
		r.advance(time.Duration(late) * time.Second)
		r.run("tests")
		got := r.now
		last := time.Duration(0)
		for s := 1; s < 300; s++ {
			r.now = got.Add(time.Duration(s) * time.Second)
			before := r.m.Counters().Accepted
			r.step(r.bu(words{"from": "coa1", "seq": "1", "flags": ""}))
			if r.m.Counters().Accepted != before {
				last = r.now.Sub(got)
				r.m.table.find(cast["cn"], cast["hoa"]).seq-- // so that the number is good again
			}
		}
		if want := time.Duration(239-late) * time.Second; last != want {
			t.Errorf("tokens of %d s after the nonce's first use are good for %v, want %v", late, last, want)
		}
	}
}

// TestReflected: what we send does nothing when it comes back, to whomever.
func TestReflected(t *testing.T) {
	r := newRig(t, testConfig())
	r.run("start; auto; tests; bu from=coa1; bu from=coa1; report from=coa2; advance 31s; used ago=0")
	before := r.m.Counters()
	n := 0
	for _, a := range r.out {
		h, ok := a.(Host)
		if !ok {
			continue
		}
		n++
		mh := h.Ops[0].(host.SendMH).MH
		mh.CareOf, mh.RouteHeader = netip.Addr{}, false
		for _, mh := range []host.MH{mh, {Src: mh.Dst, Dst: mh.Src, Data: mh.Data},
			{Src: cast["hoa"], CareOf: cast["coa1"], Dst: cast["cn"], Data: mh.Data}} {
			if acts := r.step(MHReceived{MH: mh}); len(acts) != 0 {
				t.Errorf("%s: %s", sentText(mh), render(acts[0]))
			}
		}
	}
	if n < 6 || r.m.Counters() != before {
		t.Errorf("%d messages, %+v", n, r.m.Counters())
	}
}

// TestFlood: a hundred thousand of each from everywhere leave no trace, and a node that has a
// binding is served meanwhile.
func TestFlood(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.run("start; tests; bu from=coa1 life=105")
	r.advance(time.Second)
	size, late := r.m.size(), 0
	forged := r.bu(words{"from": "coa1", "auth": "bad", "seq": "2"})
	stale := r.bu(words{"from": "coa1", "home+": "3", "seq": "2"})
	home := r.bu(words{"from": "coa1", "flags": "AH", "nonces": "none", "auth": "none", "home": "hoa2"})
	var b [16]byte
	b[0], b[1] = 0x20, 1
	for i := range uint64(100_000) {
		r.now = r.now.Add(50 * time.Microsecond) // 20,000 a second of each
		binary.BigEndian.PutUint64(b[2:], mix(i))
		from := netip.AddrFrom16(b)
		for _, ev := range []MHReceived{hoti(words{"src": from.String()}), coti(words{"src": from.String()})} {
			r.m.Step(r.now, ev, nil)
		}
		for _, ev := range []MHReceived{forged, stale, home} {
			ev.MH.CareOf = from
			if i%2 == 0 {
				ev.MH.Src = from
			}
			r.m.Step(r.now, ev, nil)
		}
		if i%5000 == 0 {
			before := r.m.Counters().HomeTests
			r.step(hoti(words{}))
			if r.m.Counters().HomeTests == before {
				late++
			}
		}
	}
	if r.m.size() != size || r.m.Summary() != (Summary{Serving: true, Bindings: 1}) {
		t.Errorf("state of size %d, before %d; %+v", r.m.size(), size, r.m.Summary())
	}
	if late != 0 {
		t.Errorf("%d of 20 tests of a bound node were not answered", late)
	}
	c := r.m.Counters()
	if sum := c.HomeTests + c.CareOfTests; sum > 2*(1+5)*2000+50 || c.TestsLimited < 150_000 {
		t.Errorf("%d tests were answered, %d not", sum, c.TestsLimited)
	}
	if c.RefusalsLimited < 90_000 || c.Accepted != 1 {
		t.Errorf("%+v", c)
	}
}

// TestFloodFromOnePrefix: a hundred times of what is normal, from one link; every other node is served.
func TestFloodFromOnePrefix(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.run("start")
	served := 0
	for i := range 20_000 {
		r.now = r.now.Add(100 * time.Microsecond)
		from := cast["coa3"].As16()
		from[15], from[14] = byte(i), byte(i>>8)
		r.m.Step(r.now, coti(words{"src": netip.AddrFrom16(from).String()}), nil)
		if i%1000 == 0 {
			before := r.m.Counters().Accepted
			seq := words{"from": "coa1", "seq": fmtInt(i/1000 + 1)}
			r.tests(seq)
			r.step(r.bu(seq))
			served += int(r.m.Counters().Accepted - before)
		}
	}
	if c := r.m.Counters(); served != 20 || c.CareOfTests > 100*4 {
		t.Errorf("%d of 20 served, %+v", served, c)
	}
}

// TestSequenceWrap: a number is never good twice, through all 65536 of them and on.
func TestSequenceWrap(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.run("start; tests; bu from=coa1 seq=65000 life=105")
	old := r.bu(words{"from": "coa1", "seq": "65000"})
	for _, seq := range []string{"65535", "0", "1", "32768", "65534", "65535", "32766"} {
		before := r.m.Counters().Accepted
		r.step(r.bu(words{"from": "coa1", "seq": seq}))
		if r.m.Counters().Accepted != before+1 {
			t.Fatalf("%s is refused", seq)
		}
		if acts := r.step(r.bu(words{"from": "coa1", "seq": seq})); sent(t, acts).Body.(mobility.BindingAck).Status != mobility.StatusSequence {
			t.Fatalf("%s is good twice", seq)
		}
		r.now = r.now.Add(5 * time.Second)
	}
	// What an attacker has kept is good again after half a turn, but its nonces are not.
	r.advance(240 * time.Second)
	r.run("tests")
	if got := sent(t, r.step(old)).Body.(mobility.BindingAck).Status; got != mobility.StatusExpiredNonces {
		t.Errorf("status %v", got)
	}
}

// TestSpoofedHomeAddress: packets with a home address option change nothing (§9.1), and cannot be
// turned into a flood of errors (CN-9.3.3-1).
func TestSpoofedHomeAddress(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.run("start; tests; bu from=coa1 life=105")
	before, _ := r.m.Lookup(cast["cn"], cast["hoa"])
	for i := range 1000 {
		r.now = r.now.Add(time.Millisecond)
		r.run("report from=coa2; report from=coa3 home=hoa2")
		if i%10 == 0 {
			r.run("unknown src=coa2")
		}
	}
	if after, _ := r.m.Lookup(cast["cn"], cast["hoa"]); after != before {
		t.Errorf("%+v", after)
	}
	if c := r.m.Counters(); c.ErrorsSent != 3 || c.ErrorsLimited != 2100-3 {
		t.Errorf("%d errors were sent, %d not", c.ErrorsSent, c.ErrorsLimited)
	}
}

// TestMemory: bindings that come and go leave a bounded memory, and what is forgotten
// before its time cannot be replayed (CN-5.2.8-1).
func TestMemory(t *testing.T) {
	cfg := testConfig()
	cfg.MaxBindings = 2
	r := newRig(t, cfg)
	r.auto = true
	r.run("start; tests; bu from=coa1 seq=1")
	old := r.bu(words{"from": "coa1", "seq": "1"})
	r.run("bu from=coa1 seq=2 life=0")
	a := cast["hoa2"].As16()
	for i := range 3 * minMemory {
		r.now = r.now.Add(20 * time.Millisecond)
		binary.BigEndian.PutUint32(a[8:], uint32(i+1))
		home := netip.AddrFrom16(a).String()
		r.run("tests home=" + home)
		r.run("bu from=coa1 seq=1 life=1 home=" + home)
		r.run("bu from=coa1 seq=2 life=0 home=" + home)
	}
	if s := r.m.Summary(); s.Bindings != 0 || s.Remembered > minMemory || len(r.m.table.slots) > minMemory+3 {
		t.Errorf("%+v, %d slots", s, len(r.m.table.slots))
	}
	if c := r.m.Counters(); c.Accepted != 3*minMemory+1 {
		t.Errorf("%d accepted: real nodes are refused", c.Accepted)
	}
	if got := sent(t, r.step(old)).Body.(mobility.BindingAck).Status; got != mobility.StatusExpiredNonces {
		t.Errorf("a replay is answered by %v", got)
	}
}

// TestFloodOfRightUpdates: a node that has proved itself cannot have the databases changed at any rate it
// likes, and nobody else pays for it.
func TestFloodOfRightUpdates(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.run("start; tests; tests from=coa2; tests home=hoa2 from=coa3")
	changes := 0
	for i := range 10_000 { // 1,000 a second
		r.now = r.now.Add(time.Millisecond)
		w := words{"from": []string{"coa1", "coa2"}[i%2], "seq": fmtInt(i + 1)}
		if i%3 == 2 {
			w["life"] = "0"
		}
		for _, a := range r.step(r.bu(w)) {
			if _, ok := a.(Route); ok {
				changes++
			}
		}
	}
	if most := 3*updateRate + 10*updateRate; changes > most || changes < most/2 {
		t.Errorf("%d changes in 10 s, at most %d", changes, most)
	}
	if c := r.m.Counters(); c.UpdatesLimited < 9_000 {
		t.Errorf("%+v", c)
	}
	before := r.m.Counters().Accepted
	r.run("bu home=hoa2 from=coa3")
	if r.m.Counters().Accepted != before+1 {
		t.Error("another node is not served")
	}
}
