package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mip6/mip6/ike/message"
)

// MaxAddKE is the number of additional key exchanges (RFC 9370 §2.2.1).
const MaxAddKE = 7

// AddKEs are the methods that are allowed for each additional key exchange, best
// first. KENone among them says that it may be left out.
type AddKEs [MaxAddKE][]KE

// AddKE are the additional key exchanges of a suite, KENone for those that are
// left out. They take place in the order of their numbers.
type AddKE [MaxAddKE]KE

// Any says whether there is one at all.
func (a AddKE) Any() bool { return a != AddKE{} }

// Methods are those that take place, in their order.
func (a AddKE) Methods() []KE {
	var out []KE
	for _, k := range a {
		if k != KENone {
			out = append(out, k)
		}
	}
	return out
}

// Any says whether one may take place.
func (a AddKEs) Any() bool {
	for _, list := range a {
		if slices.ContainsFunc(list, func(k KE) bool { return k != KENone }) {
			return true
		}
	}
	return false
}

// Allow says whether a suite keeps to what is asked for: policy, not negotiation.
func (a AddKEs) Allow(chosen AddKE) bool {
	for i, list := range a {
		if len(list) == 0 && chosen[i] != KENone || len(list) > 0 && !slices.Contains(list, chosen[i]) {
			return false
		}
	}
	return true
}

// check says what is wrong with them in an offer for a protocol.
func (o Offer) checkAddKE(proto message.Protocol) error {
	if o.AddKE.Any() && !slices.ContainsFunc(o.KE, func(k KE) bool { return k != KENone }) {
		return fmt.Errorf("%w: additional key exchanges without one to add to", ErrInvalid)
	}
	for _, list := range o.AddKE {
		for _, k := range list {
			if k != KENone && k.size() == 0 {
				return fmt.Errorf("%w: %s", ErrUnsupported, k)
			}
		}
	}
	// IKE_SA_INIT cannot be sent in fragments, and ML-KEM's values are as long as
	// most packets (draft-ietf-ipsecme-ikev2-mlkem §2.1).
	if i := slices.IndexFunc(o.KE, KE.KEM); i >= 0 && proto == message.ProtoIKE {
		return fmt.Errorf("%w: %s does not fit IKE_SA_INIT: x25519-ke1_%s", ErrInvalid, o.KE[i], o.KE[i])
	}
	return nil
}

func addType(i int) message.TransformType {
	return message.TransformAddKE1 + message.TransformType(i)
}

func isAddType(t message.TransformType) bool {
	return t >= message.TransformAddKE1 && t <= message.TransformAddKE7
}

// transforms writes them for a proposal.
func (a AddKEs) transforms() []message.Transform {
	var ts []message.Transform
	for i, list := range a {
		for _, k := range list {
			ts = append(ts, message.Transform{Type: addType(i), ID: uint16(k)})
		}
	}
	return ts
}

// match picks one of each type that the proposal has, no method twice (RFC 9370
// §2.2.1). A type that it has not counts as NONE.
func (a AddKEs) match(types map[message.TransformType][]message.Transform) (AddKE, []message.Transform, bool) {
	var chosen AddKE
	if !a.fill(types, &chosen, 0) {
		return AddKE{}, nil, false
	}
	var ts []message.Transform
	for i, k := range chosen {
		if t := addType(i); len(types[t]) > 0 {
			ts = append(ts, message.Transform{Type: t, ID: uint16(k)})
		}
	}
	return chosen, ts, true
}

// fill chooses for number i and those after it, going back where two would be
// the same. What it tries is bounded by our own lists.
func (a AddKEs) fill(types map[message.TransformType][]message.Transform, chosen *AddKE, i int) bool {
	if i == MaxAddKE {
		return true
	}
	t := addType(i)
	wants := a[i]
	if len(wants) == 0 {
		wants = []KE{KENone}
	}
	for _, k := range wants {
		have := slices.Contains(types[t], message.Transform{Type: t, ID: uint16(k)})
		if !have && (k != KENone || len(types[t]) > 0) || k != KENone && slices.Contains(chosen[:i], k) {
			continue
		}
		chosen[i] = k
		if a.fill(types, chosen, i+1) {
			return true
		}
	}
	chosen[i] = KENone
	return false
}

// WithoutAddKE returns the proposals that have no additional key exchange: where
// IKE_INTERMEDIATE is not agreed on, the others hold unknown types (§2.2.1).
func WithoutAddKE(ps []message.Proposal) []message.Proposal {
	out := []message.Proposal{}
	for _, p := range ps {
		if !slices.ContainsFunc(p.Transforms, func(t message.Transform) bool { return isAddType(t.Type) }) {
			out = append(out, p)
		}
	}
	return out
}

// parseAddKE reads a word such as "ke1_mlkem768". ok is false for another word.
func parseAddKE(w string, a *AddKEs) (ok bool, err error) {
	if len(w) < 5 || w[:2] != "ke" || w[3] != '_' || w[2] < '1' || w[2] > '0'+MaxAddKE {
		return false, nil
	}
	i, name := int(w[2]-'1'), w[4:]
	for _, k := range a[i] {
		if k.String() == name {
			return true, fmt.Errorf("%w: %q twice", ErrInvalid, w)
		}
	}
	if name == nameNone {
		a[i] = append(a[i], KENone)
		return true, nil
	}
	for _, n := range keNames {
		if n.name == name {
			a[i] = append(a[i], n.k)
			return true, nil
		}
	}
	return true, fmt.Errorf("%w: %q", ErrUnsupported, w)
}

// words writes them as parseAddKE reads them.
func (a AddKEs) words() []string {
	var out []string
	for i, list := range a {
		for _, k := range list {
			out = append(out, fmt.Sprintf("ke%d_%s", i+1, k))
		}
	}
	return out
}

func (a AddKE) String() string {
	var out []string
	for i, k := range a {
		if k != KENone {
			out = append(out, fmt.Sprintf("ke%d_%s", i+1, k))
		}
	}
	return strings.Join(out, "-")
}
