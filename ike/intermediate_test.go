package ike

import (
	"bytes"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// encapsulate answers an Encapsulate with chance from the world's seed, so that a trace repeats.
func (n *node) encapsulate(a Encapsulate) (ct, shared []byte, err error) {
	var b [32]byte
	for i := range b {
		b[i] = byte(n.w.r.Uint32())
	}
	switch a.Method {
	case transform.MLKEM768:
		key, err := mlkem.NewEncapsulationKey768(a.Public)
		if err != nil {
			return nil, nil, err
		}
		shared, ct, err = mlkemtest.Encapsulate768(key, b[:])
		return ct, shared, err
	case transform.MLKEM1024:
		key, err := mlkem.NewEncapsulationKey1024(a.Public)
		if err != nil {
			return nil, nil, err
		}
		shared, ct, err = mlkemtest.Encapsulate1024(key, b[:])
		return ct, shared, err
	}
	return nil, nil, errors.New("not a KEM")
}

// hybrid gives both sides these proposals.
func hybrid(t testing.TB, ike, esp string) func(*setup) {
	return func(s *setup) {
		for _, c := range []*Config{&s.mnCfg, &s.haCfg} {
			c.Conns[0].IKE = ikeOffers(t, ike)
			if esp != "" {
				c.Conns[0].ESP = espOffers(t, esp)
			}
			c.Retransmit.Tries, c.Retransmit.ConnectTries = 20, 20
			c.HalfOpenTimeout = 5 * time.Minute
		}
	}
}

const (
	hybrid768  = "aes128gcm16-prfsha256-x25519-ke1_mlkem768"
	hybrid1024 = "aes256gcm16-prfsha384-ecp256-ke1_mlkem1024"
	hybridAll  = "aes256gcm16-prfsha512-x25519-ke2_mlkem1024-ke3_ecp256-ke7_mlkem768"
)

// TestHybridSuites: whatever is agreed on, over a network that loses, repeats and reorders,
// unfragmented and in pieces: the IKE SA comes up, children and the IKE SA are rekeyed by either
// side, with the keys of both alike.
func TestHybridSuites(t *testing.T) {
	seed := uint64(0)
	for _, suite := range []string{hybrid768, hybrid1024, hybridAll, "aes128gcm16-prfsha256-ecp256-ke1_x25519",
		"aes128-sha256-prfsha256-x25519-ke1_mlkem768", "chacha20poly1305-prfsha256-x25519-ke4_mlkem768-ke4_none"} {
		for _, esp := range []string{"aes128gcm16", "aes128gcm16-x25519-ke1_mlkem768", "aes128gcm16-mlkem768", "aes256gcm16-mlkem1024-ke1_x25519-ke2_ecp256"} {
			for _, how := range []struct {
				size int
				loss float64
			}{{-1, 0}, {0, 0.15}, {256, 0.1}} {
				seed++
				w, mn, ha := pair(t, seed, func(s *setup) {
					hybrid(t, suite, esp)(s)
					s.mnCfg.FragmentSize, s.haCfg.FragmentSize = how.size, how.size
				})
				w.loss, w.dup, w.jitter = how.loss, how.loss, 15*time.Millisecond
				mn.initiate(mhWant(), payloadWant())
				if !w.run(5*time.Minute, func() bool { return len(find[ChildUp](mn)) == 2 && len(find[ChildUp](ha)) == 2 }) {
					t.Fatalf("%s %s %v: not up%s%s", suite, esp, how, mn.dump(), ha.dump())
				}
				a, b := one[SAUp](mn), one[SAUp](ha)
				if a.Suite != b.Suite || a.Suite.String() != wantSuite(suite) {
					t.Fatalf("%s and %s", a.Suite, b.Suite)
				}
				mn.step(RekeyChild{a.SA, mn.byName("payload").SPIIn})
				w.run(3*time.Minute, nil)
				ha.step(RekeyChild{b.SA, ha.byName("mh").SPIIn})
				w.run(3*time.Minute, nil)
				mn.step(RekeySA{a.SA})
				w.run(3*time.Minute, nil)
				ha.step(RekeySA{one[SARekeyed](ha).New})
				w.run(3*time.Minute, nil)
				mn.step(RekeyChild{find[SARekeyed](mn)[1].New, mn.byName("payload").SPIIn})
				w.run(3*time.Minute, nil)
				agree(t, mn, ha, 2)
				if len(find[SADown](mn))+len(find[SADown](ha))+len(find[ChildDown](mn))+len(find[ChildRefused](mn))+len(find[ChildRefused](ha)) != 0 {
					t.Fatalf("%s %s %v:%s%s", suite, esp, how, mn.dump(), ha.dump())
				}
				if st := ha.m.Stats(); st.ChildRekeys != 3 || st.SARekeys != 2 || how.size == 256 && st.Reassembled == 0 {
					t.Fatalf("%s %s %v: %+v", suite, esp, how, st)
				}
			}
		}
	}
}

// wantSuite is what a proposal of one choice each leads to.
func wantSuite(offer string) string {
	if i := len(offer) - len("-ke4_none"); i > 0 && offer[i:] == "-ke4_none" {
		return offer[:i]
	}
	return offer
}

// TestIntAuth: what AUTH covers is computed here once more, from the datagrams and by the text of
// RFC 9242 §3.3.2, with fragments and without.
func TestIntAuth(t *testing.T) {
	var want [2][]byte // IntAuth of the two forms has to be the same function of what is inside
	for i, size := range []int{-1, 256} {
		w, mn, ha := pair(t, 9, func(s *setup) {
			hybrid(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024", "")(s)
			s.mnCfg.FragmentSize, s.haCfg.FragmentSize = size, size
			s.mnCfg.KeyLog = true
		})
		type generation struct{ pi, pr []byte }
		var gens []generation
		for range 400 {
			if w.run(time.Millisecond, nil); len(w.sent) == 0 {
				mn.initiate(mhWant())
			}
			for _, s := range mn.m.sas {
				if n := len(gens); s.in != nil && (n == 0 || !bytes.Equal(gens[n-1].pi, s.keys.Pi)) {
					gens = append(gens, generation{s.keys.Pi, s.keys.Pr})
				}
			}
		}
		if len(find[SAUp](mn)) != 1 || len(gens) != 3 {
			t.Fatalf("%d generations of keys", len(gens))
		}
		keys := find[Keys](mn)
		mac := func(key []byte, parts ...[]byte) []byte {
			h := hmac.New(sha256.New, key)
			for _, p := range parts {
				h.Write(p)
			}
			return h.Sum(nil)
		}
		var authI, authR []byte
		for n := uint32(1); n <= 2; n++ {
			k := keys[n-1]
			for _, response := range []bool{false, true} {
				key, pkey := k.SKei, gens[n-1].pi
				if response {
					key, pkey = k.SKer, gens[n-1].pr
				}
				prot, err := transform.Suite{Encr: transform.AES128GCM16}.Protector(key, nil)
				if err != nil {
					t.Fatal(err)
				}
				covered := covers(t, w, prot, n, response)
				if response {
					authR = mac(pkey, authR, covered)
				} else {
					authI = mac(pkey, authI, covered)
				}
			}
		}
		want[i] = slices.Concat(authI, authR, []byte{0, 0, 0, 3})
		check := func(n *node, s *sa) {
			if got := s.first.mid.intAuth(); !bytes.Equal(got, want[i]) {
				t.Errorf("%s, size %d:\n%x, want\n%x", n.name, size, got, want[i])
			}
		}
		// Run again to the moment before IKE_AUTH is proved, with the same seeds.
		w, mn, ha = pair(t, 9, func(s *setup) {
			hybrid(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024", "")(s)
			s.mnCfg.FragmentSize, s.haCfg.FragmentSize = size, size
			s.mnCfg.KeyLog = true
		})
		mn.initiate(mhWant())
		stop := func() bool {
			for _, s := range ha.m.sas {
				return s.first != nil && s.first.mid.done == 2 && s.inb != nil
			}
			return false
		}
		if !w.run(time.Second, stop) {
			t.Fatal("IKE_AUTH does not come")
		}
		for _, n := range []*node{mn, ha} {
			for _, s := range n.m.sas {
				check(n, s)
			}
		}
	}
}

// covers is A and P of a message of IKE_INTERMEDIATE, from what was sent of it.
func covers(t *testing.T, w *world, prot *transform.Protector, id uint32, response bool) []byte {
	t.Helper()
	var head, plain []byte
	for _, s := range w.sent {
		h, _ := message.ParseHeader(s.Data)
		if h.Exchange != message.IKEIntermediate || h.ID != id || h.Response() != response {
			continue
		}
		at, first := 32, s.Data[28]
		if h.Next == message.TypeSKF {
			at = 36
		}
		p, err := prot.Open(s.Data, at)
		if err != nil {
			t.Fatal(err)
		}
		if head == nil {
			head = append(slices.Clone(s.Data[:28]), first, s.Data[29], 0, 0)
			head[16] = 46
		}
		plain = append(plain, p...)
	}
	if len(plain) == 0 {
		t.Fatal("no such message")
	}
	binary.BigEndian.PutUint32(head[24:], uint32(32+len(plain)))
	binary.BigEndian.PutUint16(head[30:], uint16(4+len(plain)))
	return append(head, plain...)
}

// TestIntermediateIsProved: who changes what IKE_INTERMEDIATE carried is found out by AUTH, even
// one who has all keys of that time.
func TestIntermediateIsProved(t *testing.T) {
	for _, who := range []string{"mn", "ha"} {
		w, mn, ha := pair(t, 9, hybrid(t, hybrid768, ""))
		mn.initiate(mhWant())
		n := mn
		if who == "ha" {
			n = ha
		}
		forged := false
		w.run(10*time.Second, func() bool {
			for _, s := range n.m.sas {
				if f := s.first; f != nil && f.mid.done == 1 && !forged {
					f.mid.authI, forged = bytes.Clone(f.mid.authI), true
					f.mid.authI[3] ^= 1
				}
			}
			return false
		})
		if !forged || len(find[SAUp](mn)) != 0 || ha.m.Stats().AuthFailures+mn.m.Stats().AuthFailures == 0 {
			t.Errorf("%s: %s%s", who, mn.dump(), ha.dump())
		}
	}
}

// TestIntermediateNegotiation: without IKE_INTERMEDIATE at the peer nothing of it is used; what
// must be there is not done without.
func TestIntermediateNegotiation(t *testing.T) {
	const plain, either = "aes128gcm16-prfsha256-x25519", hybrid768 + "-ke1_none"
	for _, c := range []struct{ mn, ha, want string }{
		{hybrid768, plain, ""}, {plain, hybrid768, ""}, {either, plain, plain}, {plain, either, plain}, {either, hybrid768, hybrid768},
		{hybrid768, either, hybrid768},
	} {
		w, mn, ha := pair(t, 2, func(s *setup) {
			s.mnCfg.Conns[0].IKE, s.haCfg.Conns[0].IKE = ikeOffers(t, c.mn), ikeOffers(t, c.ha)
		})
		mn.initiate(mhWant())
		w.run(time.Minute, nil)
		ups := find[SAUp](mn)
		if len(ups) == 1 != (c.want != "") || len(ups) == 1 && ups[0].Suite.String() != c.want {
			t.Errorf("%s with %s: %+v", c.mn, c.ha, ups)
		}
		if c.want == "" && (len(find[Refused](mn)) != 1 || len(ha.m.sas) != 0) {
			t.Errorf("%s with %s: %s", c.mn, c.ha, mn.dump())
		}
	}
	// Two proposals: a peer that leaves the notify out gets the one without.
	w, mn, ha := pair(t, 2, func(s *setup) {
		s.mnCfg.Conns[0].IKE, s.haCfg.Conns[0].IKE = ikeOffers(t, hybrid768, plain), ikeOffers(t, hybrid768, plain)
	})
	mn.initiate(mhWant())
	first := w.sent[0].Data
	w.queue = nil
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: withoutNotify(t, first, message.IntermediateSupported)})
	p := parsed(t, w.sent[1].Data)
	if len(p.SA) != 1 || p.SA[0].Number != 2 || p.Notify(message.IntermediateSupported) != nil {
		t.Errorf("%+v", p.SA)
	}
	// And an answer that chooses an additional key exchange without the notify is none.
	w, mn, _ = pair(t, 2, hybrid(t, hybrid768, ""))
	mn.initiate(mhWant())
	w.run(15*time.Millisecond, nil)
	answer := w.sent[1].Data
	w.queue = nil
	mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: withoutNotify(t, answer, message.IntermediateSupported)})
	for _, s := range mn.m.sas {
		if s.state != stateInit {
			t.Error("taken")
		}
	}
	mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: answer})
	for _, s := range mn.m.sas {
		if s.state != stateAuth {
			t.Error("the true one is not taken")
		}
	}
}

func parsed(t *testing.T, data []byte) *message.Payloads {
	t.Helper()
	h, err := message.ParseHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := message.Parse(h, data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withoutNotify is an unprotected message with one notify taken out.
func withoutNotify(t *testing.T, data []byte, n message.NotifyType) []byte {
	t.Helper()
	h, _ := message.ParseHeader(data)
	var ps []message.Body
	next, off := h.Next, message.HeaderLen
	for next != message.NoNext {
		size := int(binary.BigEndian.Uint16(data[off+2:]))
		b := message.Body{Type: next, Data: data[off+4 : off+size]}
		if next != message.TypeNotify || message.NotifyType(binary.BigEndian.Uint16(b.Data[2:])) != n {
			ps = append(ps, b)
		}
		next, off = message.PayloadType(data[off]), off+size
	}
	return message.Plain(h, ps)
}

// TestIntermediateHostile: a peer that has done IKE_SA_INIT and then breaks the rules. It is
// refused and nothing is left, or it is as if nothing had come.
func TestIntermediateHostile(t *testing.T) {
	kem, _ := transform.MLKEM768.Generate(seeded(77))
	bad := bytes.Clone(kem.Public())
	bad[0], bad[1] = 0xff, 0xff
	ke := func(g transform.KE, data []byte) []message.Body {
		return []message.Body{message.KE{Group: uint16(g), Data: data}.Body()}
	}
	auth := []message.Body{{Type: message.TypeIDi, Data: mnID.Raw()}}
	for _, c := range []struct {
		name    string
		x       message.ExchangeType
		id      uint32
		ps      []message.Body
		refused bool
	}{
		{"IKE_AUTH first", message.IKEAuth, 1, auth, false},
		{"IKE_AUTH in its place", message.IKEAuth, 2, auth, false},
		{"a later message ID", message.IKEIntermediate, 2, ke(transform.MLKEM768, kem.Public()), false},
		{"message ID 0", message.IKEIntermediate, 0, ke(transform.MLKEM768, kem.Public()), false},
		{"IKE_FOLLOWUP_KE", message.IKEFollowupKE, 1, ke(transform.MLKEM768, kem.Public()), false},
		{"without KE", message.IKEIntermediate, 1, nil, true},
		{"another method", message.IKEIntermediate, 1, ke(transform.MLKEM1024, zeros(1568)), true},
		{"the method of IKE_SA_INIT", message.IKEIntermediate, 1, ke(transform.X25519, zeros(32)), true},
		{"method 0", message.IKEIntermediate, 1, ke(0, kem.Public()), true},
		{"KE too short", message.IKEIntermediate, 1, ke(transform.MLKEM768, kem.Public()[:1183]), true},
		{"KE too long", message.IKEIntermediate, 1, ke(transform.MLKEM768, append(bytes.Clone(kem.Public()), 0)), true},
		{"KE empty", message.IKEIntermediate, 1, ke(transform.MLKEM768, nil), true},
		{"KE twice", message.IKEIntermediate, 1, append(ke(transform.MLKEM768, kem.Public()), ke(transform.MLKEM768, kem.Public())...), true},
		{"a key out of range", message.IKEIntermediate, 1, ke(transform.MLKEM768, bad), true},
		{"an unknown critical payload", message.IKEIntermediate, 1, []message.Body{{Type: 200, Data: zeros(4)}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, mn, ha := pair(t, 4, hybrid(t, hybrid768, ""))
			mn.initiate(mhWant())
			w.run(15*time.Millisecond, nil) // the answer is under way
			w.drop = func(from *node, s Send) bool { return from == mn }
			w.run(15*time.Millisecond, nil)
			var s *sa
			for _, s = range mn.m.sas {
			}
			if s.state != stateAuth || s.first.mid.done != 0 {
				t.Fatal("not where it should be")
			}
			data := s.seal(c.x, c.id, false, c.ps)
			if c.name == "an unknown critical payload" {
				data = sealCritical(s, c.x, c.id, c.ps)
			}
			ha.step(Datagram{Local: s.remote, Remote: s.local, Data: data})
			w.run(time.Second, nil)
			if got := len(find[Refused](ha)) == 1; got != c.refused {
				t.Errorf("refused: %v%s", got, ha.dump())
			}
			for _, p := range ha.m.sas {
				if c.refused && p.state != stateGone || !c.refused && (p.recvID != 1 || p.inb != nil || p.state != stateHalfOpen) {
					t.Errorf("state %s, next is %d", p.state, p.recvID)
				}
			}
			w.drop = nil
			w.run(10*time.Minute, nil)
			if c.refused == (len(find[SAUp](ha)) != 0) || c.refused && len(ha.m.sas)+len(ha.m.tasks) != 0 {
				t.Errorf("%d IKE SAs, %d tasks%s", len(ha.m.sas), len(ha.m.tasks), ha.dump())
			}
		})
	}
}

// sealCritical seals payloads with the critical bit of the first set.
func sealCritical(s *sa, x message.ExchangeType, id uint32, ps []message.Body) []byte {
	h, first, inner := s.compose(x, id, false, ps)
	inner[1] |= 0x80
	return s.sealWhole(h, first, inner)
}

// TestIntermediateMore: more of them than were agreed on end the handshake, none at all does not.
func TestIntermediateMore(t *testing.T) {
	for _, offer := range []string{hybrid768, "aes128gcm16-prfsha256-x25519"} {
		w, mn, ha := pair(t, 4, hybrid(t, offer, ""))
		mn.hold = true // IKE_AUTH waits for its SPI
		mn.initiate(mhWant())
		w.run(time.Second, nil)
		var s *sa
		for _, s = range mn.m.sas {
		}
		before := len(find[Refused](ha))
		ha.step(Datagram{Local: s.remote, Remote: s.local, Data: s.seal(message.IKEIntermediate, s.sendID, false, nil)})
		w.run(time.Second, nil)
		if got := len(find[Refused](ha)) - before; got != int(s.first.mid.done) || before != 0 {
			t.Errorf("%s: refused %d times", offer, got)
		}
	}
}

// TestIntermediateAnswers: answers of a responder that breaks the rules; the initiator gives up, or
// waits for the true one.
func TestIntermediateAnswers(t *testing.T) {
	for _, c := range []struct {
		name  string
		x     message.ExchangeType
		id    uint32
		ps    []message.Body
		taken bool
	}{
		{"empty", message.IKEIntermediate, 1, nil, true},
		{"another method", message.IKEIntermediate, 1, []message.Body{message.KE{Group: 37, Data: zeros(1568)}.Body()}, true},
		{"short ciphertext", message.IKEIntermediate, 1, []message.Body{message.KE{Group: 36, Data: zeros(1087)}.Body()}, true},
		{"an encapsulation key", message.IKEIntermediate, 1, []message.Body{message.KE{Group: 36, Data: zeros(1184)}.Body()}, true},
		{"an error", message.IKEIntermediate, 1, []message.Body{message.Notify{Type: message.InvalidSyntax}.Body()}, true},
		{"IKE_AUTH", message.IKEAuth, 1, nil, false},
		{"another message ID", message.IKEIntermediate, 2, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, mn, ha := pair(t, 4, hybrid(t, hybrid768, ""))
			ha.hold = true // it does not encapsulate yet
			mn.initiate(mhWant())
			w.run(100*time.Millisecond, nil)
			var s, peer *sa
			for _, s = range mn.m.sas {
			}
			for _, peer = range ha.m.sas {
			}
			if peer.inb == nil || peer.inb.exchange != message.IKEIntermediate {
				t.Fatal("not where it should be")
			}
			mn.step(Datagram{Local: s.local, Remote: s.remote, Data: peer.seal(c.x, c.id, true, c.ps)})
			if got := len(find[Refused](mn)) == 1; got != c.taken {
				t.Errorf("given up: %v", got)
			}
			ha.hold = false
			for _, ev := range ha.held {
				w.post(w.now, ha, ev)
			}
			w.run(time.Minute, nil)
			if up := len(find[SAUp](mn)) == 1; up == c.taken {
				t.Errorf("up: %v%s", up, mn.dump())
			}
		})
	}
}

// TestEncapsulateWaits: requests that are repeated meanwhile are absorbed, and an answer that comes
// when the IKE SA is gone is ignored.
func TestEncapsulateWaits(t *testing.T) {
	w, mn, ha := pair(t, 4, hybrid(t, hybrid768, "aes128gcm16-mlkem768"))
	w.taskDelay = 1200 * time.Millisecond
	mn.initiate(mhWant())
	if !w.run(time.Minute, func() bool { return len(find[ChildUp](mn)) == 1 && len(find[ChildUp](ha)) == 1 }) {
		t.Fatalf("%s%s", mn.dump(), ha.dump())
	}
	if st := ha.m.Stats(); st.Duplicates == 0 || st.DropMessageID != 0 {
		t.Errorf("%+v", st)
	}
	agree(t, mn, ha, 1)
	w, mn, ha = pair(t, 4, hybrid(t, hybrid768, ""))
	ha.hold = true
	mn.initiate(mhWant())
	w.run(time.Minute, nil)
	w.run(10*time.Minute, nil)
	if len(ha.held) == 0 || len(ha.m.sas) != 0 {
		t.Fatalf("%d held, %d IKE SAs", len(ha.held), len(ha.m.sas))
	}
	for _, ev := range ha.held {
		ha.step(ev)
	}
	if len(ha.m.tasks) != 0 || int(ha.m.Stats().StaleTaskAnswer) != len(ha.held) || len(find[SAUp](ha)) != 0 {
		t.Errorf("%d tasks, %+v", len(ha.m.tasks), ha.m.Stats())
	}
}
