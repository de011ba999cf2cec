package ike

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// byName returns the installed child of a name.
func (n *node) byName(name string) Child {
	n.w.t.Helper()
	var out []Child
	for _, s := range n.m.Snapshot() {
		for _, c := range s.Children {
			if c.Child.Name == name && c.State == "installed" {
				out = append(out, c.Child)
			}
		}
	}
	if len(out) != 1 {
		n.w.t.Fatalf("%s: %d children %s installed%s", n.name, len(out), name, n.dump())
	}
	return out[0]
}

func TestRekeyChild(t *testing.T) {
	for _, by := range []string{"mn", "ha"} {
		for _, how := range []string{"event", "expire in", "expire out", "time"} {
			w, mn, ha := pair(t, 4, nil)
			a, b := connect(t, w, mn, ha)
			n, sa := mn, a
			if by == "ha" {
				n, sa = ha, b
			}
			old := n.byName("payload")
			mh := n.byName("mh")
			switch how {
			case "event":
				n.step(RekeyChild{SA: sa, SPIIn: old.SPIIn})
			case "expire in":
				n.step(Expire{SPI: old.SPIIn, Dst: old.LocalAddr})
			case "expire out":
				n.step(Expire{SPI: old.SPIOut, Dst: old.RemoteAddr})
			case "time":
				w.run(61*time.Minute, nil)
			}
			w.run(time.Minute, nil)
			agree(t, mn, ha, 2)
			fresh := n.byName("payload")
			if fresh.SPIIn == old.SPIIn || fresh.ReqID != old.ReqID || fmt.Sprint(fresh.Local, fresh.Remote) != fmt.Sprint(old.Local, old.Remote) {
				t.Errorf("%s %s: old %+v new %+v", by, how, old, fresh)
			}
			if how != "time" && n.byName("mh").SPIIn != mh.SPIIn {
				t.Error("the other child was rekeyed")
			}
			for _, n := range []*node{mn, ha} {
				if len(find[ChildDown](n)) != 0 || len(find[ChildUp](n)) != 2 {
					t.Errorf("%s %s: %s", by, how, n.dump())
				}
				if how != "time" {
					r := one[ChildRekeyed](n)
					if r.Child.Name != "payload" {
						t.Errorf("%+v", r)
					}
				}
			}
		}
	}
}

// TestRekeyCrossing: both rekey the same child at once; one pair survives.
func TestRekeyCrossing(t *testing.T) {
	for seed := uint64(0); seed < 40; seed++ {
		w, mn, ha := pair(t, seed, nil)
		a, b := connect(t, w, mn, ha)
		if seed%4 != 0 {
			w.jitter = 60 * time.Millisecond
		}
		if seed%2 == 1 {
			w.loss = 0.15
		}
		mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
		if seed%3 != 0 {
			w.run(time.Duration(w.r.IntN(25))*time.Millisecond, nil)
		}
		if s := ha.m.Snapshot()[0]; s.Children[1].State == "installed" {
			ha.step(RekeyChild{b, ha.byName("payload").SPIIn})
		}
		w.run(3*time.Minute, nil)
		agree(t, mn, ha, 2)
		if mn.byName("payload").SPIIn != ha.byName("payload").SPIOut {
			t.Fatalf("seed %d: the sides use different pairs", seed)
		}
		for _, n := range []*node{mn, ha} {
			list := find[ChildRekeyed](n)
			if last := list[len(list)-1]; last.Child.SPIIn != n.byName("payload").SPIIn {
				t.Errorf("seed %d: %s's owner believes in %#x", seed, n.name, last.Child.SPIIn)
			}
		}
	}
}

func TestDelete(t *testing.T) {
	w, mn, ha := pair(t, 4, nil)
	a, b := connect(t, w, mn, ha)
	ha.step(CloseChild{b, ha.byName("payload").SPIIn})
	w.run(time.Second, nil)
	agree(t, mn, ha, 1)
	if d := one[ChildDown](mn); d.Child.Name != "payload" || d.Reason != ReasonDeleted {
		t.Errorf("%+v", d)
	}
	mn.step(Close{SA: a})
	w.run(time.Minute, nil)
	agree(t, mn, ha, 0)
	if one[SADown](mn).Reason != ReasonClosed || one[SADown](ha).Reason != ReasonDeleted {
		t.Error("reasons")
	}
	if len(mn.m.sas)+len(ha.m.sas)+len(mn.m.timers)+len(ha.m.timers)+len(mn.m.peers)+len(ha.m.peers)+len(mn.m.spis)+len(ha.m.spis) != 0 {
		t.Error("state left")
	}
}

func TestDeleteCrossing(t *testing.T) {
	w, mn, ha := pair(t, 4, nil)
	a, b := connect(t, w, mn, ha)
	from := len(w.sent)
	mn.step(CloseChild{a, mn.byName("payload").SPIIn})
	ha.step(CloseChild{b, ha.byName("payload").SPIIn})
	w.run(time.Second, nil)
	agree(t, mn, ha, 1)
	if len(w.sent)-from != 4 {
		t.Errorf("%d messages", len(w.sent)-from)
	}
	// §1.4.1: the answers name no SPI: they are empty messages.
	for _, s := range w.sent[from:] {
		h, _ := message.ParseHeader(s.Data)
		p, _ := message.Parse(h, s.Data)
		if h.Response() && p.SK.Inner != message.NoNext {
			t.Error("an answer to a crossing Delete has payloads")
		}
	}
	// And of the IKE SA.
	mn.step(Close{SA: a})
	ha.step(Close{SA: b})
	w.run(time.Minute, nil)
	agree(t, mn, ha, 0)
	one[SADown](mn)
	one[SADown](ha)
	if len(mn.m.sas)+len(ha.m.sas) != 0 {
		t.Error("IKE SAs left")
	}
}

// TestCloseWhileRequestIsOut: the Delete waits for the window.
func TestCloseWhileRequestIsOut(t *testing.T) {
	w, mn, ha := pair(t, 4, nil)
	a, _ := connect(t, w, mn, ha)
	extra := payloadWant()
	extra.Name = "extra"
	mn.step(CreateChild{Req: 9, SA: a, Want: extra})
	w.run(5*time.Millisecond, nil)
	mn.step(Close{SA: a})
	w.run(time.Minute, nil)
	agree(t, mn, ha, 0)
	if r := one[ChildRefused](mn); r.Req != 9 {
		t.Errorf("%+v", r)
	}
	if one[SADown](ha).Reason != ReasonDeleted || len(mn.m.sas)+len(ha.m.sas) != 0 {
		t.Error("the peer was not told")
	}
}

func TestRetransmissionsAreIdentical(t *testing.T) {
	w, mn, ha := pair(t, 6, patient)
	n := 0
	w.drop = func(*node, Send) bool { n++; return n*n%7 > 1 } // most are lost
	connect(t, w, mn, ha)
	agree(t, mn, ha, 2)
	byID := map[string][]byte{}
	for _, s := range w.sent {
		h, _ := message.ParseHeader(s.Data)
		k := fmt.Sprint(h.ID, h.Flags)
		if old, ok := byID[k]; ok && !bytes.Equal(old, s.Data) {
			t.Fatalf("message %s was sent in two forms", k)
		}
		byID[k] = s.Data
	}
	if mn.m.Stats().Retransmits == 0 || ha.m.Stats().Duplicates == 0 {
		t.Error("nothing was repeated")
	}
}

func TestRequestTwiceIsAnsweredTwiceTheSame(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	a, _ := connect(t, w, mn, ha)
	from := len(w.sent)
	mn.step(Probe{a})
	probe := w.sent[from]
	for range 3 {
		ha.step(Datagram{Local: probe.Remote, Remote: probe.Local, Data: probe.Data})
	}
	answers := w.sent[from+1:]
	if len(answers) != 3 || !bytes.Equal(answers[0].Data, answers[2].Data) {
		t.Fatalf("%d answers", len(answers))
	}
	// A request out of the window is ignored (§2.3).
	before := ha.m.Stats()
	bad := mn.m.sas[a].seal(message.Informational, 77, false, nil)
	ha.step(Datagram{Local: probe.Remote, Remote: probe.Local, Data: bad})
	if after := ha.m.Stats(); after.DropMessageID != before.DropMessageID+1 || after.Sent != before.Sent {
		t.Error("a request out of the window was answered")
	}
}

func TestLiveness(t *testing.T) {
	w, mn, ha := pair(t, 6, func(s *setup) { s.mnCfg.Conns[0].DPD = 30 * time.Second })
	connect(t, w, mn, ha)
	from := len(w.sent)
	w.run(5*time.Minute, nil)
	if n := len(w.sent) - from; n < 16 || n > 22 {
		t.Errorf("%d messages in 5 minutes", n)
	}
	agree(t, mn, ha, 2)
	w.drop = func(*node, Send) bool { return true }
	w.run(3*time.Minute, nil)
	if d := one[SADown](mn); d.Reason != ReasonTimeout || d.Kept {
		t.Errorf("%+v", d)
	}
	if len(mn.kernel) != 0 || len(find[ChildDown](mn)) != 2 {
		t.Error("children stay")
	}
}

// TestHint: an unprotected INVALID_IKE_SPI makes us ask, no more (§2.4).
func TestHint(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	a, _ := connect(t, w, mn, ha)
	s := mn.m.sas[a]
	h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Exchange: message.Informational, Flags: message.FlagResponse, ID: 5}
	forged := message.Plain(h, []message.Body{message.Notify{Type: message.InvalidIKESPI}.Body()})
	from := len(w.sent)
	for range 10 {
		mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: forged})
	}
	if len(w.sent)-from != 1 {
		t.Fatalf("%d messages for ten hints", len(w.sent)-from)
	}
	w.run(time.Second, nil)
	agree(t, mn, ha, 2)
	if len(find[SADown](mn)) != 0 {
		t.Error("a forged notify ended the IKE SA")
	}
}

// TestPeerRestarts: the agent forgot everything; its hint leads to a quick end.
func TestPeerRestarts(t *testing.T) {
	w, mn, ha := pair(t, 6, func(s *setup) {
		s.mnCfg.Conns[0].KeepChildren = true
		s.mnCfg.Retransmit.ProbeTries = 2
	})
	a, _ := connect(t, w, mn, ha)
	ha.m = New(Config{Conns: []Conn{haConn()}}, seeded(99))
	mn.step(Probe{a})
	w.run(5*time.Second, nil)
	if d := one[SADown](mn); !d.Kept || d.Reason != ReasonTimeout {
		t.Fatalf("%+v", d)
	}
	if len(mn.kernel) != 2 || len(find[ChildDown](mn)) != 0 {
		t.Fatal("the children did not stay")
	}
	if ha.m.Stats().DropUnknownSPI == 0 || mn.m.Stats().Hints == 0 {
		t.Error("no hint")
	}
	ha.kernel = map[uint32]Child{} // as its restart would reconcile
	mn.log, ha.log = nil, nil
	connect(t, w, mn, ha)
	agree(t, mn, ha, 2)
	if len(find[ChildDown](mn)) != 2 {
		t.Error("the orphans were not replaced")
	}
}

func TestInitialContact(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	connect(t, w, mn, ha)
	mn.m = New(Config{Conns: []Conn{mnConn()}}, seeded(98)) // the node restarted
	mn.kernel, mn.log, ha.log = map[uint32]Child{}, nil, nil
	mn.step(Initiate{Conn: "mip6", Local: ap(coa1), Remote: ap(haA), Children: []ChildWant{mhWant(), payloadWant()}, InitialContact: true})
	w.run(time.Second, nil)
	agree(t, mn, ha, 2)
	if c := one[InitialContact](ha); c.Peer != mnID {
		t.Errorf("%+v", c)
	}
	if d := one[SADown](ha); d.Reason != ReasonReplaced || !d.Kept {
		t.Errorf("%+v", d)
	}
	if s := ha.m.Stats(); s.Established != 1 || s.Children != 2 {
		t.Errorf("%+v", s)
	}
	// Each new pair is in before the old one of its name goes: the traffic has no gap.
	for _, name := range []string{"mh", "payload"} {
		up, down := -1, -1
		for i, x := range ha.log {
			switch x := x.(type) {
			case ChildUp:
				if x.Child.Name == name {
					up = i
				}
			case Uninstall:
				if x.Child.Name == name {
					down = i
				}
			}
		}
		if up < 0 || down < up {
			t.Errorf("%s: up %d, old one down %d", name, up, down)
		}
	}
	// One that is not replaced goes after the grace time.
	mn.m = New(Config{Conns: []Conn{mnConn()}}, seeded(97))
	mn.kernel = map[uint32]Child{}
	mn.step(Initiate{Conn: "mip6", Local: ap(coa1), Remote: ap(haA), Children: []ChildWant{mhWant()}, InitialContact: true})
	w.run(time.Second, nil)
	if len(ha.kernel) != 2 {
		t.Error("the payload child went at once")
	}
	w.run(orphanGrace, nil)
	agree(t, mn, ha, 1)
}

// TestSilentCloseKeepsChildren is the way of a refused K bit: new IKE SA and
// children over the new address, the old children carry until then.
func TestSilentCloseKeepsChildren(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	a, b := connect(t, w, mn, ha)
	from := len(w.sent)
	mn.step(Close{SA: a, Silent: true, KeepChildren: true})
	ha.step(Close{SA: b, Silent: true, KeepChildren: true})
	w.run(time.Second, nil)
	if len(w.sent) != from {
		t.Error("a silent close is not silent")
	}
	agree(t, mn, ha, 2)
	if s := mn.m.Snapshot(); len(s) != 1 || s[0].State != "orphans" || len(s[0].Children) != 2 {
		t.Errorf("%+v", s)
	}
	mn.log, ha.log = nil, nil
	ha.narrow = func(a Authorise) Authorised {
		if len(ha.kernel) < 2 {
			t.Error("an old child went before the new one came")
		}
		name := map[bool]string{true: "mh", false: "payload"}[a.Transport]
		return Authorised{Name: name, ReqID: 7, Local: a.Local, Remote: a.Remote}
	}
	mn.step(Initiate{Conn: "mip6", Local: ap(coa2), Remote: ap(haA), Children: []ChildWant{mhWant(), payloadWant()}})
	w.run(time.Second, nil)
	agree(t, mn, ha, 2)
	if len(mn.m.orphans)+len(ha.m.orphans) != 0 || mn.byName("payload").LocalAddr.String() != coa2 {
		t.Error("orphans left, or the old address")
	}
}

// TestOrphansOfSeveralIKESAs: two IKE SAs of one peer go silently; of each child the newest stays.
func TestOrphansOfSeveralIKESAs(t *testing.T) {
	for _, newestFirst := range []bool{false, true} {
		w, mn, ha := pair(t, 6, nil)
		a, _ := connect(t, w, mn, ha)
		old := mn.byName("mh")
		w.run(time.Second, nil)
		mn.initiate(mhWant())
		w.run(time.Second, nil)
		list := []SAID{a, find[SAUp](mn)[1].SA}
		if newestFirst {
			slices.Reverse(list)
		}
		for _, sa := range list {
			mn.step(Close{SA: sa, Silent: true, KeepChildren: true})
		}
		if _, there := mn.kernel[old.SPIIn]; there || len(mn.kernel) != 2 || len(find[ChildDown](mn)) != 1 {
			t.Errorf("newest first %v: %d pairs, the older of two there: %v%s", newestFirst, len(mn.kernel), there, mn.dump())
		}
		w.run(2*time.Hour, nil)
		if len(mn.kernel) != 0 || len(mn.m.orphans)+len(mn.m.timers) != 0 || mn.m.Stats().Children != 0 {
			t.Error("something outlives its hard lifetime")
		}
	}
}

func TestOrphansExpire(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	a, _ := connect(t, w, mn, ha)
	mn.step(Close{SA: a, Silent: true, KeepChildren: true})
	w.run(2*time.Hour, nil)
	if len(mn.kernel) != 0 || len(mn.m.orphans)+len(mn.m.timers) != 0 {
		t.Error("orphans outlive their hard lifetime")
	}
	mn.initiate(mhWant())
	w.run(time.Second, nil)
	mn.step(Close{SA: find[SAUp](mn)[1].SA, Silent: true, KeepChildren: true})
	mn.step(DropOrphans{Conn: "mip6", Peer: haID})
	if len(mn.kernel) != 0 {
		t.Error("DropOrphans left some")
	}
}

// TestExpire: hard alarms of the kernel end a pair on both sides; an alarm of
// somebody else's SA with the same SPI does not.
func TestExpire(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	connect(t, w, mn, ha)
	c := mn.byName("payload")
	mn.step(Expire{SPI: c.SPIOut, Dst: c.LocalAddr, Hard: true}) // not our inbound SPI
	mn.step(Expire{SPI: c.SPIIn, Dst: c.RemoteAddr, Hard: true}) // an outbound one that is not ours
	mn.step(Expire{SPI: 12345, Dst: c.LocalAddr, Hard: true})
	w.run(time.Second, nil)
	agree(t, mn, ha, 2)
	mn.step(Expire{SPI: c.SPIIn, Dst: ap(coa2).Addr(), Hard: true}) // ours, at an address of before
	w.run(time.Second, nil)
	agree(t, mn, ha, 1)
	if d := one[ChildDown](mn); d.Reason != ReasonExpired || d.Child.Name != "payload" {
		t.Errorf("%+v", d)
	}
	c = ha.byName("mh")
	ha.step(Expire{SPI: c.SPIOut, Dst: c.RemoteAddr, Hard: true})
	w.run(time.Second, nil)
	agree(t, mn, ha, 0)
}

// TestHardLifetime: an IKE SA that cannot be rekeyed ends, and the peer is told.
func TestHardLifetime(t *testing.T) {
	w, mn, ha := pair(t, 6, func(s *setup) {
		s.mnCfg.Conns[0].IKERekey, s.mnCfg.Conns[0].IKEHard = time.Hour, 66*time.Minute
	})
	connect(t, w, mn, ha)
	// The agent forgets its proposals: every rekey of the IKE SA is refused.
	cfg := Config{Conns: []Conn{haConn()}}
	cfg.Conns[0].IKE = []transform.Offer{{Encr: []transform.Encr{{ID: 1}}, PRF: []transform.PRF{5}, KE: []transform.KE{31}}}
	ha.step(SetConfig{cfg})
	w.run(65*time.Minute, nil)
	agree(t, mn, ha, 2)
	w.run(2*time.Minute, nil)
	agree(t, mn, ha, 0)
	if one[SADown](mn).Reason != ReasonExpired || one[SADown](ha).Reason != ReasonDeleted {
		t.Errorf("%s%s", mn.dump(), ha.dump())
	}
	if n := len(w.sent); n > 120 {
		t.Errorf("%d messages: a refused rekey is tried too often", n)
	}
}
