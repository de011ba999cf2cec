package protect

import (
	"net/netip"
	"reflect"

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
	if guard != nil && !hasPolicy(have.Policies, *guard) {
		put(*guard)
	}
	// The address in the option changes while nothing is sent with it, or with a new policy at once.
	late := xfrm.ID{Src: to.Local, Dst: to.Remote, Proto: xfrm.HAO}
	putStates := func(now func(xfrm.ID) bool) {
		for _, sa := range want.SAs {
			if !hasSA(have.SAs, sa) && now(sa.ID()) {
				ops = append(ops, xfrm.PutSA{SA: sa})
			}
		}
	}
	after := from.direct() && !to.direct()
	putStates(func(id xfrm.ID) bool { return !after || id != late })
	accepted := from.in(false)
	for _, pol := range widest(from, to) {
		if !hasPolicy(accepted, pol) {
			put(pol)
			accepted = replace(accepted, pol)
		}
	}
	turned := p.changeOut(from, to, guard, &ops)
	putStates(func(id xfrm.ID) bool { return after && id == late })
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
			ops = append(ops, xfrm.DelSA{ID: sa.ID(), Linger: turned && sa.Src == from.Local})
		}
	}
	if guard != nil && !hasPolicyID(want.Policies, guard.ID()) {
		ops = append(ops, xfrm.DelPolicy{ID: guard.ID()})
	}
	return ops
}

// changeOut changes the outbound policies and tells whether one was turned away from a header. The
// guard stays.
func (p Plan) changeOut(from, to Path, guard *xfrm.Policy, ops *[]xfrm.Op) (turned bool) {
	have, want := from.out(), to.out()
	// Connected sockets notice a state's new care-of address by its policy only.
	moved := from.sendsWith() != to.sendsWith()
	for _, pol := range want {
		done := guard != nil && reflect.DeepEqual(pol, *guard)
		if !done && (moved || !hasPolicy(have, pol)) {
			*ops = append(*ops, xfrm.PutPolicy{Policy: pol})
		}
	}
	for _, pol := range have {
		if !hasPolicyID(want, pol.ID()) && (guard == nil || pol.ID() != guard.ID()) {
			*ops = append(*ops, xfrm.DelPolicy{ID: pol.ID()})
		}
		for _, t := range pol.Templates {
			turned = turned || t.Mode == xfrm.RouteOpt
		}
	}
	return turned
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

// guardOf keeps packets from the state of the home address option in the moments in which it is there and
// the path's own policy is not: the triggers of a Plan would put the option inside the tunnel.
// It is that policy without the option, nil where there is no such moment.
func guardOf(from, to Path) *xfrm.Policy {
	serves := func(x Path) bool { return hasPolicyID(x.out(), pathOut(x).ID()) }
	if !to.Away || !to.CareOf.IsValid() || to.Tunnel == 0 || from.ready() == to.ready() ||
		to.ready() && serves(from) || from.ready() && serves(to) {
		return nil
	}
	to.Direct, to.Protect, to.ReqID = false, 0, 0
	guard := pathOut(to)
	guard.Templates = to.departure(false)
	return &guard
}

// pathOut is the outbound policy of payload, without templates.
func pathOut(x Path) xfrm.Policy {
	return xfrm.Policy{Sel: xfrm.Selector{Src: host(x.Local), Dst: host(x.Remote)}, Dir: xfrm.Out, Priority: PriorityPath}
}

// WithPaths makes one of the operations of a node's move and those of its paths, which name the tunnel
// too where they are not direct: they are out of its way while the tunnel moves, and follow it at
// once. Each change is from and to of one path.
func (p Plan) WithPaths(move []xfrm.Op, changes [][2]Path) []xfrm.Op {
	first, behind := -1, len(move)
	for i, op := range move {
		if m, ok := op.(xfrm.Migrate); ok && m.Migration.Moves[0].Mode == xfrm.Tunnel {
			if first < 0 {
				first = i
			}
			behind = i + 1
		}
		if _, copies := op.(xfrm.CopySA); copies && behind == i { // no time may pass before these
			behind = i + 1
		}
	}
	moves := first >= 0
	first = max(first, 0)
	out := append([]xfrm.Op(nil), move[:first]...)
	for _, c := range changes {
		if x := c[0]; moves && x.Protect == 0 && x.tunnelled() && len(x.out()) > 0 {
			out = append(out, xfrm.DelPolicy{ID: pathOut(x).ID()})
		}
	}
	out = append(out, move[first:behind]...)
	for _, c := range changes {
		out = append(out, p.ChangePath(c[0], c[1])...)
	}
	return append(out, move[behind:]...)
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
