package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// checkSignature checks AUTH with the key of the certificate. SHA-1 counts only
// for a peer that is named legacy.
func checkSignature(leaf *x509.Certificate, r VerifyRequest, legacy bool) error {
	if err := CheckKey(leaf.PublicKey); err != nil {
		return err
	}
	switch r.AuthMethod {
	case authSignature:
		return checkDigital(leaf.PublicKey, r, legacy)
	case authRSA:
		pub, ok := leaf.PublicKey.(*rsa.PublicKey)
		if !ok {
			return fmt.Errorf("%w: auth method %d with a %T", ErrAlgorithm, r.AuthMethod, leaf.PublicKey)
		}
		return checkOldRSA(pub, r, legacy)
	case authECDSA256, authECDSA384, authECDSA521:
		pub, ok := leaf.PublicKey.(*ecdsa.PublicKey)
		if !ok {
			return fmt.Errorf("%w: auth method %d with a %T", ErrAlgorithm, r.AuthMethod, leaf.PublicKey)
		}
		return checkOldECDSA(pub, r)
	}
	return fmt.Errorf("%w: auth method %d", ErrAlgorithm, r.AuthMethod)
}

// checkDigital checks method 14: the length of an AlgorithmIdentifier, the
// AlgorithmIdentifier, and the signature (RFC 7427 §3).
func checkDigital(key crypto.PublicKey, r VerifyRequest, legacy bool) error {
	if len(r.Data) < 1 || len(r.Data) < 1+int(r.Data[0]) {
		return fmt.Errorf("%w: AUTH of %d octets", ErrMismatch, len(r.Data))
	}
	a, err := parseAlgorithm(r.Data[1 : 1+int(r.Data[0])])
	if err != nil {
		return err
	}
	if a.hash == crypto.SHA1 && !legacy {
		return fmt.Errorf("%w: SHA-1", ErrAlgorithm)
	}
	sig := r.Data[1+int(r.Data[0]):]
	good := false
	switch pub := key.(type) {
	case *ecdsa.PublicKey:
		if a.scheme != schemeECDSA {
			return fmt.Errorf("%w: the algorithm is not the key's, ECDSA", ErrAlgorithm)
		}
		good = ecdsa.VerifyASN1(pub, digest(a.hash, r.Octets), sig)
	case *rsa.PublicKey:
		switch a.scheme {
		case schemePSS:
			opts := &rsa.PSSOptions{SaltLength: a.salt, Hash: a.hash}
			if a.salt == 0 { // which the library takes for "any length"
				return fmt.Errorf("%w: RSASSA-PSS without salt", ErrAlgorithm)
			}
			good = rsa.VerifyPSS(pub, a.hash, digest(a.hash, r.Octets), sig, opts) == nil
		case schemePKCS1:
			good = rsa.VerifyPKCS1v15(pub, a.hash, digest(a.hash, r.Octets), sig) == nil
		default:
			return fmt.Errorf("%w: the algorithm is not the key's, RSA", ErrAlgorithm)
		}
	case ed25519.PublicKey:
		if a.scheme != schemeEd25519 {
			return fmt.Errorf("%w: the algorithm is not the key's, Ed25519", ErrAlgorithm)
		}
		good = ed25519.Verify(pub, r.Octets, sig)
	}
	if !good {
		return ErrMismatch
	}
	return nil
}

// checkOldRSA checks method 1. The hash is not named but within the signature:
// RFC 7296 §3.8 leaves it to the signer.
func checkOldRSA(pub *rsa.PublicKey, r VerifyRequest, legacy bool) error {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if rsa.VerifyPKCS1v15(pub, h, digest(h, r.Octets), r.Data) == nil {
			return nil
		}
	}
	if rsa.VerifyPKCS1v15(pub, crypto.SHA1, digest(crypto.SHA1, r.Octets), r.Data) != nil {
		return ErrMismatch
	}
	if !legacy {
		return fmt.Errorf("%w: SHA-1", ErrAlgorithm)
	}
	return nil
}

// checkOldECDSA checks methods 9, 10 and 11: r and s side by side (RFC 4754 §7).
func checkOldECDSA(pub *ecdsa.PublicKey, r VerifyRequest) error {
	for _, m := range ecdsaMethods {
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
	return fmt.Errorf("%w: auth method %d with curve %s", ErrAlgorithm, r.AuthMethod, pub.Params().Name)
}
