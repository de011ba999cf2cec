// Package transform holds the cryptography of IKEv2 (RFC 7296 §2.13-2.18):
// pseudo-random functions, key exchange, protection of the SK payload, keying
// material and the negotiation of proposals. It has no clock and no random
// source: nonces and private keys come from the caller.
package transform

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of this package.
var (
	ErrUnsupported = errors.New("ike/transform: unsupported algorithm")
	ErrNoProposal  = errors.New("ike/transform: no proposal chosen")
	ErrInvalid     = errors.New("ike/transform: invalid value")
	ErrIntegrity   = errors.New("ike/transform: integrity check failed")
)

// Encr is an encryption algorithm together with its key length (transform type 1).
type Encr struct {
	ID      uint16
	KeyBits uint16 // 0 where the algorithm has one key length only
}

// PRF is a pseudo-random function (transform type 2).
type PRF uint16

// Integ is an integrity algorithm (transform type 3): of AH, and beside a
// cipher that is not a combined-mode one.
type Integ uint16

// KE is a key exchange method (transform type 4).
type KE uint16

// Key exchange methods (RFC 8247 §2.4). MODP1024 is for peers of the past only.
const (
	KENone   KE = 0
	MODP1024 KE = 2
	MODP2048 KE = 14
	MODP3072 KE = 15
	MODP4096 KE = 16
	P256     KE = 19
	P384     KE = 20
	P521     KE = 21
	X25519   KE = 31
	esnOff      = 0
	esnOn       = 1
	nameNone    = "none"
)

// Offer is one proposal in terms of what may be chosen: in order of
// preference, one of each list. For ESP and AH, PRF stays empty and KE may be
// empty (no perfect forward secrecy). Integ is there for AH, and for ciphers
// that are not combined-mode ones: the two kinds never share a proposal (RFC
// 7296 §3.3). AH has no Encr.
type Offer struct {
	Encr  []Encr
	PRF   []PRF
	Integ []Integ
	KE    []KE
	AddKE AddKEs // only beside KE
	ESN   []bool // ESP and AH only; empty means {false}
}

// Suite is a negotiated set, one of each. Encr is zero for AH, Integ with a
// combined-mode cipher.
type Suite struct {
	Encr  Encr
	PRF   PRF
	Integ Integ
	KE    KE
	AddKE AddKE
	ESN   bool
}

var keNames = []struct {
	name string
	k    KE
}{
	{"x25519", X25519},
	{"ecp256", P256},
	{"mlkem768", MLKEM768},
	{"mlkem1024", MLKEM1024},
	{"ecp384", P384},
	{"ecp521", P521},
	{"modp2048", MODP2048},
	{"modp3072", MODP3072},
	{"modp4096", MODP4096},
	{"modp1024", MODP1024},
}

func (p PRF) String() string {
	if n := p.info(); n.name != "" {
		return n.name
	}
	return fmt.Sprintf("prf%d", uint16(p))
}

func (k KE) String() string {
	if k == KENone {
		return nameNone
	}
	for _, n := range keNames {
		if n.k == k {
			return n.name
		}
	}
	return fmt.Sprintf("ke%d", uint16(k))
}

func (s Suite) String() string {
	var parts []string
	if s.Encr != (Encr{}) {
		parts = append(parts, s.Encr.String())
	}
	if s.Integ != 0 {
		parts = append(parts, s.Integ.String())
	}
	if s.PRF != 0 {
		parts = append(parts, s.PRF.String())
	}
	if s.KE != KENone {
		parts = append(parts, s.KE.String())
	}
	if s.AddKE.Any() {
		parts = append(parts, s.AddKE.String())
	}
	if s.ESN {
		parts = append(parts, "esn")
	}
	return strings.Join(parts, "-")
}
