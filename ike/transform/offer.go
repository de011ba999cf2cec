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

// Encryption algorithms that are implemented.
var (
	AES128GCM16 = Encr{20, 128}
	AES256GCM16 = Encr{20, 256}
)

// PRF is a pseudo-random function (transform type 2).
type PRF uint16

// Pseudo-random functions.
const (
	PRFHMACSHA256 PRF = 5
	PRFHMACSHA384 PRF = 6
	PRFHMACSHA512 PRF = 7
)

// Integ is an integrity algorithm (transform type 3): of AH. Combined-mode
// ciphers need none.
type Integ uint16

// KE is a key exchange method (transform type 4).
type KE uint16

// Key exchange methods.
const (
	KENone   KE = 0
	P256     KE = 19
	X25519   KE = 31
	esnOff      = 0
	esnOn       = 1
	nameNone    = "none"
)

// Offer is one proposal in terms of what may be chosen: in order of
// preference, one of each list. For ESP and AH, PRF stays empty and KE may be
// empty (no perfect forward secrecy). AH has Integ and no Encr, the others the
// reverse.
type Offer struct {
	Encr  []Encr
	PRF   []PRF
	Integ []Integ
	KE    []KE
	ESN   []bool // ESP and AH only; empty means {false}
}

// Suite is a negotiated set, one of each. Encr is zero for AH, Integ for ESP.
type Suite struct {
	Encr  Encr
	PRF   PRF
	Integ Integ
	KE    KE
	ESN   bool
}

var encrNames = []struct {
	name string
	e    Encr
}{
	{"aes128gcm16", AES128GCM16},
	{"aes256gcm16", AES256GCM16},
}

var prfNames = []struct {
	name string
	p    PRF
}{
	{"prfsha256", PRFHMACSHA256},
	{"prfsha384", PRFHMACSHA384},
	{"prfsha512", PRFHMACSHA512},
}

var keNames = []struct {
	name string
	k    KE
}{
	{"x25519", X25519},
	{"ecp256", P256},
}

func (e Encr) String() string {
	if e == (Encr{}) {
		return nameNone
	}
	for _, n := range encrNames {
		if n.e == e {
			return n.name
		}
	}
	return fmt.Sprintf("encr%d/%d", e.ID, e.KeyBits)
}

func (p PRF) String() string {
	for _, n := range prfNames {
		if n.p == p {
			return n.name
		}
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
	if s.ESN {
		parts = append(parts, "esn")
	}
	return strings.Join(parts, "-")
}

// ParseOffer reads a proposal as it is written in configuration, for example
// "aes128gcm16-prfsha256-x25519" or, for ESP, "aes256gcm16-esn". Several
// algorithms of one type may follow one another, best first.
func ParseOffer(s string) (Offer, error) {
	o, err := parseWords(s)
	switch {
	case err != nil:
		return Offer{}, err
	case len(o.Integ) > 0:
		return Offer{}, fmt.Errorf("%w: integrity algorithm in proposal %q, whose ciphers need none", ErrUnsupported, s)
	case len(o.Encr) == 0:
		return Offer{}, fmt.Errorf("%w: proposal %q names no cipher", ErrInvalid, s)
	}
	return o, nil
}

// parseWords sorts the words of a proposal by the type of transform.
func parseWords(s string) (Offer, error) {
	var o Offer
words:
	for _, w := range strings.Split(strings.ToLower(s), "-") {
		for _, n := range encrNames {
			if n.name == w {
				o.Encr = append(o.Encr, n.e)
				continue words
			}
		}
		for _, n := range prfNames {
			if n.name == w {
				o.PRF = append(o.PRF, n.p)
				continue words
			}
		}
		for _, n := range keNames {
			if n.name == w {
				o.KE = append(o.KE, n.k)
				continue words
			}
		}
		for _, n := range integs {
			if n.name == w {
				o.Integ = append(o.Integ, n.i)
				continue words
			}
		}
		switch w {
		case "esn":
			o.ESN = append(o.ESN, true)
		case "noesn":
			o.ESN = append(o.ESN, false)
		default:
			return Offer{}, fmt.Errorf("%w: %q in proposal %q", ErrUnsupported, w, s)
		}
	}
	return o, nil
}

// Wireshark is the name of the cipher in Wireshark's ikev2_decryption_table.
func (e Encr) Wireshark() string {
	if e.ID == AES128GCM16.ID {
		return fmt.Sprintf("AES-GCM-%d with 16 octet ICV [RFC5282]", e.KeyBits)
	}
	return e.String()
}
