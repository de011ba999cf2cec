package pki

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"

	"github.com/mip6/mip6/internal/vectors"
)

// TestWycheproofEd25519 runs the check of AUTH over the edge cases of EdDSA.
func TestWycheproofEd25519(t *testing.T) {
	var f struct {
		TestGroups []struct {
			PublicKeyDer string
			Tests        []struct {
				ID               int `json:"tcId"`
				Msg, Sig, Result string
			}
		}
	}
	if err := json.Unmarshal(vectors.Read(t, "wycheproof/ed25519_test.json"), &f); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range f.TestGroups {
		der, _ := hex.DecodeString(g.PublicKeyDer)
		pub, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{PublicKey: pub}
		for _, v := range g.Tests {
			msg, _ := hex.DecodeString(v.Msg)
			sig, _ := hex.DecodeString(v.Sig)
			a := signatureAlgorithms[9].der
			r := VerifyRequest{AuthMethod: authSignature, Octets: msg, Data: slices.Concat([]byte{byte(len(a))}, a, sig)}
			n++
			if err := checkSignature(leaf, r, false); (err == nil) != (v.Result == "valid") {
				t.Errorf("%d: %s, but %v", v.ID, v.Result, err)
			}
		}
	}
	if n < 150 {
		t.Errorf("%d vectors", n)
	}
}

// TestWycheproofRSA: the vectors are of encryption, whose padding is the other one of PKCS #1. Their
// keys sign and verify here; none of their blocks is a signature, in any of the forms of AUTH.
func TestWycheproofRSA(t *testing.T) {
	var f struct {
		TestGroups []struct {
			PrivateKeyPkcs8 string
			Tests           []struct {
				ID      int `json:"tcId"`
				Msg, Ct string
			}
		}
	}
	if err := json.Unmarshal(vectors.Read(t, "wycheproof/rsa_pkcs1_2048_test.json"), &f); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, g := range f.TestGroups {
		der, _ := hex.DecodeString(g.PrivateKeyPkcs8)
		k, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatal(err)
		}
		key := k.(*rsa.PrivateKey)
		leaf := &x509.Certificate{PublicKey: key.Public()}
		e := &entry{Credentials: Credentials{Key: key, PKCS1: i%2 == 0}}
		p, err := e.sign(ProveRequest{Octets: der, PeerHashes: []Hash{HashSHA256}})
		if err != nil {
			t.Fatal(err)
		}
		if err := checkSignature(leaf, VerifyRequest{AuthMethod: p.AuthMethod, Octets: der, Data: p.Data}, false); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
		for _, v := range g.Tests {
			msg, _ := hex.DecodeString(v.Msg)
			ct, _ := hex.DecodeString(v.Ct)
			for _, a := range signatureAlgorithms {
				if a.scheme == schemePSS || a.scheme == schemePKCS1 {
					r := VerifyRequest{AuthMethod: authSignature, Octets: msg, Data: slices.Concat([]byte{byte(len(a.der))}, a.der, ct)}
					if checkSignature(leaf, r, true) == nil {
						t.Errorf("%d is a signature with %v", v.ID, crypto.Hash(a.hash))
					}
				}
			}
			if checkSignature(leaf, VerifyRequest{AuthMethod: authRSA, Octets: msg, Data: ct}, true) == nil {
				t.Errorf("%d is a signature by method 1", v.ID)
			}
			n++
		}
	}
	if n < 60 {
		t.Errorf("%d vectors", n)
	}
}

// TestAndroidCertificate reads the CERT payload of a stranger's tests.
func TestAndroidCertificate(t *testing.T) {
	var rows []struct{ File, Name, Hex string }
	if err := json.Unmarshal(vectors.Read(t, "android-ike/constants.json"), &rows); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range rows {
		if r.Name != "CERT_PAYLOAD_BODY_HEX_STRING" {
			continue
		}
		n++
		body, err := hex.DecodeString(r.Hex)
		if err != nil {
			t.Fatal(err)
		}
		leaf, _, err := readCerts([]Cert{{body[0], body[1:]}})
		if err != nil || leaf.Subject.CommonName == "" {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{append(slices.Clone(body[1:]), 0), body[1 : len(body)-1], body[2:], nil} {
			if _, _, err := readCerts([]Cert{{body[0], bad}}); err == nil {
				t.Error("a certificate with an octet too many or too few is read")
			}
		}
	}
	if n != 1 {
		t.Errorf("%d rows", n)
	}
}

// FuzzVerify: no AUTH, identity or certificate of a stranger is accepted, and none makes a panic.
func FuzzVerify(f *testing.F) {
	root := issue(f, nil, "p256", isCA)
	k := ring(f, Credentials{CAs: []*x509.Certificate{root.cert}})
	stranger := issue(f, nil, "p256", isCA)
	leaf := issue(f, stranger, "ed25519", named("mn.example.org"))
	p, err := ring(f, Credentials{Chain: [][]byte{leaf.cert.Raw}, Key: leaf.key}).Prove(
		ProveRequest{Conn: "c", Method: Signature, Octets: []byte("octets"), PeerHashes: all})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.AuthMethod, p.Data, uint8(4), leaf.cert.Raw, stranger.cert.Raw)
	f.Add(uint8(1), make([]byte, 256), uint8(12), root.cert.Raw, []byte{})
	f.Fuzz(func(t *testing.T, method uint8, data []byte, encoding uint8, first, second []byte) {
		v := asked(Proof{method, data, []Cert{{encoding, first}, {4, second}}})
		if peer, err := k.Verify(v); err == nil {
			t.Fatalf("accepted as %+v", peer)
		}
	})
}

// FuzzAlgorithmIdentifier: what is read is one of ours, with nothing behind.
func FuzzAlgorithmIdentifier(f *testing.F) {
	for _, a := range signatureAlgorithms {
		f.Add(a.der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if a, err := parseAlgorithm(der); err == nil && (a.scheme == 0 || a.salt < 0 || a.salt > 64) {
			t.Fatalf("%+v", a)
		}
	})
}
