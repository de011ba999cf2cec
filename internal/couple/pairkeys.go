package couple

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/xfrm"
)

const namePath = "path"

// pairHome is the entry of the keys between two addresses. It stands beside those of
// home addresses: its IKE SAs, its request id and its order of work are its own.
func (n *Node) pairHome(p pair) *home {
	h := n.pairs[p]
	if h == nil {
		h = newHome(n.pathKey(p))
		h.pair = &p
		n.pairs[p] = h
		n.order = append(n.order, h)
	}
	// The mobile node may be known only now: after a crash its records come before it.
	if m := n.homes[p.local]; m != nil && m.mn != nil {
		h.via, h.addr = m.mn, p.local
	}
	return h
}

// releasePair forgets a pair without keys.
func (n *Node) releasePair(h *home) {
	if n.stop.begun || len(h.sas)+len(h.installed)+len(h.dying)+len(h.stale) > 0 || h.pending != 0 || h.via != nil && !h.over {
		return
	}
	for _, s := range n.sas { // one that comes about
		if s.home == h {
			return
		}
	}
	delete(n.pairs, *h.pair)
	n.order = slices.DeleteFunc(n.order, func(x *home) bool { return x == h })
}

// forgetPair lets go of what an earlier run left of a pair that is given up.
func (n *Node) forgetPair(p pair, out []Action) []Action {
	if h := n.pairs[p]; h != nil {
		h.over = true
		for len(h.stale) > 0 {
			out = n.dropStale(h, h.stale[0].ReqID, out)
		}
	}
	if x := n.paths[p]; x != nil && x.left != nil {
		out = n.putPath(x, Token{}, out)
	}
	return out
}

// pairUp asks for SAs with a correspondent.
func (n *Node) pairUp(m *MN, a optimise.KeyUp) {
	h := n.pairHome(pair{m.Home, a.Remote})
	h.via, h.path, h.over = m, a, false
	h.know(a.ReqID)
	if a.Anew {
		n.pairAnew(h)
	}
	if s := h.newest(); s != nil {
		if s.has(a.ReqID) {
			n.tellOptimise(m, optimise.KeysUp{Remote: a.Remote})
			return
		}
		if !h.asking[a.ReqID] {
			h.asking[a.ReqID] = true
			n.lastReq++
			n.tellIKE(ike.CreateChild{Req: n.lastReq, SA: s.id, Want: h.wantPath()})
		}
		return
	}
	if h.pending != 0 && h.at == a.CareOf {
		return
	}
	h.at = a.CareOf
	n.initiate(h, ike.Initiate{Conn: a.Conn, Local: n.port(a.CareOf), Remote: n.port(a.Remote),
		Children: []ike.ChildWant{h.wantPath()}, InitialContact: !h.met})
}

// pairAnew lets go of the IKE SAs of a pair without a Delete; their children carry until others are there.
func (n *Node) pairAnew(h *home) {
	n.abandon(h)
	old := h.sas
	h.sas = nil
	clear(h.asking)
	for _, s := range old {
		s.home = nil // nobody is told of its end
		n.tellIKE(ike.Close{SA: s.id, Silent: true, KeepChildren: true})
	}
}

// wantPath is everything between the home address and the correspondent, in transport mode.
func (h *home) wantPath() ike.ChildWant {
	return ike.ChildWant{Name: namePath, Mode: ike.Transport, Proto: uint8(h.path.Proto), ReqID: uint32(h.path.ReqID),
		Local:  []message.Selector{message.PrefixSelector(only(h.pair.local), 0)},
		Remote: []message.Selector{message.PrefixSelector(only(h.pair.remote), 0)}}
}

// pairMoved gives the IKE SAs of a pair their new end: ours at a mobile node, the other's at
// its correspondent. An attempt from an address that is gone is begun anew.
func (n *Node) pairMoved(p pair, careOf netip.Addr) {
	h := n.pairs[p]
	if h == nil {
		return
	}
	for _, s := range slices.Clone(h.sas) {
		if h.via != nil {
			n.tellIKE(ike.Moved{SA: s.id, Local: n.port(careOf), Remote: n.port(p.remote)})
		} else {
			s.remote = careOf
			n.tellIKE(ike.Moved{SA: s.id, Local: n.port(p.local), Remote: n.port(careOf)})
		}
	}
	if h.via != nil && h.pending != 0 && h.at != careOf {
		a := h.path
		a.CareOf = careOf
		n.pairUp(h.via, a)
	}
}

// catchUpPair moves an IKE SA that came about while its node moved.
func (n *Node) catchUpPair(s *keySA) {
	p := *s.home.pair
	if s.home.via != nil {
		if at := n.homes[p.local].place; at.careOf.IsValid() && at.away {
			n.tellIKE(ike.Moved{SA: s.id, Local: n.port(at.careOf), Remote: n.port(p.remote)})
		}
		return
	}
	if x := n.paths[p]; x != nil && x.peer.CareOf.IsValid() && x.peer.CareOf != s.remote && s.initiator {
		s.remote = x.peer.CareOf
		n.tellIKE(ike.Moved{SA: s.id, Local: n.port(p.local), Remote: n.port(s.remote)})
	}
}

// pairDown ends the IKE SAs of a pair.
func (n *Node) pairDown(p pair) {
	if h := n.pairs[p]; h != nil {
		n.abandon(h)
		n.closeAll(h, false, false)
	}
}

// tellPair tells the role of a pair that SAs stand, or that there are none any more.
func (n *Node) tellPair(h *home, up bool, reason string) {
	switch {
	case h.via != nil && up:
		n.tellOptimise(h.via, optimise.KeysUp{Remote: h.pair.remote})
	case h.via != nil:
		n.tellOptimise(h.via, optimise.KeysDown{Remote: h.pair.remote, Reason: reason})
	case !up:
		n.tellCN(cn.KeysDown{Local: h.pair.local, Home: h.pair.remote})
	}
}

// keyed tells whether a pair has a child.
func (h *home) keyed() bool {
	return slices.ContainsFunc(h.sas, func(s *keySA) bool { return len(s.children) > 0 || s.granted })
}

// authoriseAtCN asks the correspondent's machine whether a node may have SAs with us.
func (n *Node) authoriseAtCN(a ike.Authorise) {
	n.asks[uint64(a.ID)] = a
	n.tellCN(cn.Authorise{ID: uint64(a.ID), Identity: a.Peer.ID.Fold().String(), CareOf: a.RemoteAddr.Addr(),
		Addresses: a.Peer.Addresses, Transport: a.Transport, Proto: xfrm.Proto(a.Proto),
		Local: toCN(a.Local), Remote: toCN(a.Remote)})
}

// authorisesPath tells whether what a peer asks for is the correspondent's to give. SAs of a pair are for
// correspondents that stay where they are: with a mobile one IKE itself would have to come by its tunnel.
func (n *Node) authorisesPath(a ike.Authorise) bool {
	c := n.cfg.CN
	for i := range n.cfg.MNs {
		if covers(a.Local, n.cfg.MNs[i].Home) {
			return false
		}
	}
	return c != nil && slices.Contains(c.Conns, a.Conn) && c.Serves(a.Peer.ID.Fold().String()) &&
		!slices.ContainsFunc(a.Local, func(s message.Selector) bool { return s.Protocol == protoMH && n.isAgent(s.Start) })
}

// pairAuthorised hands the correspondent's answer on to IKE.
func (n *Node) pairAuthorised(a cn.Authorised) {
	ask, ok := n.asks[a.ID]
	delete(n.asks, a.ID)
	if !ok {
		return
	}
	ev := ike.Authorised{ID: ike.TaskID(a.ID), ReqID: uint32(a.ReqID), Name: namePath, Mode: ike.Transport,
		Local: fromCN(a.LocalSel), Remote: fromCN(a.RemoteSel)}
	if a.Err != nil {
		ev.Err = fmt.Errorf("%w: %w", ike.ErrTSUnacceptable, a.Err)
		if errors.Is(a.Err, cn.ErrDenied) {
			ev.Err = fmt.Errorf("%w: %w", errOwner, a.Err)
		}
		n.tellIKE(ev)
		return
	}
	s := n.sa(ask.SA)
	s.home, s.granted = n.pairHome(pair{a.Local, a.Home}), true
	s.home.know(a.ReqID)
	s.conn, s.peer, s.remote = ask.Conn, ask.Peer.ID, ask.RemoteAddr.Addr()
	n.tellIKE(ev)
	n.adopt(s)
}

func toCN(list []message.Selector) []cn.Selector {
	out := make([]cn.Selector, len(list))
	for i, s := range list {
		out[i] = cn.Selector{Proto: s.Protocol, StartPort: s.StartPort, EndPort: s.EndPort, Start: s.Start, End: s.End}
	}
	return out
}

func fromCN(list []cn.Selector) []message.Selector {
	out := make([]message.Selector, len(list))
	for i, s := range list {
		out[i] = message.Selector{Protocol: s.Proto, StartPort: s.StartPort, EndPort: s.EndPort, Start: s.Start, End: s.End}
	}
	return out
}
