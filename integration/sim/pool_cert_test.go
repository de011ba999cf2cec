package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/pki"
)

// issuer makes certificates that are valid in the simulation's time.
type issuer struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{t: t}
	i.cert, i.key = i.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return i
}

func (i *issuer) issue(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.n++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(i.n), start.AddDate(-1, 0, 0), start.AddDate(1, 0, 0)
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

// ring is a host's certificate, of a name and addresses.
func (i *issuer) ring(conn, name string, addrs ...netip.Addr) *pki.Keyring {
	i.t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{name}}
	for _, a := range addrs {
		c.IPAddresses = append(c.IPAddresses, net.IP(a.AsSlice()))
	}
	cert, key := i.issue(c)
	k, err := pki.NewKeyring([]pki.Credentials{{Conn: conn, Chain: [][]byte{cert.Raw}, Key: key, CAs: []*x509.Certificate{i.cert}}})
	if err != nil {
		i.t.Fatal(err)
	}
	return k
}

// TestHomeByCertificate: the agent gives each node the address of its certificate's
// subjectAltName; one without such an address, or with one of another network, gets none.
func TestHomeByCertificate(t *testing.T) {
	i := newIssuer(t)
	w := New(Options{Seed: 40, Nodes: 4, Ask: true,
		HA: func(c *ha.Config) { c.Nodes, c.AnyCertificate = nil, true },
		Conn: func(c *ike.Conn) {
			c.LocalAuth, c.RemoteAuth, c.Authority = pki.Signature, pki.Signature, i.ring("any", "any").Authorities("any")
		}})
	w.Log = trace(t)
	names := []netip.Addr{netip.MustParseAddr("2001:db8:1::77"), netip.MustParseAddr("2001:db8:1::78")}
	w.Agent().keys = i.ring("nodes", agentID().Data, Agent)
	w.Node(0).keys = i.ring("ha", nodeID(0).Data, names[0])
	w.Node(1).keys = i.ring("ha", nodeID(1).Data, netip.MustParseAddr("2001:db8:77::1"), names[1])
	w.Node(2).keys = i.ring("ha", nodeID(2).Data, netip.MustParseAddr("2001:db8:77::2"))
	w.Node(3).keys = i.ring("ha", nodeID(3).Data)
	w.Start()
	for _, h := range w.Nodes() {
		w.Attach(h, wlan, w.Links[1])
	}
	for n, want := range names {
		registered(t, w, w.Node(n), 20*time.Second)
		if h := w.Node(n); h.Home != want {
			t.Errorf("%s has %v, want %v", h.Name, h.Home, want)
		}
	}
	for _, n := range []int{2, 3} {
		if b := w.Node(n).Node.Boot(); !b.Active || !strings.Contains(b.Reason, "INTERNAL_ADDRESS_FAILURE") {
			t.Errorf("mn%d: %+v", n, b)
		}
	}
	w.Attach(w.Node(0), wlan, link(w, "b"))
	registered(t, w, w.Node(0), 5*time.Second)
	// Between two questions of the others nothing is under way.
	if _, ok := w.RunUntil(time.Minute, func() bool { return w.Check() == nil }); !ok {
		settled(t, w)
	}
}

// TestAskingWithAWrongKey: a node that cannot prove itself is told so and tries again, each time later.
func TestAskingWithAWrongKey(t *testing.T) {
	w := world(t, fromPool(41, 1, pool))
	h := w.Node(0)
	k, err := pki.NewKeyring([]pki.Credentials{{Conn: "ha", Secrets: []pki.Secret{{Key: []byte("not the secret of the simulation")}}}})
	if err != nil {
		t.Fatal(err)
	}
	right := h.keys
	h.keys = k
	w.Run(5 * time.Minute)
	if b := h.Node.Boot(); !b.Active || !strings.Contains(b.Reason, "AUTHENTICATION_FAILED") {
		t.Errorf("%+v", b)
	}
	if h.IKESent < 2*8 || h.IKESent > 2*13 { // after 1, 2, 4, ... 32 seconds, then each minute
		t.Errorf("%d messages in five minutes", h.IKESent)
	}
	settled(t, w)
	h.keys = right
	registered(t, w, h, 2*time.Minute)
}
