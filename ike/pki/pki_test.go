package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/internal/vectors"
)

var start = time.Unix(1_800_000_000, 0)

type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func makeCert(t testing.TB, by *issuer, curve elliptic.Curve, change func(*x509.Certificate)) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "x"}, NotBefore: start.Add(-time.Hour),
		NotAfter: start.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(tmpl)
	if by == nil {
		by = &issuer{tmpl, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func isCA(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	c.Subject.CommonName = "root"
}

func ring(t testing.TB, c Credentials) *Keyring {
	t.Helper()
	c.Conn = "c"
	k, err := NewKeyring([]Credentials{c})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var (
	mn = message.FQDN("mn.example.org")
	ha = message.FQDN("ha.example.org")
)

func TestSignatures(t *testing.T) {
	root := makeCert(t, nil, elliptic.P256(), isCA)
	inter := makeCert(t, root, elliptic.P256(), func(c *x509.Certificate) { isCA(c); c.Subject.CommonName = "inter" })
	name := func(c *x509.Certificate) { c.DNSNames = []string{"mn.example.org"} }
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		leaf := makeCert(t, inter, curve, name)
		k := ring(t, Credentials{
			Chain: [][]byte{leaf.cert.Raw, inter.cert.Raw}, Key: leaf.key, CAs: []*x509.Certificate{root.cert},
		})
		for _, hashes := range [][]Hash{nil, {HashSHA256}, {1, HashSHA384}, {HashSHA512}} {
			octets := []byte("what is signed")
			p, err := k.Prove(ProveRequest{Conn: "c", Method: Signature, Local: mn, Octets: octets, PeerHashes: hashes})
			if err != nil {
				t.Fatal(err)
			}
			if old := hashes == nil; old != (p.AuthMethod != authSignature) {
				t.Errorf("method %d for hashes %v", p.AuthMethod, hashes)
			}
			v := VerifyRequest{Conn: "c", Method: Signature, Peer: mn, Octets: octets, AuthMethod: p.AuthMethod, Data: p.Data, Certs: p.Certs, Now: start}
			if peer, err := k.Verify(v); err != nil || peer.ID != mn || peer.DNSNames[0] != "mn.example.org" {
				t.Fatalf("%v %v: %v", curve.Params().Name, hashes, err)
			}
			for i := range v.Data { // not one octet may change
				v.Data[i] ^= 1
				if _, err := k.Verify(v); err == nil {
					t.Errorf("octet %d of AUTH changed, accepted", i)
				}
				v.Data[i] ^= 1
			}
			for n := range v.Data {
				w := v
				w.Data = v.Data[:n]
				if _, err := k.Verify(w); err == nil {
					t.Errorf("AUTH cut at %d, accepted", n)
				}
			}
			for what, change := range map[string]func(*VerifyRequest){
				"octets":         func(v *VerifyRequest) { v.Octets = []byte("something else") },
				"order of CERT":  func(v *VerifyRequest) { v.Certs = []Cert{v.Certs[1], v.Certs[0]} },
				"no CERT":        func(v *VerifyRequest) { v.Certs = nil },
				"no inter":       func(v *VerifyRequest) { v.Certs = v.Certs[:1] },
				"encoding":       func(v *VerifyRequest) { v.Certs = []Cert{{12, v.Certs[0].Data}} },
				"not X.509":      func(v *VerifyRequest) { v.Certs = []Cert{{4, []byte("nonsense")}} },
				"too late":       func(v *VerifyRequest) { v.Now = start.Add(2 * time.Hour) },
				"too early":      func(v *VerifyRequest) { v.Now = start.Add(-2 * time.Hour) },
				"another name":   func(v *VerifyRequest) { v.Peer = ha },
				"another method": func(v *VerifyRequest) { v.AuthMethod = 1 },
				"PSK demanded":   func(v *VerifyRequest) { v.Method = PSK },
				"another conn":   func(v *VerifyRequest) { v.Conn = "d" },
			} {
				w := v
				change(&w)
				if peer, err := k.Verify(w); err == nil {
					t.Errorf("%s: accepted %+v", what, peer)
				}
			}
		}
		if _, err := k.Prove(ProveRequest{Conn: "c", Method: Signature, PeerHashes: []Hash{1}}); !errors.Is(err, ErrAlgorithm) {
			t.Error("SHA-1 only", err)
		}
	}
}

func TestIdentities(t *testing.T) {
	root := makeCert(t, nil, elliptic.P256(), isCA)
	leaf := makeCert(t, root, elliptic.P256(), func(c *x509.Certificate) {
		c.Subject.CommonName = "cn.example.org"
		c.DNSNames = []string{"mn.example.org", "*.wild.example.org"}
		c.EmailAddresses = []string{"User@Example.org"}
		c.IPAddresses = append(c.IPAddresses, []byte{192, 0, 2, 1}, bytes.Repeat([]byte{0x20}, 16))
	})
	parse := func(s string) message.Identity {
		id, err := message.ParseIdentity(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for s, want := range map[string]bool{
		"mn.example.org": true, "MN.example.ORG": true, "mn2.example.org": false, "cn.example.org": false,
		"a.wild.example.org": false, "User@example.ORG": true, "user@example.org": false, "192.0.2.1": true,
		"192.0.2.2": false, "2020:2020:2020:2020:2020:2020:2020:2020": true, "2001:db8::1": false, "keyid:6d6e": false,
		"dn:" + hex.EncodeToString(leaf.cert.RawSubject): true, "dn:3000": false,
	} {
		if got := certIs(leaf.cert, parse(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestPSK(t *testing.T) {
	k := ring(t, Credentials{Secrets: []Secret{
		{Key: []byte("any")}, {Peer: mn, Key: []byte("mn")}, {Local: ha, Peer: mn, Key: []byte("ha-mn")}, {Local: ha, Key: []byte("ha")},
	}})
	x := message.FQDN("x")
	for _, c := range []struct {
		local, peer message.Identity
		want        string
	}{{ha, mn, "ha-mn"}, {x, mn, "mn"}, {ha, x, "ha"}, {x, x, "any"}, {ha, message.FQDN("MN.example.org"), "ha-mn"}} {
		p, err := k.Prove(ProveRequest{Conn: "c", Method: PSK, Local: c.local, Peer: c.peer, PRF: transform.PRFHMACSHA256, Octets: []byte("o")})
		want := pskAuth(transform.PRFHMACSHA256, []byte(c.want), []byte("o"))
		if err != nil || p.AuthMethod != 2 || !bytes.Equal(p.Data, want) {
			t.Errorf("%v %v: %v", c.local, c.peer, err)
		}
		v := VerifyRequest{Conn: "c", Method: PSK, Local: c.local, Peer: c.peer, PRF: transform.PRFHMACSHA256, Octets: []byte("o"), AuthMethod: 2, Data: p.Data}
		if _, err := k.Verify(v); err != nil {
			t.Error(err)
		}
		v.Data = append(bytes.Clone(p.Data), 0)
		if _, err := k.Verify(v); !errors.Is(err, ErrMismatch) {
			t.Error(err)
		}
		v.Data, v.PRF = nil, 99 // a function that is not there must not match an empty AUTH
		if _, err := k.Verify(v); err == nil {
			t.Error("empty AUTH accepted")
		}
	}
	one := ring(t, Credentials{Secrets: []Secret{{Local: ha, Peer: mn, Key: []byte("k")}}})
	v := VerifyRequest{Conn: "c", Method: PSK, Local: ha, Peer: x, PRF: transform.PRFHMACSHA256, AuthMethod: 2}
	v.Data = pskAuth(v.PRF, []byte("no such identity, the same work"), nil)
	if _, err := one.Verify(v); !errors.Is(err, ErrNoKey) {
		t.Error("the stand-in key of unknown identities is accepted:", err)
	}
	v.Peer, v.Method = mn, Signature
	v.Data = pskAuth(v.PRF, []byte("k"), nil)
	if _, err := one.Verify(v); !errors.Is(err, ErrAlgorithm) {
		t.Error("a key where a certificate is demanded:", err)
	}
}

func TestConfigMistakes(t *testing.T) {
	root := makeCert(t, nil, elliptic.P256(), isCA)
	other := makeCert(t, nil, elliptic.P256(), isCA)
	for name, cs := range map[string][]Credentials{
		"no name":     {{}},
		"twice":       {{Conn: "a"}, {Conn: "a"}},
		"empty key":   {{Conn: "a", Secrets: []Secret{{}}}},
		"two keys":    {{Conn: "a", Secrets: []Secret{{Peer: mn, Key: []byte("1")}, {Peer: mn, Key: []byte("2")}}}},
		"foreign key": {{Conn: "a", Chain: [][]byte{root.cert.Raw}, Key: other.key}},
		"no key":      {{Conn: "a", Chain: [][]byte{root.cert.Raw}}},
		"no cert":     {{Conn: "a", Key: root.key}},
		"bad cert":    {{Conn: "a", Chain: [][]byte{{1}}, Key: root.key}},
	} {
		if _, err := NewKeyring(cs); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := ring(t, Credentials{CAs: []*x509.Certificate{root.cert}})
	want := sha1.Sum(root.cert.RawSubjectPublicKeyInfo)
	if a := k.Authorities("c"); len(a) != 1 || !bytes.Equal(a[0], want[:]) {
		t.Errorf("%x", a)
	}
}

// TestWycheproof runs the signature check over its edge cases.
func TestWycheproof(t *testing.T) {
	var f struct {
		TestGroups []struct {
			PublicKeyDer string
			Tests        []struct {
				ID       int `json:"tcId"`
				Msg, Sig string
				Result   string
			}
		}
	}
	if err := json.Unmarshal(vectors.Read(t, "wycheproof/ecdsa_secp256r1_sha256_test.json"), &f); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range f.TestGroups {
		der, err := hex.DecodeString(g.PublicKeyDer)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{PublicKey: crypto.PublicKey(pub)}
		for _, v := range g.Tests {
			msg, _ := hex.DecodeString(v.Msg)
			sig, _ := hex.DecodeString(v.Sig)
			a := signatureAlgorithms[0].der
			r := VerifyRequest{AuthMethod: authSignature, Octets: msg, Data: append(append([]byte{byte(len(a))}, a...), sig...)}
			n++
			if err := checkSignature(leaf, r, false); (err == nil) != (v.Result == "valid") {
				t.Errorf("%d: %s, but %v", v.ID, v.Result, err)
			}
		}
	}
	if n < 300 {
		t.Errorf("%d vectors", n)
	}
}
