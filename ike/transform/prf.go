package transform

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
)

// Pseudo-random functions (RFC 8247 §2.2). SHA-1 is for peers of the past only.
const (
	PRFHMACSHA1   PRF = 2
	PRFHMACSHA256 PRF = 5
	PRFHMACSHA384 PRF = 6
	PRFHMACSHA512 PRF = 7
	PRFAESCMAC    PRF = 8
)

type prfInfo struct {
	p    PRF
	name string // strongSwan's word
	size int    // octets
	hash func() hash.Hash
}

var prfs = []prfInfo{
	{PRFHMACSHA256, "prfsha256", sha256.Size, sha256.New},
	{PRFHMACSHA384, "prfsha384", sha512.Size384, sha512.New384},
	{PRFHMACSHA512, "prfsha512", sha512.Size, sha512.New},
	{PRFAESCMAC, "prfaescmac", cmacLen, nil},
	{PRFHMACSHA1, "prfsha1", sha1.Size, sha1.New},
}

func (p PRF) info() prfInfo {
	for i := range prfs {
		if prfs[i].p == p {
			return prfs[i]
		}
	}
	return prfInfo{}
}

// Size is the length of the output and of the preferred key, in octets; 0 if
// the function is not implemented.
func (p PRF) Size() int { return p.info().size }

// Sum returns prf(key, data…). It returns nil for a function that is not implemented.
func (p PRF) Sum(key []byte, data ...[]byte) []byte {
	n := p.info()
	switch {
	case n.size == 0:
		return nil
	case n.hash == nil:
		return cmacPRF(key, data...)
	}
	m := hmac.New(n.hash, key)
	for _, d := range data {
		m.Write(d)
	}
	return m.Sum(nil)
}

// Plus returns n octets of prf+(key, seed…) (RFC 7296 §2.13). The counter is
// one octet, so that n is bounded by 255 times Size.
func (p PRF) Plus(key []byte, n int, seed ...[]byte) ([]byte, error) {
	size := p.Size()
	if size == 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnsupported, p)
	}
	if n > 255*size {
		return nil, fmt.Errorf("%w: %d octets of prf+", ErrInvalid, n)
	}
	out := make([]byte, 0, n+size)
	var last []byte
	for i := byte(1); len(out) < n; i++ {
		parts := append(append([][]byte{last}, seed...), []byte{i})
		last = p.Sum(key, parts...)
		out = append(out, last...)
	}
	return out[:n], nil
}

// Keys are the keys of an IKE SA (RFC 7296 §2.14). The encryption keys have
// the salt of a combined-mode cipher at their end.
type Keys struct {
	D, Ai, Ar, Ei, Er, Pi, Pr []byte
}

// Seed computes SKEYSEED of a first IKE SA: prf(Ni | Nr, g^ir). AES-CMAC takes
// the first 64 bits of each nonce only (RFC 7296 §2.14).
func (s Suite) Seed(ni, nr, shared []byte) []byte {
	if s.PRF == PRFAESCMAC {
		ni, nr = ni[:min(len(ni), cmacLen/2)], nr[:min(len(nr), cmacLen/2)]
	}
	return s.PRF.Sum(append(append([]byte(nil), ni...), nr...), shared)
}

// SeedRekey computes SKEYSEED of a rekeyed IKE SA with the old SA's function
// and SK_d: prf(SK_d, g^ir | Ni | Nr) (§2.18).
func SeedRekey(old PRF, oldD, ni, nr, shared []byte) []byte {
	return old.Sum(oldD, shared, ni, nr)
}

// Keys derives the keys of an IKE SA from SKEYSEED.
func (s Suite) Keys(seed, ni, nr []byte, spiI, spiR uint64) (Keys, error) {
	enc, integ, err := s.keyLens()
	if err != nil {
		return Keys{}, err
	}
	var spis [16]byte
	binary.BigEndian.PutUint64(spis[:], spiI)
	binary.BigEndian.PutUint64(spis[8:], spiR)
	size := s.PRF.Size()
	all, err := s.PRF.Plus(seed, 3*size+2*integ+2*enc, ni, nr, spis[:])
	if err != nil {
		return Keys{}, err
	}
	cut := func(n int) []byte {
		k := all[:n:n]
		all = all[n:]
		return k
	}
	var k Keys
	k.D, k.Ai, k.Ar = cut(size), cut(integ), cut(integ)
	k.Ei, k.Er = cut(enc), cut(enc)
	k.Pi, k.Pr = cut(size), cut(size)
	return k, nil
}

// ChildKeys are the keys of a pair of child SAs, for the SA from initiator to
// responder (I) and back (R). Enc is key then salt, as Linux takes it; empty for
// AH. Auth is empty for combined-mode ciphers.
type ChildKeys struct {
	EncI, AuthI, EncR, AuthR []byte
}

// ChildKeys derives KEYMAT (RFC 7296 §2.17) by the IKE SA's function and SK_d
// for the child suite c. shared is the result of the exchange's own key
// exchange, nil without.
func (p PRF) ChildKeys(d []byte, c Suite, shared, ni, nr []byte) (ChildKeys, error) {
	enc, auth, err := c.keyLens()
	if err != nil {
		return ChildKeys{}, err
	}
	all, err := p.Plus(d, 2*(enc+auth), shared, ni, nr)
	if err != nil {
		return ChildKeys{}, err
	}
	// Of each SA the encryption key is taken first, then the integrity key.
	ei, ai, er := enc, enc+auth, enc+auth+enc
	return ChildKeys{EncI: all[:ei:ei], AuthI: all[ei:ai:ai], EncR: all[ai:er:er], AuthR: all[er:]}, nil
}

// keyLens are the octets of keying material in one direction: for encryption
// (with the salt) and for integrity. A combined-mode cipher stands alone, any
// other wants integrity, which alone is AH.
func (s Suite) keyLens() (enc, auth int, err error) {
	if s.Integ != 0 {
		if auth = s.Integ.KeyLen(); auth == 0 {
			return 0, 0, fmt.Errorf("%w: %s", ErrUnsupported, s.Integ)
		}
		if s.Encr == (Encr{}) {
			return 0, auth, nil
		}
	}
	if enc, err = s.Encr.keyLen(); err == nil && s.Encr.Combined() != (auth == 0) {
		err = fmt.Errorf("%w: %s with integrity %s", ErrUnsupported, s.Encr, s.Integ)
	}
	return enc, auth, err
}
