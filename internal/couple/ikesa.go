package couple

import (
	"slices"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/mn"
)

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
		if h.pair != nil {
			h.met = true
			h.asking[h.path.ReqID] = true
		}
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
	if s.home.pair != nil {
		return // what counts is the child
	}
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
	if h.pair != nil {
		n.catchUpPair(s)
		return
	}
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
	if h.pair != nil {
		if !h.keyed() {
			n.tellPair(h, false, string(a.Reason))
		}
		return out
	}
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
	if h.pair != nil {
		n.tellPair(h, false, reason)
		return
	}
	if h.mn != nil {
		n.tellMN(h.mn, mn.KeysRefused{Reason: reason})
		return
	}
	n.tellHA(ha.KeysRefused{Home: h.addr, Reason: reason})
}
