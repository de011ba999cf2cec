package pki

import (
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/mip6/mip6/ike/message"
)

// ErrConfig wraps what NewKeyring finds wrong.
var ErrConfig = errors.New("ike/pki: configuration")

// Secret is a pre-shared key between two identities. A zero Local or Peer fits
// any; the most specific fit wins, Peer before Local.
type Secret struct {
	Local, Peer message.Identity
	Key         []byte // at least one octet
}

// Credentials are the secrets of one connection.
type Credentials struct {
	Conn    string
	Secrets []Secret
	Chain   [][]byte            // our certificate and its intermediates, DER, ours first
	Key     crypto.Signer       // private key of Chain[0]
	CAs     []*x509.Certificate // authorities that the peer's certificate must lead to
	PKCS1   bool                // sign by RSASSA-PKCS1-v1_5 with an RSA key, for a peer that cannot do RSASSA-PSS
	Legacy  bool                // the peer may sign by SHA-1, and knows nothing else where it knows no RFC 7427
}

// Keyring holds the credentials of all connections. It does not change after
// NewKeyring, so that several executors may use it at once.
type Keyring struct {
	conns map[string]*entry
}

type pair struct{ local, peer message.Identity }

type entry struct {
	Credentials
	secrets map[pair][]byte
	roots   *x509.CertPool
}

// NewKeyring checks and stores credentials. The slices must not be changed afterwards.
func NewKeyring(creds []Credentials) (*Keyring, error) {
	k := &Keyring{conns: map[string]*entry{}}
	for _, c := range creds {
		if c.Conn == "" || k.conns[c.Conn] != nil {
			return nil, fmt.Errorf("%w: connection name %q is empty or used twice", ErrConfig, c.Conn)
		}
		e := &entry{Credentials: c, secrets: map[pair][]byte{}, roots: x509.NewCertPool()}
		for _, s := range c.Secrets {
			if len(s.Key) == 0 {
				return nil, fmt.Errorf("%w: connection %s: empty pre-shared key for %q", ErrConfig, c.Conn, s.Peer)
			}
			p := pair{s.Local.Fold(), s.Peer.Fold()}
			if e.secrets[p] != nil {
				return nil, fmt.Errorf("%w: connection %s: two pre-shared keys for %q", ErrConfig, c.Conn, s.Peer)
			}
			e.secrets[p] = s.Key
		}
		if err := e.checkChain(); err != nil {
			return nil, fmt.Errorf("%w: connection %s: %v", ErrConfig, c.Conn, err)
		}
		for _, ca := range c.CAs {
			if err := CheckKey(ca.PublicKey); err != nil {
				return nil, fmt.Errorf("%w: connection %s: authority %q: %v", ErrConfig, c.Conn, ca.Subject, err)
			}
			e.roots.AddCert(ca)
		}
		k.conns[c.Conn] = e
	}
	return k, nil
}

// checkChain sees to it that our private key belongs to our certificate.
func (e *entry) checkChain() error {
	if len(e.Chain) == 0 {
		if e.Key != nil {
			return errors.New("a private key without certificate")
		}
		return nil
	}
	cert, err := x509.ParseCertificate(e.Chain[0])
	if err != nil {
		return err
	}
	if e.Key == nil {
		return errors.New("a certificate without private key")
	}
	pub, ok := e.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(cert.PublicKey) {
		return errors.New("the private key does not belong to the certificate")
	}
	return CheckKey(e.Key.Public())
}

// secret finds the key for a pair of identities.
func (e *entry) secret(local, peer message.Identity) []byte {
	local, peer = local.Fold(), peer.Fold()
	for _, p := range []pair{{local, peer}, {message.Identity{}, peer}, {local, message.Identity{}}, {}} {
		if key := e.secrets[p]; key != nil {
			return key
		}
	}
	return nil
}

// Authorities returns what CERTREQ carries for a connection: the SHA-1 of the
// public key of each of its authorities (RFC 7296 §3.7).
func (k *Keyring) Authorities(conn string) [][]byte {
	e := k.conns[conn]
	if e == nil {
		return nil
	}
	var out [][]byte
	for _, ca := range e.CAs {
		h := sha1.Sum(ca.RawSubjectPublicKeyInfo)
		out = append(out, h[:])
	}
	return out
}
