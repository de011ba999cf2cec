package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

func TestCookie(t *testing.T) {
	w, mn, ha := pair(t, 2, func(s *setup) { s.haCfg.CookieThreshold = -1 })
	w.drop = func(from *node, s Send) bool {
		if from == ha && len(w.sent) == 2 && (len(ha.m.sas) != 0 || ha.m.halfOpen != 0) {
			t.Error("the agent keeps state for a source without cookie")
		}
		return false
	}
	connect(t, w, mn, ha)
	agree(t, mn, ha, 2)
	if s := ha.m.Stats(); s.CookiesSent != 1 || s.CookiesWrong != 0 {
		t.Errorf("%+v", s)
	}
	// The cookie comes first, all else is as it was (§2.6).
	a, b := w.sent[0].Data, w.sent[2].Data
	if message.PayloadType(b[16]) != message.TypeNotify {
		t.Fatal("the first payload is not the cookie")
	}
	n := int(binary.BigEndian.Uint16(b[message.HeaderLen+2:]))
	if !bytes.Equal(a[message.HeaderLen:], b[message.HeaderLen+n:]) {
		t.Error("something else changed")
	}
}

func TestCookieOfAnotherSourceOrTime(t *testing.T) {
	w, mn, ha := pair(t, 2, func(s *setup) { s.haCfg.CookieThreshold = -1 })
	mn.initiate(mhWant())
	w.run(15*time.Millisecond, nil)
	w.run(time.Millisecond*30, func() bool { return len(w.sent) == 3 })
	good := w.sent[2]
	count := func(src string, data []byte) Stats {
		ha.step(Datagram{Local: ap(haA), Remote: ap(src), Data: data})
		return ha.m.Stats()
	}
	if s := count(coa2, good.Data); s.CookiesWrong != 1 || s.HalfOpen != 0 {
		t.Errorf("another source: %+v", s)
	}
	bad := bytes.Clone(good.Data)
	bad[message.HeaderLen+10] ^= 1
	if s := count(coa1, bad); s.CookiesWrong != 2 || s.HalfOpen != 0 {
		t.Errorf("altered: %+v", s)
	}
	w.now = w.now.Add(10 * time.Minute)
	if s := count(coa1, good.Data); s.CookiesWrong != 3 || s.HalfOpen != 0 {
		t.Errorf("old: %+v", s)
	}
}

func TestHalfOpenLimits(t *testing.T) {
	_, mn, ha := pair(t, 2, func(s *setup) {
		s.haCfg.CookieThreshold, s.haCfg.HalfOpenMax, s.haCfg.HalfOpenPerSource = 1000, 30, 10
	})
	mn.initiate(mhWant())
	first := mn.w.sent[0].Data
	flood := func(prefix, n int) {
		for i := range n {
			data := bytes.Clone(first)
			binary.BigEndian.PutUint64(data, uint64(prefix)<<32|uint64(i)+1)
			src := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", prefix, i+1))
			ha.step(Datagram{Local: ap(haA), Remote: netip.AddrPortFrom(src, 500), Data: data})
		}
	}
	flood(100, 20)
	if s := ha.m.Stats(); s.HalfOpen != 10 || s.DropHalfOpen != 10 {
		t.Errorf("one source: %+v", s)
	}
	for p := range 5 {
		flood(200+p, 8)
	}
	if s := ha.m.Stats(); s.HalfOpen != 30 {
		t.Errorf("in total: %+v", s)
	}
	ha.w.now = ha.w.now.Add(time.Minute)
	ha.do(ha.m.Tick(ha.w.now, nil))
	if len(ha.m.sas)+len(ha.m.inits)+len(ha.m.perSource)+len(ha.m.timers) != 0 {
		t.Error("half-open IKE SAs outlive their time")
	}
}

func TestInvalidKE(t *testing.T) {
	w, mn, ha := pair(t, 2, func(s *setup) {
		o, err := transform.ParseOffer("aes256gcm16-prfsha384-ecp256")
		if err != nil {
			t.Fatal(err)
		}
		s.haCfg.Conns[0].IKE = []transform.Offer{o}
	})
	connect(t, w, mn, ha)
	agree(t, mn, ha, 2)
	if got := one[SAUp](mn).Suite.String(); got != "aes256gcm16-prfsha384-ecp256" {
		t.Error(got)
	}
	// The full proposal is offered again (§1.2).
	sa := func(i int) []message.Proposal {
		h, _ := message.ParseHeader(w.sent[i].Data)
		p, err := message.Parse(h, w.sent[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		return p.SA
	}
	if fmt.Sprint(sa(0)) != fmt.Sprint(sa(2)) {
		t.Error("the second offer differs")
	}
}

func TestNoProposal(t *testing.T) {
	w, mn, ha := pair(t, 2, func(s *setup) {
		o, _ := transform.ParseOffer("aes256gcm16-prfsha512-ecp256")
		s.haCfg.Conns[0].IKE = []transform.Offer{o}
		o, _ = transform.ParseOffer("aes128gcm16-prfsha512-ecp256")
		s.mnCfg.Conns[0].IKE = []transform.Offer{o}
	})
	mn.initiate(mhWant())
	w.run(time.Minute, nil)
	if r := one[Refused](mn); !r.ByPeer || r.Notify != message.NoProposalChosen {
		t.Errorf("%+v", r)
	}
	one[Refused](ha)
}

// TestForgedRefusal: an unprotected notify is a hint; the true answer counts.
func TestForgedRefusal(t *testing.T) {
	w, mn, ha := pair(t, 2, nil)
	mn.initiate(mhWant(), payloadWant())
	h, _ := message.ParseHeader(w.sent[0].Data)
	for _, n := range []message.NotifyType{message.NoProposalChosen, message.AuthenticationFailed, message.InvalidSyntax} {
		f := message.Header{SPIi: h.SPIi, Exchange: message.IKESAInit, Flags: message.FlagResponse}
		mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: message.Plain(f, []message.Body{message.Notify{Type: n}.Body()})})
	}
	if !w.run(time.Minute, func() bool { return len(find[ChildUp](mn)) == 2 }) {
		t.Fatal(mn.dump())
	}
	agree(t, mn, ha, 2)
}

// TestNoAnswer: exponential backoff, bit by bit the same (§2.1, §2.4); a handshake is given up
// sooner than an IKE SA.
func TestNoAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		conf  Retransmit
		lost  func(w *world) bool
		times []time.Duration // of the request that gets no answer, in milliseconds; the last: given up
	}{
		{"IKE_SA_INIT", Retransmit{}, func(*world) bool { return true }, []time.Duration{0, 500, 1500, 3500, 7500}},
		{"IKE_AUTH", Retransmit{}, func(w *world) bool { return len(w.sent) > 2 }, []time.Duration{0, 500, 1500, 3500, 7500}},
		{"as configured", Retransmit{ConnectTries: 5}, func(*world) bool { return true },
			[]time.Duration{0, 500, 1500, 3500, 7500, 15500, 31500}},
		{"not more than Tries", Retransmit{Tries: 1}, func(*world) bool { return true }, []time.Duration{0, 500, 1500}},
	} {
		w, mn, _ := pair(t, 2, func(s *setup) { s.mnCfg.Retransmit = c.conf })
		w.drop = func(*node, Send) bool { return c.lost(w) }
		mn.initiate(mhWant())
		w.run(30*time.Millisecond, func() bool { return c.name == "IKE_AUTH" && len(w.sent) == 3 })
		from, start := len(w.sent)-1, w.now
		if c.name != "IKE_AUTH" {
			start = start.Add(-30 * time.Millisecond)
		}
		first := w.sent[from].Data
		for n, at := range c.times {
			w.run(start.Add(at*time.Millisecond).Sub(w.now), nil)
			if n == len(c.times)-1 {
				break
			}
			if len(w.sent) != from+n+1 || !bytes.Equal(first, w.sent[len(w.sent)-1].Data) || len(find[Refused](mn)) != 0 {
				t.Errorf("%s: %d messages after %d ms, want %d", c.name, len(w.sent)-from, at, n+1)
			}
		}
		if r := one[Refused](mn); r.Reason != "no answer" || r.Req != 42 || len(w.sent) != from+len(c.times)-1 {
			t.Errorf("%s: %+v", c.name, r)
		}
		if len(mn.m.sas)+len(mn.m.tasks)+len(mn.larval)+len(mn.m.timers) != 0 {
			t.Errorf("%s: something is left", c.name)
		}
	}
}

func TestChildRefusedInAuth(t *testing.T) {
	for _, c := range []struct {
		err    error
		notify message.NotifyType
	}{
		{ErrTSUnacceptable, message.TSUnacceptable},
		{ErrUseAssignedHoA, message.UseAssignedHoA},
		{ErrAddressFailure, message.InternalAddressFailure},
		{ErrFailedCPRequired, message.FailedCPRequired},
		{ErrTemporary, message.TemporaryFailure},
		{errors.New("policy"), message.NoProposalChosen},
	} {
		w, mn, ha := pair(t, 2, nil)
		ha.deny = func(Authorise) error { return c.err }
		mn.initiate(mhWant())
		w.run(time.Minute, nil)
		// The IKE SA stands (§2.21.2), and works.
		sa := one[SAUp](mn).SA
		if r := one[ChildRefused](mn); !r.ByPeer || r.Notify != c.notify || r.Req != 42 {
			t.Errorf("%+v", r)
		}
		if r := one[ChildRefused](ha); r.ByPeer || r.Notify != c.notify || r.Remote[0].String() != hoaA+"/128[135]" {
			t.Errorf("%+v", r)
		}
		agree(t, mn, ha, 0)
		ha.deny = nil
		mn.step(CreateChild{Req: 7, SA: sa, Want: payloadWant()})
		w.run(time.Second, nil)
		if one[ChildUp](mn).Req != 7 {
			t.Error("no child afterwards")
		}
		agree(t, mn, ha, 1)
	}
}

func TestFailuresOfTheKernel(t *testing.T) {
	for _, side := range []string{"mn", "ha"} {
		for _, what := range []string{"spi", "install"} {
			w, mn, ha := pair(t, 2, nil)
			n := map[string]*node{"mn": mn, "ha": ha}[side]
			n.failSPI, n.failIn = what == "spi", what == "install"
			mn.initiate(mhWant())
			w.run(time.Minute, nil)
			agree(t, mn, ha, 0)
			if side == "mn" && what == "spi" {
				one[Refused](mn)
				continue
			}
			if len(find[SAUp](mn)) != 1 || len(find[ChildRefused](mn)) != 1 {
				t.Errorf("%s %s:%s", side, what, mn.dump())
			}
			n.failSPI, n.failIn = false, false
			mn.step(CreateChild{SA: one[SAUp](mn).SA, Want: payloadWant()})
			w.run(time.Second, nil)
			agree(t, mn, ha, 1)
		}
	}
}

func TestCancel(t *testing.T) {
	for _, after := range []time.Duration{0, 12, 22, 35} { // milliseconds: each stage of the handshake
		w, mn, ha := pair(t, 2, nil)
		w.taskDelay = 5 * time.Millisecond
		mn.initiate(mhWant())
		w.run(after*time.Millisecond, nil)
		mn.step(Cancel{Req: 41})
		mn.step(Cancel{Req: 42})
		w.run(time.Minute, nil)
		if one[Refused](mn).Req != 42 || len(mn.kernel)+len(mn.larval)+len(mn.m.sas)+len(mn.m.tasks) != 0 {
			t.Errorf("after %v: %s", after, mn.dump())
		}
		mn.log = nil
		mn.step(Initiate{Req: 43, Conn: "mip6", Local: ap(coa2), Remote: ap(haA), Children: []ChildWant{mhWant(), payloadWant()}, InitialContact: true})
		w.run(time.Second, nil)
		mn.step(Cancel{Req: 43})
		w.run(orphanGrace, nil)
		agree(t, mn, ha, 2)
	}
}
