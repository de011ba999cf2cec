package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
)

// sign makes an AUTH payload by certificate: method 14 where the peer named
// its hashes, else the old method of the key.
func (e *entry) sign(r ProveRequest) (Proof, error) {
	if e.Key == nil {
		return Proof{}, fmt.Errorf("%w: no certificate for connection %q", ErrNoKey, r.Conn)
	}
	if err := CheckKey(e.Key.Public()); err != nil {
		return Proof{}, err
	}
	p := Proof{Certs: e.certsFor(r.CertReqs)}
	var err error
	if len(r.PeerHashes) > 0 {
		p.AuthMethod = authSignature
		p.Data, err = e.signDigital(r)
	} else {
		p.AuthMethod, p.Data, err = e.signOld(r)
	}
	if err != nil {
		return Proof{}, err
	}
	return p, nil
}

// signDigital is method 14 (RFC 7427 §3): the algorithm, then the signature.
func (e *entry) signDigital(r ProveRequest) ([]byte, error) {
	want, first := e.preference()
	var best *signatureAlgorithm
	for i := range signatureAlgorithms {
		a := &signatureAlgorithms[i]
		if a.scheme == want && slices.Contains(r.PeerHashes, a.id) && (best == nil || a.hash == first) {
			best = a
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%w: the peer takes hashes %v", ErrAlgorithm, r.PeerHashes)
	}
	sig, err := e.signature(best.algorithm, r.Octets)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte{byte(len(best.der))}, best.der, sig), nil
}

// preference is the scheme of our key and the hash that is as strong as it is.
func (e *entry) preference() (scheme, crypto.Hash) {
	switch pub := e.Key.Public().(type) {
	case *ecdsa.PublicKey:
		for _, m := range ecdsaMethods {
			if m.curve == pub.Curve {
				return schemeECDSA, m.hash
			}
		}
		return schemeECDSA, crypto.SHA256
	case *rsa.PublicKey:
		s, h := schemePSS, crypto.SHA256 // RFC 8247 §3.2: PSS must be supported and is preferred
		if e.PKCS1 {
			s = schemePKCS1
		}
		if pub.N.BitLen() > 3072 {
			h = crypto.SHA512
		}
		return s, h
	}
	return schemeEd25519, 0
}

// signOld is what a peer understands that does not know RFC 7427: method 1 for
// RSA, RFC 4754 for ECDSA.
func (e *entry) signOld(r ProveRequest) (uint8, []byte, error) {
	switch pub := e.Key.Public().(type) {
	case *rsa.PublicKey:
		// RFC 7296 §3.8 has SHA-1 as the default; who needs it must be named so.
		h := crypto.SHA256
		if e.Legacy {
			h = crypto.SHA1
		}
		sig, err := e.signature(algorithm{schemePKCS1, h, 0}, r.Octets)
		return authRSA, sig, err
	case *ecdsa.PublicKey:
		for _, m := range ecdsaMethods {
			if m.curve != pub.Curve {
				continue
			}
			sig, err := e.signature(algorithm{schemeECDSA, m.hash, 0}, r.Octets)
			if err != nil {
				return 0, nil, err
			}
			data, err := plainSignature(sig, pub.Curve)
			return m.method, data, err
		}
	}
	return 0, nil, fmt.Errorf("%w: the peer knows no RFC 7427, which a %T needs", ErrAlgorithm, e.Key.Public())
}

// signature signs the octets. ECDSA takes its nonce from key and message (RFC
// 6979) where no random source is given, Ed25519 always does; the salt of PSS is
// derived from the octets, which hold the nonces of both sides and a secret of theirs.
func (e *entry) signature(a algorithm, octets []byte) ([]byte, error) {
	switch a.scheme {
	case schemeEd25519:
		return e.Key.Sign(nil, octets, crypto.Hash(0))
	case schemePSS:
		salt := sha512.Sum512(append([]byte("mip6 salt of RSASSA-PSS"), octets...))
		return e.Key.Sign(bytes.NewReader(salt[:]), digest(a.hash, octets), &rsa.PSSOptions{SaltLength: a.salt, Hash: a.hash})
	case schemePKCS1:
		return e.Key.Sign(nil, digest(a.hash, octets), a.hash)
	}
	return e.Key.Sign(nil, digest(a.hash, octets), a.hash)
}

// certsFor is our certificate and what stands between it and an authority that
// the peer named (RFC 7296 §3.7); it is sent whatever the peer names, for a
// request is a hint. A root is not sent: it is trusted or it is not.
func (e *entry) certsFor(requested [][]byte) []Cert {
	var out []Cert
	for i, der := range e.Chain {
		if i > 0 {
			c, err := x509.ParseCertificate(der)
			if err != nil || bytes.Equal(c.RawSubject, c.RawIssuer) {
				continue
			}
			h := sha1.Sum(c.RawSubjectPublicKeyInfo)
			if slices.ContainsFunc(requested, func(r []byte) bool { return bytes.Equal(r, h[:]) }) {
				break
			}
		}
		out = append(out, Cert{encodingX509, der})
	}
	return out
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

// minRSA is the shortest RSA key taken, in bits (RFC 8247 §3.1.1).
const minRSA = 2048

// maxRSA bounds what a verification may cost.
const maxRSA = 8192

// CheckKey refuses public keys that are weak, or of no kind that we know.
func CheckKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("%w: an RSA key of %d bits, expected %d to %d", ErrAlgorithm, n, minRSA, maxRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		for _, m := range ecdsaMethods {
			if m.curve == k.Curve {
				return nil
			}
		}
		return fmt.Errorf("%w: curve %s", ErrAlgorithm, k.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("%w: a key of type %T", ErrAlgorithm, pub)
}
