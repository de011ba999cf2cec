package pki

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/asn1"
	"fmt"

	_ "crypto/sha1" // hashes of the signatures
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// scheme is how a signature is made from a digest.
type scheme uint8

const (
	schemeECDSA   scheme = 1
	schemePKCS1   scheme = 2 // RSASSA-PKCS1-v1_5
	schemePSS     scheme = 3 // RSASSA-PSS, with the same hash for MGF1
	schemeEd25519 scheme = 4 // over the octets themselves (RFC 8420 §2)
)

// algorithm is what an AlgorithmIdentifier of RFC 7427 §3 names.
type algorithm struct {
	scheme scheme
	hash   crypto.Hash // zero for Ed25519
	salt   int         // octets, of PSS
}

// signatureAlgorithm is an algorithm that we sign with, beside its encoding
// (RFC 7427 appendix A, RFC 8420 appendix A).
type signatureAlgorithm struct {
	algorithm
	id  Hash
	der []byte
}

// signatureAlgorithms are in the order of preference, for each scheme.
var signatureAlgorithms = []signatureAlgorithm{
	{algorithm{schemeECDSA, crypto.SHA256, 0}, HashSHA256, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}},
	{algorithm{schemeECDSA, crypto.SHA384, 0}, HashSHA384, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}},
	{algorithm{schemeECDSA, crypto.SHA512, 0}, HashSHA512, []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}},
	{algorithm{schemePSS, crypto.SHA256, 32}, HashSHA256, pssIdentifier(1, 32)},
	{algorithm{schemePSS, crypto.SHA384, 48}, HashSHA384, pssIdentifier(2, 48)},
	{algorithm{schemePSS, crypto.SHA512, 64}, HashSHA512, pssIdentifier(3, 64)},
	{algorithm{schemePKCS1, crypto.SHA256, 0}, HashSHA256, pkcs1Identifier(11)},
	{algorithm{schemePKCS1, crypto.SHA384, 0}, HashSHA384, pkcs1Identifier(12)},
	{algorithm{schemePKCS1, crypto.SHA512, 0}, HashSHA512, pkcs1Identifier(13)},
	{algorithm{schemeEd25519, 0, 0}, HashIdentity, []byte{0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}},
}

// pkcs1Identifier is shaWithRSAEncryption, pkcs-1 n, with its NULL.
func pkcs1Identifier(n byte) []byte {
	return []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, n, 0x05, 0x00}
}

// pssIdentifier is id-RSASSA-PSS with the hash id-sha2 n, MGF1 of the same and
// its salt. The trailer field is left out, as DER has it with a default.
func pssIdentifier(n, salt byte) []byte {
	sha := []byte{0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, n, 0x05, 0x00}
	b := []byte{0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f}
	b = append(b, sha...)
	b = append(b, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08)
	b = append(b, sha...)
	return append(b, 0xa2, 0x03, 0x02, 0x01, salt)
}

// identifier is an AlgorithmIdentifier as it is read.
type identifier struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// pssParameters are those of RFC 4055 §3.1, whose defaults have SHA-1 in them.
type pssParameters struct {
	Hash    identifier `asn1:"optional,explicit,tag:0"`
	MGF     identifier `asn1:"optional,explicit,tag:1"`
	Salt    int        `asn1:"optional,explicit,tag:2,default:20"`
	Trailer int        `asn1:"optional,explicit,tag:3,default:1"`
}

var (
	oidPSS  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
)

// plainAlgorithms need no parameters.
var plainAlgorithms = []struct {
	oid asn1.ObjectIdentifier
	algorithm
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, algorithm{schemePKCS1, crypto.SHA1, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, algorithm{schemePKCS1, crypto.SHA256, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, algorithm{schemePKCS1, crypto.SHA384, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, algorithm{schemePKCS1, crypto.SHA512, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, algorithm{schemeECDSA, crypto.SHA1, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, algorithm{schemeECDSA, crypto.SHA256, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, algorithm{schemeECDSA, crypto.SHA384, 0}},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, algorithm{schemeECDSA, crypto.SHA512, 0}},
	{asn1.ObjectIdentifier{1, 3, 101, 112}, algorithm{schemeEd25519, 0, 0}},
}

var hashIdentifiers = []struct {
	oid  asn1.ObjectIdentifier
	hash crypto.Hash
}{
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
}

// null says whether parameters are NULL or left out: RFC 4055 §5 has both accepted.
func null(p asn1.RawValue) bool {
	return len(p.FullBytes) == 0 || bytes.Equal(p.FullBytes, []byte{5, 0})
}

// parseAlgorithm reads an AlgorithmIdentifier. SHA-1 comes back as such where
// it is named; PSS has none (RFC 8247 §3.2).
func parseAlgorithm(der []byte) (algorithm, error) {
	var id identifier
	if rest, err := asn1.Unmarshal(der, &id); err != nil || len(rest) > 0 {
		return algorithm{}, fmt.Errorf("%w: AlgorithmIdentifier %x", ErrAlgorithm, der)
	}
	if id.Algorithm.Equal(oidPSS) {
		return parsePSS(id.Parameters.FullBytes)
	}
	for _, a := range plainAlgorithms {
		if id.Algorithm.Equal(a.oid) && (a.scheme == schemePKCS1 && null(id.Parameters) || len(id.Parameters.FullBytes) == 0) {
			return a.algorithm, nil
		}
	}
	return algorithm{}, fmt.Errorf("%w: %v", ErrAlgorithm, id.Algorithm)
}

func parsePSS(der []byte) (algorithm, error) {
	var p pssParameters
	bad := fmt.Errorf("%w: RSASSA-PSS with parameters %x", ErrAlgorithm, der)
	if rest, err := asn1.Unmarshal(der, &p); err != nil || len(rest) > 0 || p.Trailer != 1 || p.Salt < 0 {
		return algorithm{}, bad
	}
	hash, ok := hashOf(p.Hash)
	var mgf identifier
	if rest, err := asn1.Unmarshal(p.MGF.Parameters.FullBytes, &mgf); err != nil || len(rest) > 0 || !p.MGF.Algorithm.Equal(oidMGF1) {
		return algorithm{}, bad
	}
	// Both hashes should be the same (RFC 4055 §3.1), and nothing else is verified here.
	if same, good := hashOf(mgf); !ok || !good || same != hash || p.Salt > hash.Size() {
		return algorithm{}, bad
	}
	return algorithm{schemePSS, hash, p.Salt}, nil
}

func hashOf(id identifier) (crypto.Hash, bool) {
	for _, h := range hashIdentifiers {
		if id.Algorithm.Equal(h.oid) && null(id.Parameters) {
			return h.hash, true
		}
	}
	return 0, false
}

// ecdsaMethods are the methods of RFC 4754, each tied to a curve and a hash.
var ecdsaMethods = []struct {
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
