package transform

import "strings"

// String writes an offer as ParseOffer and ParseAHOffer read it.
func (o Offer) String() string {
	var parts []string
	for _, e := range o.Encr {
		parts = append(parts, e.String())
	}
	for _, a := range o.Integ {
		parts = append(parts, a.String())
	}
	for _, p := range o.PRF {
		parts = append(parts, p.String())
	}
	for _, k := range o.KE {
		parts = append(parts, k.String())
	}
	parts = append(parts, o.AddKE.words()...)
	for _, esn := range o.ESN {
		parts = append(parts, map[bool]string{true: "esn", false: "noesn"}[esn])
	}
	return strings.Join(parts, "-")
}
