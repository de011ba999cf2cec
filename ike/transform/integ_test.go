package transform

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"testing"

	"github.com/mip6/mip6/ike/message"
)

func ahOffer(t *testing.T, s string) Offer {
	t.Helper()
	o, err := ParseAHOffer(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestParseAHOffer(t *testing.T) {
	for text, want := range map[string]string{
		"sha256": "sha256", "SHA512-sha384": "sha512-sha384", "sha256-esn-noesn": "sha256-esn-noesn",
		"x25519-sha384-ecp256": "sha384-x25519-ecp256",
	} {
		o := ahOffer(t, text)
		if o.String() != want || len(o.Encr)+len(o.PRF) != 0 {
			t.Errorf("%q: %s %+v", text, o, o)
		}
		if again := ahOffer(t, o.String()); again.String() != want {
			t.Errorf("%q does not come back", text)
		}
	}
	for _, text := range []string{"", "esn", "x25519", "aes128gcm16", "aes128gcm16-sha256", "sha256-prfsha256", "md5", "none", "sha256-"} {
		if _, err := ParseAHOffer(text); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
	if _, err := ParseOffer("aes128gcm16-sha256"); !errors.Is(err, ErrInvalid) {
		t.Error("ESP with an integrity algorithm:", err)
	}
	if s := (Suite{Integ: IntegHMACSHA384, ESN: true, KE: X25519}).String(); s != "sha384-x25519-esn" {
		t.Error(s)
	}
}

// TestIntegIsLinux: RFC 4868's lengths, and the names of the kernel's xfrm_algo.c.
func TestIntegIsLinux(t *testing.T) {
	for i, want := range map[Integ]struct {
		id       uint16
		name     string
		key, icv int
	}{
		IntegHMACSHA256: {12, "hmac(sha256)", 32, 128},
		IntegHMACSHA384: {13, "hmac(sha384)", 48, 192},
		IntegHMACSHA512: {14, "hmac(sha512)", 64, 256},
		IntegAESCMAC:    {8, "cmac(aes)", 16, 96},  // RFC 4494
		IntegHMACSHA1:   {2, "hmac(sha1)", 20, 96}, // RFC 2404
		Integ(5):        {5, "", 0, 0},             // AES-XCBC-96: not implemented
		0:               {0, "", 0, 0},
	} {
		if uint16(i) != want.id || i.Linux() != want.name || i.KeyLen() != want.key || i.ICVBits() != want.icv {
			t.Errorf("%d: %q %d %d", i, i.Linux(), i.KeyLen(), i.ICVBits())
		}
	}
}

// TestChildKeysOfAH computes KEYMAT (RFC 7296 §2.17, §2.13) a second time, octet by octet.
func TestChildKeysOfAH(t *testing.T) {
	d, ni, nr, shared := []byte("SK_d of the IKE SA"), []byte("nonce of the initiator"), []byte("nonce of the responder"), []byte("g^ir")
	for prf, h := range map[PRF]func() hash.Hash{PRFHMACSHA256: sha256.New, PRFHMACSHA384: sha512.New384, PRFHMACSHA512: sha512.New} {
		for _, integ := range []Integ{IntegHMACSHA256, IntegHMACSHA384, IntegHMACSHA512} {
			for _, g := range [][]byte{nil, shared} {
				var want, last []byte
				for n := byte(1); n < 9; n++ {
					m := hmac.New(h, d)
					m.Write(last)
					m.Write(g)
					m.Write(ni)
					m.Write(nr)
					m.Write([]byte{n})
					last = m.Sum(nil)
					want = append(want, last...)
				}
				k, err := prf.ChildKeys(d, Suite{Integ: integ}, g, ni, nr)
				n := integ.KeyLen()
				if err != nil || len(k.EncI)+len(k.EncR) != 0 || !bytes.Equal(k.AuthI, want[:n]) || !bytes.Equal(k.AuthR, want[n:2*n]) {
					t.Fatalf("%v %v: %v %x %x", prf, integ, err, k.AuthI, k.AuthR)
				}
				if cap(k.AuthI) != n || cap(k.EncI) != 0 {
					t.Error("a key that grows would run into the next")
				}
			}
		}
	}
	for _, s := range []Suite{{}, {Integ: 5}, {Encr: AES128GCM16, Integ: 99}, {Encr: AES128GCM16, Integ: IntegHMACSHA256}, {Encr: AES128CBC}} {
		if _, err := PRFHMACSHA256.ChildKeys(d, s, nil, ni, nr); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestNegotiationOfAH(t *testing.T) {
	type tr = message.Transform
	sha256, sha512, esn0, esn1 := tr{Type: 3, ID: 12}, tr{Type: 3, ID: 14}, tr{Type: 5}, tr{Type: 5, ID: 1}
	ke := tr{Type: 4, ID: 31}
	ah := func(ts ...tr) message.Proposal {
		return message.Proposal{Number: 1, Protocol: 2, SPI: []byte{1, 2, 3, 4}, Transforms: ts}
	}
	mine, both, pfs := []Offer{ahOffer(t, "sha256")}, []Offer{ahOffer(t, "sha512-sha256-esn-noesn")}, []Offer{ahOffer(t, "sha256-x25519")}
	for _, c := range []struct {
		name   string
		offers []Offer
		p      message.Proposal
		want   string
	}{
		{"plain", mine, ah(sha256, esn0), "sha256"},
		{"without ESN", mine, ah(sha256), "sha256"},
		{"ESN only", mine, ah(sha256, esn1), ""},
		{"ESN", both, ah(sha256, esn0, esn1), "sha256-esn"},
		{"our order", both, ah(sha256, sha512, esn0), "sha512"},
		{"another algorithm", mine, ah(sha512, esn0), ""},
		{"algorithm of the past", mine, ah(tr{Type: 3, ID: 2}, esn0), ""},
		{"no integrity", mine, ah(esn0), ""},
		{"integrity NONE", mine, ah(tr{Type: 3}, esn0), ""},
		{"NONE beside", mine, ah(tr{Type: 3}, sha256, esn0), "sha256"},
		{"with a cipher", mine, ah(tr{Type: 1, ID: 20, KeyBits: 128}, sha256, esn0), ""},
		{"with the NULL cipher", mine, ah(tr{Type: 1, ID: 11}, sha256, esn0), ""},
		{"with a cipher of ID zero", mine, ah(tr{Type: 1}, sha256, esn0), ""},
		{"with a prf", mine, ah(tr{Type: 2, ID: 5}, sha256, esn0), ""},
		{"with an unknown type", mine, ah(sha256, tr{Type: 6, ID: 1}, esn0), ""},
		{"key length", mine, ah(tr{Type: 3, ID: 12, KeyBits: 256}, esn0), ""},
		{"odd attribute", mine, ah(tr{Type: 3, ID: 12, Odd: true}, esn0), ""},
		{"secrecy, not wanted", mine, ah(sha256, ke, esn0), ""},
		{"secrecy", pfs, ah(sha256, ke, esn0), "sha256-x25519"},
		{"no secrecy, wanted", pfs, ah(sha256, esn0), ""},
		{"no SPI", mine, message.Proposal{Number: 1, Protocol: 2, Transforms: []tr{sha256, esn0}}, ""},
		{"SPI of 3", mine, message.Proposal{Number: 1, Protocol: 2, SPI: make([]byte, 3), Transforms: []tr{sha256, esn0}}, ""},
		{"SPI of 8", mine, message.Proposal{Number: 1, Protocol: 2, SPI: make([]byte, 8), Transforms: []tr{sha256, esn0}}, ""},
		{"ESP", mine, message.Proposal{Number: 1, Protocol: 3, SPI: make([]byte, 4), Transforms: []tr{sha256, esn0}}, ""},
		{"no offers", nil, ah(sha256, esn0), ""},
		{"nothing", mine, ah(), ""},
	} {
		got, err := Choose(c.offers, []message.Proposal{c.p}, message.ProtoAH, KENone)
		if (err == nil) != (c.want != "") || err == nil && got.Suite.String() != c.want {
			t.Errorf("%s: %v %s", c.name, err, got.Suite)
			continue
		}
		if err != nil {
			// A responder that answers so is not believed either.
			if _, _, err := Accept(c.offers, []message.Proposal{c.p}, message.ProtoAH); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: accepted as an answer", c.name)
			}
			continue
		}
		if s, spi, err := Accept(c.offers, []message.Proposal{got.Proposal}, message.ProtoAH); err != nil || s != got.Suite || len(spi) != 4 {
			t.Errorf("%s: our own choice is not accepted: %v", c.name, err)
		}
	}
	p := Proposals(both, message.ProtoAH, []byte{1, 2, 3, 4})[0]
	if want := []tr{sha512, sha256, esn1, esn0}; p.Protocol != 2 || len(p.Transforms) != 4 || p.Transforms[0] != want[0] ||
		p.Transforms[1] != want[1] || p.Transforms[2] != want[2] || p.Transforms[3] != want[3] {
		t.Errorf("%+v", p)
	}
}
