package ike

import (
	"bytes"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// TestReplayIsNoLife: captured messages of a peer that is gone, sent again and again, do not keep
// the liveness check from starting (§2.4).
func TestReplayIsNoLife(t *testing.T) {
	for _, response := range []bool{false, true} {
		w, mn, ha := pair(t, 6, func(s *setup) { s.haCfg.Conns[0].DPD = 30 * time.Second })
		a, b := connect(t, w, mn, ha)
		from := len(w.sent)
		mn.step(Probe{SA: a})
		ha.step(Probe{SA: b})
		w.run(time.Second, nil)
		var captured []byte
		for _, s := range w.sent[from:] {
			if h, _ := message.ParseHeader(s.Data); h.FromInitiator() && h.Response() == response {
				captured = bytes.Clone(s.Data)
			}
		}
		mn.step(Probe{SA: a}) // so that it is not the last request, whose answer is sent again
		w.run(time.Second, nil)
		w.drop = func(*node, Send) bool { return true }
		before := ha.m.Stats()
		for range 15 {
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: captured})
			w.run(20*time.Second, nil)
		}
		after := ha.m.Stats()
		if after.DropMessageID+after.DropUnexpected+after.DropUnknownSPI-before.DropMessageID-before.DropUnexpected-before.DropUnknownSPI != 15 {
			t.Errorf("response %v: replays were not all seen as such: %+v", response, after)
		}
		if len(find[SADown](ha)) != 1 || find[SADown](ha)[0].Reason != ReasonTimeout {
			t.Errorf("response %v: a replayed message counts as a sign of life%s", response, ha.dump())
		}
	}
}

// TestShortNonce: a nonce for a child has half the length of the PRF's key at least, with either
// side as the one that asks (§2.10).
func TestShortNonce(t *testing.T) {
	long := func(s *setup) {
		for _, c := range []*Config{&s.mnCfg, &s.haCfg} {
			c.Conns[0].IKE = []transform.Offer{{Encr: []transform.Encr{transform.AES256GCM16},
				PRF: []transform.PRF{transform.PRFHMACSHA512}, KE: []transform.KE{transform.X25519}}}
		}
	}
	chosen := message.SABody(transform.Proposals([]transform.Offer{{Encr: []transform.Encr{transform.AES128GCM16}}}, message.ProtoESP, []byte{9, 9, 9, 9}))
	for _, n := range []int{31, 32} {
		nonce := body(message.TypeNonce, zeros(n)...)
		w, mn, ha := pair(t, 12, long)
		a, _ := connect(t, w, mn, ha)
		p := authentic(mn, ha, a, message.CreateChildSA, []message.Body{espSA(9, 9, 9, 9), nonce, tsiBody, tsrBody})
		if p == nil || (p.FirstError() == nil) != (n == 32) || n == 31 && p.FirstError().Type != message.InvalidSyntax {
			t.Errorf("request with a nonce of %d: %+v", n, p)
		}

		w, mn, ha = pair(t, 12, long)
		a, b := connect(t, w, mn, ha)
		from, lose := len(w.sent), true
		w.drop = func(from *node, s Send) bool { return lose && from == mn }
		mn.step(CreateChild{Req: 9, SA: a, Want: payloadWant()})
		w.run(50*time.Millisecond, nil)
		h, _ := message.ParseHeader(w.sent[from].Data)
		lose = false
		mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: ha.m.sas[b].seal(h.Exchange, h.ID, true,
			[]message.Body{chosen, nonce, tsiBody, tsrBody})})
		w.run(10*time.Millisecond, nil)
		if up := len(find[ChildUp](mn)) == 3; up != (n == 32) {
			t.Errorf("answer with a nonce of %d: up %v", n, up)
		}
		if n == 31 {
			if r := one[ChildRefused](mn); r.Reason != "answer with a short nonce" || r.Req != 9 || len(mn.kernel) != 2 {
				t.Errorf("%+v, %d children", r, len(mn.kernel))
			}
		}
	}
}
