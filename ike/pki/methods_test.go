package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// party is a certificate with its key, of whatever kind.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var rsaKeys = struct {
	sync.Mutex
	m map[int]*rsa.PrivateKey
}{m: map[int]*rsa.PrivateKey{}}

// newKey makes a key by its name: rsa2048, p256, ed25519 and so on.
func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa1024", "rsa2048", "rsa4096":
		bits := map[string]int{"rsa1024": 1024, "rsa2048": 2048, "rsa4096": 4096}[kind]
		rsaKeys.Lock()
		defer rsaKeys.Unlock()
		if rsaKeys.m[bits] == nil {
			rsaKeys.m[bits], err = rsa.GenerateKey(rand.Reader, bits)
		}
		key = rsaKeys.m[bits]
	case "p224":
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate; by nil: its own issuer.
func issue(t testing.TB, by *party, kind string, change func(*x509.Certificate)) *party {
	t.Helper()
	key := newKey(t, kind)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "x"}, NotBefore: start.Add(-time.Hour),
		NotAfter: start.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(tmpl)
	if by == nil {
		by = &party{tmpl, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{cert, key}
}

func authorityNamed(name string, more ...func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		isCA(c)
		c.Subject.CommonName = name
		for _, f := range more {
			f(c)
		}
	}
}

func named(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = []string{name} }
}

var all = []Hash{HashSHA256, HashSHA384, HashSHA512, HashIdentity}

// asked is what the peer's side asks of a proof.
func asked(p Proof) VerifyRequest {
	return VerifyRequest{Conn: "c", Method: Signature, Peer: mn, Octets: []byte("octets"), AuthMethod: p.AuthMethod,
		Data: p.Data, Certs: p.Certs, Now: start}
}

// TestMethods: each kind of key with each set of hashes that a peer may name.
func TestMethods(t *testing.T) {
	root := issue(t, nil, "p256", isCA)
	for _, c := range []struct {
		kind   string
		pkcs1  bool
		legacy bool
		hashes []Hash
		method uint8 // 0: we cannot sign for such a peer
		want   algorithm
	}{
		{"rsa2048", false, false, all, 14, algorithm{schemePSS, crypto.SHA256, 32}},
		{"rsa4096", false, false, all, 14, algorithm{schemePSS, crypto.SHA512, 64}},
		{"rsa2048", false, false, []Hash{HashSHA384}, 14, algorithm{schemePSS, crypto.SHA384, 48}},
		{"rsa2048", true, false, all, 14, algorithm{schemePKCS1, crypto.SHA256, 0}},
		{"rsa4096", true, false, all, 14, algorithm{schemePKCS1, crypto.SHA512, 0}},
		{"rsa2048", false, false, []Hash{HashSHA1}, 0, algorithm{}},
		{"rsa2048", false, false, nil, 1, algorithm{}},
		{"rsa2048", false, true, nil, 1, algorithm{}},
		{"p256", false, false, all, 14, algorithm{schemeECDSA, crypto.SHA256, 0}},
		{"p384", false, false, all, 14, algorithm{schemeECDSA, crypto.SHA384, 0}},
		{"p521", false, false, all, 14, algorithm{schemeECDSA, crypto.SHA512, 0}},
		{"p521", false, false, []Hash{HashSHA1, HashSHA256}, 14, algorithm{schemeECDSA, crypto.SHA256, 0}},
		{"p256", false, false, nil, 9, algorithm{}},
		{"p384", false, false, nil, 10, algorithm{}},
		{"p521", false, false, nil, 11, algorithm{}},
		{"ed25519", false, false, all, 14, algorithm{schemeEd25519, 0, 0}},
		{"ed25519", false, false, []Hash{HashSHA256}, 0, algorithm{}},
		{"ed25519", false, false, nil, 0, algorithm{}},
	} {
		leaf := issue(t, root, c.kind, named("mn.example.org"))
		k := ring(t, Credentials{Chain: [][]byte{leaf.cert.Raw}, Key: leaf.key, CAs: []*x509.Certificate{root.cert}, PKCS1: c.pkcs1, Legacy: c.legacy})
		p, err := k.Prove(ProveRequest{Conn: "c", Method: Signature, Local: mn, Octets: []byte("octets"), PeerHashes: c.hashes})
		if c.method == 0 {
			if !errors.Is(err, ErrAlgorithm) {
				t.Errorf("%s for %v: method %d, %v", c.kind, c.hashes, p.AuthMethod, err)
			}
			continue
		}
		if err != nil || p.AuthMethod != c.method {
			t.Fatalf("%s for %v: method %d, %v", c.kind, c.hashes, p.AuthMethod, err)
		}
		if c.method == 14 {
			if a, err := parseAlgorithm(p.Data[1 : 1+p.Data[0]]); err != nil || a != c.want {
				t.Errorf("%s for %v: %+v %v", c.kind, c.hashes, a, err)
			}
		}
		v := asked(p)
		peer, err := k.Verify(v)
		if err != nil || peer.ID != mn {
			t.Errorf("%s for %v: %v", c.kind, c.hashes, err)
		}
		spoil(t, k, v, c.kind)
		if c.legacy { // whoever is not named legacy does not take SHA-1
			strict := ring(t, Credentials{CAs: []*x509.Certificate{root.cert}})
			if _, err := strict.Verify(v); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("SHA-1: %v", err)
			}
		}
	}
}

// spoil changes single octets of AUTH, cuts it, and changes what was signed and the method.
func spoil(t *testing.T, k *Keyring, v VerifyRequest, kind string) {
	t.Helper()
	for i := 0; i < len(v.Data); i += 1 + len(v.Data)/97 {
		w := v
		w.Data = bytes.Clone(v.Data)
		w.Data[i] ^= 1
		if _, err := k.Verify(w); err == nil && !sameAlgorithm(v, w) {
			t.Errorf("%s: octet %d of AUTH changed, accepted", kind, i)
		}
		w.Data = v.Data[:i]
		if _, err := k.Verify(w); err == nil {
			t.Errorf("%s: AUTH cut at %d, accepted", kind, i)
		}
	}
	w := v
	w.Data = append(bytes.Clone(v.Data), 0)
	if _, err := k.Verify(w); err == nil {
		t.Errorf("%s: a longer AUTH, accepted", kind)
	}
	w = v
	w.Octets = []byte("octetS")
	if _, err := k.Verify(w); !errors.Is(err, ErrMismatch) {
		t.Errorf("%s: other octets: %v", kind, err)
	}
	for m := range uint8(20) {
		w := v
		if w.AuthMethod = m; m != v.AuthMethod {
			if _, err := k.Verify(w); err == nil {
				t.Errorf("%s: taken as method %d", kind, m)
			}
		}
	}
}

// sameAlgorithm says whether two AUTHs name the same algorithm by other octets: what names it is not signed,
// and the library's decoder of DER is lenient about lengths of explicit tags.
func sameAlgorithm(v, w VerifyRequest) bool {
	if v.AuthMethod != authSignature || v.Data[0] != w.Data[0] {
		return false
	}
	n := 1 + int(v.Data[0])
	a, err := parseAlgorithm(w.Data[1:n])
	b, _ := parseAlgorithm(v.Data[1:n])
	return err == nil && a == b && bytes.Equal(v.Data[n:], w.Data[n:])
}

// TestAlgorithmIdentifiers: what RFC 7427 appendix A and its neighbours spell, and what is refused.
func TestAlgorithmIdentifiers(t *testing.T) {
	sha256 := []byte{0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0}
	mgf := slices.Concat([]byte{0xa1, 0x1c, 0x30, 0x1a, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8}, sha256)
	pss := func(parts ...[]byte) []byte {
		p := slices.Concat(parts...)
		p = append([]byte{0x30, byte(len(p))}, p...)
		p = append([]byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a}, p...)
		return append([]byte{0x30, byte(len(p))}, p...)
	}
	hash := append([]byte{0xa0, 0x0f}, sha256...)
	salt := []byte{0xa2, 3, 2, 1, 32}
	want := algorithm{schemePSS, crypto.SHA256, 32}
	for name, c := range map[string]struct {
		der  []byte
		want algorithm
		bad  bool
	}{
		"PSS with the trailer (RFC 7427 A.4.3)":     {pss(hash, mgf, salt, []byte{0xa3, 3, 2, 1, 1}), want, false},
		"PSS without it":                            {pss(hash, mgf, salt), want, false},
		"PSS as we write it":                        {pssIdentifier(1, 32), want, false},
		"PSS with another trailer":                  {pss(hash, mgf, salt, []byte{0xa3, 3, 2, 1, 2}), want, true},
		"PSS with no parameters: SHA-1 (A.4.1)":     {pss(), want, true},
		"PSS without MGF: SHA-1":                    {pss(hash, salt), want, true},
		"PSS without hash: SHA-1":                   {pss(mgf, salt), want, true},
		"PSS with two hashes":                       {pss(append([]byte{0xa0, 0x0f}, bytes.Replace(sha256, []byte{2, 1, 5}, []byte{2, 2, 5}, 1)...), mgf, salt), want, true},
		"PSS with a salt of -1":                     {pss(hash, mgf, []byte{0xa2, 3, 2, 1, 0xff}), want, true},
		"PSS with a salt that is longer than SHA-2": {pss(hash, mgf, []byte{0xa2, 3, 2, 1, 33}), want, true},
		"PSS with something behind":                 {append(pss(hash, mgf, salt), 0), want, true},
		"RSA without NULL (RFC 4055 5)":             {[]byte{0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b}, algorithm{schemePKCS1, crypto.SHA256, 0}, false},
		"RSA with a parameter":                      {[]byte{0x30, 0x0e, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 2, 1, 1}, want, true},
		"RSA with MD5":                              {pkcs1Identifier(4), want, true},
		"RSA with SHA-1":                            {pkcs1Identifier(5), algorithm{schemePKCS1, crypto.SHA1, 0}, false},
		"ECDSA with NULL":                           {[]byte{0x30, 0x0c, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2, 5, 0}, want, true},
		"Ed448":                                     {[]byte{0x30, 5, 6, 3, 0x2b, 0x65, 0x71}, want, true},
		"nothing":                                   {nil, want, true},
		"a length that is not there":                {[]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, want, true},
	} {
		a, err := parseAlgorithm(c.der)
		if c.bad && !errors.Is(err, ErrAlgorithm) || !c.bad && (err != nil || a != c.want) {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
	for _, a := range signatureAlgorithms {
		if got, err := parseAlgorithm(a.der); err != nil || got != a.algorithm {
			t.Errorf("%x: %+v %v", a.der, got, err)
		}
		for n := range a.der {
			if _, err := parseAlgorithm(a.der[:n]); err == nil && n != 0 {
				t.Errorf("%x cut at %d", a.der, n)
			}
		}
	}
}

// TestForeignAlgorithm: a good signature whose algorithm is not the key's, and PSS by another salt.
func TestForeignAlgorithm(t *testing.T) {
	key := newKey(t, "rsa2048").(*rsa.PrivateKey)
	octets := []byte("octets")
	sum := digest(crypto.SHA256, octets)
	sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum, &rsa.PSSOptions{SaltLength: 20})
	if err != nil {
		t.Fatal(err)
	}
	data := func(der, sig []byte) []byte { return slices.Concat([]byte{byte(len(der))}, der, sig) }
	leaf := &x509.Certificate{PublicKey: key.Public()}
	v := VerifyRequest{AuthMethod: 14, Octets: octets}
	v.Data = data(pssIdentifier(1, 20), sig)
	if err := checkSignature(leaf, v, false); err != nil {
		t.Error("a salt of 20 octets:", err)
	}
	for name, der := range map[string][]byte{"another salt": pssIdentifier(1, 32), "no salt": pssIdentifier(1, 0), "PKCS #1": pkcs1Identifier(11),
		"ECDSA": signatureAlgorithms[0].der, "Ed25519": signatureAlgorithms[9].der} {
		v.Data = data(der, sig)
		if err := checkSignature(leaf, v, false); err == nil {
			t.Error(name)
		}
	}
	v.Data = data(pssIdentifier(1, 20), sig)
	for _, kind := range []string{"p256", "ed25519"} {
		if err := checkSignature(&x509.Certificate{PublicKey: newKey(t, kind).Public()}, v, false); !errors.Is(err, ErrAlgorithm) {
			t.Error(kind, err)
		}
	}
}

// TestWeakKeys: neither ours, nor the peer's, nor an authority's, nor one in between.
func TestWeakKeys(t *testing.T) {
	root := issue(t, nil, "p256", isCA)
	for _, kind := range []string{"rsa1024", "p224"} {
		weak := issue(t, root, kind, named("mn.example.org"))
		if _, err := NewKeyring([]Credentials{{Conn: "c", Chain: [][]byte{weak.cert.Raw}, Key: weak.key}}); !errors.Is(err, ErrConfig) {
			t.Errorf("our %s: %v", kind, err)
		}
		weakRoot := issue(t, nil, kind, isCA)
		if _, err := NewKeyring([]Credentials{{Conn: "c", CAs: []*x509.Certificate{weakRoot.cert}}}); !errors.Is(err, ErrConfig) {
			t.Errorf("an authority's %s: %v", kind, err)
		}
		k := ring(t, Credentials{CAs: []*x509.Certificate{root.cert}, Legacy: true})
		sig, err := weak.key.Sign(rand.Reader, digest(crypto.SHA256, []byte("octets")), crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		der := map[string][]byte{"rsa1024": pkcs1Identifier(11), "p224": signatureAlgorithms[0].der}[kind]
		v := asked(Proof{14, slices.Concat([]byte{byte(len(der))}, der, sig), []Cert{{4, weak.cert.Raw}}})
		if _, err := k.Verify(v); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("the peer's %s: %v", kind, err)
		}
		inter := issue(t, root, kind, authorityNamed("inter"))
		leaf := issue(t, inter, "p256", named("mn.example.org"))
		p, err := ring(t, Credentials{Chain: [][]byte{leaf.cert.Raw, inter.cert.Raw}, Key: leaf.key}).Prove(
			ProveRequest{Conn: "c", Method: Signature, Local: mn, Octets: []byte("octets"), PeerHashes: all})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Verify(asked(p)); !errors.Is(err, ErrCert) {
			t.Errorf("%s in between: %v", kind, err)
		}
	}
}

// TestChains: intermediates in any order, with things among them that are none; and what Verify refuses.
func TestChains(t *testing.T) {
	root := issue(t, nil, "rsa2048", isCA)
	a := issue(t, root, "p384", authorityNamed("a"))
	b := issue(t, a, "ed25519", authorityNamed("b"))
	leaf := issue(t, b, "p256", named("mn.example.org"))
	k := ring(t, Credentials{Chain: [][]byte{leaf.cert.Raw, b.cert.Raw, a.cert.Raw, root.cert.Raw}, Key: leaf.key, CAs: []*x509.Certificate{root.cert}})
	p, err := k.Prove(ProveRequest{Conn: "c", Method: Signature, Local: mn, Octets: []byte("octets"), PeerHashes: all})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Certs) != 3 {
		t.Errorf("%d certificates: the root is not to be sent", len(p.Certs))
	}
	cert := func(x *party) Cert { return Cert{4, x.cert.Raw} }
	for name, c := range map[string]struct {
		certs []Cert
		want  error
		word  string
	}{
		"in order":                 {[]Cert{cert(leaf), cert(b), cert(a)}, nil, ""},
		"the other way round":      {[]Cert{cert(leaf), cert(a), cert(b)}, nil, ""},
		"with the root":            {[]Cert{cert(leaf), cert(root), cert(a), cert(b)}, nil, ""},
		"twice":                    {[]Cert{cert(leaf), cert(a), cert(b), cert(b), cert(leaf)}, nil, ""},
		"with a revocation list":   {[]Cert{cert(leaf), {7, []byte("crl")}, cert(a), cert(b)}, nil, ""},
		"with a URL":               {[]Cert{cert(leaf), {12, []byte("http://")}, cert(a), cert(b)}, nil, ""},
		"with nonsense":            {[]Cert{cert(leaf), {4, []byte("nonsense")}, cert(a), cert(b)}, nil, ""},
		"one missing":              {[]Cert{cert(leaf), cert(b)}, ErrCert, "unknown authority"},
		"the leaf not first":       {[]Cert{cert(b), cert(leaf), cert(a)}, ErrAlgorithm, ""},
		"hash and URL":             {[]Cert{{12, append(make([]byte, 20), "http://x"...)}}, ErrCert, "URL"},
		"hash and URL of a bundle": {[]Cert{{13, append(make([]byte, 20), "http://x"...)}}, ErrCert, "URL"},
		"a raw public key":         {[]Cert{{15, leaf.cert.RawSubjectPublicKeyInfo}}, ErrCert, "encoding 15"},
		"PKCS #7":                  {[]Cert{{1, leaf.cert.Raw}}, ErrCert, "encoding 1"},
		"none":                     {nil, ErrCert, "0 certificates"},
		"too many":                 {slices.Repeat([]Cert{cert(leaf)}, maxCerts+1), ErrCert, "13 certificates"},
	} {
		v := asked(p)
		v.Certs = c.certs
		_, err := k.Verify(v)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCertificateRequest: the chain ends below the authority that the peer named.
func TestCertificateRequest(t *testing.T) {
	root := issue(t, nil, "p256", isCA)
	a := issue(t, root, "p256", authorityNamed("a"))
	b := issue(t, a, "p256", authorityNamed("b"))
	leaf := issue(t, b, "p256", named("mn.example.org"))
	k := ring(t, Credentials{Chain: [][]byte{leaf.cert.Raw, b.cert.Raw, a.cert.Raw}, Key: leaf.key})
	of := func(x *party) []byte { h := sha1.Sum(x.cert.RawSubjectPublicKeyInfo); return h[:] }
	for name, c := range map[string]struct {
		asked [][]byte
		want  int
		by    *party
	}{
		"nothing named": {nil, 3, root}, "the root": {[][]byte{of(root)}, 3, root}, "another": {[][]byte{make([]byte, 20)}, 3, root},
		"the one above": {[][]byte{make([]byte, 20), of(a)}, 2, a}, "our issuer": {[][]byte{of(b)}, 1, b}, "ourselves": {[][]byte{of(leaf)}, 3, root},
	} {
		p, err := k.Prove(ProveRequest{Conn: "c", Method: Signature, Octets: []byte("octets"), PeerHashes: all, CertReqs: c.asked})
		if err != nil || len(p.Certs) != c.want || !bytes.Equal(p.Certs[0].Data, leaf.cert.Raw) {
			t.Errorf("%s: %d certificates, %v", name, len(p.Certs), err)
		}
		peer := ring(t, Credentials{CAs: []*x509.Certificate{c.by.cert}})
		if _, err := peer.Verify(asked(p)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCertificateChecks: what a certificate says of itself and of those below it.
func TestCertificateChecks(t *testing.T) {
	root := issue(t, nil, "p256", isCA)
	bound := func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"other.org"}
	}
	for name, c := range map[string]struct {
		inter, leaf func(*x509.Certificate)
		bad         bool
	}{
		"as it should be":              {nil, nil, false},
		"no key usage at all":          {nil, func(c *x509.Certificate) { c.KeyUsage = 0 }, false},
		"content commitment":           {nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }, false},
		"key agreement only":           {nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, true},
		"for a web server":             {nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, false},
		"for mail":                     {nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }, false},
		"ended":                        {nil, func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) }, true},
		"not begun":                    {nil, func(c *x509.Certificate) { c.NotBefore = start.Add(time.Second) }, true},
		"issuer ended":                 {func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) }, nil, true},
		"issuer that is none":          {func(c *x509.Certificate) { c.IsCA = false }, nil, true},
		"issuer that may sign no cert": {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, nil, true},
		"issuer bound to other names":  {bound, nil, true},
		"issuer bound to ours": {func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		}, nil, false},
		"issuer with ours excluded": {func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"mn.example.org"} }, nil, true},
		"an unknown critical extension": {nil, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, true},
	} {
		inter := issue(t, root, "p256", func(x *x509.Certificate) {
			authorityNamed("inter")(x)
			if c.inter != nil {
				c.inter(x)
			}
		})
		leaf := issue(t, inter, "p256", func(x *x509.Certificate) {
			named("mn.example.org")(x)
			if c.leaf != nil {
				c.leaf(x)
			}
		})
		p, err := ring(t, Credentials{Chain: [][]byte{leaf.cert.Raw, inter.cert.Raw}, Key: leaf.key}).Prove(
			ProveRequest{Conn: "c", Method: Signature, Octets: []byte("octets"), PeerHashes: all})
		if err != nil {
			t.Fatal(err)
		}
		_, err = ring(t, Credentials{CAs: []*x509.Certificate{root.cert}}).Verify(asked(p))
		if c.bad && !errors.Is(err, ErrCert) || !c.bad && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPathLength: an authority that may have none below it.
func TestPathLength(t *testing.T) {
	root := issue(t, nil, "p256", authorityNamed("root", func(c *x509.Certificate) { c.MaxPathLenZero = true }))
	inter := issue(t, root, "p256", authorityNamed("inter"))
	leaf := issue(t, inter, "p256", named("mn.example.org"))
	p, err := ring(t, Credentials{Chain: [][]byte{leaf.cert.Raw, inter.cert.Raw}, Key: leaf.key}).Prove(
		ProveRequest{Conn: "c", Method: Signature, Octets: []byte("octets"), PeerHashes: all})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring(t, Credentials{CAs: []*x509.Certificate{root.cert}}).Verify(asked(p)); !errors.Is(err, ErrCert) {
		t.Error(err)
	}
}

// TestOtherIdentities: distinguished names by their meaning, KEY_ID by the key.
func TestOtherIdentities(t *testing.T) {
	root := issue(t, nil, "p256", isCA)
	leaf := issue(t, root, "p256", func(c *x509.Certificate) {
		c.Subject = pkix.Name{Country: []string{"DE"}, Organization: []string{"Example"}, CommonName: "mn"}
		c.SubjectKeyId = []byte("an identity of somebody else")
	})
	info := sha1.Sum(leaf.cert.RawSubjectPublicKeyInfo)
	key, err := leaf.key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	bits := sha1.Sum(key)
	parse := func(s string) message.Identity {
		id, err := message.ParseIdentity(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	keyID := func(b []byte) message.Identity { return message.Identity{Type: message.IDKeyID, Data: string(b)} }
	for _, c := range []struct {
		id   message.Identity
		want bool
	}{
		{parse("C=DE, O=Example, CN=mn"), true}, {parse("C=de, O=EXAMPLE, CN=MN"), true}, {parse("C=DE, CN=mn"), false},
		{parse("CN=mn, O=Example, C=DE"), false}, {keyID(info[:]), true}, {keyID(bits[:]), true}, {keyID(leaf.cert.SubjectKeyId), false},
		{keyID(nil), false}, {message.Identity{Type: message.IDDERDN}, false}, {message.Identity{Type: message.IDDERDN, Data: "0\x00"}, false},
		{message.Identity{Type: message.IDFQDN}, false}, {message.Identity{Type: 99, Data: "mn"}, false}, {message.Identity{}, false},
	} {
		if got := Vouches(leaf.cert, c.id); got != c.want {
			t.Errorf("%s: %v", c.id, got)
		}
	}
	nobody := issue(t, root, "p256", func(c *x509.Certificate) { c.Subject = pkix.Name{} })
	if Vouches(nobody.cert, message.Identity{Type: message.IDDERDN, Data: "0\x00"}) {
		t.Error("an empty subject vouches for an empty name")
	}
}
