package pki

import (
	"crypto/x509"
	"fmt"
)

const (
	encodingX509   = 4  // X.509 certificate, signature (RFC 7296 §3.6)
	encodingURL    = 12 // hash and URL of an X.509 certificate
	encodingBundle = 13 // hash and URL of a bundle
	maxCerts       = 12 // of one peer
)

// verifySignature checks signature, chain and identity.
func (e *entry) verifySignature(r VerifyRequest) (Peer, error) {
	leaf, others, err := readCerts(r.Certs)
	if err != nil {
		return Peer{}, err
	}
	// The signature comes first: nothing but a parser has worked for whoever has no key of the certificate.
	if err := checkSignature(leaf, r, e.Legacy); err != nil {
		return Peer{}, err
	}
	if err := e.checkPath(leaf, others, r); err != nil {
		return Peer{}, err
	}
	// RFC 4945 §5.1.3.2: a key usage that is there must allow signatures. An extended
	// one may be any: no two implementations ask for the same.
	if leaf.KeyUsage != 0 && leaf.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return Peer{}, fmt.Errorf("%w: key usage allows no signature", ErrCert)
	}
	if !certIs(leaf, r.Peer) {
		return Peer{}, fmt.Errorf("%w: %s, the certificate is of %s", ErrIdentity, r.Peer, describe(leaf))
	}
	return peerOf(leaf, r.Peer), nil
}

// readCerts reads the CERT payloads. The first is the one for AUTH (RFC 7296
// §3.6); the others come in any order, and what is no certificate among them is
// passed over: a chain that wants it will not be found.
func readCerts(certs []Cert) (leaf *x509.Certificate, others *x509.CertPool, err error) {
	if len(certs) == 0 || len(certs) > maxCerts {
		return nil, nil, fmt.Errorf("%w: %d certificates", ErrCert, len(certs))
	}
	switch certs[0].Encoding {
	case encodingX509:
	case encodingURL, encodingBundle: // we do not say HTTP_CERT_LOOKUP_SUPPORTED
		return nil, nil, fmt.Errorf("%w: it is to be fetched from a URL, which is not done here", ErrCert)
	default:
		return nil, nil, fmt.Errorf("%w: encoding %d", ErrCert, certs[0].Encoding)
	}
	if leaf, err = x509.ParseCertificate(certs[0].Data); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrCert, err)
	}
	others = x509.NewCertPool()
	for _, c := range certs[1:] {
		if c.Encoding != encodingX509 {
			continue
		}
		if x, err := x509.ParseCertificate(c.Data); err == nil && CheckKey(x.PublicKey) == nil {
			others.AddCert(x)
		}
	}
	return leaf, others, nil
}

// checkPath looks for a chain to an authority of the connection: validity,
// signatures (none by SHA-1 or MD5), basic, path length and name constraints are
// the library's work. Every key in it must be strong enough.
func (e *entry) checkPath(leaf *x509.Certificate, others *x509.CertPool, r VerifyRequest) error {
	roots := e.roots
	if roots == nil {
		roots = x509.NewCertPool() // nil would mean the system's authorities
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: r.Now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%w: %v", ErrCert, err)
	}
	for _, chain := range chains {
		if err = checkChainKeys(chain); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %v", ErrCert, err)
}

func checkChainKeys(chain []*x509.Certificate) error {
	for _, c := range chain {
		if err := CheckKey(c.PublicKey); err != nil {
			return err
		}
	}
	return nil
}
