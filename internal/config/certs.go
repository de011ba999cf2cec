package config

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// certificates reads certificate, private_key and ca, and the files that they name.
func (ld *loader) certificates(t *table, p *Peer) {
	if t.absPath("certificate", &p.Certificate) {
		if certs, err := readCerts(p.Certificate); err != nil {
			t.fail("certificate", "%v", err)
		} else {
			for _, c := range certs {
				p.Chain = append(p.Chain, c.Raw)
			}
			if err := pki.CheckKey(certs[0].PublicKey); err != nil {
				t.fail("certificate", "%s: %v", p.Certificate, err)
			}
			ld.ownCert(t, p, certs[0])
		}
	}
	if t.absPath("private_key", &p.PrivateKey) {
		key, err := readKey(p.PrivateKey)
		if err != nil {
			t.fail("private_key", "%v", err)
		}
		p.Key = key
	}
	t.list("ca", func(s string) string {
		if !strings.HasPrefix(s, "/") {
			return "a path that begins with /"
		}
		certs, err := readCerts(s)
		if err != nil {
			return "a PEM file of certificates (" + err.Error() + ")"
		}
		for _, c := range certs {
			if err := pki.CheckKey(c.PublicKey); err != nil {
				return "authorities with strong keys (" + err.Error() + ")"
			}
		}
		p.CA = append(p.CA, s)
		p.CAs = append(p.CAs, certs...)
		return ""
	})
	if p.Key != nil && len(p.Chain) > 0 {
		if c, err := x509.ParseCertificate(p.Chain[0]); err == nil && !samePublic(c.PublicKey, p.Key.Public()) {
			t.fail("private_key", "%s is not the key of the certificate in %s", p.PrivateKey, p.Certificate)
		}
	}
}

// ownCert checks what a peer will check of our certificate.
func (ld *loader) ownCert(t *table, p *Peer, c *x509.Certificate) {
	at := join(t.path, "certificate")
	if ld.now.After(c.NotAfter) {
		ld.warn(at, "the certificate ended on %s", c.NotAfter.Format("2006-01-02"))
	} else if ld.now.Before(c.NotBefore) {
		ld.warn(at, "the certificate begins only on %s", c.NotBefore.Format("2006-01-02"))
	}
	if p.LocalID.IsZero() {
		return
	}
	names := certNames(c)
	switch {
	case !pki.Vouches(c, p.LocalID):
		t.fail("local_id", "expected a name that the certificate vouches for, one of %s, found %q", idNames(names), p.LocalID)
	case p.LocalID.Type == message.IDDERDN: // to the octet: a peer may compare no better
		p.LocalID.Data = string(c.RawSubject)
	}
}

// certNames are the identities in a certificate (RFC 7296 §3.5, RFC 4945 §3.1).
func certNames(c *x509.Certificate) []message.Identity {
	var out []message.Identity
	for _, n := range c.DNSNames {
		out = append(out, message.FQDN(n))
	}
	for _, n := range c.EmailAddresses {
		out = append(out, message.Identity{Type: message.IDRFC822, Data: n})
	}
	for _, ip := range c.IPAddresses {
		if id, ok := parseIdentity(ip.String()); ok {
			out = append(out, id)
		}
	}
	return append(out, message.Identity{Type: message.IDDERDN, Data: string(c.RawSubject)})
}

func readCerts(path string) ([]*x509.Certificate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %s", path, reason(err))
	}
	defer f.Close()
	data, err := readBounded(f, path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in %s is broken: %v", len(out)+1, path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no certificate in it; expected PEM", path)
	}
	return out, nil
}

func readKey(path string) (crypto.Signer, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s has no private key in it; expected PEM without a pass phrase", path)
		}
		if !bytes.HasSuffix([]byte(block.Type), []byte("PRIVATE KEY")) {
			continue
		}
		key, err := parseKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the private key in %s is broken or has a pass phrase", path)
		}
		return key, nil
	}
}

// parseKey reads the three encodings in use: PKCS #8, SEC 1 and PKCS #1.
func parseKey(der []byte) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if s, ok := k.(crypto.Signer); ok {
			return s, nil
		}
		return nil, errors.New("cannot sign")
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return x509.ParsePKCS1PrivateKey(der)
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
