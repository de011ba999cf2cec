package message

// Intersect returns what two selectors have in common. ok is false if nothing.
func (s Selector) Intersect(t Selector) (r Selector, ok bool) {
	if s.Start.BitLen() != t.Start.BitLen() {
		return Selector{}, false
	}
	r = s
	switch {
	case s.Protocol == t.Protocol, t.Protocol == 0:
	case s.Protocol == 0:
		r.Protocol = t.Protocol
	default:
		return Selector{}, false
	}
	switch {
	case s.StartPort == t.StartPort && s.EndPort == t.EndPort, t.AnyPort():
	case s.AnyPort():
		r.StartPort, r.EndPort = t.StartPort, t.EndPort
	case s.StartPort > s.EndPort || t.StartPort > t.EndPort: // OPAQUE meets only itself and ANY
		return Selector{}, false
	default:
		r.StartPort, r.EndPort = max(s.StartPort, t.StartPort), min(s.EndPort, t.EndPort)
		if r.StartPort > r.EndPort {
			return Selector{}, false
		}
	}
	if t.Start.Compare(r.Start) > 0 {
		r.Start = t.Start
	}
	if t.End.Compare(r.End) < 0 {
		r.End = t.End
	}
	return r, r.Start.Compare(r.End) <= 0
}

// Contains says whether t lies wholly in s.
func (s Selector) Contains(t Selector) bool {
	r, ok := s.Intersect(t)
	return ok && r == t
}

// Narrow returns the part of the proposed selectors that is allowed, in the
// proposed order, so that the initiator's first (the packet's) stays first
// (RFC 7296 §2.9). Nil means TS_UNACCEPTABLE.
func Narrow(proposed, allowed []Selector) []Selector {
	var out []Selector
	for _, p := range proposed {
		for _, a := range allowed {
			if r, ok := p.Intersect(a); ok && !Covers(out, []Selector{r}) {
				out = append(out, r)
			}
		}
	}
	if len(out) > maxSelectors {
		out = out[:maxSelectors]
	}
	return out
}

// Covers says whether each selector of inner lies wholly in one of outer.
func Covers(outer, inner []Selector) bool {
	for _, i := range inner {
		found := false
		for _, o := range outer {
			if o.Contains(i) {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
