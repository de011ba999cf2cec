package couple

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

// authorise asks the role whose child the peer wants. A mobile node has only its
// home agent to answer, which may ask for what the node itself would.
func (n *Node) authorise(a ike.Authorise) {
	for i := range n.cfg.MNs {
		m := &n.cfg.MNs[i]
		if m.Conn == a.Conn && covers(a.Local, m.Home) {
			n.authoriseAtNode(m, a)
			return
		}
	}
	if n.authorisesPath(a) {
		n.authoriseAtCN(a)
		return
	}
	if n.cfg.HA == nil || !slices.Contains(n.cfg.HA.Conns, a.Conn) {
		n.tellIKE(ike.Authorised{ID: a.ID, Err: fmt.Errorf("%w: no role here has a home address in %v", errOwner, a.Local)})
		return
	}
	n.asks[uint64(a.ID)] = a
	ev := ha.Authorise{ID: uint64(a.ID), Identity: a.Peer.ID.Fold().String(), Conn: a.Conn,
		CareOf: a.RemoteAddr.Addr(), Addresses: a.Peer.Addresses, Transport: a.Transport,
		Local: fromIKE(a.Local), Remote: fromIKE(a.Remote)}
	for _, attr := range a.CFGRequest {
		if attr.Type == message.AttrInternalIP6Address {
			ev.WantAddress = true
			if len(attr.Value) >= 16 {
				ev.Suggested, _ = netip.AddrFromSlice(attr.Value[:16])
			}
		}
	}
	n.tellHA(ev)
}

// authoriseAtNode answers for a mobile node.
func (n *Node) authoriseAtNode(m *MN, a ike.Authorise) {
	for _, c := range m.Children {
		w := m.wantChild(c)
		if (c.Kind == mn.ChildMH) != a.Transport || !covers(a.Remote, w.Remote[0].Start) {
			continue
		}
		s := n.sa(a.SA)
		s.home = n.home(m.Home)
		s.conn, s.peer, s.remote = a.Conn, a.Peer.ID, a.RemoteAddr.Addr()
		n.tellIKE(ike.Authorised{ID: a.ID, Name: w.Name, ReqID: w.ReqID, Mode: w.Mode, Local: w.Local, Remote: w.Remote})
		n.adopt(s)
		return
	}
	n.tellIKE(ike.Authorised{ID: a.ID, Err: fmt.Errorf("%w: %v to %v is not a child of %v", errOwner, a.Local, a.Remote, m.Home)})
}

func covers(list []message.Selector, a netip.Addr) bool {
	for _, s := range list {
		if s.Start.Compare(a) <= 0 && a.Compare(s.End) <= 0 {
			return true
		}
	}
	return false
}

// authorised hands the agent's answer on to IKE.
func (n *Node) authorised(a ha.Authorised) {
	ask, ok := n.asks[a.ID]
	delete(n.asks, a.ID)
	if !ok {
		return
	}
	ev := ike.Authorised{ID: ike.TaskID(a.ID), ReqID: uint32(a.ReqID), Name: namePayload, Mode: ike.Tunnel,
		Local: allToIKE(a.Local), Remote: allToIKE(a.Remote), Err: ikeError(a.Err)}
	if a.Mode == xfrm.Transport {
		ev.Name, ev.Mode = nameMH, ike.Transport
	}
	if a.Assigned.IsValid() {
		v := a.Assigned.As16()
		ev.CFGReply = []message.Attribute{{Type: message.AttrInternalIP6Address, Value: append(v[:], byte(a.PrefixLen))}}
	}
	var s *keySA
	if a.Err == nil {
		s = n.sa(ask.SA)
		s.home = n.home(a.Home)
		s.home.know(a.ReqID)
		s.conn, s.peer, s.remote = ask.Conn, ask.Peer.ID, ask.RemoteAddr.Addr()
	}
	n.tellIKE(ev)
	if s != nil {
		n.adopt(s)
	}
}

// ikeError says an agent's refusal in IKE's words; the reason stays for the log.
func ikeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ha.ErrAddressFailure):
		return fmt.Errorf("%w: %w", ike.ErrAddressFailure, err)
	case errors.Is(err, ha.ErrNotServing):
		return fmt.Errorf("%w: %w", ike.ErrTemporary, err)
	}
	return fmt.Errorf("%w: %w", ike.ErrTSUnacceptable, err)
}

func toIKE(s ha.Selector) message.Selector {
	return message.Selector{Protocol: s.Proto, StartPort: s.StartPort, EndPort: s.EndPort, Start: s.Start, End: s.End}
}

func allToIKE(list []ha.Selector) []message.Selector {
	out := make([]message.Selector, len(list))
	for i, s := range list {
		out[i] = toIKE(s)
	}
	return out
}

func fromIKE(list []message.Selector) []ha.Selector {
	out := make([]ha.Selector, len(list))
	for i, s := range list {
		out[i] = ha.Selector{Proto: s.Protocol, StartPort: s.StartPort, EndPort: s.EndPort, Start: s.Start, End: s.End}
	}
	return out
}
