package ike

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// slow answers tasks by hand, so that an end may come between question and answer.
type slow struct {
	w    *world
	seen map[*node][]Event // every answer that was given
}

// turn gives the answers that wait.
func (s *slow) turn() {
	for _, n := range s.w.nodes {
		list := n.held
		n.held = nil
		for _, ev := range list {
			s.seen[n] = append(s.seen[n], ev)
			n.step(ev)
		}
	}
}

// again gives every message and every answer of before once more.
func (s *slow) again() {
	for _, m := range slices.Clone(s.w.sent) {
		for _, n := range s.w.nodes {
			if slices.Contains(n.addrs, m.Remote.Addr()) {
				n.step(Datagram{Local: m.Remote, Remote: m.Local, Data: m.Data})
			}
		}
	}
	for _, n := range s.w.nodes {
		for _, ev := range s.seen[n] {
			n.step(ev)
		}
	}
}

// ends are ways in which IKE SAs of a node come to an end.
var ends = []struct {
	name string
	do   func(n *node, id SAID)
}{
	{"closed", func(n *node, id SAID) { n.step(Close{SA: id}) }},
	{"discarded", func(n *node, id SAID) { n.step(Close{SA: id, Silent: true}) }},
	{"discarded, children kept", func(n *node, id SAID) { n.step(Close{SA: id, Silent: true, KeepChildren: true}) }},
	{"cancelled", func(n *node, _ SAID) { n.step(Cancel{Req: 42}) }},
	{"peer forgotten", func(n *node, _ SAID) {
		n.step(ForgetPeer{Conn: "mip6", Peer: mnID})
		n.step(ForgetPeer{Conn: "mip6", Peer: haID})
	}},
	{"out of time", func(n *node, _ SAID) {
		n.w.now = n.w.now.Add(31 * time.Second)
		n.do(n.m.Tick(n.w.now, nil))
	}},
	{"connection taken away", func(n *node, id SAID) {
		n.step(SetConfig{})
		n.step(Close{SA: id})
	}},
	{"rekeyed, then discarded", func(n *node, id SAID) {
		n.step(RekeySA{id})
		n.step(Close{SA: id, Silent: true, KeepChildren: true})
	}},
	{"child closed, rekeyed, made", func(n *node, id SAID) {
		for spi := range maps.Clone(n.kernel) {
			n.step(RekeyChild{id, spi})
			n.step(CloseChild{id, spi})
		}
		n.step(CreateChild{SA: id, Want: payloadWant()})
		n.step(Close{SA: id, Silent: true})
	}},
}

// TestHalfDestroyedState ends IKE SAs at every moment of a handshake with two children, on either side
// or both; then everything comes once more that came before. Nothing may be left.
func TestHalfDestroyedState(t *testing.T) {
	for stage := range 48 {
		for _, end := range ends {
			for sides := 1; sides < 4; sides++ {
				w, mn, ha := pair(t, 14, nil)
				mn.hold, ha.hold = true, true
				s := slow{w, map[*node][]Event{}}
				mn.initiate(mhWant(), payloadWant())
				for n := range stage { // answers and messages in turn
					if n%2 == 0 {
						w.run(11*time.Millisecond, nil)
					} else {
						s.turn()
					}
				}
				if last := len(find[ChildUp](mn)) == 2; stage == 47 && !last {
					t.Fatal("the handshake takes longer than is looked at")
				}
				for i, n := range w.nodes {
					if sides>>i&1 == 1 {
						for _, id := range slices.Sorted(maps.Keys(n.m.sas)) {
							end.do(n, id)
						}
					}
				}
				s.again()
				for range 20 {
					s.turn()
					w.run(time.Second, nil)
				}
				s.again()
				for _, n := range w.nodes {
					for _, id := range slices.Sorted(maps.Keys(n.m.sas)) {
						n.step(Close{SA: id, Silent: true})
					}
					n.step(DropOrphans{Conn: "mip6", Peer: mnID})
					n.step(DropOrphans{Conn: "mip6", Peer: haID})
				}
				for range 20 {
					s.turn()
					w.run(10*time.Second, nil)
				}
				for _, n := range w.nodes {
					m := n.m
					if len(m.sas)+len(m.tasks)+len(m.timers)+len(m.peers)+len(m.spis)+len(m.orphans)+len(m.inits)+len(m.perSource)+
						m.halfOpen+m.stats.Established+m.stats.Children+len(n.kernel)+len(n.larval) != 0 {
						t.Errorf("stage %d, %s (%d), %s: left %d IKE SAs, %d tasks, %d timers, kernel %v, larval %v, %+v%s", stage, end.name, sides,
							n.name, len(m.sas), len(m.tasks), len(m.timers), n.kernel, n.larval, m.Snapshot(), n.dump())
					}
				}
			}
		}
	}
}

// TestNilInErrorPaths: of each answer that an initiator waits for, every part may lack.
func TestNilInErrorPaths(t *testing.T) {
	esp := message.SABody([]message.Proposal{{Number: 1, Protocol: message.ProtoESP, SPI: []byte{9, 9, 9, 9}, Transforms: []message.Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 5}}}})
	ikeTS := []message.Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 2, ID: 5}, {Type: 4, ID: 31}}
	ikeSA := func(spi []byte) message.Body {
		return message.SABody([]message.Proposal{{Number: 1, Protocol: message.ProtoIKE, SPI: spi, Transforms: ikeTS}})
	}
	point := message.KE{Group: 31, Data: append([]byte{9}, zeros(31)...)}.Body()
	failure := message.Notify{Type: message.InvalidKEPayload}.Body() // without its group
	busy := message.Notify{Type: message.TemporaryFailure}.Body()
	for _, c := range []struct {
		name  string
		start func(mn *node, a SAID)
		parts []message.Body
	}{
		{"child", func(mn *node, a SAID) { mn.step(CreateChild{SA: a, Want: payloadWant()}) },
			[]message.Body{esp, nonceBody, tsiBody, tsrBody, point, failure, busy}},
		{"child of ours as IKE SA", func(mn *node, a SAID) { mn.step(CreateChild{SA: a, Want: payloadWant()}) },
			[]message.Body{ikeSA(zeros(8)), nonceBody, point, tsiBody, tsrBody}},
		{"rekey of a child", func(mn *node, a SAID) { mn.step(RekeyChild{a, mn.byName("payload").SPIIn}) },
			[]message.Body{esp, nonceBody, tsiBody, tsrBody, message.Notify{Type: message.ChildSANotFound}.Body(), failure}},
		{"rekey of the IKE SA", func(mn *node, a SAID) { mn.step(RekeySA{a}) },
			[]message.Body{ikeSA([]byte{1, 2, 3, 4, 5, 6, 7, 8}), nonceBody, point, failure, busy}},
		{"rekey of the IKE SA, SPI zero", func(mn *node, a SAID) { mn.step(RekeySA{a}) },
			[]message.Body{ikeSA(zeros(8)), nonceBody, point, failure}},
		{"rekey of the IKE SA, no SPI", func(mn *node, a SAID) { mn.step(RekeySA{a}) },
			[]message.Body{ikeSA(nil), nonceBody, point, esp}},
		{"delete", func(mn *node, a SAID) { mn.step(CloseChild{a, mn.byName("payload").SPIIn}) },
			[]message.Body{esp, nonceBody, message.Delete{Protocol: message.ProtoIKE}.Body(), body(message.TypeDelete, 2, 4, 0, 1, 9, 9, 9, 9)}},
		{"liveness check", func(mn *node, a SAID) { mn.step(Probe{SA: a}) },
			[]message.Body{esp, nonceBody, message.Delete{Protocol: message.ProtoIKE}.Body(), message.Notify{Type: message.AuthenticationFailed}.Body()}},
	} {
		for set := range 1 << len(c.parts) {
			w, mn, ha := pair(t, 12, nil)
			a, b := connect(t, w, mn, ha)
			w.drop = func(*node, Send) bool { return true }
			from := len(w.sent)
			c.start(mn, a)
			w.run(50*time.Millisecond, nil)
			h, err := message.ParseHeader(w.sent[from].Data)
			if err != nil {
				t.Fatal(c.name, "nothing left")
			}
			var ps []message.Body
			for i := range c.parts {
				if set>>i&1 == 1 {
					ps = append(ps, c.parts[i])
				}
			}
			mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: ha.m.sas[b].seal(h.Exchange, h.ID, true, ps)})
			w.run(time.Second, nil)
			for _, i := range mn.m.Snapshot() { // a rekey with every part may have succeeded
				mn.step(Close{SA: i.SA, Silent: true})
			}
			w.run(10*time.Minute, nil)
			if m := mn.m; len(m.sas)+len(m.tasks)+len(m.timers)+len(m.spis)+len(m.peers)+len(mn.kernel)+len(mn.larval)+m.stats.Children != 0 {
				t.Errorf("%s, parts %b: left %+v %v %v%s", c.name, set, m.Snapshot(), mn.kernel, mn.larval, mn.dump())
			}
		}
	}
}

// TestNilInErrorPathsInit: the same for IKE_SA_INIT, where nothing is protected: the true answer still counts.
func TestNilInErrorPathsInit(t *testing.T) {
	parts := []message.Body{
		message.SABody([]message.Proposal{{Number: 1, Protocol: message.ProtoIKE, Transforms: []message.Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 2, ID: 5}, {Type: 4, ID: 31}}}}),
		message.KE{Group: 31, Data: zeros(32)}.Body(), nonceBody,
		message.Notify{Type: message.Cookie}.Body(), message.Notify{Type: message.Cookie, Data: zeros(65)}.Body(),
		message.Notify{Type: message.InvalidKEPayload, Data: []byte{1}}.Body(), message.Notify{Type: message.InvalidKEPayload, Data: []byte{0, 31}}.Body(),
		message.Notify{Type: message.SignatureHashAlgorithms, Data: []byte{1}}.Body(),
	}
	for set := range 1 << len(parts) {
		for _, spi := range []uint64{0, 5} {
			w, mn, _ := pair(t, 12, nil)
			mn.initiate(mhWant(), payloadWant())
			h, _ := message.ParseHeader(w.sent[0].Data)
			var ps []message.Body
			for i := range parts {
				if set>>i&1 == 1 {
					ps = append(ps, parts[i])
				}
			}
			mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: message.Plain(
				message.Header{SPIi: h.SPIi, SPIr: spi, Exchange: message.IKESAInit, Flags: message.FlagResponse}, ps)})
			if !w.run(10*time.Second, func() bool { return len(find[ChildUp](mn)) == 2 }) {
				t.Fatalf("parts %b: %s", set, mn.dump())
			}
		}
	}
}
