package transform

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"testing"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/internal/vectors"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(vectors.Read(t, name), v); err != nil {
		t.Fatal(err)
	}
}

func TestPRFVectors(t *testing.T) {
	var all map[string][]map[string]string
	readJSON(t, "strongswan/crypto_vectors.json", &all)
	prfs := map[string]PRF{"PRF_HMAC_SHA2_256": PRFHMACSHA256, "PRF_HMAC_SHA2_384": PRFHMACSHA384, "PRF_HMAC_SHA2_512": PRFHMACSHA512}
	n := 0
	for _, v := range all["sha2_hmac"] {
		p, ok := prfs[v["alg"]]
		if !ok {
			continue
		}
		out := v["out"]
		if out == "" {
			out = v["mac"]
		}
		data := v["seed"] + v["data"]
		n++
		if got := p.Sum(unhex(t, v["key"]), unhex(t, data)); !bytes.Equal(got, unhex(t, out)) {
			t.Errorf("%s: %x, want %s", v["name"], got, out)
		}
	}
	if n < 6 {
		t.Fatalf("%d vectors", n)
	}
}

// TestPlus: prf+ of an HMAC is what RFC 5869 calls HKDF-Expand.
func TestPlus(t *testing.T) {
	hashes := map[PRF]func() hash.Hash{PRFHMACSHA256: sha256.New, PRFHMACSHA384: sha512.New384, PRFHMACSHA512: sha512.New}
	for p, h := range hashes {
		for _, n := range []int{1, 31, 32, 33, 64, 200, 255 * 32} {
			got, err := p.Plus([]byte("key"), n, []byte("se"), []byte("ed"))
			if err != nil {
				t.Fatal(err)
			}
			want, err := hkdf.Expand(h, []byte("key"), "seed", n)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s %d octets differ (%v)", p, n, err)
			}
		}
		if _, err := p.Plus([]byte("key"), 255*p.Size()+1); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v for too much", p, err)
		}
	}
	if _, err := PRF(4).Plus(nil, 1); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func TestGCMVectors(t *testing.T) {
	var all map[string][]map[string]string
	readJSON(t, "strongswan/crypto_vectors.json", &all)
	n := 0
	for _, v := range all["aes_gcm"] {
		var e Encr
		switch {
		case v["alg"] == "ENCR_AES_GCM_ICV16" && v["key_size"] == "16":
			e = AES128GCM16
		case v["alg"] == "ENCR_AES_GCM_ICV16" && v["key_size"] == "32":
			e = AES256GCM16
		default:
			continue
		}
		n++
		p, err := Suite{Encr: e}.Protector(unhex(t, v["key"]), nil)
		if err != nil {
			t.Fatal(err)
		}
		// The primitive with the vector's IV: Seal itself adds the pad length.
		nonce := append(bytes.Clone(p.salt[:]), unhex(t, v["iv"])...)
		if got := p.aead.Seal(nil, nonce, unhex(t, v["plain"]), unhex(t, v["adata"])); !bytes.Equal(got, unhex(t, v["cipher"])) {
			t.Errorf("%s: %x", v["name"], got)
		}
	}
	if n < 4 {
		t.Fatalf("%d vectors", n)
	}
}

func TestSealOpen(t *testing.T) {
	p, err := Suite{Encr: AES128GCM16}.Protector(make([]byte, 20), nil)
	if err != nil {
		t.Fatal(err)
	}
	head := []byte("header and generic header of SK.")
	for n := range 40 {
		plain := bytes.Repeat([]byte{7}, n)
		msg := p.Seal(head, plain, 5)
		if len(msg) != len(head)+p.SealedLen(n) {
			t.Fatalf("%d octets", len(msg))
		}
		got, err := p.Open(msg, len(head))
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatal(n, got, err)
		}
		for cut := len(head); cut < len(msg); cut++ {
			if _, err := p.Open(msg[:cut], len(head)); !errors.Is(err, ErrIntegrity) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		for i := range msg {
			msg[i] ^= 1
			if _, err := p.Open(msg, len(head)); !errors.Is(err, ErrIntegrity) {
				t.Fatalf("octet %d flipped: %v", i, err)
			}
			msg[i] ^= 1
		}
	}
	// A pad length beyond the payload is refused even if it authenticates.
	body := p.aead.Seal([]byte{0, 0, 0, 0, 0, 0, 0, 9}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}, []byte{1, 2, 200}, head)
	if _, err := p.Open(append(bytes.Clone(head), body...), len(head)); !errors.Is(err, ErrIntegrity) {
		t.Error("padding", err)
	}
}

type kat struct {
	Tests []struct {
		ID                      int `json:"tcId"`
		Public, Private, Shared string
		Result                  string
		Flags                   []string
	}
}

func TestECDHVectors(t *testing.T) {
	for name, k := range map[string]KE{
		"wycheproof/x25519_test.json":                 X25519,
		"wycheproof/ecdh_secp256r1_ecpoint_test.json": P256,
	} {
		var f struct {
			TestGroups []kat `json:"testGroups"`
		}
		readJSON(t, name, &f)
		n := 0
		for _, g := range f.TestGroups {
			for _, v := range g.Tests {
				pub, priv := unhex(t, v.Public), unhex(t, v.Private)
				if k == P256 {
					if len(pub) != 65 || pub[0] != 4 {
						continue // compressed or broken: IKE has no such form
					}
					pub = pub[1:]
					for len(priv) > 32 && priv[0] == 0 {
						priv = priv[1:]
					}
					priv = append(make([]byte, 32-len(priv)), priv...)
				}
				key, err := k.Generate(bytes.NewReader(priv))
				if err != nil {
					t.Fatalf("%s %d: %v", name, v.ID, err)
				}
				n++
				got, err := key.Shared(pub)
				zero := k == X25519 && bytes.Equal(unhex(t, v.Shared), make([]byte, len(v.Shared)/2))
				switch {
				case v.Result == "invalid" || zero: // all zeros: must not be used (RFC 8031 §3.2)
					if err == nil {
						t.Errorf("%s %d: accepted", name, v.ID)
					}
				case err != nil || !bytes.Equal(got, unhex(t, v.Shared)):
					t.Errorf("%s %d: %x %v", name, v.ID, got, err)
				}
			}
		}
		if n < 100 {
			t.Errorf("%s: %d vectors", name, n)
		}
	}
}

func TestGenerate(t *testing.T) {
	// A scalar that is out of range for P-256 is skipped.
	src := append(bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{1}, 32)...)
	k, err := P256.Generate(bytes.NewReader(src))
	if err != nil || len(k.Public()) != 64 || !P256.CheckPublic(k.Public()) {
		t.Error(err)
	}
	if _, err := X25519.Generate(bytes.NewReader(nil)); err == nil {
		t.Error("no randomness, but a key")
	}
	if _, err := KE(5).Generate(bytes.NewReader(src)); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	if _, err := k.Shared(make([]byte, 64)); !errors.Is(err, ErrInvalid) {
		t.Error("a point off the curve", err)
	}
}

func offer(t testing.TB, s string) Offer {
	t.Helper()
	o, err := ParseOffer(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestNegotiation(t *testing.T) {
	type tr = message.Transform
	gcm := tr{Type: 1, ID: 20, KeyBits: 128}
	prf, ke := tr{Type: 2, ID: 5}, tr{Type: 4, ID: 31}
	ike := func(ts ...tr) message.Proposal { return message.Proposal{Number: 1, Protocol: 1, Transforms: ts} }
	esp := func(ts ...tr) message.Proposal {
		return message.Proposal{Number: 1, Protocol: 3, SPI: []byte{1, 2, 3, 4}, Transforms: ts}
	}
	esn0 := tr{Type: 5}
	mine := []Offer{offer(t, "aes128gcm16-aes256gcm16-prfsha256-x25519-ecp256")}
	child := []Offer{offer(t, "aes128gcm16")}
	pfs := []Offer{offer(t, "aes128gcm16-x25519")}
	for _, c := range []struct {
		name   string
		offers []Offer
		p      message.Proposal
		ok     bool
	}{
		{"plain", mine, ike(gcm, prf, ke), true},
		{"no prf", mine, ike(gcm, ke), false},
		{"no key exchange", mine, ike(gcm, prf), false},
		{"key exchange NONE", mine, ike(gcm, prf, tr{Type: 4}), false},
		{"integrity NONE beside AEAD", mine, ike(gcm, prf, ke, tr{Type: 3}), true},
		{"real integrity beside AEAD", mine, ike(gcm, prf, ke, tr{Type: 3, ID: 12}), false},
		{"integrity or NONE", mine, ike(gcm, prf, ke, tr{Type: 3, ID: 12}, tr{Type: 3}), true},
		{"no key length", mine, ike(tr{Type: 1, ID: 20}, prf, ke), false},
		{"odd key length", mine, ike(tr{Type: 1, ID: 20, KeyBits: 192}, prf, ke), false},
		{"prf with key length", mine, ike(gcm, tr{Type: 2, ID: 5, KeyBits: 128}, ke), false},
		{"unknown transform beside a good one", mine, ike(tr{Type: 1, ID: 999}, gcm, prf, ke), true},
		{"odd transform beside a good one", mine, ike(tr{Type: 1, ID: 20, KeyBits: 128, Odd: true}, gcm, prf, ke), true},
		{"only an odd one", mine, ike(tr{Type: 1, ID: 20, KeyBits: 128, Odd: true}, prf, ke), false},
		{"unknown type", mine, ike(gcm, prf, ke, tr{Type: 240, ID: 1}), false},
		{"ESN in IKE", mine, ike(gcm, prf, ke, esn0), false},
		{"esp", child, esp(gcm, esn0), true},
		{"esp without ESN", child, esp(gcm), true},
		{"esp with ESN only", child, esp(gcm, tr{Type: 5, ID: 1}), false},
		{"esp with a PRF", child, esp(gcm, prf, esn0), false},
		{"esp with PFS, not wanted", child, esp(gcm, ke, esn0), false},
		{"esp with optional PFS, not wanted", child, esp(gcm, ke, tr{Type: 4}, esn0), true},
		{"esp with PFS", pfs, esp(gcm, ke, esn0), true},
		{"esp without PFS, wanted", pfs, esp(gcm, esn0), false},
		{"esp with SPI of 8", child, message.Proposal{Number: 1, Protocol: 3, SPI: make([]byte, 8), Transforms: []tr{gcm}}, false},
		{"ah", child, message.Proposal{Number: 1, Protocol: 2, SPI: make([]byte, 4), Transforms: []tr{gcm}}, false},
	} {
		proto := message.ProtoESP
		if c.p.Protocol == 1 {
			proto = message.ProtoIKE
		}
		got, err := Choose(c.offers, []message.Proposal{c.p}, proto, KENone)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v %+v", c.name, err, got)
			continue
		}
		if err != nil {
			continue
		}
		// What we choose, an initiator accepts: one transform of each type.
		if _, _, err := Accept(c.offers, []message.Proposal{got.Proposal}, proto); err != nil && c.p.Number == 1 {
			t.Errorf("%s: our own choice is not accepted: %v", c.name, err)
		}
		// An unknown proposal before it does not spoil it; its number is copied.
		c.p.Number = 2
		bad := message.Proposal{Number: 1, Protocol: c.p.Protocol, SPI: c.p.SPI, Transforms: []tr{{Type: 9, ID: 9}}}
		if got, err := Choose(c.offers, []message.Proposal{bad, c.p}, proto, KENone); err != nil || got.Proposal.Number != 2 {
			t.Errorf("%s as second: %v", c.name, err)
		}
	}
	both := []message.Proposal{ike(gcm, prf, tr{Type: 4, ID: 19}, ke)}
	if c, err := Choose(mine, both, 1, P256); err != nil || c.Suite.KE != P256 {
		t.Error("the peer's KE payload is not preferred", c, err)
	}
	if c, err := Choose(mine, both, 1, KE(2)); err != nil || c.Suite.KE != X25519 {
		t.Error("preference", c, err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	mine := []Offer{offer(t, "aes128gcm16-aes256gcm16-prfsha256-x25519")}
	good := Proposals(mine, message.ProtoIKE, nil)[0]
	good.Transforms = append(good.Transforms[:1:1], good.Transforms[2:]...)
	if _, _, err := Accept(mine, []message.Proposal{good}, 1); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*message.Proposal){
		"two of a type":  func(p *message.Proposal) { p.Transforms = append(p.Transforms, p.Transforms[0]) },
		"not offered":    func(p *message.Proposal) { p.Transforms[0].ID = 12 },
		"another number": func(p *message.Proposal) { p.Number = 2 },
		"another proto":  func(p *message.Proposal) { p.Protocol = 3 },
		"one missing":    func(p *message.Proposal) { p.Transforms = p.Transforms[1:] },
		"SPI":            func(p *message.Proposal) { p.SPI = []byte{1, 2, 3} },
	} {
		p := good
		p.Transforms = append([]message.Transform(nil), good.Transforms...)
		change(&p)
		if _, _, err := Accept(mine, []message.Proposal{p}, 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Accept(mine, []message.Proposal{good, good}, 1); err == nil {
		t.Error("two proposals")
	}
	if _, _, err := Accept(mine, nil, 1); err == nil {
		t.Error("no proposal")
	}
}

func TestParseOffer(t *testing.T) {
	o := offer(t, "AES256GCM16-prfsha384-ecp256-x25519")
	if len(o.Encr) != 1 || o.Encr[0] != AES256GCM16 || len(o.KE) != 2 || o.KE[0] != P256 {
		t.Errorf("%+v", o)
	}
	if o := offer(t, "aes128gcm16-esn-noesn"); len(o.ESN) != 2 || !o.ESN[0] {
		t.Errorf("%+v", o)
	}
	for _, s := range []string{"", "prfsha256", "aes128gcm16-foo", "aes128gcm16--"} {
		if _, err := ParseOffer(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}
