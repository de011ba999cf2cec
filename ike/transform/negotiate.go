package transform

import (
	"fmt"
	"slices"

	"github.com/mip6/mip6/ike/message"
)

// Proposals writes offers as the proposals of an SA payload, numbered from 1.
// spi is put into each.
func Proposals(offers []Offer, proto message.Protocol, spi []byte) []message.Proposal {
	var ps []message.Proposal
	for i, o := range offers {
		p := message.Proposal{Number: uint8(i + 1), Protocol: proto, SPI: spi}
		add := func(t message.TransformType, id, bits uint16) {
			p.Transforms = append(p.Transforms, message.Transform{Type: t, ID: id, KeyBits: bits})
		}
		for _, e := range o.Encr {
			add(message.TransformEncr, e.ID, e.KeyBits)
		}
		if proto == message.ProtoIKE {
			for _, f := range o.PRF {
				add(message.TransformPRF, uint16(f), 0)
			}
		}
		for _, a := range o.Integ {
			add(message.TransformInteg, uint16(a), 0)
		}
		for _, k := range o.KE {
			add(message.TransformKE, uint16(k), 0)
		}
		p.Transforms = append(p.Transforms, o.AddKE.transforms()...)
		if proto != message.ProtoIKE {
			for _, e := range o.esn() {
				add(message.TransformESN, esnID(e), 0)
			}
		}
		ps = append(ps, p)
	}
	return ps
}

func (o Offer) esn() []bool {
	if len(o.ESN) == 0 {
		return []bool{false}
	}
	return o.ESN
}

func esnID(on bool) uint16 {
	if on {
		return esnOn
	}
	return esnOff
}

// Chosen is the outcome of a negotiation for the responder: the suite, and the
// proposal to send back, with its SPI yet to be put in.
type Chosen struct {
	Suite    Suite
	Proposal message.Proposal // as the initiator numbered it; its SPI is the initiator's
}

// Choose finds the best of our offers that a proposal of the peer fits: one
// proposal, one transform of each type (RFC 7296 §2.7). prefer is the method of
// the peer's KE payload: it is chosen if both allow it, which saves a round trip.
func Choose(offers []Offer, ps []message.Proposal, proto message.Protocol, prefer KE) (Chosen, error) {
	for _, o := range offers {
		for _, p := range ps {
			if p.Protocol != proto || len(p.SPI) != spiLen(proto, len(p.SPI)) {
				continue
			}
			if s, ts, ok := o.match(p, prefer); ok {
				return Chosen{s, message.Proposal{Number: p.Number, Protocol: proto, SPI: p.SPI, Transforms: ts}}, nil
			}
		}
	}
	return Chosen{}, ErrNoProposal
}

// spiLen is the length that a proposal's SPI must have: 4 for ESP and AH; for IKE none
// in the first exchange and 8 in a rekey (which the caller tells apart).
func spiLen(proto message.Protocol, got int) int {
	if proto == message.ProtoIKE {
		if got == 8 {
			return 8
		}
		return 0
	}
	return 4
}

// match tries one proposal against one offer. A type that the proposal has must
// be chosen from; an unknown type or an odd transform spoils only this proposal
// or transform (§3.3.6).
func (o Offer) match(p message.Proposal, prefer KE) (Suite, []message.Transform, bool) {
	types := map[message.TransformType][]message.Transform{}
	for _, t := range p.Transforms {
		if (t.Type < message.TransformEncr || t.Type > message.TransformESN) && !isAddType(t.Type) {
			return Suite{}, nil, false
		}
		types[t.Type] = append(types[t.Type], t)
	}
	ike := p.Protocol == message.ProtoIKE
	var s Suite
	var out []message.Transform
	// pick takes the first of our wishes that is among the proposal's transforms.
	pick := func(t message.TransformType, wants []message.Transform, optional bool) (message.Transform, bool) {
		have := types[t]
		if len(have) == 0 {
			return message.Transform{Type: t}, optional
		}
		for _, w := range wants {
			w.Type = t
			if slices.Contains(have, w) {
				out = append(out, w)
				return w, true
			}
		}
		return message.Transform{}, false
	}
	var wants []message.Transform
	var t message.Transform
	var ok bool
	if p.Protocol == message.ProtoAH {
		if len(types[message.TransformEncr]) > 0 { // §3.3.3: AH has none
			return s, nil, false
		}
	} else {
		for _, e := range o.Encr {
			wants = append(wants, message.Transform{ID: e.ID, KeyBits: e.KeyBits})
		}
		if t, ok = pick(message.TransformEncr, wants, false); !ok {
			return s, nil, false
		}
		s.Encr = Encr{t.ID, t.KeyBits}
	}
	if ike {
		if t, ok = pick(message.TransformPRF, ids(o.PRF), false); !ok {
			return s, nil, false
		}
		s.PRF = PRF(t.ID)
	} else if len(types[message.TransformPRF]) > 0 {
		return s, nil, false
	}
	// NONE stands for the absent integrity of a combined-mode cipher (§3.3.3).
	wants = ids(o.Integ)
	if s.Encr.Combined() {
		wants = []message.Transform{{}}
	}
	if t, ok = pick(message.TransformInteg, wants, s.Encr.Combined()); !ok {
		return s, nil, false
	}
	s.Integ = Integ(t.ID)
	if p.Protocol == message.ProtoAH && s.Integ == 0 {
		return s, nil, false // without integrity AH is nothing
	}
	kes := o.KE
	if slices.Contains(kes, prefer) {
		kes = append([]KE{prefer}, kes...)
	}
	wants = ids(kes)
	if len(o.KE) == 0 {
		wants = []message.Transform{{}}
	}
	if t, ok = pick(message.TransformKE, wants, len(o.KE) == 0); !ok || ike && t.ID == 0 {
		return s, nil, false
	}
	s.KE = KE(t.ID)
	var more []message.Transform
	if s.AddKE, more, ok = o.AddKE.match(types); !ok || s.AddKE.Any() && s.KE == KENone {
		return s, nil, false
	}
	out = append(out, more...)
	if ike {
		return s, out, len(types[message.TransformESN]) == 0
	}
	wants = nil
	for _, e := range o.esn() {
		wants = append(wants, message.Transform{ID: esnID(e)})
	}
	if t, ok = pick(message.TransformESN, wants, slices.Contains(o.esn(), false)); !ok {
		return s, nil, false
	}
	s.ESN = t.ID == esnOn
	return s, out, true
}

func ids[T ~uint16](list []T) []message.Transform {
	var ts []message.Transform
	for _, v := range list {
		ts = append(ts, message.Transform{ID: uint16(v)})
	}
	return ts
}

// Accept checks the responder's answer against our offers (RFC 7296 §2.7: one
// proposal of ours, with one transform of each type it had; §3.3.6: anything
// else ends the exchange). It returns the suite and the peer's SPI.
func Accept(offers []Offer, answer []message.Proposal, proto message.Protocol) (Suite, []byte, error) {
	if len(answer) != 1 {
		return Suite{}, nil, fmt.Errorf("%w: %d proposals in the answer", ErrInvalid, len(answer))
	}
	a := answer[0]
	n := int(a.Number)
	if n < 1 || n > len(offers) || a.Protocol != proto || len(a.SPI) != spiLen(proto, len(a.SPI)) {
		return Suite{}, nil, fmt.Errorf("%w: answer names proposal %d, protocol %d", ErrInvalid, a.Number, a.Protocol)
	}
	seen := map[message.TransformType]bool{}
	for _, t := range a.Transforms {
		if seen[t.Type] {
			return Suite{}, nil, fmt.Errorf("%w: two transforms of type %d in the answer", ErrInvalid, t.Type)
		}
		seen[t.Type] = true
	}
	s, _, ok := offers[n-1].match(a, KENone)
	if !ok {
		return Suite{}, nil, fmt.Errorf("%w: the answer is not of our proposal", ErrInvalid)
	}
	return s, a.SPI, nil
}

// WithoutKE returns the offers as they go into IKE_AUTH, whose child takes its
// keys from the IKE SA's key exchange (RFC 7296 §1.2).
func WithoutKE(offers []Offer) []Offer {
	out := make([]Offer, len(offers))
	for i, o := range offers {
		o.KE, o.AddKE = nil, AddKEs{}
		out[i] = o
	}
	return out
}
