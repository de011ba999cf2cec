package couple

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// CN is the correspondent's machine.
type CN struct {
	Machine *cn.Machine
	// Conns are the IKE connections that nodes may come in by for SAs with us.
	Conns []string
	// Serves tells whether an identity, folded, is one of those nodes: a host may be
	// their home agent too.
	Serves func(identity string) bool
}

// tellOptimise and tellCN give a machine an event and queue what it answers.
func (n *Node) tellOptimise(m *MN, ev optimise.Event) {
	if m.Optimise != nil {
		n.fromOptimise(m, m.Optimise.Step(n.now, ev, nil))
	}
}

func (n *Node) tellCN(ev cn.Event) {
	if n.cfg.CN != nil {
		n.fromCN(n.cfg.CN.Machine.Step(n.now, ev, nil))
	}
}

func (n *Node) fromOptimise(m *MN, acts []optimise.Action) {
	for _, a := range acts {
		n.queue = append(n.queue, optimiseAction{m, a})
	}
}

func (n *Node) fromCN(acts []cn.Action) {
	for _, a := range acts {
		n.queue = append(n.queue, cnAction{a})
	}
}

// placed tells route optimization where its node is.
func placed(i mn.Info) optimise.Placed {
	switch {
	case i.Ready:
		p := optimise.Placed{Place: optimise.Abroad, CareOf: i.CareOf, Bound: i.Bound, Sent: i.Sent}
		if i.Bound {
			p.Until = i.Expires
		}
		return p
	case i.State == mn.StateHome && !i.Away:
		return optimise.Placed{Place: optimise.AtHome}
	}
	return optimise.Placed{}
}

// doOptimise translates what a mobile node's route optimization wants.
func (n *Node) doOptimise(m *MN, a optimise.Action, out []Action) []Action {
	switch a := a.(type) {
	case optimise.Host:
		return append(out, Host{Key: m.Home, Ops: a.Ops})
	case optimise.Route:
		x := n.path(pair{m.Home, a.Remote})
		t := OwnerOptimise.token(m.Home, a.ID)
		a.ID = 0
		x.node = a
		return n.putPath(x, t, out)
	case optimise.Count:
		x := n.path(pair{m.Home, a.Remote})
		x.counted = a.On
		op := host.Op(host.DelCounter{Src: m.Home, Dst: a.Remote})
		if a.On {
			op = host.PutCounter{Src: m.Home, Dst: a.Remote}
		}
		return n.putPath(x, Token{}, append(out, Host{Key: m.Home, Ops: []host.Op{op}}))
	case optimise.AskUse:
		return n.usage(pair{m.Home, a.Remote}, OwnerOptimise.token(m.Home, a.ID), out)
	case optimise.KeyUp:
		n.pairUp(m, a)
	case optimise.KeyMoved:
		n.pairMoved(pair{m.Home, a.Remote}, a.CareOf)
	case optimise.KeyDown:
		n.pairDown(pair{m.Home, a.Remote})
	case optimise.Save:
		return append(out, SaveRoute{a.Record})
	case optimise.Forget:
		return append(n.forgetPair(pair{m.Home, a.Remote}, out), ForgetRoute{m.Home, a.Remote})
	case optimise.Note:
		return append(out, Note{Level: Level(a.Level), Msg: a.Msg, Attrs: append([]any{"home", m.Home.String()}, anyAttrs(a.Attrs)...)})
	case optimise.Changed:
		out = append(out, routeNote(a))
		if a.What == "gone" {
			if p := (pair{m.Home, a.Info.Remote}); n.paths[p] == nil {
				if ops := n.rearm(p); len(ops) > 0 {
					out = append(out, Xfrm{Key: m.Home, Ops: ops})
				}
			}
		}
		return out
	case optimise.Stopped:
		n.optimiseStopped(m)
		var ops []xfrm.Op
		for h := n.home(m.Home); len(h.asked) > 0; {
			ops = append(ops, n.rearm(pair{m.Home, h.asked[0]})...)
		}
		if len(ops) > 0 {
			return append(out, Xfrm{Key: m.Home, Ops: ops})
		}
	}
	return out
}

// doCN translates what the correspondent's machine wants.
func (n *Node) doCN(a cn.Action, out []Action) []Action {
	switch a := a.(type) {
	case cn.Host:
		return append(out, Host{Key: n.pathKey(pair{a.Local, a.Home}), Ops: a.Ops})
	case cn.Route:
		x := n.path(pair{a.Local, a.Home})
		t := OwnerCN.token(netip.Addr{}, a.ID)
		a.ID = 0
		x.peer = a
		return n.putPath(x, t, out)
	case cn.AskUse:
		return n.usage(pair{a.Local, a.Home}, OwnerCN.token(netip.Addr{}, a.ID), out)
	case cn.Authorised:
		n.pairAuthorised(a)
	case cn.KeyMoved:
		n.pairMoved(pair{a.Local, a.Home}, a.CareOf)
	case cn.KeyDown:
		n.pairDown(pair{a.Local, a.Home})
	case cn.Save:
		return append(out, SaveCN{a.Record})
	case cn.Forget:
		return append(out, ForgetCN{a.Local, a.Home})
	case cn.Note:
		attrs := a.Attrs
		if a.Home.IsValid() {
			attrs = append([]any{"home", a.Home.String()}, attrs...)
		}
		return append(out, Note{Level: []Level{Debug, Info, Warn}[min(a.Level, cn.Warn)], Msg: a.Msg, Attrs: attrs})
	case cn.Changed:
		return append(out, peerNote(a))
	case cn.Stopped:
		n.stop.first--
	}
	return out
}

// header gives a Mobility Header to the machine whose it is. What an agent's address gets is the
// agent's, but for what only a correspondent is sent; what a mobile node's gets is between it and its
// agent, or of its route optimization, or for it as a correspondent.
func (n *Node) header(mh host.MH) {
	typ := mobility.Type(255) // too short: whoever counts such
	if len(mh.Data) > 2 {
		typ = mobility.Type(mh.Data[2])
	}
	toPeer := typ == mobility.TypeHoTI || typ == mobility.TypeCoTI || typ == mobility.TypeBU && !homeRegistration(mh)
	m := n.nodeAt(mh.Dst)
	switch {
	case toPeer && n.agentOf(mh.Src):
		// A node of this agent goes by its tunnel; an update of another kind than its
		// registration is refused by who knows that (§9.5.1).
		if n.isAgent(mh.Dst) {
			n.tellHA(ha.MHReceived{MH: mh})
		}
	case n.cfg.CN != nil && toPeer:
		n.tellCN(cn.MHReceived{MH: mh})
	case n.isAgent(mh.Dst):
		n.tellHA(ha.MHReceived{MH: mh})
	case m == nil:
		n.tellCN(cn.MHReceived{MH: mh})
		for i := range n.cfg.MNs { // an old care-of address, perhaps
			n.tellMN(&n.cfg.MNs[i], mn.HostEvent{Event: host.MHReceived{MH: mh}})
		}
	case typ == mobility.TypeHoT || typ == mobility.TypeCoT,
		mh.Src != m.HomeAgent && (typ == mobility.TypeBA || typ == mobility.TypeBRR || typ == mobility.TypeBE):
		n.tellOptimise(m, optimise.MHReceived{MH: mh})
		for i := range n.cfg.MNs { // two home addresses may have one care-of address
			if o := &n.cfg.MNs[i]; o != m && n.home(o.Home).place.careOf == mh.Dst {
				n.tellOptimise(o, optimise.MHReceived{MH: mh})
			}
		}
	default:
		n.tellMN(m, mn.HostEvent{Event: host.MHReceived{MH: mh}})
	}
}

// agentOf tells whether we are the home agent of a node with a binding.
func (n *Node) agentOf(home netip.Addr) bool {
	if n.cfg.HA == nil {
		return false
	}
	i, ok := n.cfg.HA.Machine.Lookup(home)
	return ok && i.State == ha.Bound
}

// homeRegistration tells whether a Binding Update has the H bit (RFC 6275 §6.1.7: after the
// header of 6 octets and a sequence number of 2).
func homeRegistration(mh host.MH) bool {
	return len(mh.Data) > 8 && mh.Data[8]&byte(mobility.FlagHome>>8) != 0
}

// nodeAt finds the mobile node here that has an address, at home or abroad.
func (n *Node) nodeAt(a netip.Addr) *MN {
	for i := range n.cfg.MNs {
		m := &n.cfg.MNs[i]
		if h := n.homes[m.Home]; m.Home == a || h != nil && h.place.careOf == a {
			return m
		}
	}
	return nil
}

// met tells route optimization of a packet to somebody whom no route of ours serves (the kernel's
// acquire for a home address option).
func (n *Node) met(e xfrm.Acquire) {
	for i := range n.cfg.MNs {
		if m := &n.cfg.MNs[i]; m.Home == e.Src || m.Home == e.Sel.Src.Addr() {
			h, remote := n.home(m.Home), e.Sel.Dst.Addr()
			if len(h.asked) < maxAsked && !slices.Contains(h.asked, remote) {
				h.asked = append(h.asked, remote)
			}
			n.tellOptimise(m, optimise.Met{Remote: e.Sel.Dst.Addr(), Proto: e.Sel.Proto, Port: e.Sel.DstPort})
		}
	}
}
