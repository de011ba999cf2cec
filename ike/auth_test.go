package ike

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/vectors"
)

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

var certStart = time.Unix(1_799_000_000, 0)

func newAuthority(t testing.TB, parent *authority, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: certStart,
		NotAfter: certStart.AddDate(5, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	signer, issuer := key, tmpl
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, n: 1}
}

// issue makes a certificate for host names, mail addresses and IP addresses.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate), names ...string) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.n++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: "node"}, NotBefore: certStart,
		NotAfter: certStart.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, n := range names {
		switch ip := net.ParseIP(n); {
		case ip != nil:
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		case strings.Contains(n, "@"):
			tmpl.EmailAddresses = append(tmpl.EmailAddresses, n)
		default:
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func certRing(t testing.TB, ca *authority, key *ecdsa.PrivateKey, chain ...[]byte) *pki.Keyring {
	t.Helper()
	k, err := pki.NewKeyring([]pki.Credentials{{Conn: "mip6", Chain: chain, Key: key, CAs: []*x509.Certificate{ca.cert}}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// certPair sets both sides up for certificates; change may spoil it.
func certPair(t testing.TB, change func(*setup, *authority)) (*world, *node, *node) {
	ca := newAuthority(t, nil, "root")
	return pair(t, 5, func(s *setup) {
		der, key := ca.issue(t, nil, "mn.example.org", hoaA)
		s.mnKey = certRing(t, ca, key, der)
		der, key = ca.issue(t, nil, "ha.example.org")
		s.haKey = certRing(t, ca, key, der)
		for _, c := range []*Conn{&s.mnCfg.Conns[0], &s.haCfg.Conns[0]} {
			c.LocalAuth, c.RemoteAuth = pki.Signature, pki.Signature
		}
		s.mnCfg.Conns[0].Authority = s.mnKey.Authorities("mip6")
		s.haCfg.Conns[0].Authority = s.haKey.Authorities("mip6")
		if change != nil {
			change(s, ca)
		}
	})
}

func TestCertificateHandshake(t *testing.T) {
	w, mn, ha := certPair(t, nil)
	connect(t, w, mn, ha)
	agree(t, mn, ha, 2)
	peer := one[SAUp](ha).Peer
	if peer.Method != pki.Signature || len(peer.Addresses) != 1 || peer.Addresses[0].String() != hoaA {
		t.Errorf("peer %+v", peer)
	}
	auth := find[Authorise](ha)[0]
	if len(auth.Peer.DNSNames) != 1 || auth.Peer.DNSNames[0] != "mn.example.org" {
		t.Errorf("Authorise does not carry the certificate's names: %+v", auth.Peer)
	}
}

func TestCertificateIdentityIsHomeAddress(t *testing.T) {
	w, mn, ha := certPair(t, func(s *setup, _ *authority) {
		id, err := message.ParseIdentity(hoaA)
		if err != nil {
			t.Fatal(err)
		}
		s.mnCfg.Conns[0].LocalID = id
	})
	connect(t, w, mn, ha) // the outer source is the care-of address: not compared
	agree(t, mn, ha, 2)
}

// refused runs a handshake that must fail, with the same word on the wire.
func refused(t *testing.T, w *world, mn, ha *node) (Refused, Refused) {
	t.Helper()
	mn.initiate(mhWant())
	w.run(3*time.Minute, nil)
	if len(find[ChildUp](mn)) != 0 || len(find[ChildUp](ha)) != len(find[ChildDown](ha)) {
		t.Fatalf("a child came up%s%s", mn.dump(), ha.dump())
	}
	if len(mn.kernel)+len(ha.kernel)+len(mn.larval)+len(ha.larval) != 0 {
		t.Errorf("left behind: %v %v %v %v", mn.kernel, ha.kernel, mn.larval, ha.larval)
	}
	if a, b := mn.m.Snapshot(), ha.m.Snapshot(); len(a)+len(b) != 0 {
		t.Errorf("IKE SAs left: %+v %+v", a, b)
	}
	if s := ha.m.Stats(); s.HalfOpen != 0 || s.Established != 0 || s.Children != 0 {
		t.Errorf("counters %+v", s)
	}
	if len(mn.m.sas)+len(ha.m.sas)+len(mn.m.tasks)+len(ha.m.tasks)+len(ha.m.inits)+len(ha.m.perSource)+len(ha.m.timers) != 0 {
		t.Error("state left in the machines")
	}
	return one[Refused](mn), one[Refused](ha)
}

func TestRefusals(t *testing.T) {
	other := newAuthority(t, nil, "other root")
	cases := []struct {
		name   string
		cert   bool
		change func(*setup, *authority)
		byHA   bool // the agent refuses; else the node does
		reason string
	}{
		{"wrong key", false, func(s *setup, _ *authority) { s.mnKey = pskRing(t, mnID, haID, "another") }, true, "does not verify"},
		{"unknown identity", false, func(s *setup, _ *authority) {
			s.mnCfg.Conns[0].LocalID = message.FQDN("evil.example.org")
			s.mnKey = pskRing(t, message.FQDN("evil.example.org"), haID, "a secret of both")
		}, true, "no key for this identity"},
		{"identity that no connection takes", false, func(s *setup, _ *authority) {
			s.haCfg.Conns[0].RemoteID = IDMatch{Exact: []message.Identity{message.FQDN("x")}}
		}, true, "no key"},
		{"foreign authority", true, func(s *setup, _ *authority) {
			der, key := other.issue(t, nil, "mn.example.org")
			s.mnKey = certRing(t, other, key, der)
		}, true, "certificate"},
		{"certificate of somebody else", true, func(s *setup, ca *authority) {
			der, key := ca.issue(t, nil, "mn2.example.org")
			s.mnKey = certRing(t, ca, key, der)
		}, true, "identity"},
		{"common name does not count", true, func(s *setup, ca *authority) {
			der, key := ca.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "mn.example.org" })
			s.mnKey = certRing(t, ca, key, der)
		}, true, "identity"},
		{"expired certificate", true, func(s *setup, ca *authority) {
			der, key := ca.issue(t, func(c *x509.Certificate) { c.NotAfter = certStart.Add(time.Hour) }, "mn.example.org")
			s.mnKey = certRing(t, ca, key, der)
		}, true, "expired"},
		{"no signing key usage", true, func(s *setup, ca *authority) {
			der, key := ca.issue(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, "mn.example.org")
			s.mnKey = certRing(t, ca, key, der)
		}, true, "key usage"},
		{"responder's certificate is somebody else's", true, func(s *setup, ca *authority) {
			der, key := ca.issue(t, nil, "ha2.example.org")
			s.haKey = certRing(t, ca, key, der)
		}, false, "identity"},
		{"responder is somebody else", false, func(s *setup, _ *authority) {
			s.mnCfg.Conns[0].RemoteID = IDMatch{Exact: []message.Identity{message.FQDN("ha2.example.org"), message.FQDN("ha3.example.org")}}
			s.mnKey = pskRing(t, mnID, message.Identity{}, "a secret of both")
		}, false, "not expected"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var w *world
			var mn, ha *node
			if c.cert {
				w, mn, ha = certPair(t, c.change)
			} else {
				w, mn, ha = pair(t, 9, func(s *setup) { c.change(s, nil) })
			}
			a, b := refused(t, w, mn, ha)
			decider := a
			if c.byHA {
				decider = b
			}
			if a.ByPeer != c.byHA || b.ByPeer == c.byHA || a.Notify != message.AuthenticationFailed || b.Notify != message.AuthenticationFailed {
				t.Errorf("node says %+v\nagent says %+v", a, b)
			}
			if !strings.Contains(decider.Reason, c.reason) {
				t.Errorf("reason %q does not say %q", decider.Reason, c.reason)
			}
		})
	}
}

// TestRefusalsLookAlike: from outside nobody can tell an unknown identity from
// a wrong key (§2.21.2).
func TestRefusalsLookAlike(t *testing.T) {
	answer := func(change func(*setup)) int {
		w, mn, ha := pair(t, 3, change)
		mn.initiate(mhWant())
		w.run(time.Minute, nil)
		if len(find[Refused](ha)) != 1 || len(w.sent) != 4 {
			t.Fatalf("%d messages", len(w.sent))
		}
		return len(w.sent[3].Data)
	}
	a := answer(func(s *setup) { s.mnKey = pskRing(t, mnID, haID, "another") })
	b := answer(func(s *setup) {
		s.mnCfg.Conns[0].LocalID = message.FQDN("xx.example.org")
		s.mnKey = pskRing(t, message.FQDN("xx.example.org"), haID, "a secret of both")
	})
	c := answer(func(s *setup) { s.haCfg.Conns[0].RemoteID = IDMatch{Exact: []message.Identity{message.FQDN("x")}} })
	if a != b || b != c {
		t.Errorf("answers of %d, %d, %d octets", a, b, c)
	}
}

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
