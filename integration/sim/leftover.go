package sim

import (
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

// leftover is what a start found of an earlier run and has not put again, as the
// daemon's ledger keeps it.
type leftover struct {
	policies []xfrm.PolicyID
	states   []xfrm.ID
	undo     []host.Op
}

// settleTime is how long the roles have to put again what they want (as in the daemon).
const settleTime = 10 * time.Second

// noteLeft looks what is there at a start, and removes later what nobody wants.
func (h *Host) noteLeft() {
	h.left = leftover{}
	for _, p := range h.db().Policies {
		h.left.policies = append(h.left.policies, p.ID())
	}
	for _, s := range h.db().SAs {
		if s.Mode == xfrm.RouteOpt {
			h.left.states = append(h.left.states, s.ID())
		}
	}
	for _, r := range h.rules {
		h.left.undo = append(h.left.undo, host.DelRule{Rule: r})
	}
	for _, r := range h.routes {
		h.left.undo = append(h.left.undo, host.DelRoute{Route: r})
	}
	for _, p := range h.proxies {
		h.left.undo = append(h.left.undo, host.DelProxy(p))
	}
	for _, i := range h.ifaces {
		for _, a := range i.addrs {
			if a.Home {
				h.left.undo = append(h.left.undo, host.DelAddr{IfIndex: i.index, Prefix: a.Prefix})
			}
		}
	}
	switch {
	case len(h.left.policies) == 0:
	case len(h.mnRecs)+len(h.haRecs) > 0:
		h.soon(settleTime, h.cleanLeft)
	default: // nobody goes on from what was
		h.soon(execTime, h.cleanLeft)
	}
}

func (h *Host) cleanLeft() {
	want := h.Node.Want()
	var ops []xfrm.Op
	for _, id := range h.left.policies {
		if !slices.ContainsFunc(want.Policies, func(p xfrm.Policy) bool { return p.ID().Canonical() == id.Canonical() }) {
			ops = append(ops, xfrm.DelPolicy{ID: id})
		}
	}
	for _, id := range h.left.states {
		if !slices.ContainsFunc(want.SAs, func(s xfrm.SA) bool { return s.ID().Canonical() == id.Canonical() }) {
			ops = append(ops, xfrm.DelSA{ID: id})
		}
	}
	undo := h.left.undo
	h.apply(ops)
	for _, op := range undo {
		h.w.logf("%s: left over: %+v", h.Name, op)
		_ = h.doHost(op) // undoing is idempotent
	}
}

// xfrmDone and hostDone strike out what was put again, or taken out.
func (l *leftover) xfrmDone(op xfrm.Op) {
	policy := func(id xfrm.PolicyID) {
		l.policies = slices.DeleteFunc(l.policies, func(x xfrm.PolicyID) bool { return x.Canonical() == id.Canonical() })
	}
	state := func(id xfrm.ID) {
		l.states = slices.DeleteFunc(l.states, func(x xfrm.ID) bool { return x.Canonical() == id.Canonical() })
	}
	switch op := op.(type) {
	case xfrm.PutPolicy:
		policy(op.Policy.ID())
	case xfrm.DelPolicy:
		policy(op.ID)
	case xfrm.PutSA:
		state(op.SA.ID())
	case xfrm.DelSA:
		state(op.ID)
	}
}

func (l *leftover) hostDone(op host.Op) {
	if len(l.undo) == 0 {
		return
	}
	undo := op
	switch op := op.(type) {
	case host.PutAddr:
		undo = host.DelAddr{IfIndex: max(op.IfIndex, 1), Prefix: op.Prefix}
	case host.DelAddr:
		undo = host.DelAddr{IfIndex: max(op.IfIndex, 1), Prefix: op.Prefix}
	case host.PutRoute:
		undo = host.DelRoute(op)
	case host.PutRule:
		undo = host.DelRule(op)
	case host.PutProxy:
		undo = host.DelProxy(op)
	case host.SendMH: // holds a slice
		return
	}
	l.undo = slices.DeleteFunc(l.undo, func(x host.Op) bool { return x == undo })
}
