package transform

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mip6/mip6/ike/message"
)

func TestParseIKEOffer(t *testing.T) {
	for text, want := range map[string]string{
		"aes256-sha256-modp2048":                      "aes256-sha256-prfsha256-modp2048",
		"aes128gcm16-prfsha256-ecp384":                "aes128gcm16-prfsha256-ecp384",
		"chacha20poly1305-prfsha512-curve25519":       "chacha20poly1305-prfsha512-x25519",
		"AES256GCM16-sha384-ecp521":                   "aes256gcm16-prfsha384-ecp521", // strongSwan's habit
		"aes128ctr-aescmac-modp3072":                  "aes128ctr-aescmac-prfaescmac-modp3072",
		"aes192-aes256-sha512-sha256-modp4096":        "aes192-aes256-sha512-sha256-prfsha512-prfsha256-modp4096",
		"aes-sha-modp1024":                            "aes128-sha1-prfsha1-modp1024",
		"3des-sha1-prfsha256-modp2048":                "3des-sha1-prfsha256-modp2048",
		"aes128gcm128-aes192gcm-prfsha2_256-modp2048": "",
		"aes128gcm128-aes192gcm-prfsha256-modp2048":   "aes128gcm16-aes192gcm16-prfsha256-modp2048",
		"aes128-sha2_256-x25519":                      "aes128-sha256-prfsha256-x25519",
		"aes128-modp2048":                             "",
		"aes128-prfsha256-modp2048":                   "", // no integrity
		"aes128-aes128gcm16-sha256-modp2048":          "", // both kinds
		"aes128gcm16-sha256-prfsha256-modp2048":       "", // the integrity algorithm is for nothing
		"aes128-sha256":                               "",
		"sha256-modp2048":                             "",
		"aes128-sha256-modp2048-esn":                  "",
		"aes128-sha256-modp1536":                      "",
		"aes128-md5-modp2048":                         "",
		"null-sha256-modp2048":                        "",
		"aes512-sha256-modp2048":                      "",
		"":                                            "",
	} {
		o, err := ParseIKEOffer(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q accepted: %s", text, o)
			}
			continue
		}
		if err != nil || o.String() != want {
			t.Errorf("%q: %s %v", text, o, err)
		}
		if again, err := ParseIKEOffer(o.String()); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%q does not come back: %v", want, err)
		}
	}
}

func TestParseESPOffer(t *testing.T) {
	for text, want := range map[string]string{
		"aes128-sha256":                  "aes128-sha256",
		"aes256ctr-aescmac-esn-noesn":    "aes256ctr-aescmac-esn-noesn",
		"chacha20poly1305-esn":           "chacha20poly1305-esn",
		"aes256-sha512-ecp384":           "aes256-sha512-ecp384",
		"aes128":                         "",
		"3des":                           "",
		"aes128gcm16-sha256":             "",
		"aes128gcm16-aes128-sha256":      "",
		"chacha20poly1305-3des-sha1":     "",
		"sha256":                         "",
		"aes128gcm16-chacha20poly1305":   "aes128gcm16-chacha20poly1305",
		"aes128-aes256ctr-sha256-sha512": "aes128-aes256ctr-sha256-sha512",
	} {
		o, err := ParseOffer(text)
		if (err == nil) != (want != "") || err == nil && (o.String() != want || o.Check(message.ProtoESP) != nil) {
			t.Errorf("%q: %s %v", text, o, err)
		}
	}
}

func TestCheck(t *testing.T) {
	aes, hmac, prf, ke := []Encr{AES128CBC}, []Integ{IntegHMACSHA256}, []PRF{PRFHMACSHA256}, []KE{MODP2048}
	for _, c := range []struct {
		name  string
		proto message.Protocol
		o     Offer
		err   error
	}{
		{"good", 1, Offer{Encr: aes, Integ: hmac, PRF: prf, KE: ke}, nil},
		{"unknown cipher", 1, Offer{Encr: []Encr{{12, 0}}, Integ: hmac, PRF: prf, KE: ke}, ErrUnsupported},
		{"unknown prf", 1, Offer{Encr: aes, Integ: hmac, PRF: []PRF{4}, KE: ke}, ErrUnsupported},
		{"unknown integrity", 1, Offer{Encr: aes, Integ: []Integ{5}, PRF: prf, KE: ke}, ErrUnsupported},
		{"unknown method", 1, Offer{Encr: aes, Integ: hmac, PRF: prf, KE: []KE{5}}, ErrUnsupported},
		{"no key exchange", 1, Offer{Encr: aes, Integ: hmac, PRF: prf, KE: []KE{KENone}}, ErrUnsupported},
		{"no integrity", 1, Offer{Encr: aes, PRF: prf, KE: ke}, ErrInvalid},
		{"integrity none", 3, Offer{Encr: aes, Integ: []Integ{0}}, ErrUnsupported},
		{"optional secrecy", 3, Offer{Encr: aes, Integ: hmac, KE: []KE{MODP2048, KENone}}, nil},
		{"both kinds", 3, Offer{Encr: []Encr{AES128GCM16, AES128CBC}, Integ: hmac}, ErrInvalid},
		{"prf in ESP", 3, Offer{Encr: aes, Integ: hmac, PRF: prf}, ErrInvalid},
		{"AH", 2, Offer{Integ: hmac}, nil},
		{"AH with a cipher", 2, Offer{Encr: aes, Integ: hmac}, ErrInvalid},
		{"AH without", 2, Offer{}, ErrInvalid},
	} {
		if err := c.o.Check(c.proto); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestLegacy(t *testing.T) {
	for text, want := range map[string]string{
		"aes128-sha1-modp1024": "sha1 prfsha1 modp1024", "3des-sha256-x25519": "3des", "aes128gcm16-prfsha1-ecp256": "prfsha1",
		"aes128-sha256-prfsha256-modp2048-modp1024": "modp1024", "aes128-sha256-modp2048": "", "aes128ctr-aescmac-ecp256": "",
	} {
		o, err := ParseIKEOffer(text)
		if got := strings.Join(o.Legacy(), " "); err != nil || got != want {
			t.Errorf("%s: %q %v", text, got, err)
		}
	}
}

// TestNegotiationOfKinds: plain and combined-mode ciphers in proposals of one SA payload (RFC 7296 §3.3).
func TestNegotiationOfKinds(t *testing.T) {
	type tr = message.Transform
	gcm, cbc, cbc256 := tr{Type: 1, ID: 20, KeyBits: 128}, tr{Type: 1, ID: 12, KeyBits: 128}, tr{Type: 1, ID: 12, KeyBits: 256}
	chacha, des := tr{Type: 1, ID: 28}, tr{Type: 1, ID: 3}
	hmac, none := tr{Type: 3, ID: 12}, tr{Type: 3}
	esp := func(number uint8, ts ...tr) message.Proposal {
		return message.Proposal{Number: number, Protocol: 3, SPI: []byte{1, 2, 3, 4}, Transforms: ts}
	}
	list := func(texts ...string) (out []Offer) {
		for _, s := range texts {
			out = append(out, offer(t, s))
		}
		return out
	}
	both := list("aes128gcm16", "aes128-sha256")
	for _, c := range []struct {
		name   string
		offers []Offer
		ps     []message.Proposal
		want   string
		number uint8
	}{
		{"combined first there", both, []message.Proposal{esp(1, gcm), esp(2, cbc, hmac)}, "aes128gcm16", 1},
		{"combined second there", both, []message.Proposal{esp(1, cbc, hmac), esp(2, gcm)}, "aes128gcm16", 2},
		{"our order", list("aes128-sha256", "aes128gcm16"), []message.Proposal{esp(1, gcm), esp(2, cbc, hmac)}, "aes128-sha256", 2},
		{"plain only", both, []message.Proposal{esp(1, cbc, hmac)}, "aes128-sha256", 1},
		{"both kinds in one", both, []message.Proposal{esp(1, gcm, cbc, hmac)}, "aes128-sha256", 1},
		{"both kinds in one, integrity optional", both, []message.Proposal{esp(1, gcm, cbc, hmac, none)}, "aes128gcm16", 1},
		{"plain without integrity", both, []message.Proposal{esp(1, cbc)}, "", 0},
		{"plain with NONE", both, []message.Proposal{esp(1, cbc, none)}, "", 0},
		{"plain with NONE or one", both, []message.Proposal{esp(1, cbc, none, hmac)}, "aes128-sha256", 1},
		{"another length", both, []message.Proposal{esp(1, cbc256, hmac)}, "", 0},
		{"no length", both, []message.Proposal{esp(1, tr{Type: 1, ID: 12}, hmac)}, "", 0},
		{"both lengths", both, []message.Proposal{esp(1, cbc256, cbc, hmac)}, "aes128-sha256", 1},
		{"integrity with a length", both, []message.Proposal{esp(1, cbc, tr{Type: 3, ID: 12, KeyBits: 256})}, "", 0},
		{"a cipher of one length", list("chacha20poly1305"), []message.Proposal{esp(1, chacha)}, "chacha20poly1305", 1},
		{"with that length said", list("chacha20poly1305"), []message.Proposal{esp(1, tr{Type: 1, ID: 28, KeyBits: 256})}, "", 0},
		{"of the past", both, []message.Proposal{esp(1, des, tr{Type: 3, ID: 2})}, "", 0},
		{"of the past, admitted", list("3des-sha1"), []message.Proposal{esp(1, des, tr{Type: 3, ID: 2})}, "3des-sha1", 1},
		{"NULL", both, []message.Proposal{esp(1, tr{Type: 1, ID: 11}, hmac)}, "", 0},
	} {
		got, err := Choose(c.offers, c.ps, message.ProtoESP, KENone)
		if (err == nil) != (c.want != "") || err == nil && (got.Suite.String() != c.want || got.Proposal.Number != c.number) {
			t.Errorf("%s: %v %v of %d", c.name, err, got.Suite, got.Proposal.Number)
			continue
		}
		if err != nil {
			continue
		}
		n := 1 // what a peer with our offers would have sent
		for i, o := range c.offers {
			if s, _, ok := o.match(got.Proposal, KENone); ok && s == got.Suite {
				n = i + 1
			}
		}
		answer := got.Proposal
		answer.Number = uint8(n)
		if s, _, err := Accept(c.offers, []message.Proposal{answer}, message.ProtoESP); err != nil || s != got.Suite {
			t.Errorf("%s: our own choice is not accepted: %v %v", c.name, err, s)
		}
	}
}

// TestAcceptOfKinds: a responder that mixes what we keep apart is not believed.
func TestAcceptOfKinds(t *testing.T) {
	type tr = message.Transform
	gcm, cbc, sha256, sha1 := tr{Type: 1, ID: 20, KeyBits: 128}, tr{Type: 1, ID: 12, KeyBits: 128}, tr{Type: 3, ID: 12}, tr{Type: 3, ID: 2}
	offers := []Offer{offer(t, "aes128gcm16"), offer(t, "aes128-sha256")}
	for _, c := range []struct {
		name   string
		number uint8
		ts     []tr
		ok     bool
	}{
		{"the first", 1, []tr{gcm}, true},
		{"the first, NONE said", 1, []tr{gcm, {Type: 3}}, true},
		{"the second", 2, []tr{cbc, sha256}, true},
		{"combined with integrity", 1, []tr{gcm, sha256}, false},
		{"combined of the second", 2, []tr{gcm}, false},
		{"plain of the first", 1, []tr{cbc, sha256}, false},
		{"plain without integrity", 2, []tr{cbc}, false},
		{"plain with NONE", 2, []tr{cbc, {Type: 3}}, false},
		{"integrity that was not offered", 2, []tr{cbc, sha1}, false},
		{"two of them", 2, []tr{cbc, sha256, sha256}, false},
		{"another length", 2, []tr{{Type: 1, ID: 12, KeyBits: 256}, sha256}, false},
		{"no length", 2, []tr{{Type: 1, ID: 12}, sha256}, false},
		{"integrity alone", 2, []tr{sha256}, false},
		{"the cipher NULL", 2, []tr{{Type: 1, ID: 11}, sha256}, false},
	} {
		p := message.Proposal{Number: c.number, Protocol: 3, SPI: []byte{1, 2, 3, 4}, Transforms: c.ts}
		if s, _, err := Accept(offers, []message.Proposal{p}, message.ProtoESP); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v %v", c.name, s, err)
		}
	}
}

// TestChildKeysInOrder: of each SA the cipher's key is taken first, with its salt (RFC 7296 §2.17).
func TestChildKeysInOrder(t *testing.T) {
	d, ni, nr := []byte("SK_d"), []byte("ni"), []byte("nr")
	for text, want := range map[string][2]int{
		"aes128-sha256": {16, 32}, "aes256-sha512": {32, 64}, "aes128ctr-aescmac": {20, 16}, "aes256ctr-sha384": {36, 48},
		"3des-sha1": {24, 20}, "chacha20poly1305": {36, 0}, "aes192gcm16": {28, 0}, "aes192-sha1": {24, 20},
	} {
		o := offer(t, text)
		s := Suite{Encr: o.Encr[0]}
		if len(o.Integ) > 0 {
			s.Integ = o.Integ[0]
		}
		for _, p := range []PRF{PRFHMACSHA256, PRFAESCMAC, PRFHMACSHA1} {
			k, err := p.ChildKeys(d, s, nil, ni, nr)
			if err != nil {
				t.Fatal(err)
			}
			all, err := p.Plus(d, 2*(want[0]+want[1]), ni, nr)
			got := string(k.EncI) + string(k.AuthI) + string(k.EncR) + string(k.AuthR)
			if err != nil || got != string(all) || len(k.EncR) != want[0] || len(k.AuthR) != want[1] {
				t.Errorf("%s: %d and %d octets, %v", text, len(k.EncR), len(k.AuthR), err)
			}
		}
	}
}

// TestKeysInOrder: SK_d, ai, ar, ei, er, pi, pr (RFC 7296 §2.14); AES-CMAC takes half of each nonce for SKEYSEED.
func TestKeysInOrder(t *testing.T) {
	ni, nr := []byte("a nonce of 32 octets by initiator"), []byte("another one of the responder, 32.")
	for text, want := range map[string][3]int{
		"aes128-sha256-prfsha384-modp2048": {16, 32, 48}, "aes256ctr-aescmac-prfaescmac-x25519": {36, 16, 16},
		"3des-sha1-prfsha1-modp1024": {24, 20, 20}, "chacha20poly1305-prfsha256-ecp384": {36, 0, 32},
	} {
		o := offer(t, text)
		s := Suite{Encr: o.Encr[0], PRF: o.PRF[0]}
		if len(o.Integ) > 0 {
			s.Integ = o.Integ[0]
		}
		seed := s.Seed(ni, nr, []byte("g^ir"))
		key := string(ni) + string(nr)
		if s.PRF == PRFAESCMAC {
			key = string(ni[:8]) + string(nr[:8])
		}
		if string(seed) != string(s.PRF.Sum([]byte(key), []byte("g^ir"))) {
			t.Errorf("%s: SKEYSEED", text)
		}
		k, err := s.Keys(seed, ni, nr, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.PRF.Plus(seed, 3*want[2]+2*want[1]+2*want[0], ni, nr, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2})
		got := ""
		for _, b := range [][]byte{k.D, k.Ai, k.Ar, k.Ei, k.Er, k.Pi, k.Pr} {
			got += string(b)
		}
		if err != nil || got != string(all) || len(k.D) != want[2] || len(k.Ar) != want[1] || len(k.Er) != want[0] {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := s.Protector(k.Ei, k.Ai); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestNames: Linux's names are those of net/xfrm/xfrm_algo.c, Wireshark's those of its tables.
func TestNames(t *testing.T) {
	for e, want := range map[Encr][3]string{
		AES256GCM16:      {"rfc4106(gcm(aes))", "AES-GCM-256 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"},
		ChaCha20Poly1305: {"rfc7539esp(chacha20,poly1305)", "", "ChaCha20 with Poly1305 [RFC7634]"},
		AES128CBC:        {"cbc(aes)", "AES-CBC-128 [RFC3602]", "AES-CBC [RFC3602]"},
		AES192CTR:        {"rfc3686(ctr(aes))", "AES-CTR-192 [RFC5930]", "AES-CTR [RFC3686]"},
		TripleDES:        {"cbc(des3_ede)", "3DES [RFC2451]", "TripleDES-CBC [RFC2451]"},
		{99, 0}:          {"", "", ""},
	} {
		if e.Linux() != want[0] || e.Wireshark() != want[1] || WiresharkESP(e.Linux()) != want[2] {
			t.Errorf("%s: %q %q %q", e, e.Linux(), e.Wireshark(), WiresharkESP(e.Linux()))
		}
		if (e.ICVBits() == 128) != e.Combined() {
			t.Error(e, e.ICVBits())
		}
	}
	for a, want := range map[Integ][2]string{
		IntegHMACSHA1:   {"HMAC_SHA1_96 [RFC2404]", "HMAC-SHA-1-96 [RFC2404]"},
		IntegHMACSHA512: {"HMAC_SHA2_512_256 [RFC4868]", "HMAC-SHA-512-256 [RFC4868]"},
		IntegAESCMAC:    {"ANY 96-bits of Authentication [No Checking]", "ANY 96 bit authentication [no checking]"},
		0:               {"NONE [RFC4306]", ""},
		9:               {"integ9", ""},
	} {
		if a.Wireshark() != want[0] || WiresharkESPAuth(a.Linux()) != want[1] {
			t.Errorf("%s: %q %q", a, a.Wireshark(), WiresharkESPAuth(a.Linux()))
		}
	}
}
