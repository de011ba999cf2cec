package ike

import (
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

func ahSA(t testing.TB, spi ...byte) message.Body {
	return message.SABody(transform.Proposals(offersAH(t, "sha256"), message.ProtoAH, spi))
}

func notifyOfChild(proto message.Protocol, n message.NotifyType, spi ...byte) message.Body {
	return message.Notify{Protocol: proto, SPI: spi, Type: n}.Body()
}

// TestHostileAH: authenticated requests about AH that lie.
func TestHostileAH(t *testing.T) {
	type tr = message.Transform
	own := func(ps ...message.Proposal) message.Body { return message.SABody(ps) }
	good := []tr{{Type: 3, ID: 12}, {Type: 5}}
	spi := []byte{9, 9, 9, 9}
	nonce := nonceBody
	tsi, tsr := message.TSBody(message.TypeTSi, pfx(hoaB+"/128", 0)), message.TSBody(message.TypeTSr, pfx(cnA+"/128", 0))
	transport := message.Notify{Type: message.UseTransportMode}.Body()
	ask := func(sa message.Body) []message.Body { return []message.Body{sa, transport, nonce, tsi, tsr} }
	for _, c := range []struct {
		name string
		x    message.ExchangeType
		ps   []message.Body
		want message.NotifyType // 0: no error
		down bool
	}{
		{"good", message.CreateChildSA, ask(ahSA(t, spi...)), 0, false},
		{"SPI of 3", message.CreateChildSA, ask(ahSA(t, 9, 9, 9)), message.NoProposalChosen, false},
		{"SPI of 8", message.CreateChildSA, ask(ahSA(t, 1, 2, 3, 4, 5, 6, 7, 8)), message.NoProposalChosen, false},
		{"SPI of 255", message.CreateChildSA, ask(ahSA(t, zeros(255)...)), message.NoProposalChosen, false},
		{"no SPI", message.CreateChildSA, ask(ahSA(t)), message.NoProposalChosen, false},
		{"SPI zero", message.CreateChildSA, ask(ahSA(t, 0, 0, 0, 0)), message.NoProposalChosen, false},
		{"SPI reserved", message.CreateChildSA, ask(ahSA(t, 0, 0, 0, 255)), message.NoProposalChosen, false},
		{"a cipher", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 2, SPI: spi,
			Transforms: append([]tr{{Type: 1, ID: 20, KeyBits: 128}}, good...)})), message.NoProposalChosen, false},
		{"only a cipher", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 2, SPI: spi,
			Transforms: []tr{{Type: 1, ID: 20, KeyBits: 128}, {Type: 5}}})), message.NoProposalChosen, false},
		{"no transform", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 2, SPI: spi})), message.NoProposalChosen, false},
		{"NONE", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 2, SPI: spi,
			Transforms: []tr{{Type: 3}, {Type: 5}}})), message.NoProposalChosen, false},
		{"unknown protocol", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 4, SPI: spi, Transforms: good})), message.NoProposalChosen, false},
		{"protocol 51", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 51, SPI: spi, Transforms: good})), message.NoProposalChosen, false},
		{"IKE behind AH", message.CreateChildSA, ask(own(message.Proposal{Number: 1, Protocol: 2, SPI: spi, Transforms: good[1:]},
			message.Proposal{Number: 2, Protocol: 1, SPI: zeros(8), Transforms: good})), message.NoProposalChosen, false},
		{"rekey of AH as ESP", message.CreateChildSA, append([]message.Body{notifyOfChild(3, message.RekeySA, 8, 8, 8, 8)}, ask(ahSA(t, spi...))...), message.ChildSANotFound, false},
		{"rekey of AH by a proposal of ESP", message.CreateChildSA, append([]message.Body{notifyOfChild(2, message.RekeySA, 8, 8, 8, 8)}, ask(espSA(spi...))...), message.NoProposalChosen, false},
		{"rekey of AH of which there is none", message.CreateChildSA, append([]message.Body{notifyOfChild(2, message.RekeySA, 7, 8, 8, 8)}, ask(ahSA(t, spi...))...), message.ChildSANotFound, false},
		{"rekey of protocol 51", message.CreateChildSA, append([]message.Body{notifyOfChild(51, message.RekeySA, 8, 8, 8, 8)}, ask(ahSA(t, spi...))...), message.ChildSANotFound, false},
		{"rekey with SPI of 8", message.CreateChildSA, append([]message.Body{notifyOfChild(2, message.RekeySA, zeros(8)...)}, ask(ahSA(t, spi...))...), message.ChildSANotFound, false},
		{"Delete with SPIs of 8", message.Informational, []message.Body{body(message.TypeDelete, append([]byte{2, 8, 0, 1}, zeros(8)...)...)}, message.InvalidSyntax, true},
		{"Delete with 65535 SPIs", message.Informational, []message.Body{body(message.TypeDelete, 2, 4, 255, 255, 8, 8, 8, 8)}, message.InvalidSyntax, true},
		{"Delete of AH as ESP", message.Informational, []message.Body{message.Delete{Protocol: 3, SPIs: []uint32{0x08080808}}.Body()}, 0, false},
		{"Delete of protocol 51", message.Informational, []message.Body{message.Delete{Protocol: 51, SPIs: []uint32{0x08080808}}.Body()}, 0, false},
	} {
		w, mn, cn := pair(t, 12, withAH(t, "sha256", "sha256"))
		cn.narrow = byPath
		mn.initiate(payloadWant())
		w.run(time.Second, nil)
		a, b := one[SAUp](mn).SA, one[SAUp](cn).SA
		first := []message.Body{ahSA(t, 8, 8, 8, 8), transport, nonce, message.TSBody(message.TypeTSi, pfx(hoaA+"/128", 0)), tsr}
		if p := authentic(mn, cn, a, message.CreateChildSA, first); p == nil || p.FirstError() != nil || len(p.SA) != 1 ||
			p.SA[0].Protocol != message.ProtoAH || len(p.SA[0].SPI) != 4 || !slices.Equal(p.SA[0].Transforms, good) {
			t.Fatalf("%+v", p)
		}
		p := authentic(mn, cn, a, c.x, c.ps)
		if p == nil {
			t.Errorf("%s: no answer", c.name)
			continue
		}
		if got := p.FirstError(); c.want == 0 && got != nil || c.want != 0 && (got == nil || got.Type != c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
		want := 2 // payload and the first with AH
		switch {
		case c.name == "good":
			want = 3
		case c.down:
			want = 0
		}
		if (cn.m.sas[b].state == stateGone) != c.down || len(cn.kernel) != want || len(cn.larval)+len(cn.m.tasks) != 0 {
			t.Errorf("%s: %d children, %d larval%s", c.name, len(cn.kernel), len(cn.larval), cn.dump())
		}
	}
}

// TestSameSPIOfThePeer: a peer may give the same SPI to ESP and to AH; what it says of one is
// not done to the other.
func TestSameSPIOfThePeer(t *testing.T) {
	w, mn, cn := pair(t, 12, withAH(t, "sha256", "sha256"))
	cn.narrow = byPath
	mn.initiate(payloadWant())
	w.run(time.Second, nil)
	a := one[SAUp](mn).SA
	tsi, tsr := message.TSBody(message.TypeTSi, pfx(hoaA+"/128", 0)), message.TSBody(message.TypeTSr, pfx(cnA+"/128", 0))
	transport := message.Notify{Type: message.UseTransportMode}.Body()
	for _, sa := range []message.Body{espSA(8, 8, 8, 8), ahSA(t, 8, 8, 8, 8)} {
		if p := authentic(mn, cn, a, message.CreateChildSA, []message.Body{sa, transport, nonceBody, tsi, tsr}); p == nil || p.FirstError() != nil {
			t.Fatalf("%+v", p)
		}
	}
	esp, ah := cn.byName("esp "+hoaA), cn.byName("ah "+hoaA)
	if esp.SPIOut != ah.SPIOut || esp.SPIIn == ah.SPIIn {
		t.Fatalf("%+v %+v", esp, ah)
	}
	p := authentic(mn, cn, a, message.CreateChildSA, []message.Body{
		notifyOfChild(message.ProtoAH, message.RekeySA, 8, 8, 8, 8), ahSA(t, 7, 7, 7, 7), transport, nonceBody, tsi, tsr})
	if p == nil || p.FirstError() != nil || one[ChildRekeyed](cn).OldSPIIn != ah.SPIIn {
		t.Fatalf("%+v", p)
	}
	cn.step(Expire{SPI: 0x08080808, Proto: AH, Dst: ah.RemoteAddr, Hard: true})
	w.run(time.Second, nil)
	if c := cn.byName("esp " + hoaA); c.SPIIn != esp.SPIIn || len(find[ChildDown](cn)) != 0 {
		t.Error("the alarm of AH was taken for ESP's")
	}
	p = authentic(mn, cn, a, message.Informational, []message.Body{
		message.Delete{Protocol: message.ProtoAH, SPIs: []uint32{0x07070707, 0x08080808}}.Body(),
		message.Delete{Protocol: message.ProtoESP, SPIs: []uint32{0x08080808}}.Body()})
	if p == nil || len(p.Deletes) != 2 || p.Deletes[0].Protocol != message.ProtoESP || !slices.Equal(p.Deletes[0].SPIs, []uint32{esp.SPIIn}) ||
		p.Deletes[1].Protocol != message.ProtoAH || len(p.Deletes[1].SPIs) != 1 {
		t.Fatalf("%+v", p)
	}
	w.run(time.Minute, nil)
	if len(cn.kernel) != 1 {
		t.Errorf("%d children left", len(cn.kernel))
	}
}

// TestBothProtocolsInOneRequest: where the peer offers either, its order decides among those
// that we have; and what it may not have of us, we do not take from an answer.
func TestBothProtocolsInOneRequest(t *testing.T) {
	type tr = message.Transform
	gcm, hmac := []tr{{Type: 1, ID: 20, KeyBits: 128}, {Type: 5}}, []tr{{Type: 3, ID: 12}, {Type: 5}}
	for _, c := range []struct {
		name  string
		offer string
		ps    []message.Proposal
		want  uint8
	}{
		{"AH first", "sha256", []message.Proposal{{Number: 1, Protocol: 2, SPI: []byte{8, 8, 8, 8}, Transforms: hmac}, {Number: 2, Protocol: 3, SPI: []byte{7, 7, 7, 7}, Transforms: gcm}}, AH},
		{"ESP first", "sha256", []message.Proposal{{Number: 1, Protocol: 3, SPI: []byte{8, 8, 8, 8}, Transforms: gcm}, {Number: 2, Protocol: 2, SPI: []byte{7, 7, 7, 7}, Transforms: hmac}}, ESP},
		{"AH first, another algorithm", "sha512", []message.Proposal{{Number: 1, Protocol: 2, SPI: []byte{8, 8, 8, 8}, Transforms: hmac}, {Number: 2, Protocol: 3, SPI: []byte{7, 7, 7, 7}, Transforms: gcm}}, ESP},
	} {
		w, mn, cn := pair(t, 12, withAH(t, "sha256", c.offer))
		cn.narrow = byPath
		mn.initiate(payloadWant())
		w.run(time.Second, nil)
		cn.log = nil
		p := authentic(mn, cn, one[SAUp](mn).SA, message.CreateChildSA, []message.Body{message.SABody(c.ps), nonceBody,
			message.TSBody(message.TypeTSi, pfx(hoaA+"/128", 0)), message.TSBody(message.TypeTSr, pfx(cnA+"/128", 0))})
		if p == nil || p.FirstError() != nil || one[Authorise](cn).Proto != c.want || p.SA[0].Protocol != wire(c.want) {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	for name, answer := range map[string]message.Body{
		"ESP for AH":       espSA(9, 9, 9, 9),
		"AH with a cipher": message.SABody([]message.Proposal{{Number: 1, Protocol: 2, SPI: []byte{9, 9, 9, 9}, Transforms: append(gcm[:1:1], hmac...)}}),
		"AH with nothing":  message.SABody([]message.Proposal{{Number: 1, Protocol: 2, SPI: []byte{9, 9, 9, 9}, Transforms: gcm[1:]}}),
		"AH not offered":   message.SABody([]message.Proposal{{Number: 1, Protocol: 2, SPI: []byte{9, 9, 9, 9}, Transforms: []tr{{Type: 3, ID: 14}, {Type: 5}}}}),
		"SPI of 8":         ahSA(t, zeros(8)...),
		"SPI reserved":     ahSA(t, 0, 0, 0, 1),
	} {
		w, mn, cn := pair(t, 12, withAH(t, "sha256", "sha256"))
		mn.initiate(payloadWant())
		w.run(time.Second, nil)
		a, b := one[SAUp](mn).SA, one[SAUp](cn).SA
		from := len(w.sent)
		w.drop = func(from *node, s Send) bool { return from == mn }
		mn.step(CreateChild{Req: 9, SA: a, Want: pathWant("ah", AH, hoaA, 3)})
		w.run(50*time.Millisecond, nil)
		h, _ := message.ParseHeader(w.sent[from].Data)
		mn.step(Datagram{Local: ap(coa1), Remote: ap(haA), Data: cn.m.sas[b].seal(h.Exchange, h.ID, true, []message.Body{
			answer, message.Notify{Type: message.UseTransportMode}.Body(), nonceBody,
			message.TSBody(message.TypeTSi, pfx(hoaA+"/128", 0)), message.TSBody(message.TypeTSr, pfx(cnA+"/128", 0))})})
		w.run(50*time.Millisecond, nil)
		if r := one[ChildRefused](mn); r.Req != 9 || r.ByPeer || len(mn.kernel) != 1 || len(mn.larval) != 0 {
			t.Errorf("%s: %+v%s", name, r, mn.dump())
		}
		// What the peer believes to be up is deleted over there, as AH.
		last := w.sent[len(w.sent)-1]
		h, _ = message.ParseHeader(last.Data)
		o, err := message.Parse(h, last.Data)
		if err != nil || h.Exchange != message.Informational {
			t.Fatalf("%s: %v %v", name, err, h.Exchange)
		}
		plain, err := cn.m.sas[b].in.Open(last.Data, o.SK.Offset)
		if err != nil {
			t.Fatal(err)
		}
		if in, err := message.ParseInner(o.SK.Inner, plain); err != nil || len(in.Deletes) != 1 || in.Deletes[0].Protocol != message.ProtoAH {
			t.Errorf("%s: %v %+v", name, err, in)
		}
	}
}
