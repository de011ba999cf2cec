package transform

import (
	"fmt"
	"strings"
)

// Integrity algorithms: HMAC cut to half the hash (RFC 4868 §2.6). The numbers
// are those of transform type 3.
const (
	IntegHMACSHA256 Integ = 12
	IntegHMACSHA384 Integ = 13
	IntegHMACSHA512 Integ = 14
)

var integs = []struct {
	i          Integ
	name       string
	linux      string
	key        int // octets, that of the hash (RFC 4868 §2.1.1)
	icv        int // bits
	inTheTable string
}{
	{IntegHMACSHA256, "sha256", "hmac(sha256)", 32, 128, "HMAC_SHA2_256_128 [RFC4868]"},
	{IntegHMACSHA384, "sha384", "hmac(sha384)", 48, 192, "HMAC_SHA2_384_192 [RFC4868]"},
	{IntegHMACSHA512, "sha512", "hmac(sha512)", 64, 256, "HMAC_SHA2_512_256 [RFC4868]"},
}

// KeyLen is the length of the key in octets; 0 if the algorithm is not implemented.
func (a Integ) KeyLen() int {
	for _, n := range integs {
		if n.i == a {
			return n.key
		}
	}
	return 0
}

// ICVBits is the length of the integrity check value in bits; 0 if the
// algorithm is not implemented.
func (a Integ) ICVBits() int {
	for _, n := range integs {
		if n.i == a {
			return n.icv
		}
	}
	return 0
}

// Linux is the algorithm's name in the kernel's XFRM, whose truncation is
// ICVBits; empty if it is not implemented.
func (a Integ) Linux() string {
	for _, n := range integs {
		if n.i == a {
			return n.linux
		}
	}
	return ""
}

func (a Integ) String() string {
	if a == 0 {
		return nameNone
	}
	for _, n := range integs {
		if n.i == a {
			return n.name
		}
	}
	return fmt.Sprintf("integ%d", uint16(a))
}

// Wireshark is the name of the algorithm in Wireshark's ikev2_decryption_table.
func (a Integ) Wireshark() string {
	if a == 0 {
		return "NONE [RFC4306]"
	}
	for _, n := range integs {
		if n.i == a {
			return n.inTheTable
		}
	}
	return a.String()
}

// ParseAHOffer reads a proposal for AH as it is written in configuration, for
// example "sha256", "sha512-esn-noesn" or, with perfect forward secrecy,
// "sha384-x25519". Several algorithms of one type may follow one another, best
// first.
func ParseAHOffer(s string) (Offer, error) {
	o, err := parseWords(s)
	switch {
	case err != nil:
		return Offer{}, err
	case len(o.Encr) > 0 || len(o.PRF) > 0:
		return Offer{}, fmt.Errorf("%w: AH proposal %q names a cipher or a prf", ErrInvalid, strings.ToLower(s))
	case len(o.Integ) == 0:
		return Offer{}, fmt.Errorf("%w: AH proposal %q names no integrity algorithm", ErrInvalid, s)
	}
	return o, nil
}
