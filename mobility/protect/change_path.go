package protect

import (
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// ChangePath is what leads from one set of a path to another, in order; both have the same Local and
// Remote. Where nothing differs it is empty.
//
// What is accepted grows first and shrinks last, what is sent changes in between, and a state is there
// as long as a policy asks for it: each other order loses packets. In the same way the
// two hosts follow one another: on: the node accepts (Accept), the correspondent changes, the node
// sends directly (Direct); off: the other way round.
func (p Plan) ChangePath(from, to Path) []xfrm.Op {
	if from == to {
		return nil
	}
	have, want := p.WantPath(from), p.WantPath(to)
	var ops []xfrm.Op
	put := func(pol xfrm.Policy) { ops = append(ops, xfrm.PutPolicy{Policy: pol}) }

	guard := guardOf(from, to)
	if guard != nil {
		put(*guard)
	}
	for _, sa := range want.SAs {
		if !hasSA(have.SAs, sa) {
			ops = append(ops, xfrm.PutSA{SA: sa})
		}
	}
	accepted := from.in(false)
	for _, pol := range widest(from, to) {
		if !hasPolicy(accepted, pol) {
			put(pol)
			accepted = replace(accepted, pol)
		}
	}
	// Connected sockets notice a state's new care-of address by its policy only.
	moved := from.sendsWith() != to.sendsWith()
	for _, pol := range to.out() {
		if moved || !hasPolicy(have.Policies, pol) {
			put(pol)
		}
	}
	for _, pol := range from.out() {
		if !hasPolicyID(want.Policies, pol.ID()) && (guard == nil || pol.ID() != guard.ID()) {
			ops = append(ops, xfrm.DelPolicy{ID: pol.ID()})
		}
	}
	for _, pol := range to.in(false) {
		if !hasPolicy(accepted, pol) {
			put(pol)
		}
	}
	for _, pol := range accepted {
		if !hasPolicyID(want.Policies, pol.ID()) {
			ops = append(ops, xfrm.DelPolicy{ID: pol.ID()})
		}
	}
	for _, sa := range have.SAs {
		if !hasSAID(want.SAs, sa.ID()) {
			ops = append(ops, xfrm.DelSA{ID: sa.ID()})
		}
	}
	if guard != nil && !hasPolicyID(want.Policies, guard.ID()) {
		ops = append(ops, xfrm.DelPolicy{ID: guard.ID()})
	}
	return ops
}

// widest are inbound policies that accept what from accepts and what to accepts. Protection that to
// demands is demanded at once.
func widest(from, to Path) []xfrm.Policy {
	switch {
	case len(from.in(false)) == 0:
		return to.in(false)
	case len(to.in(false)) == 0:
		return from.in(false)
	}
	x := to
	if !x.Away && from.Away {
		x.Away, x.CareOf, x.HomeAgent, x.Tunnel = true, from.CareOf, from.HomeAgent, from.Tunnel
	}
	x.Accept, x.Ack = from.Accept || to.Accept, from.Ack || to.Ack
	if !x.bound() {
		x.RemoteCareOf = from.RemoteCareOf
	}
	return x.in(from.Away != to.Away)
}

// guardOf keeps a packet from the state of the home address option in the moment in which it is there and
// the path's own policy is not: the triggers of a Plan would put the option inside the tunnel.
// It is that policy without the option, nil where there is no such moment.
func guardOf(from, to Path) *xfrm.Policy {
	has := func(x Path) bool { return x.direct() || x.binds() }
	alone := func(x Path) bool { return !has(x) && x.Protect == 0 }
	if !to.tunnelled() && !to.direct() || !to.CareOf.IsValid() || to.Tunnel == 0 ||
		!(alone(from) && len(from.out()) == 0 && has(to) || alone(to) && has(from)) {
		return nil
	}
	to.Direct, to.Protect, to.ReqID = false, 0, 0
	return &xfrm.Policy{Sel: xfrm.Selector{Src: host(to.Local), Dst: host(to.Remote)}, Dir: xfrm.Out,
		Priority: PriorityPath, Templates: to.departure(false)}
}

// sends are the care-of addresses that the headers of what is sent have.
type sends struct{ own, remote netip.Addr }

func (x Path) sendsWith() sends {
	var s sends
	if x.direct() || x.binds() {
		s.own = x.CareOf
	}
	if x.bound() && (!x.tunnelled() || x.binds()) {
		s.remote = x.RemoteCareOf
	}
	return s
}

// replace puts a policy into the list, in the place of the one with its key.
func replace(list []xfrm.Policy, pol xfrm.Policy) []xfrm.Policy {
	for i := range list {
		if list[i].ID() == pol.ID() {
			list[i] = pol
			return list
		}
	}
	return append(list, pol)
}
