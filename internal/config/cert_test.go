package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writePEM(t *testing.T, path, kind string, der []byte, mode os.FileMode) {
	t.Helper()
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
}

// makeCert writes base.crt and base.key: a self-signed certificate is enough for a
// configuration, which does not judge chains.
func makeCert(t *testing.T, base string, until time.Time) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "somebody"},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		DNSNames: []string{"ha.example.org"}, IPAddresses: []net.IP{net.ParseIP("2001:db8:1::1")},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, base+".crt", "CERTIFICATE", der, 0o644)
	writePEM(t, base+".key", "PRIVATE KEY", k, 0o600)
	return key
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	key := makeCert(t, filepath.Join(dir, "a"), time.Now().Add(24*time.Hour))
	makeCert(t, filepath.Join(dir, "b"), time.Now().Add(-24*time.Hour))
	const auth = "auth = \"psk\"\n"
	files := func(cert, key, ca string) string {
		return "auth = \"cert\"\ncertificate = \"" + dir + "/" + cert + "\"\nprivate_key = \"" + dir + "/" + key + "\"\nca = [\"" + dir + "/" + ca + "\"]\n"
	}
	base := strings.Replace(goodHA, "home_link = \"eth0\"\n", "home_link = \"eth0\"\nhome_address_from = \"certificate\"\n", 1)
	base = base[:strings.Index(base, "[[psk]]")]

	c, err := Parse("f", []byte(strings.Replace(base, auth, files("a.crt", "a.key", "b.crt"), 1)))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Peers[0]
	if len(p.Chain) != 1 || len(p.CAs) != 1 || p.Key == nil || !samePublic(key.Public(), p.Key.Public()) || len(c.Warnings) != 0 {
		t.Errorf("%+v, warnings %q", p, c.Warnings)
	}
	if c.Redacted().Peers[0].Key != nil || p.Key == nil {
		t.Error("Redacted leaves the private key, or takes it from the original")
	}
	c, err = Parse("f", []byte(strings.Replace(base, auth, files("b.crt", "b.key", "a.crt"), 1)))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "f:15: peer[1].certificate: the certificate ended on") {
		t.Errorf("expired: %v, %+v", err, c)
	}

	os.Chmod(filepath.Join(dir, "b.key"), 0o644)
	for _, bad := range []struct{ name, text, want string }{
		{"another's key", files("b.crt", "a.key", "a.crt"), "peer[1].private_key: " + dir + "/a.key is not the key of the certificate in"},
		{"open key", files("a.crt", "b.key", "a.crt"), "peer[1].private_key: " + dir + "/b.key has mode 0644; expected 0600"},
		{"no certificate", files("a.key", "a.key", "a.crt"), "peer[1].certificate: " + dir + "/a.key has no certificate in it"},
		{"no key", files("a.crt", "none", "a.crt"), "peer[1].private_key: " + dir + "/none cannot be read: no such file"},
		{"no authority", files("a.crt", "a.key", "a.key"), "peer[1].ca[1]: expected a PEM file of certificates"},
	} {
		_, err := Parse("f", []byte(strings.Replace(base, auth, bad.text, 1)))
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.name, err, bad.want)
		}
	}

	other := strings.Replace(base, `local_id = "ha.example.org"`, `local_id = "agent.example.org"`, 1)
	_, err = Parse("f", []byte(strings.Replace(other, auth, files("a.crt", "a.key", "a.crt"), 1)))
	if err == nil || !strings.Contains(err.Error(), `f:12: peer[1].local_id: expected a name that the certificate vouches for, one of ["ha.example.org" "2001:db8:1::1"`) {
		t.Errorf("a name that is not in the certificate: %v", err)
	}
}
