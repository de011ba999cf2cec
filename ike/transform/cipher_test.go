package transform

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/internal/pcap"
	"github.com/mip6/mip6/internal/vectors"
)

// separateSuites are those that protect SK with two algorithms.
func separateSuites() (out []Suite) {
	for _, e := range []Encr{AES128CBC, AES192CBC, AES256CBC, AES128CTR, AES192CTR, AES256CTR, TripleDES} {
		for _, a := range []Integ{IntegHMACSHA256, IntegHMACSHA384, IntegHMACSHA512, IntegAESCMAC, IntegHMACSHA1} {
			out = append(out, Suite{Encr: e, Integ: a})
		}
	}
	return out
}

// protector has keys of ascending octets.
func protector(t testing.TB, s Suite) *Protector {
	t.Helper()
	n, m, err := s.keyLens()
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, n+m)
	for i := range key {
		key[i] = byte(i + 1)
	}
	p, err := s.Protector(key[:n], key[n:])
	if err != nil {
		t.Fatal(s, err)
	}
	return p
}

func TestCipherVectors(t *testing.T) {
	var all map[string][]map[string]string
	readJSON(t, "strongswan/crypto_vectors.json", &all)
	n := 0
	for _, v := range append(append(all["aes_cbc"], all["aes_ctr"]...), all["3des_cbc"]...) {
		id := map[string]uint16{"ENCR_AES_CBC": idCBC, "ENCR_AES_CTR": idCTR, "ENCR_3DES": TripleDES.ID}[v["alg"]]
		e := Encr{id, 0}
		if e != TripleDES {
			e.KeyBits = map[string]uint16{"16": 128, "24": 192, "32": 256}[v["key_size"]]
		}
		p, err := newSeparate(e, IntegHMACSHA256, unhex(t, v["key"]), make([]byte, 32))
		if err != nil {
			t.Fatal(v["name"], err)
		}
		n++
		plain, iv := unhex(t, v["plain"]), unhex(t, v["iv"])
		got := bytes.Clone(plain)
		p.crypt(got, iv, true)
		if !bytes.Equal(got, unhex(t, v["cipher"])) {
			t.Errorf("%s: %x", v["name"], got)
		}
		if p.crypt(got, iv, false); !bytes.Equal(got, plain) {
			t.Errorf("%s: does not come back", v["name"])
		}
	}
	if n < 9 {
		t.Errorf("%d vectors", n)
	}
	for _, v := range all["chacha20poly1305"] {
		p, err := Suite{Encr: ChaCha20Poly1305}.Protector(unhex(t, v["key"]), nil)
		if err != nil {
			t.Fatal(err)
		}
		nonce := append(bytes.Clone(p.salt[:]), unhex(t, v["iv"])...)
		if got := p.aead.Seal(nil, nonce, unhex(t, v["plain"]), unhex(t, v["adata"])); !bytes.Equal(got, unhex(t, v["cipher"])) {
			t.Errorf("%s: %x", v["name"], got)
		}
	}
}

func TestMACVectors(t *testing.T) {
	var all map[string][]map[string]string
	readJSON(t, "strongswan/crypto_vectors.json", &all)
	integ := map[string]Integ{"AUTH_HMAC_SHA1_96": IntegHMACSHA1, "AUTH_AES_CMAC_96": IntegAESCMAC,
		"AUTH_HMAC_SHA2_256_128": IntegHMACSHA256, "AUTH_HMAC_SHA2_384_192": IntegHMACSHA384, "AUTH_HMAC_SHA2_512_256": IntegHMACSHA512}
	functions := map[string]PRF{"PRF_HMAC_SHA1": PRFHMACSHA1, "PRF_AES128_CMAC": PRFAESCMAC}
	n := 0
	for _, group := range []string{"sha1_hmac", "sha2_hmac", "aes_cmac"} {
		for _, v := range all[group] {
			key, data := unhex(t, v["key"]), unhex(t, v["seed"]+v["data"])
			a, p := integ[v["alg"]], functions[v["alg"]]
			switch {
			case a != 0 && len(key) == a.KeyLen():
				n++
				want := unhex(t, v["mac"])[:min(len(v["mac"])/2, a.ICVBits()/8)] // one row has more than it says
				if got := a.sum(key, data); !bytes.Equal(got, want) {
					t.Errorf("%s: %x", v["name"], got)
				}
			case p != 0:
				n++
				if got := p.Sum(key, data); !bytes.Equal(got, unhex(t, v["out"])) {
					t.Errorf("%s: %x", v["name"], got)
				}
				if k := len(data) / 3; !bytes.Equal(p.Sum(key, data[:k], nil, data[k:]), p.Sum(key, data)) {
					t.Errorf("%s: in parts it is another", v["name"])
				}
			}
		}
	}
	if n < 15 {
		t.Errorf("%d vectors", n)
	}
}

func TestHMACWycheproof(t *testing.T) {
	for name, p := range map[string]PRF{"wycheproof/hmac_sha1_test.json": PRFHMACSHA1, "wycheproof/hmac_sha256_test.json": PRFHMACSHA256} {
		var f struct {
			TestGroups []struct {
				TagSize int
				Tests   []struct {
					ID                    int `json:"tcId"`
					Key, Msg, Tag, Result string
				}
			} `json:"testGroups"`
		}
		readJSON(t, name, &f)
		for _, g := range f.TestGroups {
			for _, v := range g.Tests {
				got := p.Sum(unhex(t, v.Key), unhex(t, v.Msg))[:g.TagSize/8]
				if bytes.Equal(got, unhex(t, v.Tag)) != (v.Result == "valid") {
					t.Errorf("%s %d: %s", name, v.ID, v.Result)
				}
			}
		}
	}
}

// TestRFC7634 is the whole message of appendix B, both ways.
func TestRFC7634(t *testing.T) {
	var f map[string]map[string]string
	readJSON(t, "rfc/rfc_examples.json", &f)
	p, err := Suite{Encr: ChaCha20Poly1305}.Protector(unhex(t, f["rfc7634_A_esp"]["KEYMAT"]), nil)
	if err != nil {
		t.Fatal(err)
	}
	v := f["rfc7634_B_ikev2"]
	msg, inner, head := unhex(t, v["The IKE Message"]), unhex(t, v["The Notify Payload"]), unhex(t, v["AAD"])
	if got, err := p.Open(msg, len(head)); err != nil || !bytes.Equal(got, inner[:len(got)]) {
		t.Errorf("%x %v", got, err)
	}
	if got := p.Seal(head, inner, 0x1011121314151617); !bytes.Equal(got, msg) {
		t.Errorf("%x", got)
	}
}

// TestForeignSK opens a message that Android's IKE has for its own tests, AES-CBC with HMAC-SHA1-96.
func TestForeignSK(t *testing.T) {
	var rows []struct{ Name, Hex string }
	readJSON(t, "android-ike/constants.json", &rows)
	v := map[string][]byte{}
	for _, r := range rows {
		v[r.Name] = unhex(t, r.Hex)
	}
	p, err := Suite{Encr: AES128CBC, Integ: IntegHMACSHA1}.Protector(v["ENCR_KEY_FROM_INIT_TO_RESP"], v["INTE_KEY_FROM_INIT_TO_RESP"])
	if err != nil {
		t.Fatal(err)
	}
	msg := v["IKE_AUTH_INIT_REQUEST_HEX_STRING"]
	got, err := p.Open(msg, message.HeaderLen+4)
	if want := v["IKE_AUTH_INIT_REQUEST_DECRYPTED_BODY_HEX_STRING"]; err != nil || !bytes.Equal(got, want) || len(got) < 100 {
		t.Errorf("%v\n%x\n%x", err, got, want)
	}
}

// TestForeignProposals: one SA payload with a proposal of plain ciphers and one of combined-mode ones.
func TestForeignProposals(t *testing.T) {
	var rows []struct{ Name, Hex string }
	readJSON(t, "android-ike/constants.json", &rows)
	for _, r := range rows {
		if r.Name != "INBOUND_TWO_PROPOSAL_RAW_PACKET" {
			continue
		}
		b := append([]byte{0, 0, 0, byte(4 + len(r.Hex)/2)}, unhex(t, r.Hex)...)
		b[2] = byte((4 + len(r.Hex)/2) >> 8)
		ps, err := message.ParseInner(message.TypeSA, b)
		if err != nil || len(ps.SA) != 2 {
			t.Fatal(err)
		}
		for offer, want := range map[string]struct {
			number uint8
			suite  string
		}{
			"aes128gcm16-prfsha256-ecp256":      {2, "aes128gcm16-prfsha256-ecp256"},
			"aes256-sha512-prfsha384-modp4096":  {1, "aes256-sha512-prfsha384-modp4096"},
			"aes128-aescmac-prfsha256-modp2048": {},
			"chacha20poly1305-prfsha256-x25519": {2, ""},
			"aes192-sha256-prfaescmac-x25519":   {},
			"aes192gcm16-prfsha512-modp3072":    {2, "aes192gcm16-prfsha512-modp3072"},
		} {
			o, err := ParseOffer(offer)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Choose([]Offer{o}, ps.SA, message.ProtoIKE, KENone)
			if (err == nil) != (want.suite != "") || err == nil && (got.Suite.String() != want.suite || got.Proposal.Number != want.number) {
				t.Errorf("%s: %v %v of %d", offer, err, got.Suite, got.Proposal.Number)
			}
		}
		return
	}
	t.Error("no such row")
}

// TestCaptures decrypts IKE_AUTH of foreign implementations with the keys that lie beside.
func TestCaptures(t *testing.T) {
	var rows []struct {
		Capture, Encr, Integ string
		SKei                 string `json:"sk_ei"`
		SKer                 string `json:"sk_er"`
		SKai                 string `json:"sk_ai"`
		SKar                 string `json:"sk_ar"`
		Auth                 string `json:"expected_auth_data"`
	}
	readJSON(t, "wireshark/keys_and_expected.json", &rows)
	tried := 0
	for _, r := range rows {
		s := Suite{}
		for i := range encrs {
			if encrs[i].ike == r.Encr {
				s.Encr = encrs[i].e
			}
		}
		for _, n := range integs {
			if n.inTheTable == r.Integ {
				s.Integ = n.i
			}
		}
		if s.Encr == (Encr{}) || !s.Encr.Combined() && s.Integ == 0 {
			continue // CCM, HMAC-SHA1-160
		}
		tried++
		if n := authFound(t, s, r.Capture, [2][]byte{unhex(t, r.SKei), unhex(t, r.SKer)}, [2][]byte{unhex(t, r.SKai), unhex(t, r.SKar)}, unhex(t, r.Auth)); n != 1 {
			t.Errorf("%s: AUTH found %d times", r.Capture, n)
		}
	}
	if tried != 2 {
		t.Errorf("%d captures", tried)
	}
}

func authFound(t *testing.T, s Suite, capture string, enc, auth [2][]byte, want []byte) (found int) {
	f, err := os.Open(vectors.Path(t, "wireshark/"+capture))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pkts, err := pcap.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkts {
		if len(p.Data) < 14+20+8 {
			continue
		}
		b := p.Data[14+20+8:]
		h, err := message.ParseHeader(b)
		if err != nil {
			continue
		}
		outer, err := message.Parse(h, b)
		if err != nil || outer.SK == nil {
			continue
		}
		dir := 0
		if !h.FromInitiator() {
			dir = 1
		}
		k, err := s.Protector(enc[dir], auth[dir])
		if err != nil {
			t.Fatal(err)
		}
		plain, err := k.Open(b, outer.SK.Offset)
		if err != nil {
			t.Fatal(capture, err)
		}
		in, err := message.ParseInner(outer.SK.Inner, plain)
		if err != nil {
			t.Fatal(err)
		}
		if in.Auth != nil && bytes.Equal(in.Auth.Data, want) {
			found++
		}
	}
	return found
}

func TestSealOpenSeparate(t *testing.T) {
	head := []byte("header and generic header of SK.")
	for _, s := range append(separateSuites(), Suite{Encr: ChaCha20Poly1305}, Suite{Encr: AES192GCM16}) {
		p := protector(t, s)
		ivs := map[string]bool{}
		for n := range 40 {
			plain := bytes.Repeat([]byte{7}, n)
			msg := p.Seal(head, plain, uint64(n+1))
			if len(msg) != len(head)+p.SealedLen(n) || !bytes.HasPrefix(msg, head) {
				t.Fatalf("%v: %d octets", s, len(msg))
			}
			ivs[string(msg[len(head):len(head)+8])] = true
			kept := bytes.Clone(msg)
			got, err := p.Open(msg, len(head))
			if err != nil || !bytes.Equal(got, plain) || !bytes.Equal(kept, msg) {
				t.Fatal(s, n, got, err)
			}
		}
		if len(ivs) != 40 {
			t.Errorf("%v: %d IVs in 40 messages", s, len(ivs))
		}
		msg := p.Seal(head, head, 5)
		for cut := range msg {
			if _, err := p.Open(msg[:cut], len(head)); !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%v cut at %d: %v", s, cut, err)
			}
		}
		for i := range msg {
			msg[i] ^= 1
			if _, err := p.Open(msg, len(head)); !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%v octet %d flipped: %v", s, i, err)
			}
			msg[i] ^= 1
		}
		for _, offset := range []int{-1, len(msg) + 1, len(msg)} {
			if _, err := p.Open(msg, offset); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v offset %d: %v", s, offset, err)
			}
		}
	}
}

// TestAuthenticPadding: what authenticates may still be ill-formed, by a peer that has the keys.
func TestAuthenticPadding(t *testing.T) {
	p := protector(t, Suite{Encr: AES128CBC, Integ: IntegHMACSHA256})
	forge := func(plain []byte) []byte {
		out := append([]byte("head"), make([]byte, 16)...)
		at := len(out)
		out = append(out, plain...)
		if len(plain)%16 == 0 {
			p.sep.crypt(out[at:], out[4:at], true)
		}
		return append(out, p.sep.integ.sum(p.sep.auth, out)...)
	}
	block := func(last byte) []byte { return append(bytes.Repeat([]byte{0xee}, 15), last) }
	for last, want := range map[byte]int{0: 15, 3: 12, 15: 0} { // the padding's content does not matter
		if got, err := p.Open(forge(block(last)), 4); err != nil || len(got) != want {
			t.Errorf("pad length %d: %x %v", last, got, err)
		}
	}
	if got, err := p.Open(forge(append(block(1), block(31)...)), 4); err != nil || len(got) != 0 {
		t.Errorf("padding of two blocks: %x %v", got, err)
	}
	for _, plain := range [][]byte{block(16), block(255), nil, make([]byte, 15), make([]byte, 17)} {
		if _, err := p.Open(forge(plain), 4); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%x: %v", plain, err)
		}
	}
}

func TestProtectorRefusesKeys(t *testing.T) {
	for _, c := range []struct {
		s         Suite
		enc, auth int
		err       error
	}{
		{Suite{Encr: AES128CBC, Integ: IntegHMACSHA256}, 16, 32, nil},
		{Suite{Encr: AES128CBC, Integ: IntegHMACSHA256}, 16, 31, ErrInvalid},
		{Suite{Encr: AES128CBC, Integ: IntegHMACSHA256}, 20, 32, ErrInvalid},
		{Suite{Encr: AES256CTR, Integ: IntegAESCMAC}, 36, 16, nil},
		{Suite{Encr: AES256CTR, Integ: IntegAESCMAC}, 32, 16, ErrInvalid},
		{Suite{Encr: ChaCha20Poly1305}, 36, 0, nil},
		{Suite{Encr: ChaCha20Poly1305}, 32, 0, ErrInvalid},
		{Suite{Encr: ChaCha20Poly1305}, 36, 16, ErrInvalid},
		{Suite{Encr: AES128CBC}, 16, 0, ErrUnsupported},
		{Suite{Encr: AES128GCM16, Integ: IntegHMACSHA256}, 20, 32, ErrUnsupported},
		{Suite{Encr: Encr{12, 0}, Integ: IntegHMACSHA256}, 16, 32, ErrUnsupported},
		{Suite{Encr: Encr{28, 256}}, 36, 0, ErrUnsupported},
		{Suite{Encr: Encr{3, 192}, Integ: IntegHMACSHA1}, 24, 20, ErrUnsupported},
		{Suite{Encr: Encr{11, 0}, Integ: IntegHMACSHA256}, 0, 32, ErrUnsupported}, // NULL
		{Suite{}, 0, 0, ErrUnsupported},
	} {
		if _, err := c.s.Protector(make([]byte, c.enc), make([]byte, c.auth)); !errors.Is(err, c.err) {
			t.Errorf("%v %d %d: %v", c.s, c.enc, c.auth, err)
		}
	}
	if _, err := (Suite{Integ: IntegHMACSHA256}).Protector(nil, make([]byte, 32)); err == nil {
		t.Error("integrity alone for an IKE SA")
	}
}

func FuzzOpen(f *testing.F) {
	suites := append(separateSuites(), Suite{Encr: ChaCha20Poly1305}, Suite{Encr: AES128GCM16})
	var ps []*Protector
	for _, s := range suites {
		ps = append(ps, protector(f, s))
	}
	f.Add([]byte("header and a body that is long enough to be looked at, IV, text and tag"), 8)
	f.Fuzz(func(t *testing.T, msg []byte, offset int) {
		kept := bytes.Clone(msg)
		for i, p := range ps {
			if plain, err := p.Open(msg, offset); err == nil {
				t.Fatal(fmt.Sprint(suites[i]), plain)
			}
		}
		if !bytes.Equal(kept, msg) {
			t.Fatal("the message was changed")
		}
	})
}

func BenchmarkSK(b *testing.B) {
	for _, s := range []Suite{{Encr: AES128GCM16}, {Encr: ChaCha20Poly1305}, {Encr: AES128CBC, Integ: IntegHMACSHA256}, {Encr: AES256CTR, Integ: IntegAESCMAC}} {
		b.Run(s.String(), func(b *testing.B) {
			p, head, plain := protector(b, s), make([]byte, 32), make([]byte, 300)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Open(p.Seal(head, plain, 1), len(head)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
