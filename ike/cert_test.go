package ike

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// signer makes a key of a kind.
func signer(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var k crypto.Signer
	var err error
	switch kind {
	case "rsa":
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	case "p256":
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		k, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ed25519":
		_, k, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var subjectOfNode = pkix.Name{Country: []string{"DE"}, Organization: []string{"Example"}, CommonName: "mn"}

// certFor issues a certificate with every kind of name.
func certFor(t testing.TB, by *x509.Certificate, byKey crypto.Signer, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: subjectOfNode, NotBefore: certStart, NotAfter: certStart.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(tmpl)
	if by == nil {
		by = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, key.Public(), byKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func asAuthority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = pkix.Name{CommonName: name}, true, true, x509.KeyUsageCertSign
	}
}

// TestEveryKeyKind: node and agent have certificates by different keys, below different intermediates of one
// root, sent in either order; the handshake is whole over a network that loses, and the agent knows the names.
func TestEveryKeyKind(t *testing.T) {
	rootKey := signer(t, "p384")
	root := certFor(t, nil, rootKey, rootKey, asAuthority("root"))
	interKey := signer(t, "rsa")
	upper := certFor(t, root, rootKey, interKey, asAuthority("upper"))
	lowerKey := signer(t, "ed25519")
	under := certFor(t, upper, interKey, lowerKey, asAuthority("lower"))
	kinds := []string{"rsa", "p256", "p384", "p521", "ed25519"}
	ring := func(chain []*x509.Certificate, key crypto.Signer) *pki.Keyring {
		var der [][]byte
		for _, c := range chain {
			der = append(der, c.Raw)
		}
		k, err := pki.NewKeyring([]pki.Credentials{{Conn: "mip6", Chain: der, Key: key, CAs: []*x509.Certificate{root}}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for i, kind := range kinds {
		other := kinds[(i+1)%len(kinds)]
		w, mn, ha := pair(t, uint64(i), func(s *setup) {
			patient(s)
			key := signer(t, kind)
			leaf := certFor(t, under, lowerKey, key, func(c *x509.Certificate) { c.DNSNames = []string{"mn.example.org"} })
			s.mnKey = ring([]*x509.Certificate{leaf, upper, under}, key) // not in order
			key = signer(t, other)
			leaf = certFor(t, upper, interKey, key, func(c *x509.Certificate) { c.DNSNames = []string{"ha.example.org"} })
			s.haKey = ring([]*x509.Certificate{leaf, upper, root}, key)
			for _, c := range []*Conn{&s.mnCfg.Conns[0], &s.haCfg.Conns[0]} {
				c.LocalAuth, c.RemoteAuth = pki.Signature, pki.Signature
			}
			s.mnCfg.Conns[0].Authority, s.haCfg.Conns[0].Authority = s.mnKey.Authorities("mip6"), s.haKey.Authorities("mip6")
		})
		w.loss, w.dup = 0.1, 0.1
		connect(t, w, mn, ha)
		agree(t, mn, ha, 2)
		if p := one[SAUp](ha).Peer; p.Method != pki.Signature || p.DNSNames[0] != "mn.example.org" {
			t.Errorf("%s, %s: %+v", kind, other, p)
		}
	}
}

// TestCertificateRequests: both sides name their authority by its key (§3.7), in IKE_SA_INIT's answer and in IKE_AUTH.
func TestCertificateRequests(t *testing.T) {
	w, mn, ha := certPair(t, nil)
	connect(t, w, mn, ha)
	var authority []byte
	for _, c := range mn.m.conns[0].Authority {
		authority = append(authority, c...)
	}
	h, err := message.ParseHeader(w.sent[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := message.Parse(h, w.sent[1].Data)
	if err != nil || len(p.CertReqs) != 1 || len(authority) != sha1.Size || string(p.CertReqs[0].Data) != string(authority) || p.CertReqs[0].Encoding != certX509 {
		t.Errorf("%v %+v", err, p)
	}
	if n := p.Notify(message.SignatureHashAlgorithms); n == nil || string(n.Data) != "\x00\x02\x00\x03\x00\x04\x00\x05" {
		t.Errorf("hashes %+v", n)
	}
	// What is no list of whole hashes, or of another encoding, is passed over.
	odd := &message.Payloads{CertReqs: []message.Cert{{Encoding: certX509, Data: zeros(39)}, {Encoding: 12, Data: zeros(40)}, {Encoding: certX509}}}
	if got := certReqs(odd); len(got) != 1 {
		t.Errorf("%d authorities", len(got))
	}
}

// TestIdentityKinds: every type of identity, by a key and by a certificate that vouches for it.
func TestIdentityKinds(t *testing.T) {
	rootKey, key := signer(t, "p256"), signer(t, "p256")
	root := certFor(t, nil, rootKey, rootKey, asAuthority("root"))
	leaf := certFor(t, root, rootKey, key, func(c *x509.Certificate) {
		c.DNSNames, c.EmailAddresses = []string{"mn.example.org"}, []string{"user@example.org"}
		c.IPAddresses = []net.IP{net.ParseIP(hoaA), net.ParseIP("192.0.2.7")}
	})
	dn, err := asn1.Marshal(subjectOfNode.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	spki := sha1.Sum(leaf.RawSubjectPublicKeyInfo)
	for name, c := range map[string]struct {
		id   message.Identity
		cert bool
	}{
		"FQDN": {mnID, true}, "RFC822": {message.Identity{Type: message.IDRFC822, Data: "user@example.org"}, true},
		"IPv6": {message.AddrIdentity(ap(hoaA).Addr()), true}, "IPv4": {parseID(t, "192.0.2.7"), true},
		"DN": {message.Identity{Type: message.IDDERDN, Data: string(dn)}, true}, "DN as text": {parseID(t, "C=de, O=example, CN=mn"), true},
		"KEY_ID": {parseID(t, "keyid:00ff0a"), false}, "KEY_ID of the key": {message.Identity{Type: message.IDKeyID, Data: string(spki[:])}, true},
		"somebody else's FQDN": {message.FQDN("mn2.example.org"), false}, "somebody else's DN": {parseID(t, "CN=mn"), false},
	} {
		for _, cert := range []bool{false, true} {
			w, mn, ha := pair(t, 4, func(s *setup) {
				s.mnCfg.Conns[0].LocalID = c.id
				s.haCfg.Conns[0].RemoteID = IDMatch{Exact: []message.Identity{c.id}}
				s.mnKey, s.haKey = pskRing(t, c.id, haID, "key"), pskRing(t, haID, c.id, "key")
				if !cert {
					return
				}
				var err error
				s.mnCfg.Conns[0].LocalAuth, s.haCfg.Conns[0].RemoteAuth = pki.Signature, pki.Signature
				if s.mnKey, err = pki.NewKeyring([]pki.Credentials{{Conn: "mip6", Chain: [][]byte{leaf.Raw}, Key: key, Secrets: []pki.Secret{{Key: []byte("key")}}}}); err != nil {
					t.Fatal(err)
				}
				if s.haKey, err = pki.NewKeyring([]pki.Credentials{{Conn: "mip6", CAs: []*x509.Certificate{root}, Secrets: []pki.Secret{{Key: []byte("key")}}}}); err != nil {
					t.Fatal(err)
				}
			})
			mn.initiate(mhWant())
			w.run(20*time.Second, nil)
			ok := !cert || c.cert
			if up := len(find[SAUp](mn)) == 1 && len(find[SAUp](ha)) == 1; up != ok {
				t.Errorf("%s, by certificate %v: up %v%s", name, cert, up, ha.dump())
			} else if up && one[SAUp](ha).Peer.ID != c.id {
				t.Errorf("%s: the agent knows %s", name, one[SAUp](ha).Peer.ID)
			}
		}
	}
}

func parseID(t testing.TB, s string) message.Identity {
	t.Helper()
	id, err := message.ParseIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
