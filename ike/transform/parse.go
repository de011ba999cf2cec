package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mip6/mip6/ike/message"
)

// aliases are other words of strongSwan's for the same.
var aliases = map[string]string{
	"aes": "aes128", "aes128gcm": "aes128gcm16", "aes192gcm": "aes192gcm16", "aes256gcm": "aes256gcm16",
	"aes128gcm128": "aes128gcm16", "aes192gcm128": "aes192gcm16", "aes256gcm128": "aes256gcm16",
	"sha": "sha1", "sha2_256": "sha256", "sha2_384": "sha384", "sha2_512": "sha512", "curve25519": "x25519",
}

// ParseOffer reads a proposal as it is written in configuration, for example
// "aes128gcm16-prfsha256-x25519" or, for ESP, "aes256-sha256-esn". Several
// algorithms of one type may follow one another, best first. The words are
// strongSwan's.
func ParseOffer(s string) (Offer, error) {
	o, err := parseWords(s)
	if err == nil && len(o.Encr) == 0 {
		err = fmt.Errorf("%w: proposal %q names no cipher", ErrInvalid, s)
	}
	if err == nil {
		err = o.kinds()
	}
	if err == nil {
		err = o.checkAddKE(message.ProtoESP)
	}
	if err != nil {
		return Offer{}, err
	}
	return o, nil
}

// ParseIKEOffer is ParseOffer for an IKE SA. Where no pseudo-random function is
// named, those of the integrity algorithms' make are meant: strongSwan's habit,
// also with combined-mode ciphers, which need no integrity algorithm themselves.
func ParseIKEOffer(s string) (Offer, error) {
	o, err := parseWords(s)
	if err != nil {
		return Offer{}, err
	}
	if len(o.PRF) == 0 {
		for _, a := range o.Integ {
			o.PRF = append(o.PRF, a.info().prf)
		}
		if !slices.ContainsFunc(o.Encr, func(e Encr) bool { return !e.Combined() }) {
			o.Integ = nil
		}
	}
	if len(o.PRF) == 0 && len(o.Encr) > 0 {
		return Offer{}, fmt.Errorf("%w: proposal %q names no prf, nor an integrity algorithm that has one", ErrInvalid, s)
	}
	if err = o.Check(message.ProtoIKE); err != nil {
		return Offer{}, err
	}
	return o, nil
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

// parseWords sorts the words of a proposal by the type of transform.
func parseWords(s string) (Offer, error) {
	var o Offer
	for _, w := range strings.Split(strings.ToLower(s), "-") {
		if ok, err := parseAddKE(w, &o.AddKE); err != nil {
			return Offer{}, err
		} else if ok {
			continue
		}
		if !o.word(w) {
			return Offer{}, fmt.Errorf("%w: %q in proposal %q", ErrUnsupported, w, s)
		}
	}
	return o, nil
}

func (o *Offer) word(w string) bool {
	if other, ok := aliases[w]; ok {
		w = other
	}
	for i := range encrs {
		if encrs[i].name == w {
			o.Encr = append(o.Encr, encrs[i].e)
			return true
		}
	}
	for _, n := range prfs {
		if n.name == w {
			o.PRF = append(o.PRF, n.p)
			return true
		}
	}
	for _, n := range keNames {
		if n.name == w {
			o.KE = append(o.KE, n.k)
			return true
		}
	}
	for _, n := range integs {
		if n.name == w {
			o.Integ = append(o.Integ, n.i)
			return true
		}
	}
	switch w {
	case "esn":
		o.ESN = append(o.ESN, true)
	case "noesn":
		o.ESN = append(o.ESN, false)
	default:
		return false
	}
	return true
}
