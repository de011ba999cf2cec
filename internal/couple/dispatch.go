package couple

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// dispatch brings an event from outside to the machine whose it is.
func (n *Node) dispatch(ev Event, out []Action) []Action {
	switch e := ev.(type) {
	case Start:
		return n.start(e, out)
	case FromHost:
		n.fromHost(e.Event)
	case FromXfrm:
		return n.fromXfrm(e.Event, out)
	case FromIKE:
		n.tellIKE(e.Event)
	case Done:
		n.done(e)
	case DADDone:
		n.tellHA(ha.DADDone{ID: e.Token.ID, Duplicate: e.Duplicate, Err: e.Err})
	case SPIDone:
		n.tellIKE(ike.SPIAllocated{ID: ike.TaskID(e.Token.ID), SPI: uint32(e.SPI), Err: e.Err})
	case UsageDone:
		n.used(e)
	case Rekey:
		n.rekey(e)
	case Reconfigure:
		n.reconfigure(e)
	case Stop:
		n.beginStop()
	}
	return out
}

// start gives the machines what the ledger held. Each role is told even where there
// is nothing: it begins with that.
func (n *Node) start(e Start, out []Action) []Action {
	if ops := n.shared(true); len(ops) > 0 {
		out = append(out, Xfrm{Ops: ops})
	}
	for _, sa := range e.SAs {
		// The home address is one end of a transport SA; a tunnel SA is found by
		// its request id when a child with the same one comes up.
		// One of a home address without a record is nobody's: the crash came when all else was forgotten.
		if !n.stale(sa, e) {
			out = append(out, Xfrm{Ops: []xfrm.Op{xfrm.DelSA{ID: sa.ID()}}})
		}
	}
	for i := range n.cfg.MNs {
		n.restore(&n.cfg.MNs[i], e)
	}
	out = n.startBoot(e, out)
	if len(e.CN) > 0 {
		n.tellCN(cn.Restored{Records: e.CN})
	}
	n.tellCN(cn.Start{})
	if n.cfg.HA != nil {
		if len(e.HA) > 0 {
			n.tellHA(ha.Restored{Records: e.HA})
		}
		n.tellHA(ha.Start{})
	}
	return out
}

// restore starts a mobile node with its records.
func (n *Node) restore(m *MN, e Start) {
	var recs []mn.Record
	for _, r := range e.MN {
		if r.Home == m.Home {
			recs = append(recs, r)
		}
	}
	n.tellMN(m, mn.Restored{Records: recs})
	var routes []optimise.Record
	for _, r := range e.Optimise {
		if r.Home == m.Home {
			routes = append(routes, r)
			x := n.path(pair{r.Home, r.Remote})
			x.left = &protect.Path{Local: r.Home, Remote: r.Remote, Away: true, CareOf: r.CareOf, HomeAgent: m.HomeAgent,
				Tunnel: m.reqID(mn.ChildPayload), Direct: true, Accept: true, Ack: true, Protect: r.Protect, ReqID: r.ReqID}
		}
	}
	n.tellOptimise(m, optimise.Restored{Records: routes})
}

// sharedPlans are what the roles of a host have in common in the databases. Mobile nodes: neighbour
// discovery passes unprotected (see package protect). The correspondent: its wildcard. A home agent sees to its own.
func (n *Node) sharedPlans() []protect.Plan {
	var plans []protect.Plan
	if len(n.cfg.MNs) > 0 && n.cfg.HA == nil {
		plans = append(plans, protect.Plan{Role: protect.Node, Caps: n.cfg.Caps})
	}
	if n.cfg.CN != nil {
		plans = append(plans, protect.Plan{Role: protect.Correspondent, Caps: n.cfg.Caps})
	}
	return plans
}

// shared puts that in, or takes it out in the opposite order.
func (n *Node) shared(put bool) []xfrm.Op {
	var ops []xfrm.Op
	for _, p := range n.sharedPlans() {
		if put {
			ops = append(ops, p.Start(protect.Generic{})...)
		} else {
			ops = append(p.Stop(protect.Generic{}), ops...)
		}
	}
	return ops
}

// nodesOnly takes out what only the mobile nodes needed.
func (n *Node) nodesOnly() []xfrm.Op {
	var still xfrm.Snapshot
	var ops []xfrm.Op
	for _, p := range n.sharedPlans() {
		if p.Role == protect.Node {
			ops = p.Stop(protect.Generic{})
		} else {
			still = p.Generic(protect.Generic{})
		}
	}
	return protect.Without(ops, still)
}

// Want is what the roles want in the databases now; SAs of children are not in it.
func (n *Node) Want() xfrm.Snapshot {
	var s xfrm.Snapshot
	add := func(w xfrm.Snapshot) {
		s.SAs = append(s.SAs, w.SAs...)
		s.Policies = append(s.Policies, w.Policies...)
	}
	add(protect.Generics(n.sharedPlans(), protect.Generic{}))
	for _, x := range n.pathOrder {
		add(n.plan().WantPath(x.now))
	}
	for i := range n.cfg.MNs {
		add(n.cfg.MNs[i].Machine.Want())
	}
	if n.cfg.HA != nil {
		add(n.cfg.HA.Machine.Want())
	}
	return s
}

// stale files an SA of an earlier run under its home address, if a record has one for it.
func (n *Node) stale(sa xfrm.SA, e Start) bool {
	for _, r := range e.MN {
		if sa.ReqID == r.ReqIDs.MH || sa.ReqID == r.ReqIDs.Payload {
			h := n.home(r.Home)
			h.stale = append(h.stale, sa)
			return true
		}
	}
	for _, r := range e.Optimise {
		if r.ReqID != 0 && sa.ReqID == r.ReqID {
			h := n.pairHome(pair{r.Home, r.Remote})
			h.stale = append(h.stale, sa)
			return true
		}
	}
	for _, r := range e.HA {
		if ids := agentReqIDs(r.Slot); sa.ReqID == ids.MH || sa.ReqID == ids.Payload {
			h := n.home(r.Home)
			h.stale = append(h.stale, sa)
			return true
		}
	}
	return false
}

func (n *Node) done(e Done) {
	switch e.Token.Owner {
	case OwnerMN:
		h := n.homes[e.Token.Home]
		if h == nil || h.mn == nil {
			return
		}
		if e.Kind == HostDone {
			n.tellMN(h.mn, mn.HostDone{ID: e.Token.ID, Errs: e.Errs})
		} else {
			n.tellMN(h.mn, mn.XfrmDone{ID: e.Token.ID, Errs: e.Errs})
		}
	case OwnerHA:
		if e.Kind == HostDone {
			n.tellHA(ha.HostDone{ID: e.Token.ID, Errs: e.Errs})
		} else {
			n.tellHA(ha.XfrmDone{ID: e.Token.ID, Errs: e.Errs})
		}
	case OwnerOptimise:
		if h := n.homes[e.Token.Home]; h != nil && h.mn != nil {
			n.tellOptimise(h.mn, optimise.RouteDone{ID: e.Token.ID, Err: firstErr(e.Errs)})
		}
	case OwnerCN:
		n.tellCN(cn.RouteDone{ID: e.Token.ID, Err: firstErr(e.Errs)})
	case OwnerIKE:
		n.tellIKE(ike.Installed{ID: ike.TaskID(e.Token.ID), Err: firstErr(e.Errs)})
	}
}

func firstErr(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// fromHost gives a Mobility Header to the role that it is addressed to; what
// else the host tells concerns every mobile node.
func (n *Node) fromHost(ev host.Event) {
	switch e := ev.(type) {
	case host.MHReceived:
		n.header(e.MH)
		return
	case host.ICMPError:
		for i := range n.cfg.MNs {
			n.tellOptimise(&n.cfg.MNs[i], optimise.ICMPError{Error: e})
		}
		n.tellCN(cn.ICMPError{Error: e})
	}
	for i := range n.cfg.MNs {
		n.tellMN(&n.cfg.MNs[i], mn.HostEvent{Event: ev})
	}
	if n.boot != nil && !n.boot.done { // the host may speak before Start
		n.fromMN(n.boot.Scout.Step(n.now, ev, nil))
	}
}

func (n *Node) isAgent(a netip.Addr) bool {
	return n.cfg.HA != nil && slices.Contains(n.cfg.HA.Agents, a)
}

func (n *Node) fromXfrm(ev xfrm.Event, out []Action) []Action {
	switch e := ev.(type) {
	case xfrm.Acquire:
		if e.Template.Proto == xfrm.HAO || e.Proto == xfrm.HAO {
			n.met(e)
			return out
		}
		n.acquire(e)
	case xfrm.Expire:
		if e.Hard {
			n.forget(e.SA)
		}
		n.tellIKE(ike.Expire{SPI: uint32(e.SA.SPI), Proto: uint8(e.SA.Proto), Dst: e.SA.Dst, Hard: e.Hard})
	case xfrm.Mapping:
		n.tellIKE(ike.Mapped{SPI: uint32(e.ID.SPI), Dst: e.ID.Dst, Remote: e.New})
	case xfrm.Migrated:
		return n.migrated(e.Migration, out)
	case xfrm.Report:
		if n.cfg.CN != nil && !n.isAgent(e.Sel.Dst.Addr()) {
			n.tellCN(cn.Report{Report: e})
		} else {
			n.tellHA(ha.Report{Report: e})
		}
	}
	return out
}

// forget strikes out an SA of an earlier run that has ended by itself.
func (n *Node) forget(sa xfrm.SA) {
	for _, h := range n.order {
		h.stale = slices.DeleteFunc(h.stale, func(s xfrm.SA) bool { return s.ID() == sa.ID() })
	}
}

// acquire makes the child that a packet asks for. Where there is no IKE SA the
// role sees to that by itself: it knows the addresses, the kernel does not.
func (n *Node) acquire(e xfrm.Acquire) {
	for _, h := range n.order {
		h.acquired(e)
		if h.mn == nil {
			continue // an agent's child is the node's to ask for, that of a pair route optimization's
		}
		for _, c := range h.mn.Children {
			if s := h.newest(); c.ReqID == e.Template.ReqID && s != nil && !s.has(c.ReqID) {
				n.createChild(h, c)
			}
		}
	}
}

// reconfigure gives the machines what the administrator has changed.
func (n *Node) reconfigure(e Reconfigure) {
	for i := range n.cfg.MNs {
		m := &n.cfg.MNs[i]
		if e.MN != nil {
			c := *e.MN
			c.Home = netip.Prefix{}
			n.tellMN(m, mn.SetConfig{Config: c})
		}
		if e.Optimise != nil {
			c := *e.Optimise
			c.Home = m.Home
			n.tellOptimise(m, optimise.SetConfig{Config: c})
		}
	}
	if e.CN != nil {
		n.tellCN(cn.SetConfig{Config: *e.CN})
	}
}

// rekey serves mip6ctl.
func (n *Node) rekey(e Rekey) {
	if e.SPI == 0 {
		n.tellIKE(ike.RekeySA{SA: e.SA})
		return
	}
	for _, h := range n.order {
		for _, s := range h.sas {
			for _, c := range s.children {
				if c.SPIIn == uint32(e.SPI) || c.SPIOut == uint32(e.SPI) {
					n.tellIKE(ike.RekeyChild{SA: s.id, SPIIn: c.SPIIn})
					return
				}
			}
		}
	}
}
