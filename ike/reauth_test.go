package ike

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// reauthEach makes the node authenticate anew after so long.
func reauthEach(d time.Duration, more func(*setup)) func(*setup) {
	return func(s *setup) {
		s.mnCfg.Conns[0].Reauth, s.mnCfg.Conns[0].Jitter = d, -1
		s.haCfg.Conns[0].Reauth = d // who did not begin does not reauthenticate
		if more != nil {
			more(s)
		}
	}
}

// ownersAgree replays what both owners were told.
func ownersAgree(t *testing.T, w *world, mn, ha *node, name string) {
	t.Helper()
	d := &duel{t: t, w: w, a: mn, b: ha, name: name}
	d.owner(mn)
	d.owner(ha)
}

// TestReauthentication: new IKE SA and children before the old ones go; there is a pair of each name at
// every moment, and the node's owner sees a rekey.
func TestReauthentication(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"alone":            nil,
		"over a rekey":     func(s *setup) { s.mnCfg.Conns[0].IKERekey = 20 * time.Minute },
		"peer replaces":    func(s *setup) { s.haCfg.Conns[0].Unique = UniqueReplace },
		"peer rekeys":      func(s *setup) { s.haCfg.Conns[0].IKERekey = 59 * time.Minute },
		"children rekeyed": func(s *setup) { s.mnCfg.Conns[0].ChildRekey = 59*time.Minute + 58*time.Second },
	} {
		w, mn, ha := pair(t, 6, reauthEach(time.Hour, change))
		connect(t, w, mn, ha)
		for end := w.now.Add(3*time.Hour + 30*time.Minute); w.now.Before(end); {
			w.run(10*time.Second, nil)
			for _, n := range []*node{mn, ha} {
				has := map[string]bool{}
				for _, c := range n.kernel {
					has[c.Name] = true
				}
				if !has["mh"] || !has["payload"] {
					t.Fatalf("%s: %s is without a pair%s", name, n.name, n.dump())
				}
			}
		}
		agree(t, mn, ha, 2)
		ownersAgree(t, w, mn, ha, name)
		if ups := find[SAUp](ha); len(ups) != 4 {
			t.Errorf("%s: %d handshakes in 3.5 hours", name, len(ups))
		}
		if len(find[SAUp](mn)) != 1 || len(find[SADown](mn))+len(find[ChildDown](mn)) != 0 {
			t.Errorf("%s: the node's owner sees more than a rekey%s", name, mn.dump())
		}
		if n := len(mn.m.sas) + len(ha.m.sas); n != 2 {
			t.Errorf("%s: %d IKE SAs", name, n)
		}
	}
}

// TestReauthenticationFails: the old IKE SA goes on, and it is tried again.
func TestReauthenticationFails(t *testing.T) {
	for name, spoil := range map[string]func(w *world, ha *node){
		"no answer":   func(w *world, _ *node) { w.drop = firstMessages },
		"another key": func(_ *world, ha *node) { ha.keys = pskRing(t, haID, mnID, "another") },
	} {
		w, mn, ha := pair(t, 6, reauthEach(time.Hour, nil))
		connect(t, w, mn, ha)
		keys := ha.keys
		spoil(w, ha)
		w.run(65*time.Minute, nil)
		agree(t, mn, ha, 2)
		if n := len(find[Refused](mn)); n < 2 || n > 20 {
			t.Errorf("%s: %d tries", name, n)
		}
		w.drop, ha.keys = nil, keys
		w.run(2*time.Minute, nil)
		agree(t, mn, ha, 2)
		ownersAgree(t, w, mn, ha, name)
		if len(find[SARekeyed](mn)) != 1 || len(find[SADown](mn)) != 0 {
			t.Errorf("%s: %s", name, mn.dump())
		}
	}
}

func firstMessages(_ *node, s Send) bool {
	h, err := message.ParseHeader(s.Data)
	return err == nil && h.Exchange == message.IKESAInit
}

// TestReauthenticationMeets: what happens while the new IKE SA is under way.
func TestReauthenticationMeets(t *testing.T) {
	for name, c := range map[string]struct {
		then     func(w *world, mn, ha *node, a, b SAID)
		children int
		down     bool // the node's owner is told that the IKE SA is gone
	}{
		"the peer deletes the IKE SA": {func(_ *world, _, ha *node, _, b SAID) { ha.step(Close{SA: b}) }, 2, true},
		"we delete the IKE SA":        {func(_ *world, mn, _ *node, a, _ SAID) { mn.step(Close{SA: a}) }, 2, true},
		"a child is asked for": {func(_ *world, mn, _ *node, a, _ SAID) {
			x := payloadWant()
			x.Name, x.ReqID = "x", 9
			mn.step(CreateChild{Req: 9, SA: a, Want: x})
		}, 3, false},
		"a child is rekeyed": {func(_ *world, mn, _ *node, a, _ SAID) { mn.step(RekeyChild{a, mn.byName("payload").SPIIn}) }, 2, false},
		"the peer refuses a child": {func(_ *world, _, ha *node, _, _ SAID) {
			ha.deny = func(a Authorise) error {
				if a.Transport {
					return nil
				}
				return ErrTSUnacceptable
			}
		}, 1, false},
		"the IKE SA is rekeyed":         {func(_ *world, mn, _ *node, a, _ SAID) { mn.step(RekeySA{a}) }, 2, false},
		"the peer rekeys the IKE SA":    {func(_ *world, _, ha *node, _, b SAID) { ha.step(RekeySA{b}) }, 2, false},
		"the peer deletes and replaces": {func(w *world, _, ha *node, _, b SAID) { w.post(w.now.Add(40*time.Millisecond), ha, Close{SA: b}) }, 2, false},
	} {
		w, mn, ha := pair(t, 6, reauthEach(time.Hour, nil))
		a, b := connect(t, w, mn, ha)
		w.run(time.Hour-w.now.Sub(mn.m.sas[a].established)+time.Millisecond, nil)
		if len(mn.m.sas) != 2 || mn.m.sas[a].reauth == nil {
			t.Fatalf("%s: no reauthentication", name)
		}
		c.then(w, mn, ha, a, b)
		w.run(2*time.Minute, nil)
		agree(t, mn, ha, c.children)
		ownersAgree(t, w, mn, ha, name)
		if down := len(find[SADown](mn)) > 0; down != c.down {
			t.Errorf("%s: %s", name, mn.dump())
		}
		if n := len(mn.m.sas) + len(ha.m.sas); n != 2 {
			t.Errorf("%s: %d IKE SAs", name, n)
		}
	}
}

// TestUnique: the policies for duplicates, for a peer that begins twice, with INITIAL_CONTACT or without.
func TestUnique(t *testing.T) {
	for name, c := range map[string]struct {
		policy  Unique
		contact bool
		sas     int // at the agent, in the end
		refused bool
	}{
		"contact, not said": {UniqueContact, false, 2, false}, "contact, said": {UniqueContact, true, 1, false},
		"replace, not said": {UniqueReplace, false, 1, false}, "replace, said": {UniqueReplace, true, 1, false},
		"keep, not said": {UniqueKeep, false, 1, true}, "keep, said": {UniqueKeep, true, 1, false},
		"never, not said": {UniqueNever, false, 2, false}, "never, said": {UniqueNever, true, 2, false},
	} {
		w, mn, ha := pair(t, 6, func(s *setup) { s.haCfg.Conns[0].Unique = c.policy })
		connect(t, w, mn, ha)
		if c.contact { // who says it has forgotten the one before
			mn.m = New(Config{Conns: []Conn{mnConn()}}, seeded(98))
			mn.kernel = map[uint32]Child{}
		}
		mn.log = nil
		mn.step(Initiate{Req: 7, Conn: "mip6", Local: ap(coa1), Remote: ap(haA), Children: []ChildWant{mhWant(), payloadWant()}, InitialContact: c.contact})
		w.run(30*time.Second, nil)
		if got := len(find[Refused](mn)) == 1; got != c.refused {
			t.Errorf("%s: refused %v%s", name, got, mn.dump())
		}
		if n := ha.m.Stats().Established; n != c.sas {
			t.Errorf("%s: %d IKE SAs%s", name, n, ha.dump())
		}
	}
}

// TestUniqueKeepOfTheDead: an old IKE SA whose peer is gone does not lock it out for ever.
func TestUniqueKeepOfTheDead(t *testing.T) {
	w, mn, ha := pair(t, 6, func(s *setup) { s.haCfg.Conns[0].Unique = UniqueKeep; s.haCfg.Retransmit.Tries = 2 })
	connect(t, w, mn, ha)
	mn.m = New(Config{Conns: []Conn{mnConn()}}, seeded(98))
	mn.kernel, mn.log = map[uint32]Child{}, nil
	mn.initiate(mhWant())
	w.run(time.Minute, nil)
	if len(find[Refused](mn)) != 1 || len(find[SADown](ha)) != 1 {
		t.Fatalf("%s%s", mn.dump(), ha.dump())
	}
	mn.initiate(mhWant())
	w.run(time.Minute, nil)
	if len(find[SAUp](mn)) != 1 {
		t.Error("still locked out")
	}
}

// TestVolumes: limits in octets and packets reach the kernel with jitter, and its alarm rekeys.
func TestVolumes(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := uint64(0); seed < 12; seed++ {
		w, mn, ha := pair(t, seed, func(s *setup) {
			s.mnCfg.Conns[0].ChildBytes, s.mnCfg.Conns[0].ChildPackets = Volume{Rekey: 1000000}, Volume{Rekey: 5000, Hard: 9000}
			s.mnCfg.Conns[0].Jitter = 0.2
		})
		connect(t, w, mn, ha)
		c := mn.byName("payload")
		if c.Bytes.Hard != 1100000 || c.Bytes.Rekey > 1000000 || c.Bytes.Rekey < 800000 ||
			c.Packets.Hard != 9000 || c.Packets.Rekey > 5000 || c.Packets.Rekey < 4000 {
			t.Fatalf("%+v %+v", c.Bytes, c.Packets)
		}
		seen[c.Bytes.Rekey] = true
		if p := ha.byName("payload").Packets; !c.ESN && (p.Hard != maxSequence || p.Rekey >= p.Hard || p.Rekey < maxSequence/2) {
			t.Errorf("32-bit sequence numbers end without a rekey: %+v", p)
		}
		mn.step(Expire{SPI: c.SPIOut, Proto: ESP, Dst: c.RemoteAddr}) // the kernel's soft alarm
		w.run(time.Second, nil)
		agree(t, mn, ha, 2)
		if mn.byName("payload").SPIIn == c.SPIIn {
			t.Error("not rekeyed")
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d different limits", len(seen))
	}
	for name, v := range map[string]Volume{"equal": {5, 5}, "above": {6, 5}} {
		k := mnConn()
		if k.ChildBytes = v; (Config{Conns: []Conn{k}}).Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, v := range []Volume{{1, 0}, {9, 0}, {1 << 62, 0}, {0, 7}} {
		if d := v.withDefaults(); d.Hard <= d.Rekey {
			t.Errorf("%+v becomes %+v", v, d)
		}
	}
}

// TestInvalidSPI: a peer that does not know a child of ours any more makes us ask, if the word comes from
// where the child goes; it is never answered.
func TestInvalidSPI(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	connect(t, w, mn, ha)
	word := func(from string, spi []byte) Datagram {
		n := message.Notify{Type: message.InvalidSPI, Data: spi}
		return Datagram{Local: ap(coa1), Remote: ap(from), Data: message.Plain(
			message.Header{SPIi: 99, Exchange: message.Informational, Flags: message.FlagInitiator}, []message.Body{n.Body()})}
	}
	c := mn.byName("payload")
	out, in := binary.BigEndian.AppendUint32(nil, c.SPIOut), binary.BigEndian.AppendUint32(nil, c.SPIIn)
	from := len(w.sent)
	for _, d := range []Datagram{word("2001:db8::66", out), word(haA, in), word(haA, []byte{1, 2, 3, 4}), word(haA, out[:3]), word(haA, nil), word(haA, append(out, 0))} {
		mn.step(d)
	}
	if len(w.sent) != from {
		t.Error("a message for a hint that is none")
	}
	for range 10 {
		mn.step(word(haA, out))
	}
	if len(w.sent)-from != 1 {
		t.Errorf("%d messages for ten hints", len(w.sent)-from)
	}
	w.run(time.Second, nil)
	agree(t, mn, ha, 2)
}

// TestClosingPeerIsGone: a Delete is not repeated for long to somebody who says that he knows nothing of the IKE SA.
func TestClosingPeerIsGone(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	a, _ := connect(t, w, mn, ha)
	ha.m = New(Config{Conns: []Conn{haConn()}}, seeded(99))
	from := len(w.sent)
	mn.step(Close{SA: a})
	w.run(5*time.Second, nil)
	if n := len(w.sent) - from; n != 2*(1+closeTries) || len(mn.m.sas) != 0 {
		t.Errorf("%d messages, %d IKE SAs", n, len(mn.m.sas))
	}
}

// TestWindowSizeIsTolerated: SET_WINDOW_SIZE in any request, of any size; our window stays one (§2.3).
func TestWindowSizeIsTolerated(t *testing.T) {
	for _, data := range [][]byte{{0, 0, 0, 1}, {0, 0, 0, 16}, {0, 0, 0, 0}, {255, 255, 255, 255}, {1}, nil} {
		w, mn, ha := pair(t, 6, nil)
		a, b := connect(t, w, mn, ha)
		s := mn.m.sas[a]
		send := func(id uint32) {
			data := s.seal(message.Informational, id, false, []message.Body{message.Notify{Type: message.SetWindowSize, Data: data}.Body()})
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: data})
		}
		from := len(w.sent)
		send(s.sendID + 1) // beyond a window of one
		send(s.sendID)
		if n := len(w.sent) - from; n != 1 || ha.m.sas[b].recvID != s.sendID+1 {
			t.Errorf("%x: %d answers", data, n)
		}
		agree(t, mn, ha, 2)
	}
}

// TestUnknownDeletes: of children that are not there; the answer names none, and nothing happens.
func TestUnknownDeletes(t *testing.T) {
	w, mn, ha := pair(t, 6, nil)
	a, _ := connect(t, w, mn, ha)
	c := mn.byName("payload")
	for name, d := range map[string]message.Delete{
		"unknown": {Protocol: message.ProtoESP, SPIs: []uint32{77}}, "of the other protocol": {Protocol: message.ProtoAH, SPIs: []uint32{c.SPIIn}},
		"the peer's own": {Protocol: message.ProtoESP, SPIs: []uint32{c.SPIOut}}, "none": {Protocol: message.ProtoESP},
	} {
		s := mn.m.sas[a]
		from := len(w.sent)
		ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: s.seal(message.Informational, s.sendID, false, []message.Body{d.Body()})})
		s.sendID++
		if len(w.sent) != from+1 || peek(mn, w.sent[from]) != "empty" {
			t.Errorf("%s: no empty answer", name)
		}
	}
	agree(t, mn, ha, 2)
}

// TestHalfOpenSources: in total and for each source, by /64 or IPv4 address; a handshake that is done gives its place back.
func TestHalfOpenSources(t *testing.T) {
	cfg := Config{Conns: []Conn{haConn()}, CookieThreshold: 1000, HalfOpenMax: 10, HalfOpenPerSource: 3}
	w := newWorld(t, 1)
	ha := w.node("ha", cfg, pskRing(t, haID, mnID, "k"), haA)
	mn := w.node("mn", Config{Conns: []Conn{mnConn()}}, pskRing(t, mnID, haID, "k"), coa1)
	mn.initiate(mhWant())
	first := w.sent[0].Data
	open := func(from string, n byte) int {
		before := ha.m.halfOpen
		data := append([]byte(nil), first...)
		data[7] = n // another SPI
		ha.step(Datagram{Local: ap(haA), Remote: ap(from), Data: data})
		return ha.m.halfOpen - before
	}
	got := 0
	for i := range byte(9) {
		got += open([]string{"2001:db8:1::1", "2001:db8:1::2", "2001:db8:1:0:ffff::3"}[i%3], i)
	}
	if got != 3 {
		t.Errorf("one /64 has %d half-open IKE SAs", got)
	}
	for i := range byte(40) {
		got += open([]string{"2001:db8:1:1::1", "2001:db8:1:2::1", "192.0.2.1", "192.0.2.2", "2001:db8:1:3::1"}[i%5], 100+i)
	}
	if got != 10 || ha.m.Stats().DropHalfOpen != 39 {
		t.Errorf("%d half-open IKE SAs, %d refused", got, ha.m.Stats().DropHalfOpen)
	}
	w.run(time.Minute, nil)
	if ha.m.halfOpen != 0 || len(ha.m.perSource) != 0 {
		t.Errorf("%d half-open IKE SAs stay", ha.m.halfOpen)
	}
}
