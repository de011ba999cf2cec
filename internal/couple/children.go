package couple

import (
	"fmt"
	"slices"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

// childUp tells the role, and lets go of what the new pair replaces.
func (n *Node) childUp(req uint64, c ike.Child, out []Action) []Action {
	s := n.sa(c.SA)
	s.children, s.granted = append(s.children, c), false
	out = append(out, Note{Level: Info, Msg: "child SA established", Event: ike.ChildUp{Req: req, Child: c}, Attrs: childAttrs(c)})
	if n.bootSA(c.SA) {
		return n.bootChildUp(c, out)
	}
	h := s.home
	if h == nil {
		return out
	}
	delete(h.asking, xfrm.ReqID(c.ReqID))
	n.bootAccepted(h)
	id := xfrm.ReqID(c.ReqID)
	if h.pair != nil {
		n.tellPair(h, true, "")
	} else if h.mn != nil {
		n.tellMN(h.mn, n.nodeChildUp(s, c))
	} else {
		n.tellHA(ha.ChildUp{Home: h.addr, Kind: haKind(c), ReqID: id, InSPI: xfrm.SPI(c.SPIIn),
			OutSPI: xfrm.SPI(c.SPIOut), Handle: s.handle, CareOf: n.careOf(h, c)})
	}
	n.retire(h, s)
	n.closeTwin(h, s, c)
	return n.dropStale(h, id, out)
}

// closeTwin closes a child that the new one doubles: each end may ask for it within an IKE SA
// that the agent began. Only the node does so, as with retire.
func (n *Node) closeTwin(h *home, s *keySA, c ike.Child) {
	if !h.nodes() {
		return
	}
	for _, x := range slices.Clone(s.children) {
		if x.ReqID == c.ReqID && x.SPIIn != c.SPIIn {
			n.tellIKE(ike.CloseChild{SA: s.id, SPIIn: x.SPIIn})
		}
	}
}

// retire ends older IKE SAs of a home address all of whose children the newer one
// has too. Only the node does so: were the agent to choose as well, two that came up
// at the same time could both be given up. An SA that the agent has just made is a
// sign that it forgot the older one, which then hears no Delete.
func (n *Node) retire(h *home, by *keySA) {
	if !h.nodes() {
		return
	}
	for _, old := range append([]*keySA(nil), h.sas...) {
		if old == by {
			return // later ones are newer
		}
		all := true
		for _, c := range old.children {
			all = all && by.has(xfrm.ReqID(c.ReqID))
		}
		if all {
			n.tellIKE(ike.Close{SA: old.id, Silent: !by.initiator})
		}
	}
}

// dropStale lets SAs of an earlier run go that the new pair replaces, as those of
// a pair that was replaced go.
func (n *Node) dropStale(h *home, id xfrm.ReqID, out []Action) []Action {
	outAt := n.now
	for i := range h.installed {
		if x := &h.installed[i]; x.reqid == id && x.held != nil {
			outAt = x.till
		}
	}
	keep := h.stale[:0]
	for _, sa := range h.stale {
		if sa.ReqID != id {
			keep = append(keep, sa)
			continue
		}
		at := outAt
		if n.inbound(h, sa.Dst) {
			at = n.now.Add(lingerTime)
		}
		h.dying = append(h.dying, dying{sa.ID(), sa.Src, sa.Mode, sa.ReqID, at})
	}
	h.stale = keep
	return n.reap(out)
}

func (n *Node) childRekeyed(a ike.ChildRekeyed, out []Action) []Action {
	c := a.Child
	out = append(out, Note{Level: Info, Msg: "child SA rekeyed", Event: a, Attrs: childAttrs(c)})
	s := n.sa(c.SA)
	if i := slices.IndexFunc(s.children, func(x ike.Child) bool { return x.SPIIn == a.OldSPIIn }); i >= 0 {
		s.children[i] = c
	} else { // the old one's time was over before the answer came
		s.children = append(s.children, c)
	}
	h := s.home
	if h == nil {
		return out
	}
	for i := range h.installed {
		if h.installed[i].spiIn == c.SPIIn {
			h.installed[i].rekey = true
		}
	}
	if h.pair != nil {
		return out
	}
	if h.mn != nil {
		n.tellMN(h.mn, mn.ChildRekeyed{Kind: mnKind(c), OldInSPI: xfrm.SPI(a.OldSPIIn),
			InSPI: xfrm.SPI(c.SPIIn), OutSPI: xfrm.SPI(c.SPIOut), Handle: s.handle})
	} else {
		n.tellHA(ha.ChildRekeyed{Home: h.addr, Kind: haKind(c), OldInSPI: xfrm.SPI(a.OldSPIIn),
			InSPI: xfrm.SPI(c.SPIIn), OutSPI: xfrm.SPI(c.SPIOut)})
	}
	return out
}

func (n *Node) childDown(a ike.ChildDown, out []Action) []Action {
	c := a.Child
	out = append(out, Note{Level: Info, Msg: "child SA is gone", Event: a,
		Attrs: append(childAttrs(c), "reason", string(a.Reason))})
	s := n.sas[c.SA]
	if s == nil {
		return out
	}
	for i := range s.children {
		if s.children[i].SPIIn == c.SPIIn {
			s.children = append(s.children[:i:i], s.children[i+1:]...)
			break
		}
	}
	h := s.home
	if h == nil {
		return out
	}
	if h.pair != nil {
		if !h.keyed() {
			n.tellPair(h, false, string(a.Reason))
		}
		return out
	}
	if h.mn != nil {
		n.tellMN(h.mn, mn.ChildDown{Kind: mnKind(c), InSPI: xfrm.SPI(c.SPIIn)})
	} else {
		n.tellHA(ha.ChildDown{Home: h.addr, Kind: haKind(c), InSPI: xfrm.SPI(c.SPIIn)})
	}
	return out
}

func (n *Node) childRefused(a ike.ChildRefused, out []Action) []Action {
	if n.bootSA(a.SA) {
		return n.bootFailed(bootReason(a.Notify, a.Reason), out)
	}
	msg := "child SA refused to the peer"
	if a.ByPeer {
		msg = "child SA refused by the peer"
	}
	note := Note{Level: Warn, Msg: msg, Event: a, Attrs: []any{
		"conn", a.Conn, "peer", a.Peer.String(), "child", a.Name, "notify", a.Notify.String(),
		"reason", a.Reason, "local", fmt.Sprint(a.Local), "remote", fmt.Sprint(a.Remote)}}
	if a.Req == 0 {
		out = n.turnedAway(note, out)
	} else {
		out = append(out, note)
	}
	s := n.sas[a.SA]
	if s == nil || s.home == nil || a.Req == 0 {
		return out
	}
	clear(s.home.asking)
	n.keysRefused(s.home, a.Reason)
	if s.initiator && (s.home.pair != nil || !s.home.nodes()) && len(s.children) == 0 {
		// One that is of no use is not kept: a node makes its own with the agent, and begins anew with
		// a correspondent.
		n.tellIKE(ike.Close{SA: s.id})
	}
	n.bootRefused(s.home, a.ByPeer, a.Notify)
	return out
}

func mnKind(c ike.Child) mn.ChildKind {
	if c.Mode == ike.Transport {
		return mn.ChildMH
	}
	return mn.ChildPayload
}

func haKind(c ike.Child) ha.Kind {
	if c.Mode == ike.Transport {
		return ha.MH
	}
	return ha.Payload
}

func childAttrs(c ike.Child) []any {
	return []any{"child", c.Name, "conn", c.Conn, "peer", c.Peer.String(), "mode", c.Mode.String(),
		"reqid", c.ReqID, "spi_in", xfrm.SPI(c.SPIIn).String(), "spi_out", xfrm.SPI(c.SPIOut).String(),
		"local", fmt.Sprint(c.Local), "remote", fmt.Sprint(c.Remote)}
}
