package message

import (
	"fmt"
	"net/netip"
	"strings"
)

// Selector is one traffic selector (RFC 7296 §3.13.1): an address range, a
// protocol (0: any) and a range of ports. For protocol 135 (Mobility Header)
// and ICMPv6 the message type is in the upper octet of the port (RFC 4877
// §7.2.1); 0-65535 means any. OPAQUE is StartPort 65535, EndPort 0.
type Selector struct {
	Protocol           uint8
	StartPort, EndPort uint16
	Start, End         netip.Addr
}

// PrefixSelector returns a selector for all of a prefix, protocol (0: any), all ports.
func PrefixSelector(p netip.Prefix, protocol uint8) Selector {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Selector{Protocol: protocol, EndPort: 65535, Start: p.Addr(), End: end}
}

// Prefix returns the address range as a prefix, if it is exactly one.
func (s Selector) Prefix() (netip.Prefix, bool) {
	bits := s.Start.BitLen()
	for n := 0; n <= bits; n++ {
		p := netip.PrefixFrom(s.Start, n)
		if p.Masked().Addr() != s.Start {
			continue
		}
		q := PrefixSelector(p, 0)
		if q.End == s.End {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// AnyPort says whether the selector covers every port.
func (s Selector) AnyPort() bool { return s.StartPort == 0 && s.EndPort == 65535 }

func (s Selector) String() string {
	var b strings.Builder
	if p, ok := s.Prefix(); ok {
		b.WriteString(p.String())
	} else {
		fmt.Fprintf(&b, "%s-%s", s.Start, s.End)
	}
	if s.Protocol != 0 || !s.AnyPort() {
		fmt.Fprintf(&b, "[%d", s.Protocol)
		switch {
		case s.AnyPort():
		case s.StartPort == s.EndPort:
			fmt.Fprintf(&b, "/0x%04x", s.StartPort)
		default:
			fmt.Fprintf(&b, "/0x%04x-0x%04x", s.StartPort, s.EndPort)
		}
		b.WriteByte(']')
	}
	return b.String()
}

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
