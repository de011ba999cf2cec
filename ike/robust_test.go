package ike

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/internal/pcap"
	"github.com/mip6/mip6/internal/vectors"
)

// TestCutAndFlipped: every message of a handshake and of the life after it, cut
// at each length and with each octet flipped, goes into both sides before the
// true one. Nothing of it may change the outcome.
func TestCutAndFlipped(t *testing.T) {
	w, mn, ha := pair(t, 11, nil)
	spoil := func(n *node, e Datagram) {
		if n.m.halfOpen > 40 { // spoiled first messages open IKE SAs, as they should
			return
		}
		for i := range e.Data {
			n.m.Step(w.now, Datagram{e.Local, e.Remote, e.Data[:i]}, nil)
			c := bytes.Clone(e.Data[:i])
			if i >= message.HeaderLen {
				binary.BigEndian.PutUint32(c[24:], uint32(i))
				n.m.Step(w.now, Datagram{e.Local, e.Remote, c}, nil)
			}
			if h, _ := message.ParseHeader(e.Data); h.Exchange == message.IKESAInit {
				continue // an altered first exchange is another first exchange
			}
			c = bytes.Clone(e.Data)
			c[i] ^= 0x41
			n.m.Step(w.now, Datagram{e.Local, e.Remote, c}, nil)
		}
	}
	w.drop = func(from *node, s Send) bool {
		to := mn
		if from == mn {
			to = ha
		}
		spoil(to, Datagram{Local: s.Remote, Remote: s.Local, Data: s.Data})
		return false
	}
	a, b := connect(t, w, mn, ha)
	mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
	w.run(time.Second, nil)
	ha.step(RekeySA{b})
	w.run(time.Second, nil)
	mn.step(CloseChild{one[SARekeyed](mn).New, mn.byName("mh").SPIIn})
	w.run(time.Minute, nil)
	agree(t, mn, ha, 1)
	if len(find[SADown](mn))+len(find[SADown](ha))+len(find[Refused](mn)) != 0 {
		t.Errorf("%s%s", mn.dump(), ha.dump())
	}
	if s := ha.m.Stats(); s.DropIntegrity < 100 || s.DropMalformed < 100 {
		t.Errorf("%+v", s)
	}
}

// authentic sends an authenticated request of the mobile node with any payloads.
func authentic(mn, ha *node, sa SAID, x message.ExchangeType, ps []message.Body) *message.Payloads {
	s := mn.m.sas[sa]
	data := s.seal(x, s.sendID, false, ps)
	s.sendID++
	from := len(mn.w.sent)
	var parts []byte
	ha.step(Datagram{Local: s.remote, Remote: s.local, Data: data})
	for mn.w.run(100*time.Millisecond, nil); from < len(mn.w.sent); from++ {
		a := mn.w.sent[from]
		h, _ := message.ParseHeader(a.Data)
		p, err := message.Parse(h, a.Data)
		if err == nil && p.SKF != nil && h.Response() {
			if p = joined(s, a.Data, p.SKF, &parts); p != nil {
				return p
			}
			continue
		}
		if err != nil || p.SK == nil || !h.Response() {
			continue
		}
		plain, err := s.in.Open(a.Data, p.SK.Offset)
		if err != nil {
			continue
		}
		in, err := message.ParseInner(p.SK.Inner, plain)
		if err != nil {
			mn.w.t.Fatal(err)
		}
		return in
	}
	return nil
}

// joined adds a fragment to what came before it, in order, and reads the whole when it is the last.
func joined(s *sa, data []byte, f *message.Fragment, parts *[]byte) *message.Payloads {
	plain, err := s.in.Open(data, f.Offset)
	if err != nil {
		return nil
	}
	if f.Number == 1 {
		*parts = []byte{byte(f.Inner)}
	}
	*parts = append(*parts, plain...)
	if f.Number < f.Total {
		return nil
	}
	p, _ := message.ParseInner(message.PayloadType((*parts)[0]), (*parts)[1:])
	return p
}

func TestAuthenticatedNonsense(t *testing.T) {
	nonce := message.Body{Type: message.TypeNonce, Data: make([]byte, 32)}
	sa := message.SABody(transform.Proposals([]transform.Offer{{Encr: []transform.Encr{transform.AES128GCM16}}}, message.ProtoESP, []byte{1, 2, 3, 4}))
	tsi := message.TSBody(message.TypeTSi, payloadWant().Local)
	tsr := message.TSBody(message.TypeTSr, payloadWant().Remote)
	rekey := func(proto message.Protocol, spi ...byte) message.Body {
		return message.Notify{Protocol: proto, SPI: spi, Type: message.RekeySA}.Body()
	}
	ikeSA := message.SABody(transform.Proposals(Conn{}.withDefaults().IKE, message.ProtoIKE, make([]byte, 8)))
	for _, c := range []struct {
		name string
		x    message.ExchangeType
		ps   []message.Body
		want message.NotifyType
		down bool
	}{
		{"no SA", message.CreateChildSA, []message.Body{nonce, tsi, tsr}, message.InvalidSyntax, true},
		{"no nonce", message.CreateChildSA, []message.Body{sa, tsi, tsr}, message.InvalidSyntax, true},
		{"no selectors", message.CreateChildSA, []message.Body{sa, nonce}, message.InvalidSyntax, true},
		{"short nonce", message.CreateChildSA, []message.Body{sa, {Type: message.TypeNonce, Data: make([]byte, 15)}, tsi, tsr}, message.InvalidSyntax, true},
		{"IKE_AUTH again", message.IKEAuth, []message.Body{nonce}, message.InvalidSyntax, true},
		{"unknown exchange", 99, []message.Body{nonce}, message.InvalidSyntax, true},
		{"rekey of an unknown child", message.CreateChildSA, []message.Body{rekey(3, 9, 9, 9, 9), sa, nonce, tsi, tsr}, message.ChildSANotFound, false},
		{"rekey with a short SPI", message.CreateChildSA, []message.Body{rekey(3, 9), sa, nonce, tsi, tsr}, message.ChildSANotFound, false},
		{"IKE rekey without KE", message.CreateChildSA, []message.Body{ikeSA, nonce}, message.NoProposalChosen, false},
		{"IKE rekey with SPI zero", message.CreateChildSA, []message.Body{ikeSA, nonce, message.KE{Group: 31, Data: make([]byte, 32)}.Body()}, message.NoProposalChosen, false},
		{"no proposal", message.CreateChildSA, []message.Body{message.SABody([]message.Proposal{{Number: 1, Protocol: 3, SPI: []byte{1, 2, 3, 4}, Transforms: []message.Transform{{Type: 1, ID: 3}}}}), nonce, tsi, tsr}, message.NoProposalChosen, false},
		{"unknown notify", message.Informational, []message.Body{message.Notify{Type: 12345}.Body()}, 0, false},
		{"delete of unknown", message.Informational, []message.Body{message.Delete{Protocol: 3, SPIs: []uint32{99}}.Body()}, 0, false},
	} {
		w, mn, ha := pair(t, 12, nil)
		a, _ := connect(t, w, mn, ha)
		p := authentic(mn, ha, a, c.x, c.ps)
		if p == nil {
			t.Errorf("%s: no answer", c.name)
			continue
		}
		if got := p.FirstError(); c.want == 0 && got != nil || c.want != 0 && (got == nil || got.Type != c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if down := len(find[SADown](ha)) == 1; down != c.down {
			t.Errorf("%s: down %v", c.name, down)
		}
		if c.down && len(ha.kernel) != 0 {
			t.Errorf("%s: children left", c.name)
		}
	}
}

func TestCriticalPayload(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	a, _ := connect(t, w, mn, ha)
	s := mn.m.sas[a]
	inner, first := message.AppendChain(nil, []message.Body{{Type: 200, Data: []byte("x")}})
	inner[1] = 0x80
	h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSK, Exchange: message.Informational, ID: s.sendID, Flags: message.FlagInitiator}
	n := s.outP.SealedLen(len(inner))
	msg := message.AppendSKHeader(h.Append(nil, message.HeaderLen+4+n), first, n)
	from := len(w.sent)
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: s.outP.Seal(msg, inner, 1000)})
	ans := w.sent[from]
	ah, _ := message.ParseHeader(ans.Data)
	outer, _ := message.Parse(ah, ans.Data)
	plain, err := s.in.Open(ans.Data, outer.SK.Offset)
	if err != nil {
		t.Fatal(err)
	}
	p, err := message.ParseInner(outer.SK.Inner, plain)
	if err != nil || len(p.Notifies) != 1 || p.Notifies[0].Type != message.UnsupportedCriticalPayload || !bytes.Equal(p.Notifies[0].Data, []byte{200}) {
		t.Errorf("%v %+v", err, p)
	}
	if len(find[SADown](ha)) != 0 {
		t.Error("the IKE SA went down")
	}
}

func TestVersions(t *testing.T) {
	_, mn, ha := pair(t, 12, nil)
	mn.initiate(mhWant())
	data := bytes.Clone(mn.w.sent[0].Data)
	data[17] = 0x30
	from := len(ha.w.sent)
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: data})
	if len(ha.w.sent) != from+1 {
		t.Fatal("no answer to version 3")
	}
	h, err := message.ParseHeader(ha.w.sent[from].Data)
	p, err2 := message.Parse(h, ha.w.sent[from].Data)
	if err != nil || err2 != nil || !h.Response() || p.Notify(message.InvalidMajorVersion) == nil {
		t.Errorf("%v %v %+v", err, err2, p)
	}
	data[17] = 0x10 // IKEv1: silence
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: data})
	data[17] = 0x30
	data[19] |= message.FlagResponse
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: data})
	if len(ha.w.sent) != from+1 {
		t.Error("an answer to IKEv1 or to a response")
	}
	if got := ha.m.Stats().DropVersion; got != 3 {
		t.Error(got)
	}
}

func TestUnknownSPIAnswersAreFew(t *testing.T) {
	_, _, ha := pair(t, 12, nil)
	h := message.Header{SPIi: 5, SPIr: 6, Exchange: message.Informational, Flags: message.FlagInitiator, ID: 9}
	req := message.Plain(h, []message.Body{{Type: message.TypeVendor}})
	for range 1000 {
		ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: req})
	}
	if n := len(ha.w.sent); n != answersPerSecond {
		t.Fatalf("%d answers", n)
	}
	a, _ := message.ParseHeader(ha.w.sent[0].Data)
	if a.SPIi != 5 || a.SPIr != 6 || a.ID != 9 || !a.Response() || a.FromInitiator() {
		t.Errorf("%+v", a)
	}
	h.Flags |= message.FlagResponse
	ha.w.now = ha.w.now.Add(time.Minute)
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: message.Plain(h, nil)})
	if len(ha.w.sent) != answersPerSecond {
		t.Error("an answer to a response")
	}
}

// TestTransportNotAgreed: without the echo the child goes again (§1.3.1).
func TestTransportNotAgreed(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	ha.narrow = func(a Authorise) Authorised {
		return Authorised{Name: "mh", ReqID: 7, Mode: Tunnel, Local: a.Local, Remote: a.Remote}
	}
	mn.initiate(mhWant())
	w.run(time.Second, nil)
	agree(t, mn, ha, 0)
	if r := one[ChildRefused](mn); r.ByPeer || r.Reason != "the peer does not agree to transport mode" {
		t.Errorf("%+v", r)
	}
	if len(find[ChildDown](ha)) != 1 || len(find[SADown](ha)) != 0 {
		t.Error("the agent was not told")
	}
}

func TestNarrowing(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	ha.narrow = func(a Authorise) Authorised {
		return Authorised{
			Name: "payload", ReqID: 7, Local: a.Local,
			Remote:   pfx(hoaA+"/128", 0),
			CFGReply: []message.Attribute{{Type: message.AttrInternalIP6Address, Value: make([]byte, 17)}},
		}
	}
	want := payloadWant()
	want.Local = pfx("::/0", 0)
	mn.step(Initiate{Conn: "mip6", Local: ap(coa1), Remote: ap(haA), Children: []ChildWant{want}, CFGRequest: []message.Attribute{{Type: message.AttrInternalIP6Address}}})
	w.run(time.Second, nil)
	agree(t, mn, ha, 1)
	if c := mn.byName("payload"); c.Local[0].String() != hoaA+"/128" {
		t.Errorf("%v", c.Local)
	}
	if r := one[SAUp](mn).CFGReply; len(r) != 1 || len(r[0].Value) != 17 {
		t.Errorf("%+v", r)
	}
	if a := one[Authorise](ha); len(a.CFGRequest) != 1 {
		t.Errorf("%+v", a)
	}
}

// TestWiderThanProposedIsRefused: an owner cannot authorise more than was asked.
func TestWiderThanProposedIsRefused(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	ha.narrow = func(a Authorise) Authorised {
		return Authorised{Name: "payload", ReqID: 7, Local: a.Local, Remote: pfx("::/0", 0)}
	}
	mn.initiate(payloadWant())
	w.run(time.Second, nil)
	agree(t, mn, ha, 0)
	if r := one[ChildRefused](mn); r.Notify != message.TSUnacceptable {
		t.Errorf("%+v", r)
	}
}

// TestMobilityHeaderTypes: message types in the upper octet of the port (RFC
// 4877 §7.2.1), single, as a range, and any.
func TestMobilityHeaderTypes(t *testing.T) {
	for _, ports := range [][2]uint16{{0x0500, 0x0500}, {0x0500, 0x0600}, {0, 65535}} {
		w, mn, ha := pair(t, 12, nil)
		want := mhWant()
		want.Local[0].StartPort, want.Local[0].EndPort = ports[0], ports[1]
		want.Remote[0].StartPort, want.Remote[0].EndPort = 0x0600, 0x0600
		mn.initiate(want)
		w.run(time.Second, nil)
		agree(t, mn, ha, 1)
		if c := ha.byName("mh"); c.Remote[0].StartPort != ports[0] || c.Remote[0].EndPort != ports[1] || c.Local[0].StartPort != 0x0600 {
			t.Errorf("%v %v", c.Local, c.Remote)
		}
	}
}

func TestStaleAnswers(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	ha.hold = true // the agent's tasks take longer than the half-open limit
	mn.initiate(mhWant())
	w.run(2*time.Minute, nil)
	if len(ha.held) == 0 || len(ha.m.Snapshot()) != 0 {
		t.Fatal("nothing held, or an IKE SA left")
	}
	ha.hold = false
	for _, ev := range ha.held {
		ha.step(ev)
	}
	ha.step(Installed{ID: 999})
	if ha.m.Stats().StaleTaskAnswer != uint64(len(ha.held)+1) {
		t.Errorf("%+v", ha.m.Stats())
	}
	w.run(time.Minute, nil)
	if len(ha.larval)+len(ha.kernel)+len(ha.m.tasks) != 0 {
		t.Error("something is left behind")
	}
}

func TestPFS(t *testing.T) {
	w, mn, ha := pair(t, 12, func(s *setup) {
		a, err := transform.ParseOffer("aes256gcm16-x25519-ecp256")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := transform.ParseOffer("aes256gcm16-ecp256")
		s.mnCfg.Conns[0].ESP, s.haCfg.Conns[0].ESP = []transform.Offer{a}, []transform.Offer{b}
	})
	a, b := connect(t, w, mn, ha)
	mn.step(RekeyChild{a, mn.byName("mh").SPIIn})
	ha.step(RekeyChild{b, ha.byName("payload").SPIIn})
	w.run(10*time.Second, nil)
	agree(t, mn, ha, 2)
	if s := mn.m.Stats(); s.InvalidKE < 2 || s.ChildRekeys != 2 {
		t.Errorf("%+v", s)
	}
}

func TestShards(t *testing.T) {
	w, mn, ha := pair(t, 12, func(s *setup) { s.mnCfg.ShardBits, s.mnCfg.Shard = 3, 5 })
	a, _ := connect(t, w, mn, ha)
	if uint64(a)>>61 != 5 {
		t.Errorf("%x", a)
	}
	for _, s := range w.sent {
		shard, ok := ShardOf(s.Data, s.Local, 3)
		if !ok || s.Remote.Addr().String() == coa1 && shard != 5 {
			t.Errorf("shard %d", shard)
		}
	}
	if _, ok := ShardOf([]byte{1}, ap(coa1), 3); ok {
		t.Error("a short datagram has a shard")
	}
}

func TestKeyLog(t *testing.T) {
	w, mn, ha := pair(t, 12, func(s *setup) { s.mnCfg.KeyLog, s.haCfg.KeyLog = true, true })
	connect(t, w, mn, ha)
	a, b := one[Keys](mn), one[Keys](ha)
	if a.SPIi != b.SPIi || !bytes.Equal(a.SKei, b.SKei) || len(a.SKer) != 20 || a.WiresharkEnc != "AES-GCM-128 with 16 octet ICV [RFC5282]" {
		t.Errorf("%+v", a)
	}
	w, mn, ha = pair(t, 12, nil)
	connect(t, w, mn, ha)
	if len(find[Keys](mn)) != 0 {
		t.Error("keys without being asked")
	}
}

// TestSameTrace: the same events and randomness give the same actions.
func TestSameTrace(t *testing.T) {
	trace := func() [][]byte {
		w, mn, ha := pair(t, 13, nil)
		a, b := connect(t, w, mn, ha)
		mn.step(RekeyChild{a, mn.byName("mh").SPIIn})
		ha.step(RekeySA{b})
		w.run(5*time.Hour, nil)
		var out [][]byte
		for _, s := range w.sent {
			out = append(out, s.Data)
		}
		return out
	}
	a, b := trace(), trace()
	if len(a) != len(b) || len(a) < 30 {
		t.Fatal(len(a), len(b))
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			t.Fatalf("message %d differs", i)
		}
	}
}

// TestWiresharkCapture decrypts a foreign implementation's IKE_AUTH.
func TestWiresharkCapture(t *testing.T) {
	var rows []struct {
		Capture string
		SKei    string `json:"sk_ei"`
		SKer    string `json:"sk_er"`
		Auth    string `json:"expected_auth_data"`
	}
	readJSON(t, "wireshark/keys_and_expected.json", &rows)
	for _, r := range rows {
		if r.Capture != "ikev2-decrypt-aes256gcm16.pcap" {
			continue
		}
		f, err := os.Open(vectors.Path(t, "wireshark/"+r.Capture))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		pkts, err := pcap.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, p := range pkts {
			b := p.Data[14+20+8:]
			h, err := message.ParseHeader(b)
			if err != nil || h.Exchange != message.IKEAuth {
				continue
			}
			outer, err := message.Parse(h, b)
			if err != nil {
				t.Fatal(err)
			}
			key := unhex(t, r.SKei)
			if h.Response() {
				key = unhex(t, r.SKer)
			}
			prot, err := transform.Suite{Encr: transform.AES256GCM16}.Protector(key, nil)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := prot.Open(b, outer.SK.Offset)
			if err != nil {
				t.Fatal(err)
			}
			in, err := message.ParseInner(outer.SK.Inner, plain)
			if err != nil {
				t.Fatal(err)
			}
			if in.Auth != nil && bytes.Equal(in.Auth.Data, unhex(t, r.Auth)) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("AUTH found %d times", found)
		}
		return
	}
	t.Error("no such row")
}

// FuzzResponder throws octets at a machine with an IKE SA in each early state.
func FuzzResponder(f *testing.F) {
	w, mn, ha := pair(f, 14, nil)
	connect(f, w, mn, ha)
	for _, s := range w.sent {
		f.Add(s.Data, false)
		f.Add(s.Data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, cookies bool) {
		w, mn, ha := pair(t, 14, func(s *setup) {
			if cookies {
				s.haCfg.CookieThreshold = -1
			}
		})
		mn.initiate(mhWant())
		w.run(15*time.Millisecond, nil)
		for _, n := range w.nodes {
			n.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: data})
		}
		w.run(3*time.Minute, nil)
		if len(find[SAUp](ha)) > 1 {
			t.Error("an IKE SA for a stranger")
		}
		if ha.m.halfOpen != 0 {
			t.Error("half-open IKE SAs stay")
		}
	})
}
