package couple

import (
	"net/netip"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/xfrm"
)

// stands tells where the tunnel of a home address is for its role: at the care-of address,
// or where the SAs were left before. A new pair is put there: at home IKE speaks from the
// home address, but the next move begins at the tunnel and takes all SAs along.
func (n *Node) stands(h *home, id xfrm.ReqID) (node, agent netip.Addr, ok bool) {
	if h.pair != nil { // transport mode
		return node, agent, false
	}
	if h.mn != nil {
		if i := h.mn.Machine.Info(); i.CareOf.IsValid() {
			return i.CareOf, i.HomeAgent, true
		}
	} else if i, _ := n.cfg.HA.Machine.Lookup(h.addr); i.Tunnel.IsValid() {
		return i.Tunnel, i.HomeAgent, true
	}
	ends := func(in bool, src, dst netip.Addr) (netip.Addr, netip.Addr, bool) {
		if in == (h.mn != nil) {
			return dst, src, true
		}
		return src, dst, true
	}
	for i := range h.installed {
		if x := &h.installed[i]; x.reqid == id {
			return ends(true, x.inSrc, x.in.Dst)
		}
	}
	for i := range h.stale {
		if s := &h.stale[i]; s.ReqID == id {
			return ends(n.inbound(h, s.Dst), s.Src, s.Dst)
		}
	}
	return node, agent, false
}

// careOf is where the node's end of a child stands.
func (n *Node) careOf(h *home, c ike.Child) netip.Addr {
	if c.Mode == ike.Transport {
		return netip.Addr{}
	}
	for i := range h.installed {
		if x := &h.installed[i]; x.spiIn == c.SPIIn && x.reqid == xfrm.ReqID(c.ReqID) {
			if h.mn != nil {
				return x.in.Dst
			}
			return x.inSrc
		}
	}
	return netip.Addr{}
}

// inbound tells whether SAs with this destination are ours to receive with.
func (n *Node) inbound(h *home, dst netip.Addr) bool {
	if h.mn != nil {
		return dst != h.mn.HomeAgent
	}
	if h.pair != nil {
		return dst == h.pair.local
	}
	return n.isAgent(dst)
}

// follow keeps the addresses of installed SAs as a migration leaves them.
func (h *home) follow(m xfrm.Migration) {
	for _, mv := range m.Moves {
		if mv.Mode != xfrm.Tunnel {
			continue
		}
		moves := func(id xfrm.ReqID, mode xfrm.Mode, src, dst netip.Addr) bool {
			return id == mv.ReqID && mode == mv.Mode && src == mv.OldSrc && dst == mv.OldDst
		}
		for i := range h.installed {
			x := &h.installed[i]
			if moves(x.reqid, x.mode, x.in.Dst, x.out.Dst) {
				x.out.Dst = mv.NewDst // an outbound policy: only its destination is a key
			}
			if moves(x.reqid, x.mode, x.inSrc, x.in.Dst) {
				x.in.Dst, x.inSrc = mv.NewDst, mv.NewSrc
			}
			if x.held != nil && moves(x.held.ReqID, x.held.Mode, x.held.Src, x.held.Dst) {
				x.held.Src, x.held.Dst = mv.NewSrc, mv.NewDst
			}
		}
		for i := range h.dying {
			if d := &h.dying[i]; moves(d.reqid, d.mode, d.src, d.id.Dst) {
				d.src, d.id.Dst = mv.NewSrc, mv.NewDst
			}
		}
		for i := range h.stale {
			if s := &h.stale[i]; moves(s.ReqID, s.Mode, s.Src, s.Dst) {
				s.Src, s.Dst = mv.NewSrc, mv.NewDst
			}
		}
	}
}
