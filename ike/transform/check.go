package transform

import (
	"fmt"
	"slices"

	"github.com/mip6/mip6/ike/message"
)

// Check says what an offer for a protocol (IKE, ESP or AH) lacks or has too
// much, and which of its algorithms are not implemented.
func (o Offer) Check(proto message.Protocol) error {
	switch {
	case proto == message.ProtoIKE && (len(o.Encr) == 0 || len(o.PRF) == 0 || len(o.KE) == 0 || len(o.ESN) != 0):
		return fmt.Errorf("%w: an IKE proposal needs cipher, prf and key exchange, and nothing else", ErrInvalid)
	case proto == message.ProtoESP && (len(o.Encr) == 0 || len(o.PRF) != 0):
		return fmt.Errorf("%w: an ESP proposal needs a cipher and no prf", ErrInvalid)
	case proto == message.ProtoAH && (len(o.Integ) == 0 || len(o.Encr) != 0 || len(o.PRF) != 0):
		return fmt.Errorf("%w: an AH proposal needs an integrity algorithm, no cipher and no prf", ErrInvalid)
	}
	for _, e := range o.Encr {
		if e.KeyLen() == 0 {
			return fmt.Errorf("%w: %s", ErrUnsupported, e)
		}
	}
	for _, p := range o.PRF {
		if p.Size() == 0 {
			return fmt.Errorf("%w: %s", ErrUnsupported, p)
		}
	}
	for _, a := range o.Integ {
		if a.KeyLen() == 0 {
			return fmt.Errorf("%w: %s", ErrUnsupported, a)
		}
	}
	for _, k := range o.KE {
		if k.size() == 0 && (k != KENone || proto == message.ProtoIKE) {
			return fmt.Errorf("%w: %s", ErrUnsupported, k)
		}
	}
	if err := o.checkAddKE(proto); err != nil {
		return err
	}
	return o.kinds()
}

// kinds holds combined-mode ciphers and others apart: an integrity algorithm in
// their proposal would be meant for both (RFC 7296 §3.3, RFC 5282 §8).
func (o Offer) kinds() error {
	combined := slices.ContainsFunc(o.Encr, Encr.Combined)
	other := slices.ContainsFunc(o.Encr, func(e Encr) bool { return !e.Combined() })
	switch {
	case combined && other:
		return fmt.Errorf("%w: %s and %s go in proposals of their own, the first needs no integrity algorithm",
			ErrInvalid, name(o.Encr, true), name(o.Encr, false))
	case combined && len(o.Integ) > 0:
		return fmt.Errorf("%w: %s needs no integrity algorithm, found %s", ErrInvalid, o.Encr[0], o.Integ[0])
	case other && len(o.Integ) == 0:
		return fmt.Errorf("%w: %s needs an integrity algorithm such as sha256", ErrInvalid, o.Encr[0])
	}
	return nil
}

// name is the first cipher of a kind.
func name(list []Encr, combined bool) Encr {
	return list[slices.IndexFunc(list, func(e Encr) bool { return e.Combined() == combined })]
}

// Legacy names the algorithms of an offer that are for peers of the past only:
// RFC 8247 and RFC 8221 deprecate them, or ask for them no more.
func (o Offer) Legacy() []string {
	var out []string
	for _, e := range o.Encr {
		if e == TripleDES {
			out = append(out, e.String())
		}
	}
	for _, a := range o.Integ {
		if a == IntegHMACSHA1 {
			out = append(out, a.String())
		}
	}
	for _, p := range o.PRF {
		if p == PRFHMACSHA1 {
			out = append(out, p.String())
		}
	}
	for _, k := range slices.Concat(append(o.AddKE[:], o.KE)...) {
		if k == MODP1024 {
			out = append(out, k.String())
		}
	}
	return out
}
