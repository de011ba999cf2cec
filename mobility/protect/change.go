package protect

import (
	"net/netip"
	"reflect"

	"github.com/mip6/mip6/xfrm"
)

// Grace asks that packets under way to the old care-of address be accepted still:
// Inbound are the SPIs of the node's inbound payload SAs. It makes sense at the
// node only, and only while the old address exists on the host.
type Grace struct{ Inbound []xfrm.SPI }

// Change is what leads from one set to another, in order. from is what is there
// now, with phase Absent nothing; to is what shall be, with phase Absent nothing. Home,
// HomeAgent and ReqIDs are those of both. Where nothing differs it is empty.
//
// The order is the same for every change: the tunnel is migrated, outbound
// first (inbound first lets traffic make a larval SA, and the outbound migration
// then fails); states of the new care-of address are put in place, which
// is atomic; policies follow, since connected sockets notice by them only; then
// what is not wanted any more goes.
func (p Plan) Change(from, to Binding, grace Grace) []xfrm.Op {
	var ops []xfrm.Op
	have, moved := p.Want(from), xfrm.Snapshot{}
	if p.Protection == MHAndPayload && p.Caps.Migrate {
		ops, moved = p.moveTunnel(from, to, grace)
		if len(ops) > 0 {
			// The triggers name the tunnel too. Without them its own policy serves their packets.
			var away []xfrm.Op
			have.Policies, away = withoutTriggers(have.Policies)
			ops = append(away, ops...)
		}
	}
	return append(ops, p.rest(have, p.Want(to), moved, from, to)...)
}

func withoutTriggers(list []xfrm.Policy) (kept []xfrm.Policy, ops []xfrm.Op) {
	for _, pol := range list {
		if pol.Priority == PriorityNever || pol.Priority >= PriorityTrigger && pol.Priority < PriorityPayload {
			ops = append(ops, xfrm.DelPolicy{ID: pol.ID()})
			continue
		}
		kept = append(kept, pol)
	}
	return kept, ops
}

// moveTunnel migrates the payload SAs to the new outer address. What it moved, as it is after the
// migration, is returned too.
func (p Plan) moveTunnel(from, to Binding, grace Grace) (ops []xfrm.Op, moved xfrm.Snapshot) {
	at := from.tunnelAt()
	if to.Phase != Away || from.Phase == Absent || !at.IsValid() || at == to.CareOf {
		return nil, moved
	}
	// MIGRATE wants the policy to be there with the addresses that the SAs have;
	// in the phases without one it comes back first.
	before := from
	before.Phase, before.CareOf = Away, at
	old, want := p.payload(before), p.payload(to)
	if from.Phase != Away {
		for _, pol := range old {
			ops = append(ops, xfrm.PutPolicy{Policy: pol})
		}
	}
	for i := range old {
		ops = append(ops, xfrm.Migrate{Migration: xfrm.Migration{
			Policy: old[i].ID(),
			Moves: []xfrm.Move{{
				OldSrc: old[i].Templates[0].Src, OldDst: old[i].Templates[0].Dst,
				NewSrc: want[i].Templates[0].Src, NewDst: want[i].Templates[0].Dst,
				Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: to.ReqIDs.Payload,
			}},
			Endpoints: p.endpoints(to),
		}})
		moved.Policies = append(moved.Policies, want[i])
	}
	if p.Role == Node {
		for _, spi := range grace.Inbound {
			ops = append(ops, xfrm.CopySA{From: xfrm.ID{Dst: to.CareOf, SPI: spi, Proto: xfrm.ESP}, NewDst: at})
		}
	}
	return ops, moved
}

// tunnelAt is the outer address of the payload SAs.
func (b Binding) tunnelAt() netip.Addr {
	switch b.Phase {
	case Away, Returning, Returned:
		return b.CareOf
	}
	return b.Tunnel
}

// AnswerTo lets the agent's next Mobility Header to the home address go to another
// care-of address than the binding's: a refusal goes to where the Binding Update
// came from (RFC 6275 §9.5.4). With b.CareOf it puts things back. Only for
// bindings in the phases Answering and Away.
func (p Plan) AnswerTo(b Binding, careOf netip.Addr) []xfrm.Op {
	b.CareOf = careOf
	var ops []xfrm.Op
	for _, sa := range p.states(b) {
		ops = append(ops, xfrm.PutSA{SA: sa})
	}
	for _, pol := range p.mh(b) {
		if pol.Dir == xfrm.Out {
			ops = append(ops, xfrm.PutPolicy{Policy: pol})
		}
	}
	return ops
}

// EndGrace removes what Change copied for a Grace.
func EndGrace(oldCareOf netip.Addr, grace Grace) []xfrm.Op {
	var ops []xfrm.Op
	for _, spi := range grace.Inbound {
		ops = append(ops, xfrm.DelSA{ID: xfrm.ID{Dst: oldCareOf, SPI: spi, Proto: xfrm.ESP}})
	}
	return ops
}

// rest brings everything but the migrated in line.
func (p Plan) rest(have, want, moved xfrm.Snapshot, from, to Binding) []xfrm.Op {
	var ops []xfrm.Op
	for _, sa := range want.SAs {
		if !hasSA(have.SAs, sa) {
			ops = append(ops, xfrm.PutSA{SA: sa})
		}
	}
	// A Mobility Header policy keeps its content in a move, but its users cache
	// the route by the old care-of address until it is put again.
	roamed := from.roams() && to.roams() && from.CareOf != to.CareOf
	for _, pol := range want.Policies {
		mh := pol.Sel.Proto == protoMH
		if hasPolicy(moved.Policies, pol) || hasPolicy(have.Policies, pol) && !(mh && roamed) {
			continue
		}
		ops = append(ops, xfrm.PutPolicy{Policy: pol})
	}
	ops = append(ops, p.tellKeys(from, to)...)
	for _, pol := range have.Policies {
		if !hasPolicyID(want.Policies, pol.ID()) {
			ops = append(ops, xfrm.DelPolicy{ID: pol.ID()})
		}
	}
	for _, sa := range have.SAs {
		if !hasSAID(want.SAs, sa.ID()) {
			ops = append(ops, xfrm.DelSA{ID: sa.ID()})
		}
	}
	return ops
}

// tellKeys migrates the Mobility Header policies too: it moves no state, but it tells a key
// management daemon that listens where its end is now, even with MHOnly.
func (p Plan) tellKeys(from, to Binding) []xfrm.Op {
	told := to.Phase == Away || to.Phase == Returning || to.Phase == Returned
	if !p.Caps.Migrate || !told || from.Phase != Absent && from.end() == to.end() {
		return nil
	}
	// What the agent learns it learns from a binding, which comes after the keys.
	if p.Role == Agent && (from.Phase == Absent || from.Phase == Home) {
		return nil
	}
	var ops []xfrm.Op
	end := to.end()
	for _, pol := range p.mh(to) {
		m := xfrm.Move{OldSrc: any6, OldDst: any6, NewSrc: end, NewDst: to.HomeAgent,
			Proto: xfrm.ESP, Mode: xfrm.Transport, ReqID: to.ReqIDs.MH}
		if pol.Sel.Src.Addr() == to.HomeAgent {
			m.NewSrc, m.NewDst = m.NewDst, m.NewSrc
		}
		ops = append(ops, xfrm.Migrate{Migration: xfrm.Migration{
			Policy: pol.ID(), Moves: []xfrm.Move{m}, Endpoints: p.endpoints(to)}})
	}
	return ops
}

// end is the node's end of key management (RFC 6275 §10.3.2: at home the home address).
func (b Binding) end() netip.Addr {
	if b.roams() {
		return b.CareOf
	}
	return b.Home
}

func (p Plan) endpoints(b Binding) *xfrm.Endpoints {
	if p.Role == Agent {
		return &xfrm.Endpoints{Local: b.HomeAgent, Remote: b.end()}
	}
	return &xfrm.Endpoints{Local: b.end(), Remote: b.HomeAgent}
}

func hasSA(list []xfrm.SA, sa xfrm.SA) bool {
	for i := range list {
		if reflect.DeepEqual(list[i], sa) {
			return true
		}
	}
	return false
}

func hasSAID(list []xfrm.SA, id xfrm.ID) bool {
	for i := range list {
		if list[i].ID() == id {
			return true
		}
	}
	return false
}

func hasPolicy(list []xfrm.Policy, pol xfrm.Policy) bool {
	for i := range list {
		if reflect.DeepEqual(list[i], pol) {
			return true
		}
	}
	return false
}

func hasPolicyID(list []xfrm.Policy, id xfrm.PolicyID) bool {
	for i := range list {
		if list[i].ID() == id {
			return true
		}
	}
	return false
}
