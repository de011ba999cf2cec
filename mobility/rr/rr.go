// Package rr is the cryptography of return routability (RFC 6275 §5.2): node
// key, nonces, keygen tokens, binding management key and authenticator. It holds
// no clock and no source of randomness: both are arguments.
package rr

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/mip6/mip6/mobility"
)

// ErrMessage is a message that cannot carry an authenticator.
var ErrMessage = errors.New("rr: message does not end in authorization data")

const (
	tokenHome   = 0 // the last octet of the input tells the tokens apart (§5.2.5)
	tokenCareOf = 1
)

// AuthenticatorLen is the length of an authenticator in octets (§6.2.7).
const AuthenticatorLen = 12

// Kcn is the node key of a correspondent: 20 random octets, never shared (§5.2.1).
type Kcn [20]byte

// Kbm is a binding management key (§5.2.5).
type Kbm [20]byte

// NewKcn reads a node key from random.
func NewKcn(random io.Reader) (k Kcn, err error) {
	_, err = io.ReadFull(random, k[:])
	return k, err
}

// HomeToken is the home keygen token for a home address and a nonce.
func (k *Kcn) HomeToken(home netip.Addr, n Nonce) mobility.Token {
	return k.token(home, n, tokenHome)
}

// CareOfToken is the care-of keygen token for a care-of address and a nonce.
func (k *Kcn) CareOfToken(careOf netip.Addr, n Nonce) mobility.Token {
	return k.token(careOf, n, tokenCareOf)
}

// token is First(64, HMAC_SHA1(Kcn, address | nonce | kind)) (§5.2.5).
func (k *Kcn) token(a netip.Addr, n Nonce, kind byte) mobility.Token {
	h := hmac.New(sha1.New, k[:])
	v := a.As16()
	h.Write(v[:])
	h.Write(n[:])
	h.Write([]byte{kind})
	return mobility.Token(h.Sum(nil)[:8])
}

// Key is the binding management key for a registration: SHA1 of both tokens
// (§5.2.5).
func Key(home, careOf mobility.Token) Kbm {
	return sha1.Sum(append(home[:], careOf[:]...))
}

// DeleteKey is the binding management key for a deletion from home, where there
// is no care-of token: SHA1 of the home keygen token (§5.2.5).
func DeleteKey(home mobility.Token) Kbm { return sha1.Sum(home[:]) }

// authorization is the offset of the authenticator in a Mobility Header that
// ends in authorization data. The header's own length counts: raw sockets give
// what follows it too.
func authorization(mh []byte) (int, error) {
	if len(mh) < 8 || len(mh) < 8*(int(mh[1])+1) {
		return 0, fmt.Errorf("%w: %d octets", ErrMessage, len(mh))
	}
	at := 8*(int(mh[1])+1) - AuthenticatorLen
	const fixed = 12 // of Binding Update and Acknowledgement
	if at < fixed+2 || mh[at-2] != byte(mobility.OptAuthorization) || mh[at-1] != AuthenticatorLen {
		return 0, ErrMessage
	}
	return at, nil
}

// authenticator is First(96, HMAC_SHA1(Kbm, care-of address | correspondent | MH
// Data)), the MH Data being what stands before the authenticator, with a checksum
// of zero (§6.2.7).
func (k *Kbm) authenticator(careOf, correspondent netip.Addr, mh []byte, at int) []byte {
	h := hmac.New(sha1.New, k[:])
	a, c := careOf.As16(), correspondent.As16()
	h.Write(a[:])
	h.Write(c[:])
	h.Write(mh[:mobility.ChecksumOffset])
	h.Write([]byte{0, 0})
	h.Write(mh[mobility.ChecksumOffset+2 : at])
	return h.Sum(nil)[:AuthenticatorLen]
}

// Sign writes the authenticator into the encoded Binding Update or
// Acknowledgement mh, whose last option is authorization data of 12 octets. It
// has to be done before the checksum is computed.
//
// careOf is the care-of address that is registered: that of the alternate
// care-of address option where there is one, and the home address in a deletion;
// correspondent is the correspondent's address, its home address where it is
// mobile itself (§6.2.7).
func (k *Kbm) Sign(careOf, correspondent netip.Addr, mh []byte) error {
	at, err := authorization(mh)
	if err != nil {
		return err
	}
	copy(mh[at:], k.authenticator(careOf, correspondent, mh, at))
	return nil
}

// Verify tells whether the authenticator of mh is right; careOf and
// correspondent as in Sign. The time it takes does not depend on the octets.
func (k *Kbm) Verify(careOf, correspondent netip.Addr, mh []byte) bool {
	at, err := authorization(mh)
	if err != nil {
		return false
	}
	want := k.authenticator(careOf, correspondent, mh, at)
	return subtle.ConstantTimeCompare(want, mh[at:at+AuthenticatorLen]) == 1
}
