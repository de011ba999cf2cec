package ha

import (
	"net/netip"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// view is the node's binding as package protect wants it.
func (m *Machine) view(n *node, phase protect.Phase, careOf netip.Addr) protect.Binding {
	return protect.Binding{Phase: phase, Home: n.addr(), HomeAgent: m.cfg.Agents[n.agent],
		CareOf: careOf, ReqIDs: m.reqIDs(n)}
}

func (m *Machine) have(n *node) protect.Binding {
	switch n.phase {
	case protect.Away, protect.Returned:
		return m.view(n, n.phase, unpack(n.at))
	}
	b := m.view(n, n.phase, netip.Addr{})
	b.Tunnel = unpack(n.tunnelAt)
	return b
}

// tunnelEnd is where the payload states end, not valid where there are none.
func (n *node) tunnelEnd() netip.Addr {
	if n.phase == protect.Away || n.phase == protect.Returned {
		return unpack(n.at)
	}
	return unpack(n.tunnelAt)
}

// change is what leads the databases to another phase. From then on the node
// counts as being in it: operations of a node are carried out in order.
func (m *Machine) change(n *node, phase protect.Phase, careOf netip.Addr) []xfrm.Op {
	ops := m.unanswer(n)
	from, end := m.have(n), n.tunnelEnd()
	switch phase {
	case protect.Away, protect.Returned:
		n.at = pack(careOf)
	default:
		n.at = [16]byte{}
		n.tunnelAt = pack(end)
		if n.payload == 0 && !n.restored {
			n.tunnelAt = [16]byte{} // no states, nothing to migrate later
		}
	}
	n.phase = phase
	return append(ops, m.plan.Change(from, m.have(n), protect.Grace{})...)
}

// put is all that the node's phase wants, for what a migration did not bring.
func (m *Machine) put(n *node) []xfrm.Op {
	var ops []xfrm.Op
	want := m.plan.Want(m.have(n))
	for _, sa := range want.SAs {
		ops = append(ops, xfrm.PutSA{SA: sa})
	}
	for _, pol := range want.Policies {
		ops = append(ops, xfrm.PutPolicy{Policy: pol})
	}
	return ops
}

// route2 is what leads Mobility Headers out: the type 2 routing header's state,
// where the set has one, and the outbound policy.
func route2(s xfrm.Snapshot) []xfrm.Op {
	var ops []xfrm.Op
	for _, sa := range s.SAs {
		ops = append(ops, xfrm.PutSA{SA: sa})
	}
	for _, pol := range s.Policies {
		if pol.Dir == xfrm.Out && pol.Priority == protect.PriorityMH {
			ops = append(ops, xfrm.PutPolicy{Policy: pol})
		}
	}
	return ops
}

// leadTo is what lets an acknowledgement travel to where its update came from,
// whatever the binding says (RFC 6275 §9.5.4), and what takes that
// back. wire is not valid for a node that is at home: no routing header then.
func (m *Machine) leadTo(n *node, wire netip.Addr) (before, after []xfrm.Op) {
	switch n.phase {
	case protect.Away:
		switch wire {
		case unpack(n.at):
			return nil, nil
		case netip.Addr{}:
			before = route2(m.plan.Want(m.view(n, protect.Home, netip.Addr{})))
		default:
			before = route2(m.plan.Want(m.view(n, protect.Answering, wire)))
		}
		return before, route2(m.plan.Want(m.have(n)))
	case protect.Absent:
		return nil, nil
	}
	if !wire.IsValid() {
		return m.unanswer(n), nil
	}
	if n.answer != pack(wire) {
		before = route2(m.plan.Want(m.view(n, protect.Answering, wire)))
		n.answer = pack(wire)
	}
	m.after(settleAfter, n, settle, 0)
	return before, nil
}

// unanswer takes back what leadTo left over a phase without a routing header.
func (m *Machine) unanswer(n *node) []xfrm.Op {
	if n.answer == [16]byte{} {
		return nil
	}
	was := m.plan.Want(m.view(n, protect.Answering, unpack(n.answer)))
	n.answer = [16]byte{}
	ops := route2(m.plan.Want(m.have(n)))
	for _, sa := range was.SAs {
		ops = append(ops, xfrm.DelSA{ID: sa.ID()})
	}
	return ops
}

type failed uint8

const (
	failedNothing failed = iota // or what does not matter: noted only
	failedMove                  // a tunnel was not migrated
	failedAll                   // a policy or a state is not in
)

// failure tells what the errors mean for a binding. The migration of a transport
// policy moves nothing, it only tells others.
func failure(ops []xfrm.Op, errs []error) failed {
	worst := failedNothing
	for i, err := range errs {
		if err == nil || i >= len(ops) {
			continue
		}
		switch op := ops[i].(type) {
		case xfrm.PutSA, xfrm.PutPolicy:
			worst = failedAll
		case xfrm.Migrate:
			if len(op.Migration.Moves) > 0 && op.Migration.Moves[0].Mode == xfrm.Tunnel {
				worst = max(worst, failedMove)
			}
		}
	}
	return worst
}
