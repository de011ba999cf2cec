package ike

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

const espHybrid = "aes128gcm16-x25519-ke1_mlkem768"

// TestSeriesMessages: the exchanges of a rekey in their order, and what each carries.
func TestSeriesMessages(t *testing.T) {
	w, mn, ha := pair(t, 6, func(s *setup) {
		hybrid(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke3_ecp256", "aes128gcm16-x25519-ke1_mlkem768-ke2_mlkem1024")(s)
		s.mnCfg.FragmentSize, s.haCfg.FragmentSize = -1, -1
	})
	a, _ := connect(t, w, mn, ha)
	for _, what := range []string{"child", "IKE SA"} {
		if what == "child" {
			mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
		} else {
			mn.step(RekeySA{a})
		}
		var seen string
		var link []byte
		w.drop = func(from *node, x Send) bool {
			in := mn.m.sas[SAID(peerID(x.Data, false))]
			if from == mn {
				in = ha.m.sas[SAID(peerID(x.Data, true))]
			}
			h, _ := message.ParseHeader(x.Data)
			outer, _ := message.Parse(h, x.Data)
			plain, err := in.in.Open(x.Data, outer.SK.Offset)
			if err != nil {
				t.Fatal(err)
			}
			p, err := message.ParseInner(outer.SK.Inner, plain)
			if err != nil {
				t.Fatal(err)
			}
			if h.Exchange == message.Informational {
				return false
			}
			seen += fmt.Sprint(h.Exchange, " ")
			if p.SA != nil {
				seen += "SA "
			}
			if p.Nonce != nil {
				seen += "N "
			}
			if p.KE != nil {
				seen += fmt.Sprint(transform.KE(p.KE.Group), " ")
			}
			if n := p.Notify(message.AdditionalKeyExchange); n != nil {
				seen += "+ "
				if from == mn && !bytes.Equal(n.Data, link) {
					t.Error("the link is not the one of the answer before")
				}
				if from == ha && bytes.Equal(n.Data, link) {
					t.Error("the link does not change")
				}
				link = bytes.Clone(n.Data)
			}
			seen += "\n"
			return false
		}
		if what == "child" { // the request is sent when its SPI is there
			w.run(time.Minute, nil)
		} else {
			w.drop(mn, w.sent[len(w.sent)-1]) // sent before the watch
			w.run(time.Minute, nil)
		}
		want := "CREATE_CHILD_SA SA N x25519 \nCREATE_CHILD_SA SA N x25519 + \n" +
			"IKE_FOLLOWUP_KE mlkem768 + \nIKE_FOLLOWUP_KE mlkem768 + \n"
		if what == "child" {
			want += "IKE_FOLLOWUP_KE mlkem1024 + \nIKE_FOLLOWUP_KE mlkem1024 \n"
		} else {
			want += "IKE_FOLLOWUP_KE ecp256 + \nIKE_FOLLOWUP_KE ecp256 \n"
		}
		if seen != want {
			t.Errorf("%s:\n%swant\n%s", what, seen, want)
		}
		w.drop = nil
		agree(t, mn, ha, 2)
	}
}

// peerID is the SPI of one end in a message.
func peerID(data []byte, responder bool) (v uint64) {
	at := 0
	if responder {
		at = 8
	}
	for _, b := range data[at : at+8] {
		v = v<<8 | uint64(b)
	}
	return v
}

// TestSeriesKeys: the keys are those of RFC 9370 §2.2.4, computed here once more.
func TestSeriesKeys(t *testing.T) {
	w, mn, ha := pair(t, 6, hybrid(t, hybrid768, espHybrid))
	a, b := connect(t, w, mn, ha)
	var pend *pending
	mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
	w.run(time.Minute, func() bool {
		if r := mn.m.sas[a].req; r != nil && r.pend != nil && len(r.pend.more) > 0 {
			pend = r.pend
		}
		return pend != nil
	})
	if pend == nil || len(pend.shared) != 32 || len(pend.more) != 32 {
		t.Fatalf("%+v", pend)
	}
	d := ha.m.sas[b].keys.D
	w.run(time.Minute, nil)
	child := mn.byName("payload")
	seed := slices.Concat(pend.shared, pend.ni, pend.nr, pend.more)
	var all, last []byte
	for i := byte(1); len(all) < 40; i++ {
		h := hmac.New(sha256.New, d)
		h.Write(slices.Concat(last, seed, []byte{i}))
		last = h.Sum(nil)
		all = append(all, last...)
	}
	if got := mn.kernel[child.SPIIn]; !bytes.Equal(got.KeyOut, all[:20]) || !bytes.Equal(got.KeyIn, all[20:40]) {
		t.Errorf("%x %x, want %x", got.KeyOut, got.KeyIn, all[:40])
	}
	// And of the IKE SA: SKEYSEED = prf(SK_d, SK(0) | Ni | Nr | SK(1)).
	var made *plannedSA
	var more []byte
	mn.step(RekeySA{a})
	w.run(time.Minute, func() bool {
		if r := mn.m.sas[a].req; r != nil && r.series != nil {
			made, more = r.series.made, r.series.shares
		}
		return len(find[SARekeyed](mn)) == 1
	})
	n := mn.m.sas[one[SARekeyed](mn).New]
	// The secret of the follow-up itself is gone with the exchange: the responder's is the same.
	if made == nil || n == nil || len(more) != 0 {
		t.Fatalf("%+v %x", made, more)
	}
	if p := ha.m.sas[one[SARekeyed](ha).New]; !bytes.Equal(p.keys.D, n.keys.D) || bytes.Equal(n.keys.D, d) {
		t.Error("keys of the IKE SA")
	}
	plain := transform.SeedRekey(n.suite.PRF, d, made.ni, made.nr, made.shared)
	if k, _ := n.suite.Keys(plain, made.ni, made.nr, n.spiI, n.spiR); bytes.Equal(k.D, n.keys.D) {
		t.Error("the additional key exchange does not count")
	}
}

// TestSeriesCrossing: both rekey the same child, or the IKE SA, at once, with every order of the
// messages that chance finds; one result stands, nothing is left over.
func TestSeriesCrossing(t *testing.T) {
	for seed := uint64(0); seed < 120; seed++ {
		w, mn, ha := pair(t, seed, hybrid(t, hybrid768, espHybrid))
		a, b := connect(t, w, mn, ha)
		if seed%4 != 0 {
			w.jitter = 60 * time.Millisecond
		}
		if seed%2 == 1 {
			w.loss = 0.15
		}
		child := seed%5 < 3
		act := func(n *node, id SAID) {
			if !child {
				n.step(RekeySA{id})
			} else if s := n.m.sas[id]; s != nil && len(s.children) > 1 && s.children[1].state == childUp {
				n.step(RekeyChild{id, s.children[1].SPIIn})
			}
		}
		act(mn, a)
		if seed%3 != 0 {
			w.run(time.Duration(w.r.IntN(70))*time.Millisecond, nil)
		}
		act(ha, b)
		w.run(5*time.Minute, nil)
		agree(t, mn, ha, 2)
		if mn.byName("payload").SPIIn != ha.byName("payload").SPIOut {
			t.Fatalf("seed %d: the sides use different pairs", seed)
		}
		for _, n := range []*node{mn, ha} {
			if len(n.m.sas) != 1 || len(find[SADown](n)) != 0 || len(find[ChildDown](n)) != 0 || len(find[ChildRefused](n)) != 0 {
				t.Fatalf("seed %d: %s has %d IKE SAs%s", seed, n.name, len(n.m.sas), n.dump())
			}
			for _, s := range n.m.sas {
				if s.series != nil || s.req != nil || s.inb != nil {
					t.Fatalf("seed %d: %s has something under way", seed, n.name)
				}
			}
			if child && len(find[ChildRekeyed](n)) == 0 || !child && len(find[SARekeyed](n)) == 0 {
				t.Fatalf("seed %d: not rekeyed%s", seed, n.dump())
			}
		}
	}
}

// TestSeriesChaos: children and the IKE SA are rekeyed by both sides at any time, in small pieces
// of which some get lost, come twice or out of order. What is left is as if nothing had been.
func TestSeriesChaos(t *testing.T) {
	for seed := uint64(0); seed < 80; seed++ {
		w, mn, ha := pair(t, seed, func(s *setup) {
			hybrid(t, hybrid768, espHybrid)(s)
			s.mnCfg.FragmentSize, s.haCfg.FragmentSize = 300, 300
		})
		connect(t, w, mn, ha)
		w.jitter = time.Duration(w.r.IntN(60)+1) * time.Millisecond
		w.loss, w.dup = 0.015*float64(seed%4), 0.05*float64(seed%3)
		for range 12 {
			w.run(time.Duration(w.r.IntN(120))*time.Millisecond, nil)
			n := []*node{mn, ha}[w.r.IntN(2)]
			for _, i := range n.m.Snapshot() {
				if i.State != "established" {
					continue
				}
				switch w.r.IntN(3) {
				case 0:
					n.step(RekeySA{i.SA})
				case 1:
					if len(i.Children) > 0 {
						n.step(RekeyChild{i.SA, i.Children[w.r.IntN(len(i.Children))].Child.SPIIn})
					}
				case 2:
					n.step(Probe{i.SA})
				}
				break
			}
		}
		w.run(10*time.Minute, nil)
		agree(t, mn, ha, 2)
		for _, n := range []*node{mn, ha} {
			if len(n.m.sas) != 1 || len(n.m.tasks) != 0 || len(find[SADown](n)) != 0 || len(find[ChildDown](n)) != 0 {
				t.Fatalf("seed %d: %s has %d IKE SAs%s", seed, n.name, len(n.m.sas), n.dump())
			}
			for _, s := range n.m.sas {
				if s.series != nil || s.req != nil || s.inb != nil || s.parts != nil {
					t.Fatalf("seed %d: %s has something under way", seed, n.name)
				}
			}
		}
	}
}

// begun is a pair whose mobile node has begun a series for its payload child, and waits for the
// answer to the first IKE_FOLLOWUP_KE, which it did not get out.
func begun(t *testing.T, what string) (w *world, mn, ha *node, a, b SAID) {
	w, mn, ha = pair(t, 6, func(s *setup) {
		hybrid(t, hybrid768, espHybrid)(s)
		s.haCfg.Conns[0].DPD = time.Minute // finds out what an answer made that the peer did not wait for
	})
	a, b = connect(t, w, mn, ha)
	w.drop = func(from *node, s Send) bool {
		return from == mn && message.ExchangeType(s.Data[18]) == message.IKEFollowupKE
	}
	if what == "child" {
		mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
	} else {
		mn.step(RekeySA{a})
	}
	if !w.run(time.Second, func() bool { return mn.m.sas[a].req != nil && mn.m.sas[a].req.series != nil }) {
		t.Fatal("no series")
	}
	if ha.m.sas[b].series == nil {
		t.Fatal("the responder knows of none")
	}
	return w, mn, ha, a, b
}

// TestSeriesForgotten: the responder forgets a series that is not gone on with, answers
// STATE_NOT_FOUND, and the initiator begins anew.
func TestSeriesForgotten(t *testing.T) {
	for _, what := range []string{"child", "IKE SA"} {
		w, mn, ha, _, b := begun(t, what)
		w.run(seriesTimeout+time.Second, nil)
		if s := ha.m.sas[b]; s.series != nil || len(ha.larval) != 0 {
			t.Fatalf("%s: it is still there: %v", what, ha.larval)
		}
		w.drop = nil
		w.run(5*time.Minute, nil)
		agree(t, mn, ha, 2)
		if len(find[ChildRekeyed](mn))+len(find[SARekeyed](mn)) != 1 || len(find[SADown](mn)) != 0 {
			t.Errorf("%s: %s", what, mn.dump())
		}
	}
}

// TestSeriesLost: a peer that forgets every series loses the IKE SA (RFC 9370 §2.2.4).
func TestSeriesLost(t *testing.T) {
	w, mn, ha := pair(t, 6, hybrid(t, hybrid768, espHybrid))
	a, b := connect(t, w, mn, ha)
	mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
	for range 40000 {
		if s := ha.m.sas[b]; s != nil && s.series != nil && s.inb == nil {
			ha.m.out = nil
			ha.m.dropSeries(s)
			ha.do(ha.m.done())
		}
		if w.run(5*time.Millisecond, nil); len(find[SADown](mn)) != 0 {
			break
		}
	}
	if one[SADown](mn).Reason != ReasonSyntax || ha.m.Stats().ChildRekeys != 0 {
		t.Errorf("%s", mn.dump())
	}
	w.run(time.Minute, nil)
	agree(t, mn, ha, 0)
}

// TestSeriesHostile: an authenticated peer that breaks the rules of a series.
func TestSeriesHostile(t *testing.T) {
	kem, _ := transform.MLKEM768.Generate(seeded(77))
	bad := bytes.Clone(kem.Public())
	bad[0], bad[1] = 0xff, 0xff
	ke := func(g transform.KE, data []byte) message.Body {
		return message.KE{Group: uint16(g), Data: data}.Body()
	}
	link := func(b []byte) message.Body {
		return message.Notify{Type: message.AdditionalKeyExchange, Data: b}.Body()
	}
	for _, what := range []string{"child", "IKE SA"} {
		for _, c := range []struct {
			name string
			ps   func(real []byte) []message.Body
			want message.NotifyType
			ends bool
		}{
			{"without link", func([]byte) []message.Body { return []message.Body{ke(36, kem.Public())} }, message.StateNotFound, false},
			{"empty link", func([]byte) []message.Body { return []message.Body{ke(36, kem.Public()), link(nil)} }, message.StateNotFound, false},
			{"another link", func(l []byte) []message.Body {
				l = bytes.Clone(l)
				l[0] ^= 1
				return []message.Body{ke(36, kem.Public()), link(l)}
			}, message.StateNotFound, false},
			{"longer link", func(l []byte) []message.Body {
				return []message.Body{ke(36, kem.Public()), link(append(bytes.Clone(l), 0))}
			}, message.StateNotFound, false},
			{"nothing", func([]byte) []message.Body { return nil }, message.StateNotFound, false},
			{"no KE", func(l []byte) []message.Body { return []message.Body{link(l)} }, message.InvalidSyntax, true},
			{"another method", func(l []byte) []message.Body { return []message.Body{ke(37, zeros(1568)), link(l)} }, message.InvalidSyntax, true},
			{"short KE", func(l []byte) []message.Body { return []message.Body{ke(36, kem.Public()[:1183]), link(l)} }, message.InvalidSyntax, true},
			{"long KE", func(l []byte) []message.Body {
				return []message.Body{ke(36, append(bytes.Clone(kem.Public()), 0)), link(l)}
			}, message.InvalidSyntax, true},
			{"a key out of range", func(l []byte) []message.Body { return []message.Body{ke(36, bad), link(l)} }, message.InvalidSyntax, true},
			{"KE twice", func(l []byte) []message.Body {
				return []message.Body{ke(36, kem.Public()), ke(36, kem.Public()), link(l)}
			}, message.InvalidSyntax, true},
		} {
			w, mn, ha, a, b := begun(t, what)
			w.drop = nil
			s := mn.m.sas[a]
			s.sendID, s.req = s.req.id, nil // what it has not got out
			p := authentic(mn, ha, a, message.IKEFollowupKE, c.ps(ha.m.sas[b].series.link))
			if p == nil || len(p.Notifies) != 1 || p.Notifies[0].Type != c.want {
				t.Errorf("%s, %s: answer %+v", what, c.name, p)
				continue
			}
			if ends := len(find[SADown](ha)) == 1; ends != c.ends {
				t.Errorf("%s, %s: ended: %v", what, c.name, ends)
			}
			w.run(seriesTimeout+time.Second, nil)
			if len(ha.larval)+len(ha.m.tasks) != 0 {
				t.Errorf("%s, %s: left: %v, %d tasks", what, c.name, ha.larval, len(ha.m.tasks))
			}
		}
	}
}

// TestSeriesWithoutOne: IKE_FOLLOWUP_KE out of nothing; one link serves once.
func TestSeriesWithoutOne(t *testing.T) {
	w, mn, ha := pair(t, 6, hybrid(t, hybrid768, espHybrid))
	a, b := connect(t, w, mn, ha)
	ps := []message.Body{message.KE{Group: 36, Data: zeros(1184)}.Body(), message.Notify{Type: message.AdditionalKeyExchange, Data: zeros(16)}.Body()}
	for range 3 {
		if p := authentic(mn, ha, a, message.IKEFollowupKE, ps); p == nil || p.Notify(message.StateNotFound) == nil {
			t.Fatalf("%+v", p)
		}
	}
	var link []byte
	mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
	w.run(time.Minute, func() bool {
		if x := ha.m.sas[b].series; x != nil {
			link = bytes.Clone(x.link)
		}
		return false
	})
	agree(t, mn, ha, 2)
	ps[1] = message.Notify{Type: message.AdditionalKeyExchange, Data: link}.Body()
	if p := authentic(mn, ha, a, message.IKEFollowupKE, ps); link == nil || p == nil || p.Notify(message.StateNotFound) == nil {
		t.Fatalf("%+v", p)
	}
	if len(find[SADown](ha)) != 0 {
		t.Error("the IKE SA is gone")
	}
}

// TestSeriesReplaced: a peer that begins again and again leaves one series, and no SPIs of the others.
func TestSeriesReplaced(t *testing.T) {
	w, mn, ha := pair(t, 6, hybrid(t, hybrid768, espHybrid))
	a, b := connect(t, w, mn, ha)
	x, _ := transform.X25519.Generate(seeded(3))
	for i := range 50 {
		sa := message.SABody(transform.Proposals(espOffers(t, espHybrid), message.ProtoESP, []byte{9, 9, 9, byte(i)}))
		p := authentic(mn, ha, a, message.CreateChildSA, []message.Body{sa, nonceBody,
			message.KE{Group: 31, Data: x.Public()}.Body(), tsiBody, tsrBody})
		if p == nil || p.Notify(message.AdditionalKeyExchange) == nil || len(ha.larval) != 1 {
			t.Fatalf("%d larval SAs, answer %+v", len(ha.larval), p)
		}
	}
	w.run(seriesTimeout+time.Second, nil)
	if len(ha.larval) != 0 || ha.m.sas[b].series != nil || len(ha.kernel) != 2 {
		t.Errorf("%v", ha.larval)
	}
}

// TestSeriesEnds: an IKE SA that ends in the middle of a series, whoever ends it, leaves nothing.
func TestSeriesEnds(t *testing.T) {
	for _, what := range []string{"child", "IKE SA"} {
		for _, how := range []string{"mn closes", "ha closes", "silent", "ha deletes the child", "moved"} {
			w, mn, ha, a, b := begun(t, what)
			old := ha.byName("payload")
			w.drop = nil
			switch how {
			case "mn closes":
				mn.step(Close{SA: a})
			case "ha closes":
				ha.step(Close{SA: b})
			case "silent":
				ha.step(Close{SA: b, Silent: true})
				mn.step(Close{SA: a, Silent: true})
			case "ha deletes the child":
				ha.step(CloseChild{b, old.SPIIn})
			case "moved":
				mn.step(Moved{SA: a, Local: ap(coa2)})
				ha.step(Moved{SA: b, Remote: ap(coa2)})
			}
			w.run(10*time.Minute, nil)
			want := map[string]int{"ha deletes the child": 1, "moved": 2}[how]
			if what == "child" && how == "ha deletes the child" {
				want = len(ha.kernel) // the new pair stands, made before the Delete or after
				if want < 1 || want > 2 {
					t.Errorf("%d children", want)
				}
			}
			agree(t, mn, ha, want)
			if len(mn.m.tasks)+len(ha.m.tasks) != 0 || want == 0 && len(mn.m.sas)+len(ha.m.sas) != 0 {
				t.Errorf("%s, %s: %d %d", what, how, len(mn.m.sas), len(ha.m.sas))
			}
		}
	}
}

// FuzzExchanges gives a responder any payloads in the exchanges of RFC 9242 and 9370, half-open
// and established.
func FuzzExchanges(f *testing.F) {
	f.Add(byte(0), []byte{34, 0, 0, 8, 0, 36, 0, 0}, false)
	f.Add(byte(1), []byte{34, 0, 0, 8, 0, 36, 0, 0}, true)
	f.Fuzz(func(t *testing.T, x byte, inner []byte, up bool) {
		w, mn, ha := pair(t, 4, hybrid(t, hybrid768, espHybrid))
		mn.initiate(mhWant())
		if up {
			w.run(time.Second, nil)
		} else {
			w.run(15*time.Millisecond, nil)
			w.drop = func(from *node, s Send) bool { return from == mn }
			w.run(15*time.Millisecond, nil)
		}
		var s *sa
		for _, s = range mn.m.sas {
		}
		if s == nil || len(inner) < 1 {
			t.Skip()
		}
		h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSK, Flags: message.FlagInitiator,
			Exchange: message.IKEIntermediate + message.ExchangeType(x&1), ID: s.sendID}
		if !up {
			h.ID = 1
		}
		ha.step(Datagram{Local: s.remote, Remote: s.local, Data: s.sealWhole(h, message.PayloadType(inner[0]), inner[1:])})
		w.run(time.Minute, nil)
		if len(ha.m.tasks) != 0 {
			t.Fatal("a task is left")
		}
	})
}
