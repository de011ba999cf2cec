package ike

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ike/message"
)

// single is the one address of selectors, which transport mode through a NAT
// must have (§2.23.1); ok is false where they have several, or none.
func single(list []message.Selector) (a netip.Addr, ok bool) {
	for i, s := range list {
		if s.Start != s.End || i > 0 && s.Start != a {
			return netip.Addr{}, false
		}
		a = s.Start
	}
	return a, a.IsValid()
}

// readdressed returns selectors with one address in place of another.
func readdressed(list []message.Selector, old, a netip.Addr) []message.Selector {
	out := slices.Clone(list)
	for i := range out {
		if out[i].Start == old && out[i].End == old {
			out[i].Start, out[i].End = a, a
		}
	}
	return out
}

// substituted puts the address that we see in place of the one that the peer sees, in
// selectors for transport mode. One of another family is none that a NAT has changed.
func substituted(list []message.Selector, a netip.Addr) []message.Selector {
	old, ok := single(list)
	if !ok || old.Is4() != a.Is4() {
		return list
	}
	return readdressed(list, old, a)
}

// substitute puts the addresses of IKE's own packets in place of those that a NAT has
// changed, where the peer's request asks for transport mode (§2.23.1). It keeps the
// selectors as they came, should it become tunnel mode. Mobile IPv6's home addresses
// are not IKE's with or without a NAT, and stay (RFC 4877 §4.4).
func (s *sa) substitute() {
	in := s.inb
	p := in.p
	if s.mobile() || !s.nat.traverse() || p.Notify(message.UseTransportMode) == nil {
		return
	}
	in.tsi, in.tsr = p.TSi, p.TSr
	if s.nat.remote {
		p.TSi = substituted(p.TSi, in.remote.Addr())
	}
	if s.nat.local {
		p.TSr = substituted(p.TSr, in.local.Addr())
	}
}

// restore takes the substitution back: the child is to be one in tunnel mode.
func (in *inbound) restore() {
	if in.tsi != nil {
		in.p.TSi, in.p.TSr, in.tsi, in.tsr = in.tsi, in.tsr, nil, nil
	}
}

// substituteAnswer does the same for the answer to our own wish.
func (s *sa) substituteAnswer(pend *pending, p *message.Payloads) {
	if s.mobile() || !s.nat.traverse() || pend.want.Mode != Transport || p.Notify(message.UseTransportMode) == nil {
		return
	}
	if _, _, proxy := addresses(s, Transport, pend.want.Local, pend.want.Remote); proxy {
		return
	}
	if s.nat.local {
		p.TSi = substituted(p.TSi, s.local.Addr())
	}
	if s.nat.remote {
		p.TSr = substituted(p.TSr, s.remote.Addr())
	}
}
