package story

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// authority is a certificate authority made for one run of the story.
type authority struct {
	dir  string
	name string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newAuthority makes a P-256 authority and writes NAME.pem into dir.
func newAuthority(dir, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, name: name, key: key}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"mip6 story"}, CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert, err = a.sign(tmpl, tmpl, &key.PublicKey, key, name)
	return a, err
}

// path is the file of the authority's certificate.
func (a *authority) path() string { return filepath.Join(a.dir, a.name+".pem") }

// issue makes a key and a certificate for one host: NAME.pem and NAME.key in the
// authority's folder. The names and addresses become its subjectAltName.
func (a *authority) issue(name string, dns []string, addrs ...netip.Addr) (cert, key string, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	tmpl := &x509.Certificate{
		Subject:  pkix.Name{Organization: []string{"mip6 story"}, CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature,
		DNSNames: dns,
	}
	for _, ip := range addrs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
	}
	if _, err := a.sign(tmpl, a.cert, &priv.PublicKey, a.key, name); err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	return cert, key, writePEM(key, "PRIVATE KEY", der)
}

// sign completes a template, signs it and writes the certificate as NAME.pem.
func (a *authority) sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey, name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber = serial
	tmpl.NotBefore = time.Now().Add(-time.Hour)
	tmpl.NotAfter = time.Now().Add(24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	if err != nil {
		return nil, fmt.Errorf("story: certificate of %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(a.dir, name+".pem"), "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
