package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

func ikeOffers(t testing.TB, texts ...string) (out []transform.Offer) {
	t.Helper()
	for _, s := range texts {
		o, err := transform.ParseIKEOffer(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func espOffers(t testing.TB, texts ...string) (out []transform.Offer) {
	t.Helper()
	for _, s := range texts {
		o, err := transform.ParseOffer(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// withSuites has the same proposals on both sides.
func withSuites(ikes, esps []transform.Offer) func(*setup) {
	return func(s *setup) {
		for _, c := range []*Config{&s.mnCfg, &s.haCfg} {
			c.Conns[0].IKE, c.Conns[0].ESP, c.Conns[0].Legacy = ikes, esps, true
		}
	}
}

// TestSuites sets up, rekeys by either side, checks for life and closes, with each algorithm.
func TestSuites(t *testing.T) {
	for i, c := range []struct{ ike, esp string }{
		{"aes128-sha256-modp2048", "aes128-sha256"},
		{"aes256-sha512-ecp521", "aes256-sha512-ecp521-esn"},
		{"aes192-sha384-prfsha256-ecp384", "aes192-sha384-modp2048"},
		{"aes128ctr-aescmac-x25519", "aes128ctr-aescmac-x25519"},
		{"aes256ctr-sha256-prfaescmac-ecp256", "aes256ctr-sha256"},
		{"chacha20poly1305-prfsha512-x25519", "chacha20poly1305-ecp384-esn"},
		{"aes192gcm16-prfaescmac-modp2048", "aes192gcm16"},
		{"3des-sha1-modp1024", "3des-sha1-modp1024"},
		{"aes128-sha1-modp2048", "aes128-sha1"},
		{"aes256-aescmac-prfsha256-modp3072", "aes192ctr-sha512"},
	} {
		ikes, esps := ikeOffers(t, c.ike), espOffers(t, c.esp)
		w, mn, ha := pair(t, uint64(i), withSuites(ikes, esps))
		a, b := connect(t, w, mn, ha)
		agree(t, mn, ha, 2)
		if up := one[SAUp](mn).Suite; up != one[SAUp](ha).Suite || up.String() != ikes[0].String() {
			t.Errorf("%s: %s", c.ike, up)
		}
		for _, k := range mn.kernel {
			if k.Encr != esps[0].Encr[0] || len(esps[0].Integ) > 0 && k.Integ != esps[0].Integ[0] || k.ESN != slices.Contains(esps[0].ESN, true) {
				t.Errorf("%s: %+v", c.esp, k)
			}
		}
		for _, side := range []struct {
			n  *node
			sa SAID
		}{{mn, a}, {ha, b}} {
			n, sa := side.n, side.sa
			n.step(Probe{SA: sa})
			w.run(time.Second, nil)
			n.step(RekeyChild{SA: sa, SPIIn: n.byName("payload").SPIIn})
			w.run(time.Second, nil)
			agree(t, mn, ha, 2)
		}
		mn.step(RekeySA{a})
		w.run(time.Second, nil)
		if len(find[SARekeyed](ha)) != 1 || len(find[ChildRekeyed](ha)) != 2 {
			t.Errorf("%s: %s", c.ike, ha.dump())
		}
		ha.step(RekeyChild{SA: one[SARekeyed](ha).New, SPIIn: ha.byName("mh").SPIIn})
		w.run(time.Minute, nil)
		agree(t, mn, ha, 2)
		for _, n := range []*node{mn, ha} {
			if s := n.m.Stats(); s.DropIntegrity+s.DropMalformed+s.Retransmits != 0 {
				t.Errorf("%s: %s: %+v", c.ike, n.name, s)
			}
		}
		mn.step(Close{SA: one[SARekeyed](mn).New})
		w.run(time.Minute, nil)
		agree(t, mn, ha, 0)
	}
}

// TestTampered: no octet of a message protected by cipher and integrity algorithm may change.
func TestTampered(t *testing.T) {
	w, mn, ha := pair(t, 3, withSuites(ikeOffers(t, "aes128-sha256-modp2048"), espOffers(t, "aes128-sha256")))
	a, _ := connect(t, w, mn, ha)
	w.drop = func(*node, Send) bool { return true }
	mn.step(Probe{SA: a})
	msg := w.sent[len(w.sent)-1].Data
	for i := message.HeaderLen; i < len(msg); i++ {
		bad := bytes.Clone(msg)
		bad[i] ^= 0x40
		sent := len(w.sent)
		ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: bad})
		if len(w.sent) != sent {
			t.Fatalf("octet %d changed, and it is answered", i)
		}
	}
	sent := len(w.sent)
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: msg})
	if len(w.sent) != sent+1 {
		t.Error("the true message is not answered")
	}
}

// TestDefaultsMeetStrangers: who has only what RFC 8247 and 8221 demand of all is served, by either side.
func TestDefaultsMeetStrangers(t *testing.T) {
	for _, c := range []struct{ ike, esp, suite string }{
		{"aes128-sha256-modp2048", "aes128-sha256", "aes128-sha256-prfsha256-modp2048"},
		{"aes256-sha256-modp2048-ecp256", "aes256-sha256", "aes256-sha256-prfsha256-"},
		{"aes128gcm16-prfsha256-ecp256", "aes256gcm16", "aes128gcm16-prfsha256-ecp256"},
	} {
		for _, side := range []string{"initiator", "responder"} {
			w, mn, ha := pair(t, 5, func(s *setup) {
				stranger := &s.haCfg.Conns[0]
				if side == "initiator" {
					stranger = &s.mnCfg.Conns[0]
				}
				stranger.IKE, stranger.ESP = ikeOffers(t, c.ike), espOffers(t, c.esp)
			})
			connect(t, w, mn, ha)
			agree(t, mn, ha, 2)
			if got := one[SAUp](mn).Suite.String(); !strings.HasPrefix(got, c.suite) {
				t.Errorf("%s as %s: %s", c.ike, side, got)
			}
		}
	}
	w, mn, ha := pair(t, 5, nil)
	connect(t, w, mn, ha)
	if got := one[SAUp](mn).Suite.String(); got != "aes128gcm16-prfsha256-x25519" || len(w.sent) != 6 { // the second child has an exchange of its own
		t.Errorf("between ourselves: %s, %d messages", got, len(w.sent))
	}
}

// TestLegacyPeersOnly: an algorithm of the past is not even in a configuration, and a stranger
// that offers it is refused.
func TestLegacyPeersOnly(t *testing.T) {
	old := ikeOffers(t, "3des-sha1-modp1024")
	for _, c := range []Conn{{IKE: old}, {ESP: espOffers(t, "aes128-sha1")}, {ESP: espOffers(t, "3des-sha256")},
		{IKE: ikeOffers(t, "aes128gcm16-prfsha1-x25519")}, {IKE: ikeOffers(t, "aes128gcm16-prfsha256-x25519-modp1024")}} {
		x := mnConn()
		x.IKE, x.ESP = c.IKE, c.ESP
		if err := (Config{Conns: []Conn{x}}).Validate(); err == nil || !strings.Contains(err.Error(), "legacy") {
			t.Errorf("%v %v: %v", c.IKE, c.ESP, err)
		}
		x.Legacy = true
		if err := (Config{Conns: []Conn{x}}).Validate(); err != nil {
			t.Error(err)
		}
	}
	w, mn, ha := pair(t, 2, func(s *setup) { s.mnCfg.Conns[0].IKE, s.mnCfg.Conns[0].Legacy = old, true })
	mn.initiate(mhWant())
	w.run(time.Minute, nil)
	if r := one[Refused](mn); r.Notify != message.NoProposalChosen || len(find[SAUp](ha)) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestLegacyPeerAmongOthers: one connection is of the past; the others' peers do not get in by its suite.
func TestLegacyPeerAmongOthers(t *testing.T) {
	for _, legacy := range []bool{true, false} {
		w, mn, ha := pair(t, 2, func(s *setup) {
			old := ikeOffers(t, "3des-sha1-modp1024")
			s.mnCfg.Conns[0].IKE, s.mnCfg.Conns[0].Legacy = old, true
			past := haConn()
			past.Name, past.RemoteID = "past", IDMatch{Exact: []message.Identity{cnID}}
			if legacy {
				past.RemoteID.Exact[0] = mnID
			}
			past.IKE, past.Legacy = old, true
			s.haCfg.Conns = append([]Conn{past}, s.haCfg.Conns...)
			s.haKey = ring(t, haID, "past", "mip6")
			s.mnKey = ring(t, mnID, "mip6")
		})
		mn.initiate(mhWant())
		w.run(time.Minute, nil)
		if up := len(find[SAUp](ha)) == 1; up != legacy {
			t.Errorf("legacy %v: up %v%s", legacy, up, ha.dump())
		}
	}
}

// TestModernPeerBesideLegacy: a peer that offers both is not led to what its own connection refuses,
// whatever the order of the connections.
func TestModernPeerBesideLegacy(t *testing.T) {
	w, mn, ha := pair(t, 2, func(s *setup) {
		s.mnCfg.Conns[0].IKE, s.mnCfg.Conns[0].Legacy = ikeOffers(t, "3des-sha1-modp1024", "aes128-sha256-modp2048"), true
		past := haConn()
		past.Name, past.RemoteID = "past", IDMatch{Exact: []message.Identity{cnID}}
		past.IKE, past.Legacy = ikeOffers(t, "3des-sha1-modp1024"), true
		s.haCfg.Conns = append([]Conn{past}, s.haCfg.Conns...)
		s.haKey, s.mnKey = ring(t, haID, "past", "mip6"), ring(t, mnID, "mip6")
	})
	connect(t, w, mn, ha)
	if up := one[SAUp](ha); up.Conn != "mip6" || up.Suite.Encr != transform.AES128CBC {
		t.Errorf("%s by %s", up.Suite, up.Conn)
	}
}

// TestInvalidKEOfAllMethods: the first guess is wrong, the responder names its own.
func TestInvalidKEOfAllMethods(t *testing.T) {
	all := "ecp256-ecp384-ecp521-modp2048-modp3072-modp1024"
	for _, method := range strings.Split(all, "-") {
		w, mn, ha := pair(t, 2, func(s *setup) {
			withSuites(nil, nil)(s)
			s.mnCfg.Conns[0].IKE = ikeOffers(t, "aes128gcm16-prfsha256-x25519-"+all)
			s.haCfg.Conns[0].IKE = ikeOffers(t, "aes128gcm16-prfsha256-"+method)
		})
		connect(t, w, mn, ha)
		if up := one[SAUp](mn); up.Suite.KE.String() != method || len(w.sent) != 8 {
			t.Errorf("%s: %s, %d messages", method, up.Suite, len(w.sent))
		}
	}
}

// TestRekeyGuess: who had to be told the method once is not told again at each rekey.
func TestRekeyGuess(t *testing.T) {
	w, mn, ha := pair(t, 2, func(s *setup) {
		s.haCfg.Conns[0].IKE, s.haCfg.Conns[0].ESP = ikeOffers(t, "aes128-sha256-modp2048"), espOffers(t, "aes128-sha256-modp2048")
		s.mnCfg.Conns[0].ESP = espOffers(t, "aes128gcm16-x25519", "aes128-sha256-ecp384-modp2048")
	})
	a, _ := connect(t, w, mn, ha)
	from := ha.m.Stats().InvalidKE
	mn.step(RekeyChild{SA: a, SPIIn: mn.byName("payload").SPIIn})
	w.run(time.Second, nil)
	mn.step(RekeySA{a})
	w.run(time.Second, nil)
	if len(find[ChildRekeyed](mn)) != 1 || len(find[SARekeyed](mn)) != 1 || from != 1 || ha.m.Stats().InvalidKE != from {
		t.Errorf("%d times told at first, %d in all%s", from, ha.m.Stats().InvalidKE, mn.dump())
	}
	agree(t, mn, ha, 2)
}

// TestChildInvalidKE: CREATE_CHILD_SA is repeated with the group that the responder wants (§1.3),
// and where only a later proposal has a group, there is a KE payload for it.
func TestChildInvalidKE(t *testing.T) {
	for _, c := range []struct{ mn, ha, want string }{
		{"aes128gcm16-x25519-modp2048", "aes128gcm16-modp2048", "modp2048"},
		{"aes128-sha256-ecp384-ecp521", "aes128-sha256-ecp521-ecp384", "ecp384"}, // what the KE payload has
		{"aes128-sha256-x25519-none", "aes128-sha256", ""},
		{"aes128gcm16 aes128-sha256-modp2048", "aes128-sha256-modp2048", "modp2048"},
		{"aes128gcm16 aes128-sha256-modp2048", "aes128gcm16", ""},
	} {
		w, mn, ha := pair(t, 9, func(s *setup) {
			var mine []transform.Offer
			for _, text := range strings.Fields(c.mn) {
				none := strings.HasSuffix(text, "-none")
				o := espOffers(t, strings.TrimSuffix(text, "-none"))[0]
				if none {
					o.KE = append(o.KE, transform.KENone)
				}
				mine = append(mine, o)
			}
			s.mnCfg.Conns[0].ESP, s.haCfg.Conns[0].ESP = mine, espOffers(t, c.ha)
		})
		a, _ := connect(t, w, mn, ha)
		old := mn.byName("payload").SPIIn
		mn.step(RekeyChild{SA: a, SPIIn: old})
		w.run(time.Second, nil)
		agree(t, mn, ha, 2)
		if mn.byName("payload").SPIIn == old {
			t.Errorf("%v: no rekey%s", c, mn.dump())
		}
		for _, x := range mn.m.sas {
			for _, k := range x.children {
				if k.Name == "payload" && k.suite.KE.String() != c.want && (c.want != "" || k.suite.KE != transform.KENone) {
					t.Errorf("%v: %s", c, k.suite)
				}
			}
		}
	}
}

// TestBadPublicValues: a first message whose KE data is no value of its group gets no IKE SA.
func TestBadPublicValues(t *testing.T) {
	for _, method := range []string{"x25519", "ecp256", "ecp384", "ecp521", "modp2048", "modp1024"} {
		o := ikeOffers(t, "aes128-sha256-"+method)
		k := o[0].KE[0]
		key, err := k.Generate(seeded(3))
		if err != nil {
			t.Fatal(err)
		}
		n := len(key.Public())
		for name, data := range map[string][]byte{
			"zeros": zeros(n), "ones": bytes.Repeat([]byte{0xff}, n), "one": append(zeros(n-1), 1), "short": key.Public()[1:],
			"long": append(key.Public(), 0), "with a form octet": append([]byte{4}, key.Public()...), "one octet": {1},
		} {
			w, mn, ha := pair(t, 2, withSuites(o, espOffers(t, "aes128-sha256")))
			mn.initiate(mhWant())
			h, _ := message.ParseHeader(w.sent[0].Data)
			p, err := message.Parse(h, w.sent[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			bad := message.Plain(message.Header{SPIi: 77, Exchange: message.IKESAInit, Flags: message.FlagInitiator}, []message.Body{
				message.SABody(p.SA), message.KE{Group: uint16(k), Data: data}.Body(), {Type: message.TypeNonce, Data: zeros(32)},
			})
			ha.step(Datagram{Local: ap(haA), Remote: ap(coa2), Data: bad})
			w.run(time.Second, nil)
			// A point is looked at when IKE_AUTH comes: whoever sends it has no keys.
			answers := 0
			for _, s := range w.sent {
				if r, err := message.ParseHeader(s.Data); err == nil && r.SPIi == 77 && r.SPIr != 0 {
					answers++
					fake := message.Header{SPIi: 77, SPIr: r.SPIr, Next: message.TypeSK, Exchange: message.IKEAuth, ID: 1, Flags: message.FlagInitiator}
					body := append(fake.Append(nil, message.HeaderLen+4+64), message.AppendSKHeader(nil, message.TypeIDi, 64)...)
					ha.step(Datagram{Local: ap(haA), Remote: ap(coa2), Data: append(body, zeros(64)...)})
				}
			}
			lengthWrong := len(data) != n
			if answers > 0 && (lengthWrong || strings.HasPrefix(method, "modp")) {
				t.Errorf("%s, %s: answered", method, name)
			}
			w.run(time.Minute, nil)
			if ups := len(find[SAUp](ha)); ups != 1 || ha.m.halfOpen != 0 { // the true peer's
				t.Errorf("%s, %s: %d IKE SAs, %d half-open", method, name, ups, ha.m.halfOpen)
			}
		}
	}
}

// TestKeyLogOfSuites: what goes to the key log has Wireshark's names.
func TestKeyLogOfSuites(t *testing.T) {
	for text, want := range map[string]string{
		"aes256-sha256-modp2048":            "AES-CBC-256 [RFC3602] HMAC_SHA2_256_128 [RFC4868] 32 32",
		"aes128ctr-sha384-x25519":           "AES-CTR-128 [RFC5930] HMAC_SHA2_384_192 [RFC4868] 20 48",
		"aes192gcm16-prfsha256-x25519":      "AES-GCM-192 with 16 octet ICV [RFC5282] NONE [RFC4306] 28 0",
		"chacha20poly1305-prfsha256-ecp256": " NONE [RFC4306] 36 0",
	} {
		w, mn, ha := pair(t, 2, func(s *setup) {
			withSuites(ikeOffers(t, text), nil)(s)
			s.mnCfg.KeyLog = true
		})
		connect(t, w, mn, ha)
		k := one[Keys](mn)
		if got := fmt.Sprint(k.WiresharkEnc, " ", k.WiresharkInt, " ", len(k.SKei), " ", len(k.SKar)); got != want {
			t.Errorf("%s: %q", text, got)
		}
		if binary.BigEndian.Uint64(w.sent[0].Data) != k.SPIi {
			t.Error("SPI")
		}
	}
}
