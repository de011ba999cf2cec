package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	_ "crypto/sha256" // hashes of the signatures
	_ "crypto/sha512"

	"github.com/mip6/mip6/ike/message"
)

const (
	encodingX509 = 4  // X.509 certificate, signature (RFC 7296 §3.6)
	maxCerts     = 12 // of one peer
)

// signatureAlgorithm is one AlgorithmIdentifier of RFC 7427 appendix A.
type signatureAlgorithm struct {
	hash crypto.Hash
	id   Hash
	der  []byte
}

var ecdsaAlgorithms = []signatureAlgorithm{
	{crypto.SHA256, HashSHA256, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}},
	{crypto.SHA384, HashSHA384, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}},
	{crypto.SHA512, HashSHA512, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}},
}

// oldMethods are the methods of RFC 4754, each tied to a curve and a hash.
var oldMethods = []struct {
	method uint8
	curve  elliptic.Curve
	hash   crypto.Hash
}{
	{authECDSA256, elliptic.P256(), crypto.SHA256},
	{authECDSA384, elliptic.P384(), crypto.SHA384},
	{authECDSA521, elliptic.P521(), crypto.SHA512},
}

func digest(h crypto.Hash, octets []byte) []byte {
	w := h.New()
	w.Write(octets)
	return w.Sum(nil)
}

// sign makes an AUTH payload by certificate: method 14 where the peer named
// its hashes, else the old method of the curve.
func (e *entry) sign(r ProveRequest) (Proof, error) {
	if e.Key == nil {
		return Proof{}, fmt.Errorf("%w: no certificate for connection %q", ErrNoKey, r.Conn)
	}
	pub, ok := e.Key.Public().(*ecdsa.PublicKey)
	if !ok {
		return Proof{}, fmt.Errorf("%w: our key is a %T", ErrAlgorithm, e.Key.Public())
	}
	var p Proof
	for _, c := range e.Chain {
		p.Certs = append(p.Certs, Cert{encodingX509, c})
	}
	for _, a := range ecdsaAlgorithms {
		if !slices.Contains(r.PeerHashes, a.id) {
			continue
		}
		// Without a random source ECDSA takes its nonce from key and message (RFC 6979).
		sig, err := e.Key.Sign(nil, digest(a.hash, r.Octets), a.hash)
		if err != nil {
			return Proof{}, err
		}
		p.AuthMethod = authSignature
		p.Data = append(append([]byte{byte(len(a.der))}, a.der...), sig...)
		return p, nil
	}
	if len(r.PeerHashes) > 0 {
		return Proof{}, fmt.Errorf("%w: the peer takes hashes %v", ErrAlgorithm, r.PeerHashes)
	}
	for _, m := range oldMethods {
		if m.curve != pub.Curve {
			continue
		}
		sig, err := e.Key.Sign(nil, digest(m.hash, r.Octets), m.hash)
		if err != nil {
			return Proof{}, err
		}
		p.AuthMethod = m.method
		p.Data, err = plainSignature(sig, pub.Curve)
		return p, err
	}
	return Proof{}, fmt.Errorf("%w: curve %s", ErrAlgorithm, pub.Params().Name)
}

type ecdsaSignature struct{ R, S *big.Int }

// plainSignature turns a DER signature into r and s side by side (RFC 4754 §7).
func plainSignature(der []byte, c elliptic.Curve) ([]byte, error) {
	var v ecdsaSignature
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		return nil, err
	}
	n := (c.Params().BitSize + 7) / 8
	out := make([]byte, 2*n)
	v.R.FillBytes(out[:n])
	v.S.FillBytes(out[n:])
	return out, nil
}

// verifySignature checks signature, chain and identity.
func (e *entry) verifySignature(r VerifyRequest) (Peer, error) {
	if len(r.Certs) == 0 || len(r.Certs) > maxCerts {
		return Peer{}, fmt.Errorf("%w: %d certificates", ErrCert, len(r.Certs))
	}
	var chain []*x509.Certificate
	for i, c := range r.Certs {
		if c.Encoding != encodingX509 {
			if i == 0 {
				return Peer{}, fmt.Errorf("%w: encoding %d", ErrCert, c.Encoding)
			}
			continue
		}
		cert, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return Peer{}, fmt.Errorf("%w: %v", ErrCert, err)
		}
		chain = append(chain, cert)
	}
	leaf := chain[0] // the first is the one for AUTH (RFC 7296 §1.2)
	if err := checkSignature(leaf, r); err != nil {
		return Peer{}, err
	}
	inter := x509.NewCertPool()
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	roots := e.roots
	if roots == nil {
		roots = x509.NewCertPool() // nil would mean the system's authorities
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: inter, CurrentTime: r.Now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %v", ErrCert, err)
	}
	// RFC 4945 §5.1.3.2: a key usage that is there must allow signatures.
	if leaf.KeyUsage != 0 && leaf.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return Peer{}, fmt.Errorf("%w: key usage allows no signature", ErrCert)
	}
	if !certIs(leaf, r.Peer) {
		return Peer{}, fmt.Errorf("%w: %s, the certificate is of %s", ErrIdentity, r.Peer, describe(leaf))
	}
	return peerOf(leaf, r.Peer), nil
}

// checkSignature checks AUTH with the key of the certificate.
func checkSignature(leaf *x509.Certificate, r VerifyRequest) error {
	pub, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("%w: the peer's key is a %T", ErrAlgorithm, leaf.PublicKey)
	}
	if r.AuthMethod == authSignature {
		if len(r.Data) < 1 || len(r.Data) < 1+int(r.Data[0]) {
			return fmt.Errorf("%w: AUTH of %d octets", ErrMismatch, len(r.Data))
		}
		der, sig := r.Data[1:1+int(r.Data[0])], r.Data[1+int(r.Data[0]):]
		for _, a := range ecdsaAlgorithms {
			if bytes.Equal(der, a.der) {
				if ecdsa.VerifyASN1(pub, digest(a.hash, r.Octets), sig) {
					return nil
				}
				return ErrMismatch
			}
		}
		return fmt.Errorf("%w: AlgorithmIdentifier %x", ErrAlgorithm, der)
	}
	for _, m := range oldMethods {
		if m.method != r.AuthMethod || m.curve != pub.Curve {
			continue
		}
		n := (m.curve.Params().BitSize + 7) / 8
		if len(r.Data) != 2*n {
			return fmt.Errorf("%w: AUTH of %d octets", ErrMismatch, len(r.Data))
		}
		sig, err := asn1.Marshal(ecdsaSignature{
			new(big.Int).SetBytes(r.Data[:n]), new(big.Int).SetBytes(r.Data[n:]),
		})
		if err == nil && ecdsa.VerifyASN1(pub, digest(m.hash, r.Octets), sig) {
			return nil
		}
		return ErrMismatch
	}
	return fmt.Errorf("%w: auth method %d", ErrAlgorithm, r.AuthMethod)
}

// certIs says whether a certificate vouches for an identity (RFC 7296 §4,
// RFC 4945 §3.1): by subjectAltName, for a distinguished name by the subject.
// The common name never counts.
func certIs(c *x509.Certificate, id message.Identity) bool {
	switch id.Type {
	case message.IDFQDN:
		return slices.ContainsFunc(c.DNSNames, func(n string) bool {
			return n != "" && strings.EqualFold(n, id.Data)
		})
	case message.IDRFC822:
		return slices.ContainsFunc(c.EmailAddresses, func(n string) bool {
			return n != "" && message.Identity{Type: message.IDRFC822, Data: n}.Fold() == id.Fold()
		})
	case message.IDIPv4, message.IDIPv6:
		for _, ip := range c.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && message.AddrIdentity(a) == id {
				return true
			}
		}
	case message.IDDERDN:
		return len(c.RawSubject) > 0 && string(c.RawSubject) == id.Data
	}
	return false
}

func peerOf(c *x509.Certificate, id message.Identity) Peer {
	p := Peer{
		ID: id, Method: Signature, DNSNames: c.DNSNames, Emails: c.EmailAddresses,
		Subject: c.Subject.String(), NotAfter: c.NotAfter,
	}
	for _, ip := range c.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			p.Addresses = append(p.Addresses, a.Unmap())
		}
	}
	return p
}

// describe names the holder of a certificate in a log line.
func describe(c *x509.Certificate) string {
	names := append(append([]string(nil), c.DNSNames...), c.EmailAddresses...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return fmt.Sprintf("%q %q", c.Subject.String(), names)
}
