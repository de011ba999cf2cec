package interop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// proof is one way for both ends to prove who they are.
type proof struct {
	name         string
	kind         string // of both keys
	theirs       string // charon's auth for itself; empty: pubkey
	id           string // of both, with %s for the end; empty: a host name
	intermediate bool
	pkcs1        bool
	old          bool // charon knows no RFC 7427
	legacy       bool // needs legacy on our side
}

var proofs = []proof{
	{name: "rsa-pkcs1", kind: "rsa", pkcs1: true}, {name: "rsa-pss", kind: "rsa", theirs: "rsa/pss-sha256"},
	{name: "rsa-pss-384", kind: "rsa", theirs: "rsa/pss-sha384"}, {name: "rsa-3072", kind: "rsa3072", theirs: "rsa/pss-sha512"},
	{name: "ecdsa-256", kind: "p256"}, {name: "ecdsa-384", kind: "p384"}, {name: "ecdsa-521", kind: "p521"},
	{name: "ed25519", kind: "ed25519"},
	{name: "chain", kind: "rsa", intermediate: true},
	{name: "name", kind: "p256", id: "C=DE, O=Example\\, Inc, CN=%s"},
	{name: "mail", kind: "p256", id: "%s@example.org"},
	{name: "address", kind: "ed25519", id: "address"},
	{name: "old-rsa", kind: "rsa", old: true, legacy: true},
	{name: "old-ecdsa-256", kind: "p256", old: true}, {name: "old-ecdsa-384", kind: "p384", old: true}, {name: "old-ecdsa-521", kind: "p521", old: true},
}

const (
	authOurs   = "2001:db8:77::1"
	authTheirs = "2001:db8:77::2"
)

// certified is an end with its certificate.
type certified struct {
	id   string
	cert *x509.Certificate
	key  crypto.Signer
}

func authKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var k crypto.Signer
	var err error
	switch kind {
	case "rsa":
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	case "rsa3072":
		k, err = rsa.GenerateKey(rand.Reader, 3072)
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

var serial int64

// sign issues a certificate; by nil: its own issuer.
func (by *certified) sign(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *certified {
	t.Helper()
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(tmpl)
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &certified{cert: cert, key: key}
}

func (by *certified) authority(t testing.TB, name, kind string) *certified {
	return by.sign(t, authKey(t, kind), func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = pkix.Name{CommonName: name}, true, true, x509.KeyUsageCertSign
	})
}

// end issues the certificate of an end.
func (by *certified) end(t testing.TB, p proof, end, address string) *certified {
	name := p.name + "-" + end
	c := by.sign(t, authKey(t, p.kind), func(c *x509.Certificate) {
		c.Subject = pkix.Name{Country: []string{"DE"}, Organization: []string{"Example, Inc"}, CommonName: name}
		c.DNSNames, c.EmailAddresses = []string{name + ".example.org"}, []string{name + "@example.org"}
		c.IPAddresses = []net.IP{net.ParseIP(address)}
	})
	switch {
	case p.id == "address":
		c.id = address
	case p.id != "":
		c.id = fmt.Sprintf(p.id, name)
	default:
		c.id = name + ".example.org"
	}
	return c
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// keyFile is the key in PEM, and the name of charon's folder for it.
func (c *certified) keyFile(t testing.TB) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

// TestProofsWithCharon: every kind of key and name, by RFC 7427 and by what was before it, with us as
// initiator and as responder. No child is needed for it, so that any kernel does.
func TestProofsWithCharon(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	if _, err := os.Stat(charonProgram); err != nil {
		t.Skip("strongSwan is not installed (packages strongswan-charon, strongswan-swanctl)")
	}
	for _, n := range []string{"auth-ours", "auth-theirs"} {
		_ = exec.Command("ip", "netns", "del", n).Run() // of a run that was killed
	}
	if out, err := exec.Command("ip", "netns", "add", "auth-ours").CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "auth-ours").Run() })
	ip(t, "netns add auth-theirs")
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "auth-theirs").Run() })
	for _, line := range []string{
		"link add au0 netns auth-ours type veth peer name au1 netns auth-theirs", "-n auth-ours link set lo up",
		"-n auth-theirs link set lo up", "-n auth-ours link set au0 up", "-n auth-theirs link set au1 up",
		"-n auth-ours addr add " + authOurs + "/64 dev au0 nodad", "-n auth-theirs addr add " + authTheirs + "/64 dev au1 nodad",
	} {
		ip(t, line)
	}
	for _, old := range []bool{false, true} {
		t.Run(map[bool]string{false: "rfc7427", true: "before"}[old], func(t *testing.T) { proveAll(t, old) })
	}
}

func proveAll(t *testing.T, old bool) {
	var root *certified
	root = root.authority(t, "root", "p384")
	inter := root.authority(t, "intermediate", "rsa")
	files := map[string][]byte{"x509ca/root.pem": pemOf("CERTIFICATE", root.cert.Raw)}
	var cfg ike.Config
	var creds []pki.Credentials
	var conf strings.Builder
	conf.WriteString("connections {\n")
	for _, p := range proofs {
		if p.old != old {
			continue
		}
		by, chain := root, [][]byte(nil)
		if p.intermediate {
			by, chain = inter, [][]byte{inter.cert.Raw}
			files["x509ca/inter.pem"] = pemOf("CERTIFICATE", inter.cert.Raw)
		}
		a, b := by.end(t, p, "ours", authOurs), by.end(t, p, "theirs", authTheirs)
		files["x509/"+p.name+".pem"] = pemOf("CERTIFICATE", b.cert.Raw)
		files["private/"+p.name+".pem"] = b.keyFile(t)
		auth := p.theirs
		if auth == "" {
			auth = "pubkey"
		}
		quoted := func(id string) string { return `"` + strings.ReplaceAll(id, `\,`, `,`) + `"` }
		if strings.HasPrefix(a.id, "C=") { // where a value has a comma, charon takes the DER only
			hex := func(c *certified) string { return fmt.Sprintf(`"asn1dn:#%x"`, c.cert.RawSubject) }
			quoted = func(id string) string {
				if id == a.id {
					return hex(a)
				}
				return hex(b)
			}
		}
		fmt.Fprintf(&conf, `  %s {
    version = 2
    mobike = no
    local_addrs = %s
    remote_addrs = %s
    proposals = aes128gcm16-prfsha256-x25519
    local { auth = %s
      certs = %s.pem
      id = %s }
    remote { auth = pubkey
      id = %s }
    children { %s { mode = transport
      esp_proposals = aes128gcm16 } }
  }
`, p.name, authTheirs, authOurs, auth, p.name, quoted(b.id), quoted(a.id), p.name)
		ours, theirs := parseIdentity(t, a.id), parseIdentity(t, b.id)
		if ours.Type == message.IDDERDN {
			ours.Data = string(a.cert.RawSubject)
		}
		creds = append(creds, pki.Credentials{Conn: p.name, Chain: append([][]byte{a.cert.Raw}, chain...), Key: a.key,
			CAs: []*x509.Certificate{root.cert}, PKCS1: p.pkcs1, Legacy: p.legacy})
		cfg.Conns = append(cfg.Conns, ike.Conn{Name: p.name, LocalID: ours, RemoteID: ike.IDMatch{Exact: []message.Identity{theirs}},
			LocalAuth: pki.Signature, RemoteAuth: pki.Signature})
	}
	conf.WriteString("}\n")
	keys, err := pki.NewKeyring(creds)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Conns {
		cfg.Conns[i].Authority = keys.Authorities(cfg.Conns[i].Name)
	}
	c := flavour{program: charonProgram, load: "mgf1 curve25519 pkcs1 pkcs8 x509 pubkey constraints",
		extra: map[bool]string{true: "signature_authentication = no"}[old], files: files}.start(t, "auth-theirs", conf.String())
	at := func(a string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), 500) }
	refuse := func(ike.Authorise) ike.Authorised { return ike.Authorised{Err: ike.ErrTSUnacceptable} }
	p := newPeer(t, "auth-ours", at(authOurs), cfg, keys, refuse)
	sel := func(a string) []message.Selector {
		return []message.Selector{message.PrefixSelector(netip.PrefixFrom(netip.MustParseAddr(a), 128), 0)}
	}
	for i, x := range proofs {
		if x.old != old {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			c.t = t
			// Selectors that charon refuses: the IKE SA stands without a child.
			p.events <- ike.Initiate{Req: uint64(i + 1), Conn: x.name, Local: at(authOurs), Remote: at(authTheirs), Children: []ike.ChildWant{{
				Name: "none", Mode: ike.Tunnel, ReqID: 1, Local: sel("2001:db8:78::1"), Remote: sel("2001:db8:78::2")}}}
			up := proved(t, p, "that we begin")
			if up.Conn != x.name || up.Peer.Method != pki.Signature || up.Peer.Subject == "" {
				t.Errorf("%+v", up)
			}

			_, _ = c.run("--initiate", "--child", x.name) // which fails, for the child is refused
			if up = proved(t, p, "that charon begins"); up.Conn != x.name || up.Initiator {
				t.Errorf("%+v", up)
			}
		})
	}
}

// proved waits for an IKE SA and the refusal of its child, whichever comes first, and ends it.
func proved(t *testing.T, p *peer, what string) (up ike.SAUp) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for refused := false; up.SA == 0 || !refused; {
		select {
		case a := <-p.told:
			switch a := a.(type) {
			case ike.SAUp:
				up = a
			case ike.ChildRefused:
				refused = true
			case ike.Refused:
				t.Fatalf("the IKE SA %s: %+v", what, a)
			}
		case <-limit:
			t.Fatalf("no IKE SA %s (up %v, child refused %v)", what, up.SA != 0, refused)
		}
	}
	p.events <- ike.Close{SA: up.SA}
	await[ike.SADown](t, p, "its end")
	return up
}

func parseIdentity(t testing.TB, s string) message.Identity {
	t.Helper()
	id, err := message.ParseIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
