package couple

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

const (
	protoMH = 135

	nameMH      = "mh"
	namePayload = "payload"
)

var (
	anywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	errOwner = ike.ErrTSUnacceptable
)

func only(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// newest is the IKE SA that is used for what is asked for next; nil without one.
func (h *home) newest() *keySA {
	if len(h.sas) == 0 {
		return nil
	}
	return h.sas[len(h.sas)-1]
}

// want describes a node's child for IKE (RFC 4877 §6): the Mobility Header
// between home address and agent, or everything of the home address.
func (m *MN) wantChild(c mn.Child) ike.ChildWant {
	w := ike.ChildWant{Name: namePayload, Mode: ike.Tunnel, ReqID: uint32(c.ReqID),
		Local:  []message.Selector{message.PrefixSelector(only(m.Home), 0)},
		Remote: []message.Selector{message.PrefixSelector(anywhere, 0)}}
	if c.Kind == mn.ChildMH {
		w.Name, w.Mode = nameMH, ike.Transport
		w.Local = []message.Selector{message.PrefixSelector(only(m.Home), protoMH)}
		w.Remote = []message.Selector{message.PrefixSelector(only(m.HomeAgent), protoMH)}
	}
	return w
}

// createChild asks for one more child of the newest IKE SA, unless it is being made. One that stands
// already is told of again: the role may know only of the children of another IKE SA, which has gone.
func (n *Node) createChild(h *home, c mn.Child) {
	s := h.newest()
	if s == nil || h.asking[c.ReqID] {
		return
	}
	for _, x := range s.children {
		if x.ReqID == uint32(c.ReqID) {
			n.tellMN(h.mn, mn.KeysUp{Handle: s.handle})
			n.tellMN(h.mn, n.nodeChildUp(s, x))
			return
		}
	}
	h.asking[c.ReqID] = true
	n.lastReq++
	n.tellIKE(ike.CreateChild{Req: n.lastReq, SA: s.id, Want: h.mn.wantChild(c)})
}

// nodeChildUp tells a mobile node's role of a child.
func (n *Node) nodeChildUp(s *keySA, c ike.Child) mn.ChildUp {
	return mn.ChildUp{Kind: mnKind(c), ReqID: xfrm.ReqID(c.ReqID), InSPI: xfrm.SPI(c.SPIIn),
		OutSPI: xfrm.SPI(c.SPIOut), Handle: s.handle, CareOf: n.careOf(s.home, c)}
}

func (s *keySA) has(id xfrm.ReqID) bool {
	for i := range s.children {
		if s.children[i].ReqID == uint32(id) {
			return true
		}
	}
	return false
}

// initiate starts IKE; what was under way for this home address counts no more.
func (n *Node) initiate(h *home, ev ike.Initiate) {
	n.lastReq++
	ev.Req = n.lastReq
	n.abandon(h)
	h.pending = ev.Req
	n.reqs[ev.Req] = h
	n.tellIKE(ev)
}

// abandon gives up the Initiate that is under way for a home address.
func (n *Node) abandon(h *home) {
	req := h.pending
	h.pending = 0
	if req != 0 {
		n.tellIKE(ike.Cancel{Req: req})
	}
}

// doIKE translates what the IKE machine wants.
func (n *Node) doIKE(a ike.Action, out []Action) []Action {
	switch a := a.(type) {
	case ike.Send, ike.Prove, ike.VerifyPeer, ike.Keys:
		return append(out, IKE{a})
	case ike.Authorise:
		n.authorise(a)
	case ike.AllocSPI:
		out = append(out, AllocSPI{
			Key:   n.keyOf(n.sas[a.SA], a.ReqID),
			Token: Token{Owner: OwnerIKE, ID: uint64(a.ID)},
			Want: xfrm.SA{Src: a.Src, Dst: a.Dst, Proto: xfrm.Proto(a.Protocol),
				Mode: xfrmMode(a.Mode), ReqID: xfrm.ReqID(a.ReqID)}})
	case ike.Install:
		if n.bootSA(a.Child.SA) {
			return n.bootInstall(a, out)
		}
		return n.install(a, out)
	case ike.Uninstall:
		if n.bootSA(a.Child.SA) && n.boot.up {
			return out // it was never put
		}
		return n.uninstall(a.Child, out)
	case ike.SAUp:
		return n.saUp(a, out)
	case ike.SARekeyed:
		n.saRekeyed(a)
	case ike.SADown:
		return n.saDown(a, out)
	case ike.ChildUp:
		return n.childUp(a.Req, a.Child, out)
	case ike.ChildRekeyed:
		return n.childRekeyed(a, out)
	case ike.ChildDown:
		return n.childDown(a, out)
	case ike.ChildRefused:
		return n.childRefused(a, out)
	case ike.Refused:
		return n.refused(a, out)
	case ike.InitialContact:
		out = append(out, note(Info, "first contact of a peer; what it had here before is dropped", "peer", a.Peer.String(), "conn", a.Conn))
	}
	return out
}

func note(l Level, msg string, attrs ...any) Note { return Note{Level: l, Msg: msg, Attrs: attrs} }

// keyOf is the home address that orders what is done for an IKE SA; the reqid
// finds it before the peer is known.
func (n *Node) keyOf(s *keySA, reqid uint32) netip.Addr {
	if s != nil && s.home != nil {
		return s.home.addr
	}
	for _, h := range n.order {
		if slices.Contains(h.reqids, xfrm.ReqID(reqid)) {
			return h.addr
		}
	}
	return netip.Addr{}
}

// saUp notes a new IKE SA. As responder its home address may not be known yet:
// the role hears of it when it is.
func (n *Node) saUp(a ike.SAUp, out []Action) []Action {
	s := n.sa(a.SA)
	s.up, s.initiator, s.conn, s.peer, s.remote = true, a.Initiator, a.Conn, a.Peer.ID, a.Remote.Addr()
	out = append(out, Note{Level: Info, Msg: "IKE SA established", Event: a, Attrs: []any{
		"conn", a.Conn, "peer", a.Peer.ID.String(), "local", a.Local.String(), "remote", a.Remote.String(),
		"spi_i", hex64(a.SPIi), "spi_r", hex64(a.SPIr), "suite", a.Suite.String()}})
	if a.Req != 0 {
		if n.boot != nil && n.boot.req == a.Req {
			n.bootUp(a)
			return out
		}
		h := n.reqs[a.Req]
		delete(n.reqs, a.Req)
		if h == nil || h.pending != a.Req {
			n.tellIKE(ike.Close{SA: a.SA, Silent: true}) // overtaken by a later Initiate
			return out
		}
		h.pending = 0
		s.home = h
		if h.mn != nil {
			for _, c := range h.want.Children { // IKE makes them all, one after the other
				h.asking[c.ReqID] = true
			}
		}
	}
	n.adopt(s)
	return out
}

// sa returns the entry of an IKE SA and makes one where there is none.
func (n *Node) sa(id ike.SAID) *keySA {
	s := n.sas[id]
	if s == nil {
		s = &keySA{id: id, handle: uint64(id)}
		n.sas[id] = s
	}
	return s
}

// adopt makes an IKE SA the newest of its home address, once it is up and its home is known.
func (n *Node) adopt(s *keySA) {
	if !s.up || s.home == nil {
		return
	}
	if slices.Contains(s.home.sas, s) {
		return
	}
	s.home.sas = append(s.home.sas, s)
	n.catchUp(s)
	if s.home.mn != nil {
		n.tellMN(s.home.mn, mn.KeysUp{Handle: s.handle})
		return
	}
	n.tellHA(ha.KeysUp{Home: s.home.addr, Handle: s.handle, CareOf: s.remote})
}

// catchUp moves an IKE SA that came about while the node moved: of a handshake that the peer
// began the role knows nothing until it is over.
func (n *Node) catchUp(s *keySA) {
	h := s.home
	if h.mn == nil {
		i, ok := n.cfg.HA.Machine.Lookup(h.addr)
		if s.initiator && ok && i.State == ha.Bound && i.CareOf != s.remote {
			s.remote = i.CareOf
			n.tellIKE(ike.Moved{SA: s.id, Local: n.port(i.HomeAgent), Remote: n.port(i.CareOf)})
		}
		return
	}
	i := h.mn.Machine.Info()
	at := i.CareOf
	if i.AtHome {
		at = i.Home
	}
	if at.IsValid() {
		n.tellIKE(ike.Moved{SA: s.id, Local: n.port(at), Remote: n.port(i.HomeAgent)})
	}
}

func (n *Node) saRekeyed(a ike.SARekeyed) {
	s := n.sas[a.Old]
	if s == nil {
		return
	}
	delete(n.sas, a.Old)
	s.id = a.New
	n.sas[a.New] = s
	for i := range s.children {
		s.children[i].SA = a.New
	}
}

func (n *Node) saDown(a ike.SADown, out []Action) []Action {
	s := n.sas[a.SA]
	out = append(out, Note{Level: Info, Msg: "IKE SA is gone", Event: a, Attrs: []any{
		"conn", a.Conn, "peer", a.Peer.String(), "reason", string(a.Reason)}})
	if n.bootSA(a.SA) {
		return n.bootDown(a, out)
	}
	if s == nil {
		return out
	}
	delete(n.sas, a.SA)
	h := s.home
	if h == nil {
		return out
	}
	h.sas = slices.DeleteFunc(h.sas, func(x *keySA) bool { return x == s })
	clear(h.asking)
	if h.mn != nil {
		n.tellMN(h.mn, mn.KeysDown{Handle: s.handle, Reason: string(a.Reason)})
	} else {
		n.tellHA(ha.KeysDown{Home: h.addr, Handle: s.handle, Reason: string(a.Reason)})
	}
	return out
}

// refused tells that an IKE SA did not come about, on whichever side.
func (n *Node) refused(a ike.Refused, out []Action) []Action {
	if n.boot != nil && a.Req != 0 && a.Req == n.boot.req {
		delete(n.sas, a.SA)
		return n.bootFailed(bootReason(a.Notify, a.Reason), out)
	}
	if n.boot != nil && a.Req != 0 && a.Req == n.boot.cancelled {
		delete(n.sas, a.SA)
		return out
	}
	msg := "IKE refused a peer"
	if a.ByPeer {
		msg = "IKE was refused by the peer"
	}
	note := Note{Level: Warn, Msg: msg, Event: a, Attrs: []any{
		"conn", a.Conn, "peer", a.Peer.String(), "local", a.Local.String(), "remote", a.Remote.String(),
		"notify", a.Notify.String(), "reason", a.Reason}}
	if a.Req == 0 { // nobody here asked for it
		out = n.turnedAway(note, out)
	} else {
		out = append(out, note)
	}
	delete(n.sas, a.SA)
	h := n.reqs[a.Req]
	delete(n.reqs, a.Req)
	if a.Req == 0 || h == nil || h.pending != a.Req {
		return out
	}
	h.pending = 0
	n.keysRefused(h, a.Reason)
	n.bootRefused(h, a.ByPeer, a.Notify)
	return out
}

func (n *Node) keysRefused(h *home, reason string) {
	if h.mn != nil {
		n.tellMN(h.mn, mn.KeysRefused{Reason: reason})
		return
	}
	n.tellHA(ha.KeysRefused{Home: h.addr, Reason: reason})
}
