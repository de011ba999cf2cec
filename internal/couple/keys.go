package couple

import (
	"net/netip"
	"slices"

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
	case ike.Send, ike.Keepalive, ike.Prove, ike.VerifyPeer, ike.Encapsulate, ike.Keys:
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
	case ike.Remapped:
		return n.remapped(a, out)
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
