package daemon

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/config"
)

// keyring reads the secrets that a configuration names.
func keyring(cfg *config.Config) (*pki.Keyring, error) {
	var all []pki.Credentials
	for _, p := range cfg.Peers {
		c, err := credentials(cfg, p)
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.Name, err)
		}
		all = append(all, c)
	}
	return pki.NewKeyring(all)
}

func credentials(cfg *config.Config, p config.Peer) (pki.Credentials, error) {
	c := pki.Credentials{Conn: p.Name}
	if len(p.PSK) > 0 {
		c.Secrets = append(c.Secrets, pki.Secret{Key: p.PSK})
	}
	for _, k := range cfg.PSKs {
		c.Secrets = append(c.Secrets, pki.Secret{Peer: k.ID, Key: k.Key})
	}
	if p.LocalAuth == pki.Signature {
		chain, err := readPEM(p.Certificate, "CERTIFICATE")
		if err != nil {
			return c, err
		}
		c.Chain = chain
		if c.Key, err = privateKey(p.PrivateKey); err != nil {
			return c, err
		}
	}
	for _, path := range p.CA {
		ders, err := readPEM(path, "CERTIFICATE")
		if err != nil {
			return c, err
		}
		for _, der := range ders {
			ca, err := x509.ParseCertificate(der)
			if err != nil {
				return c, fmt.Errorf("%s: %w", path, err)
			}
			c.CAs = append(c.CAs, ca)
		}
	}
	return c, nil
}

// readPEM returns the blocks of one kind in a file; there must be one.
func readPEM(path, kind string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type == kind {
			out = append(out, b.Bytes)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: there is no PEM block %q in it", path, kind)
	}
	return out, nil
}

// privateKey reads a key as PKCS #8 or, of the elliptic curves, SEC 1.
func privateKey(path string) (crypto.Signer, error) {
	if ders, err := readPEM(path, "PRIVATE KEY"); err == nil {
		k, err := x509.ParsePKCS8PrivateKey(ders[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if s, ok := k.(crypto.Signer); ok {
			return s, nil
		}
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", path, k)
	} else if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil, err
	}
	ders, err := readPEM(path, "EC PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("%s: neither a PRIVATE KEY (PKCS #8) nor an EC PRIVATE KEY is in it", path)
	}
	return x509.ParseECPrivateKey(ders[0])
}
