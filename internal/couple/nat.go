package couple

import (
	"net/netip"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/xfrm"
)

// encap is the UDP encapsulation of an SA, nil without.
func encap(src, dst uint16) *xfrm.Encap {
	if src == 0 || dst == 0 {
		return nil
	}
	return &xfrm.Encap{SrcPort: src, DstPort: dst}
}

// remapped gives the SAs of a peer the address and port that its NAT has now.
func (n *Node) remapped(a ike.Remapped, out []Action) []Action {
	out = append(out, Note{Level: Info, Msg: "a peer's NAT has given it another address or port", Event: a, Attrs: []any{
		"conn", a.Conn, "peer", a.Peer.String(), "old", a.Old.String(), "new", a.New.String()}})
	s := n.sas[a.SA]
	if s != nil {
		s.remote = a.New.Addr()
	}
	for _, c := range a.Children {
		before := c.RemoteAddr
		if before == a.New.Addr() {
			before = a.Old.Addr()
		}
		ops := []xfrm.Op{xfrm.Remap{
			ID:  xfrm.ID{Dst: c.LocalAddr, SPI: xfrm.SPI(c.SPIIn), Proto: xfrm.ESP},
			Src: c.RemoteAddr, Dst: c.LocalAddr, Encap: *encap(c.RemotePort, c.LocalPort),
		}}
		if !n.remapHeld(c, before) {
			ops = append(ops, xfrm.Remap{
				ID:  xfrm.ID{Dst: before, SPI: xfrm.SPI(c.SPIOut), Proto: xfrm.ESP},
				Src: c.LocalAddr, Dst: c.RemoteAddr, Encap: *encap(c.LocalPort, c.RemotePort),
			})
		}
		out = append(out, Xfrm{Key: n.keyOf(s, c.ReqID), Ops: ops})
		if s == nil {
			continue
		}
		for i := range s.children {
			if s.children[i].SPIIn == c.SPIIn {
				s.children[i] = c
			}
		}
	}
	return out
}

// remapHeld follows in what is known of the SAs, and says whether the outbound one is held
// back still: then it is put with the new mapping.
func (n *Node) remapHeld(c ike.Child, before netip.Addr) bool {
	for _, h := range n.order {
		for i := range h.installed {
			x := &h.installed[i]
			if x.spiIn != c.SPIIn || x.reqid != xfrm.ReqID(c.ReqID) || x.out.Dst != before {
				continue
			}
			x.inSrc, x.out.Dst = c.RemoteAddr, c.RemoteAddr
			if x.held == nil {
				return false
			}
			x.held.Dst, x.held.Encap = c.RemoteAddr, encap(c.LocalPort, c.RemotePort)
			return true
		}
	}
	return false
}
