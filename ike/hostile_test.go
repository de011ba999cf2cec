package ike

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// The tests of this file and the two beside it are named by the classes of faults that IKE
// daemons were found to have over the years.

func body(t message.PayloadType, b ...byte) message.Body { return message.Body{Type: t, Data: b} }

func zeros(n int) []byte { return make([]byte, n) }

func espSA(spi ...byte) message.Body {
	return message.SABody(transform.Proposals(Conn{}.withDefaults().ESP, message.ProtoESP, spi))
}

// edited is a body with some octets put in at an offset.
func edited(b message.Body, at int, with ...byte) message.Body {
	b.Data = append([]byte(nil), b.Data...)
	copy(b.Data[at:], with)
	return b
}

var (
	nonceBody = body(message.TypeNonce, zeros(32)...)
	tsiBody   = message.TSBody(message.TypeTSi, payloadWant().Local)
	tsrBody   = message.TSBody(message.TypeTSr, payloadWant().Remote)
)

// lengths are bodies whose lengths lie.
var lengths = []struct {
	name string
	body message.Body
}{
	{"LengthUnderflow proposal shorter than its header", edited(espSA(1, 2, 3, 4), 2, 0, 7)},
	{"LengthUnderflow proposal shorter than its SPI", edited(espSA(1, 2, 3, 4), 6, 255)},
	{"LengthUnderflow transform shorter than its header", edited(espSA(1, 2, 3, 4), 14, 0, 7)},
	{"LengthUnderflow attribute beyond its transform", edited(espSA(1, 2, 3, 4), 20, 0, 14, 255, 255)},
	{"LengthUnderflow selector shorter than its header", edited(tsiBody, 6, 0, 7)},
	{"LengthUnderflow IPv6 selector of 8 octets", edited(tsiBody, 6, 0, 8)},
	{"LengthUnderflow KE without group", body(message.TypeKE, 0, 31)},
	{"LengthUnderflow notify shorter than its SPI", body(message.TypeNotify, 3, 255, 0x40, 9)},
	{"LengthUnderflow delete of three octets", body(message.TypeDelete, 3, 4, 0)},
	{"LengthUnderflow configuration attribute", body(message.TypeCP, 1, 0, 0, 0, 0, 8, 0, 17)},
	{"LengthUnderflow identity of three octets", body(message.TypeIDi, 2, 0, 0)},
	{"LengthUnderflow AUTH of three octets", body(message.TypeAuth, 2, 0, 0)},
	{"LengthUnderflow empty CERT", body(message.TypeCert)},
	{"InfiniteLoop proposal of length zero", edited(espSA(1, 2, 3, 4), 0, 2, 0, 0, 0)},
	{"InfiniteLoop transform of length zero", edited(espSA(1, 2, 3, 4), 14, 0, 0)},
	{"InfiniteLoop selector of length zero", edited(tsiBody, 6, 0, 0)},
	{"InfiniteLoop 255 selectors announced", edited(tsiBody, 0, 255)},
	{"InfiniteLoop 255 transforms announced", edited(espSA(1, 2, 3, 4), 7, 255)},
	{"InfiniteLoop 400 empty attributes", body(message.TypeCP, append([]byte{1, 0, 0, 0}, zeros(1600)...)...)},
	{"CountOverflow 65535 SPIs of 4 octets", body(message.TypeDelete, 3, 4, 255, 255, 1, 2, 3, 4)},
	{"CountOverflow 16385 SPIs: 4 octets modulo 65536", body(message.TypeDelete, 3, 4, 0x40, 1, 1, 2, 3, 4)},
	{"CountOverflow 65535 SPIs of no octets", body(message.TypeDelete, 3, 0, 255, 255)},
	{"CountOverflow 257 SPIs", body(message.TypeDelete, append([]byte{3, 4, 1, 1}, zeros(4*257)...)...)},
	{"CountOverflow nonce of 257 octets", body(message.TypeNonce, zeros(257)...)},
	{"CountOverflow nonce of 65000 octets", body(message.TypeNonce, zeros(65000)...)},
	{"CountOverflow nonce of 15 octets", body(message.TypeNonce, zeros(15)...)},
	{"CountOverflow empty nonce", body(message.TypeNonce)},
}

// TestLyingLengths: behind authentication they end the IKE SA and leave nothing; before it they
// leave nothing at all.
func TestLyingLengths(t *testing.T) {
	for _, c := range lengths {
		t.Run(c.name, func(t *testing.T) {
			w, mn, ha := pair(t, 12, nil)
			a, _ := connect(t, w, mn, ha)
			p := authentic(mn, ha, a, message.Informational, []message.Body{c.body})
			if p == nil || p.FirstError() == nil || p.FirstError().Type != message.InvalidSyntax {
				t.Fatalf("answer %+v", p)
			}
			if len(find[SADown](ha)) != 1 || len(ha.kernel)+len(ha.larval)+len(ha.m.tasks) != 0 {
				t.Error("something is left")
			}
			_, mn, ha = pair(t, 12, nil)
			mn.initiate(mhWant())
			h, _ := message.ParseHeader(mn.w.sent[0].Data)
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: message.Plain(h, []message.Body{c.body})})
			if len(ha.m.sas)+len(ha.m.inits)+len(ha.m.perSource)+len(ha.m.tasks)+ha.m.halfOpen != 0 {
				t.Error("state for an unauthenticated message")
			}
		})
	}
}

// TestLengthUnderflowEncrypted: an SK payload that is too short for IV and check value.
func TestLengthUnderflowEncrypted(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	a, b := connect(t, w, mn, ha)
	s := mn.m.sas[a]
	for n := range 60 {
		h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSK, Exchange: message.Informational,
			ID: s.sendID, Flags: message.FlagInitiator}
		msg := message.AppendSKHeader(h.Append(nil, message.HeaderLen+4+n), message.TypeNotify, n)
		ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: append(msg, zeros(n)...)})
		if n < 4 { // and one whose length says less than its header
			binary.BigEndian.PutUint16(msg[message.HeaderLen+2:], uint16(n))
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: msg})
		}
	}
	if ha.m.sas[b] == nil || ha.m.sas[b].recvID != s.sendID || len(find[SADown](ha)) != 0 {
		t.Error("the IKE SA was changed")
	}
	if st := ha.m.Stats(); st.DropIntegrity+st.DropMalformed < 60 {
		t.Errorf("%+v", st)
	}
}

// TestCountOverflowSelectors: as many selectors as the octet can count are taken, and narrowed.
func TestCountOverflowSelectors(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	a, _ := connect(t, w, mn, ha)
	many := make([]message.Selector, 255)
	for i := range many {
		many[i] = payloadWant().Local[0]
		many[i].StartPort, many[i].EndPort = uint16(i), uint16(i)
	}
	for _, nonce := range []int{16, 256} {
		ps := []message.Body{espSA(9, 9, 9, byte(nonce)), body(message.TypeNonce, zeros(nonce)...), message.TSBody(message.TypeTSi, many), tsrBody}
		p := authentic(mn, ha, a, message.CreateChildSA, ps)
		if p == nil || p.FirstError() != nil || len(p.TSi) != 255 {
			t.Fatalf("nonce of %d: %+v", nonce, p)
		}
	}
}

// TestUnauthenticatedGrowth: whatever is sent by whom, what is kept of it is bounded, and a
// node still comes in.
func TestUnauthenticatedGrowth(t *testing.T) {
	const most, each = 60, 20
	w, mn, ha := pair(t, 12, func(s *setup) {
		s.haCfg.CookieThreshold, s.haCfg.HalfOpenMax, s.haCfg.HalfOpenPerSource = most/2, most, each
	})
	mn.initiate(mhWant(), payloadWant())
	first := mn.w.sent[0].Data
	for i := range uint64(5000) {
		data := append([]byte(nil), first...)
		binary.BigEndian.PutUint64(data, i+1)
		src := netip.AddrPortFrom(netip.MustParseAddr("2001:db8:f::1"), 500)
		if i%2 == 0 {
			b := src.Addr().As16()
			binary.BigEndian.PutUint16(b[4:], uint16(i))
			src = netip.AddrPortFrom(netip.AddrFrom16(b), 500)
		}
		ha.step(Datagram{Local: ap(haA), Remote: src, Data: data})
		for id, s := range ha.m.sas { // and an IKE_AUTH that nobody can have meant
			h := message.Header{SPIi: s.spiI, SPIr: uint64(id), Next: message.TypeSK, Exchange: message.IKEAuth, ID: 1, Flags: message.FlagInitiator}
			msg := message.AppendSKHeader(h.Append(nil, message.HeaderLen+4+100), message.TypeIDi, 100)
			ha.step(Datagram{Local: ap(haA), Remote: src, Data: append(msg, zeros(100)...)})
			break
		}
		if n := len(ha.m.sas); n > most || len(ha.m.inits) > n || len(ha.m.perSource) > n || len(ha.m.timers) > n || len(ha.m.tasks) != 0 {
			t.Fatalf("after %d: %d half-open, %d first messages, %d sources, %d tasks", i, n, len(ha.m.inits), len(ha.m.perSource), len(ha.m.tasks))
		}
	}
	if !w.run(time.Minute, func() bool { return len(find[ChildUp](mn)) == 2 }) {
		t.Error("the node does not come in")
	}
	w.run(time.Minute, nil)
	if len(ha.m.sas) != 1 || len(ha.m.inits)+len(ha.m.perSource)+ha.m.halfOpen != 0 {
		t.Error("half-open IKE SAs outlive their time")
	}
	agree(t, mn, ha, 2)
}

// TestAuthenticatedGrowth: a peer gets so many IKE SAs and children and no more.
func TestAuthenticatedGrowth(t *testing.T) {
	w, mn, ha := pair(t, 12, nil)
	a, _ := connect(t, w, mn, ha)
	refused := 0
	for i := range 3 * maxChildren {
		p := authentic(mn, ha, a, message.CreateChildSA, []message.Body{espSA(9, 9, 9, byte(i)), nonceBody, tsiBody, tsrBody})
		if e := p.FirstError(); e != nil && e.Type == message.NoAdditionalSAs {
			refused++
		}
	}
	if len(ha.kernel) != maxChildren || refused != 2*maxChildren+2 {
		t.Errorf("%d children, %d refused", len(ha.kernel), refused)
	}
	for range 3 * maxSAs {
		mn.initiate(mhWant())
		w.run(time.Second, nil)
	}
	if n := len(ha.m.peers[peerKey{"mip6", mnID.Fold()}]); n != maxSAs || ha.m.Stats().Established != maxSAs || len(ha.kernel) != maxSAs {
		t.Errorf("%d IKE SAs, %d children", n, len(ha.kernel))
	}
	w.run(time.Minute, nil)
	if len(ha.m.sas) != maxSAs {
		t.Errorf("%d IKE SAs left", len(ha.m.sas))
	}
}
