package ike

import (
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// keyed is a pair with IKE_SA_INIT done: the node has keys and waits for its SPI, the agent is half-open.
// Nobody is authenticated.
func keyed(t *testing.T, change func(*setup)) (w *world, mn, ha *node, s *sa) {
	w, mn, ha = pair(t, 12, change)
	mn.hold = true
	mn.initiate(mhWant())
	w.run(100*time.Millisecond, nil)
	for _, s = range mn.m.sas {
	}
	if s == nil || s.state != stateAuth || ha.m.halfOpen != 1 {
		t.Fatal("no keys without authentication")
	}
	return w, mn, ha, s
}

// nothing fails the test if a node believes in a peer that has not proved anything.
func nothing(t *testing.T, n *node) {
	t.Helper()
	if len(find[SAUp](n))+len(find[ChildUp](n))+len(find[Authorise](n))+len(find[InitialContact](n))+len(n.kernel) != 0 ||
		n.m.Stats().Established != 0 || len(n.m.peers)+len(n.m.spis) != 0 {
		t.Errorf("%s believes in a peer that proved nothing%s", n.name, n.dump())
	}
}

// TestEarlySuccessRequests: with keys but without proof nothing is to be had of a responder.
func TestEarlySuccessRequests(t *testing.T) {
	auth := message.Auth{Method: methodPSK, Data: zeros(32)}.Body()
	sign := message.Auth{Method: 14, Data: append([]byte{12}, zeros(80)...)}.Body()
	idi := message.Body{Type: message.TypeIDi, Data: mnID.Raw()}
	child := []message.Body{espSA(9, 9, 9, 9), nonceBody, tsiBody, tsrBody}
	with := func(ps ...message.Body) []message.Body { return append(ps, child...) }
	for _, c := range []struct {
		name string
		x    message.ExchangeType
		ps   []message.Body
		want message.NotifyType
	}{
		{"CREATE_CHILD_SA before IKE_AUTH", message.CreateChildSA, child, message.InvalidSyntax},
		{"rekey of the IKE SA before IKE_AUTH", message.CreateChildSA,
			[]message.Body{message.SABody(transform.Proposals(Conn{}.withDefaults().IKE, message.ProtoIKE, zeros(8))), nonceBody}, message.InvalidSyntax},
		{"INFORMATIONAL before IKE_AUTH", message.Informational, nil, message.InvalidSyntax},
		{"Delete before IKE_AUTH", message.Informational, []message.Body{message.Delete{Protocol: message.ProtoIKE}.Body()}, message.InvalidSyntax},
		{"no AUTH: EAP is asked for", message.IKEAuth, with(idi), message.AuthenticationFailed},
		{"EAP success from the initiator", message.IKEAuth, with(idi, body(message.TypeEAP, 3, 1, 0, 4)), message.AuthenticationFailed},
		{"AUTH of nothing", message.IKEAuth, with(idi, auth), message.AuthenticationFailed},
		{"AUTH of nothing with INITIAL_CONTACT", message.IKEAuth,
			with(idi, auth, message.Notify{Type: message.InitialContact}.Body()), message.AuthenticationFailed},
		{"AUTH by a signature without CERT", message.IKEAuth, with(idi, sign), message.AuthenticationFailed},
		{"AUTH by method 0", message.IKEAuth, with(idi, message.Auth{Data: zeros(32)}.Body()), message.AuthenticationFailed},
		{"AUTH by NULL (RFC 7619)", message.IKEAuth, with(idi, message.Auth{Method: 13, Data: zeros(32)}.Body()), message.AuthenticationFailed},
		{"no IDi", message.IKEAuth, with(auth), message.InvalidSyntax},
		{"empty", message.IKEAuth, nil, message.InvalidSyntax},
	} {
		for n := range 4 {
			w, mn, ha, s := keyed(t, func(s *setup) {
				if n&1 != 0 {
					s.haCfg.Conns[0].RemoteAuth = pki.Signature
				}
			})
			spoilt := n&2 != 0 // an IKE_AUTH that fails its integrity check comes first: the agent has keys then
			if spoilt {
				data := s.seal(message.IKEAuth, 1, false, nil)
				data[len(data)-1] ^= 1
				ha.step(Datagram{Local: s.remote, Remote: s.local, Data: data})
			}
			p := authentic(mn, ha, s.id, c.x, c.ps)
			switch {
			case c.x != message.IKEAuth && !spoilt: // not even looked at
				if p != nil || len(find[Refused](ha)) != 0 {
					t.Errorf("%s: answer %+v", c.name, p)
				}
			case p == nil || p.FirstError() == nil || p.FirstError().Type != c.want || len(find[Refused](ha)) != 1:
				t.Errorf("%s: answer %+v%s", c.name, p, ha.dump())
			}
			nothing(t, ha)
			w.run(time.Minute, nil)
			if len(ha.m.sas)+len(ha.m.tasks)+len(ha.larval)+ha.m.halfOpen != 0 {
				t.Errorf("%s: state is left", c.name)
			}
		}
	}
}

// TestEarlySuccessResponses: an initiator believes nothing before the proof is verified, whatever of
// an IKE_AUTH response is there.
func TestEarlySuccessResponses(t *testing.T) {
	parts := []message.Body{{Type: message.TypeIDr, Data: haID.Raw()}, message.Auth{Method: methodPSK, Data: zeros(32)}.Body(),
		message.SABody([]message.Proposal{{Number: 1, Protocol: message.ProtoESP, SPI: []byte{9, 9, 9, 9}, Transforms: []message.Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 5}}}}),
		message.TSBody(message.TypeTSi, mhWant().Local), message.TSBody(message.TypeTSr, mhWant().Remote),
		message.Notify{Type: message.InitialContact}.Body(), body(message.TypeEAP, 3, 1, 0, 4)}
	for set := range 1 << len(parts) { // NilInErrorPaths as well: any of them may lack
		w, mn, ha, s := keyed(t, nil)
		w.drop = func(from *node, _ Send) bool { return true }
		mn.hold = false
		for _, ev := range mn.held {
			mn.step(ev)
		}
		w.run(50*time.Millisecond, nil)
		if s.req == nil || s.req.data == nil {
			t.Fatal("IKE_AUTH has not left")
		}
		var ps []message.Body
		for i := range parts {
			if set>>i&1 == 1 {
				ps = append(ps, parts[i])
			}
		}
		peer := sa{spiI: s.spiI, spiR: s.spiR}
		peer.outP = s.in // what the responder has
		step := func(x message.ExchangeType, id uint32, response bool, ps []message.Body) {
			mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: peer.seal(x, id, response, ps)})
		}
		step(message.CreateChildSA, 0, false, []message.Body{espSA(9, 9, 9, 9), nonceBody, tsiBody, tsrBody})
		step(message.Informational, 0, false, []message.Body{message.Delete{Protocol: message.ProtoIKE}.Body()})
		step(message.Informational, 1, true, nil) // the right ID, another exchange
		step(message.IKEAuth, 2, true, ps)
		mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: message.Plain(message.Header{SPIi: s.spiI, SPIr: s.spiR,
			Exchange: message.IKEAuth, ID: 1, Flags: message.FlagResponse}, ps)}) // unprotected
		if len(find[Refused](mn)) != 0 || mn.m.sas[s.id] != s || s.state != stateAuth || s.req.answered {
			t.Fatalf("%b: what is no answer counts as one", set)
		}
		nothing(t, mn)
		mn.hold = true
		step(message.IKEAuth, 1, true, ps)
		nothing(t, mn) // the proof is being looked at
		mn.hold = false
		for _, ev := range mn.held {
			mn.step(ev)
		}
		w.run(time.Minute, nil)
		nothing(t, mn)
		nothing(t, ha)
		if one[Refused](mn); len(mn.m.sas)+len(mn.m.tasks)+len(mn.larval)+len(mn.m.timers) != 0 {
			t.Errorf("%b: something is left", set)
		}
	}
}

// TestReachableAssertionInit: first messages that are well formed and senseless.
func TestReachableAssertionInit(t *testing.T) {
	all := []message.Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 2, ID: 5}, {Type: 4, ID: 31}}
	sa := func(spi []byte, ts ...message.Transform) message.Body {
		return message.SABody([]message.Proposal{{Number: 1, Protocol: message.ProtoIKE, SPI: spi, Transforms: ts}})
	}
	ke := func(group uint16, data []byte) message.Body { return message.KE{Group: group, Data: data}.Body() }
	good := ke(31, append(zeros(31), 9))
	for name, ps := range map[string][]message.Body{
		"no transforms":         {sa(nil), good, nonceBody},
		"no cipher":             {sa(nil, all[1], all[2]), good, nonceBody},
		"no prf":                {sa(nil, all[0], all[2]), good, nonceBody},
		"no key exchange":       {sa(nil, all[0], all[1]), good, nonceBody},
		"key exchange NONE":     {sa(nil, all[0], all[1], message.Transform{Type: 4}), ke(0, []byte{1}), nonceBody},
		"cipher without key":    {sa(nil, message.Transform{Type: 1, ID: 20}, all[1], all[2]), good, nonceBody},
		"a key of 65535 bits":   {sa(nil, message.Transform{Type: 1, ID: 20, KeyBits: 65535}, all[1], all[2]), good, nonceBody},
		"an SPI of 8 octets":    {sa(zeros(8), all...), good, nonceBody},
		"an SPI of 3 octets":    {sa(zeros(3), all...), good, nonceBody},
		"ESP":                   {espSA(1, 2, 3, 4), good, nonceBody},
		"X25519 of 31 octets":   {sa(nil, all...), ke(31, zeros(31)), nonceBody},
		"X25519 of 1000 octets": {sa(nil, all...), ke(31, zeros(1000)), nonceBody},
		"P-256 of 63 octets":    {sa(nil, all[0], all[1], message.Transform{Type: 4, ID: 19}), ke(19, zeros(63)), nonceBody},
		"no SA":                 {good, nonceBody},
		"no KE":                 {sa(nil, all...), nonceBody},
		"no nonce":              {sa(nil, all...), good},
		"nothing":               nil,
	} {
		_, _, ha := pair(t, 12, nil)
		for range 3 {
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: message.Plain(
				message.Header{SPIi: 77, Exchange: message.IKESAInit, Flags: message.FlagInitiator}, ps)})
		}
		if len(ha.m.sas)+len(ha.m.inits)+ha.m.halfOpen != 0 {
			t.Errorf("%s: an IKE SA came about", name)
		}
		for _, s := range ha.w.sent {
			h, err := message.ParseHeader(s.Data)
			if p, err2 := message.Parse(h, s.Data); err != nil || err2 != nil || p.FirstError() == nil {
				t.Errorf("%s: answer %v %v", name, err, err2)
			}
		}
	}
	// What is no point of the curve, or one of small order (RFC 7748 §6.1), shows when the secret is computed.
	for name, ps := range map[string][]message.Body{
		"X25519 of small order":  {sa(nil, all...), ke(31, zeros(32)), nonceBody},
		"P-256 that is no point": {sa(nil, all[0], all[1], message.Transform{Type: 4, ID: 19}), ke(19, zeros(64)), nonceBody},
	} {
		_, _, ha := pair(t, 12, nil)
		ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: message.Plain(
			message.Header{SPIi: 77, Exchange: message.IKESAInit, Flags: message.FlagInitiator}, ps)})
		if len(ha.m.sas) != 1 {
			t.Errorf("%s: %d half-open", name, len(ha.m.sas))
		}
		for id := range ha.m.sas {
			h := message.Header{SPIi: 77, SPIr: uint64(id), Next: message.TypeSK, Exchange: message.IKEAuth, ID: 1, Flags: message.FlagInitiator}
			msg := append(message.AppendSKHeader(h.Append(nil, message.HeaderLen+4+64), message.TypeIDi, 64), zeros(64)...)
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: msg})
		}
		if len(find[Refused](ha)) != 1 || len(ha.m.sas)+len(ha.m.inits)+ha.m.halfOpen != 0 {
			t.Errorf("%s: %d left%s", name, len(ha.m.sas), ha.dump())
		}
	}
}
