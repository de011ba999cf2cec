package couple

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

// installed is a pair of SAs as they stand in the databases.
type installed struct {
	spiIn   uint32
	reqid   xfrm.ReqID
	mode    xfrm.Mode
	in, out xfrm.ID
	inSrc   netip.Addr
	// last is when the inbound SA of a pair that is gone goes too; zero while it is in use.
	last time.Time
}

// lingerTime is how long the inbound SA of a pair that was replaced is kept: what
// the peer sent with it is still under way.
const lingerTime = 2 * time.Second

// The one cipher of child SAs that IKE negotiates so far (RFC 4106), in Linux's words.
const (
	gcmName    = "rfc4106(gcm(aes))"
	gcmICVBits = 128
)

func xfrmMode(m ike.Mode) xfrm.Mode {
	if m == ike.Transport {
		return xfrm.Transport
	}
	return xfrm.Tunnel
}

// install puts a pair of child SAs in, the inbound one first: it must be there
// before the peer can use its own.
func (n *Node) install(a ike.Install, out []Action) []Action {
	c := a.Child
	s := n.sas[c.SA]
	key := n.keyOf(s, c.ReqID)
	in := n.state(c)
	in.Src, in.Dst, in.SPI = c.RemoteAddr, c.LocalAddr, xfrm.SPI(c.SPIIn)
	in.AEAD.Key = c.KeyIn
	to := n.state(c)
	to.Src, to.Dst, to.SPI = c.LocalAddr, c.RemoteAddr, xfrm.SPI(c.SPIOut)
	to.AEAD.Key = c.KeyOut
	if key.IsValid() {
		h := n.home(key)
		h.installed = append(h.installed, installed{spiIn: c.SPIIn, reqid: in.ReqID,
			mode: in.Mode, in: in.ID(), out: to.ID(), inSrc: in.Src})
	}
	return append(out, Xfrm{Key: key, Token: Token{Owner: OwnerIKE, ID: uint64(a.ID)},
		Ops: []xfrm.Op{xfrm.PutSA{SA: in}, xfrm.PutSA{SA: to}}})
}

// state is what both SAs of a child have in common.
func (n *Node) state(c ike.Child) xfrm.SA {
	return xfrm.SA{
		Proto: xfrm.ESP, Mode: xfrmMode(c.Mode), ReqID: xfrm.ReqID(c.ReqID),
		AEAD:   xfrm.AEAD{Name: gcmName, ICVBits: gcmICVBits},
		Replay: xfrm.Replay{Window: n.cfg.ReplayWindow, ESN: c.ESN},
		Life:   xfrm.Lifetimes{HardTime: c.Hard},
	}
}

// uninstall takes a pair out, from where it stands now: the outbound SA at once, since nothing may
// be sent any more that the peer has no state for; the inbound one after a while,
// where another pair has taken its place.
func (n *Node) uninstall(c ike.Child, out []Action) []Action {
	id := xfrm.ReqID(c.ReqID)
	for _, h := range n.order {
		for i := range h.installed {
			x := &h.installed[i]
			if x.spiIn != c.SPIIn || x.reqid != id || !x.last.IsZero() {
				continue
			}
			out = append(out, Xfrm{Key: h.addr, Ops: []xfrm.Op{xfrm.DelSA{ID: x.out}}})
			x.last = n.now
			if h.replaced(*x) && !n.stop.begun {
				x.last = n.now.Add(lingerTime)
			}
			return n.reap(out)
		}
	}
	ops := []xfrm.Op{xfrm.DelSA{ID: xfrm.ID{Dst: c.LocalAddr, SPI: xfrm.SPI(c.SPIIn), Proto: xfrm.ESP}}}
	if c.SPIOut != 0 {
		ops = append(ops, xfrm.DelSA{ID: xfrm.ID{Dst: c.RemoteAddr, SPI: xfrm.SPI(c.SPIOut), Proto: xfrm.ESP}})
	}
	return append(out, Xfrm{Key: n.keyOf(n.sas[c.SA], c.ReqID), Ops: ops})
}

// replaced tells whether another pair in use serves what this one did.
func (h *home) replaced(old installed) bool {
	for _, x := range h.installed {
		if x.reqid == old.reqid && x.spiIn != old.spiIn && x.last.IsZero() {
			return true
		}
	}
	return false
}

// reap removes inbound SAs whose time is over.
func (n *Node) reap(out []Action) []Action {
	n.reapAt = time.Time{}
	for _, h := range n.order {
		keep := h.installed[:0]
		for _, x := range h.installed {
			switch {
			case x.last.IsZero():
			case x.last.After(n.now) && !n.stop.closing:
				n.reapAt = earlier(n.reapAt, x.last)
			default:
				out = append(out, Xfrm{Key: h.addr, Ops: []xfrm.Op{xfrm.DelSA{ID: x.in}}})
				continue
			}
			keep = append(keep, x)
		}
		h.installed = keep
	}
	return out
}

// follow keeps the addresses of installed SAs as a migration leaves them.
func (h *home) follow(m xfrm.Migration) {
	for _, mv := range m.Moves {
		for i := range h.installed {
			x := &h.installed[i]
			if x.reqid != mv.ReqID || x.mode != mv.Mode || mv.Mode != xfrm.Tunnel {
				continue
			}
			if x.out.Dst == mv.OldDst && x.in.Dst == mv.OldSrc {
				x.out.Dst = mv.NewDst // an outbound policy: only its destination is a key
			}
			if x.in.Dst == mv.OldDst && x.inSrc == mv.OldSrc {
				x.in.Dst, x.inSrc = mv.NewDst, mv.NewSrc
			}
		}
	}
}

// childUp tells the role, and lets go of what the new pair replaces.
func (n *Node) childUp(req uint64, c ike.Child, out []Action) []Action {
	s := n.sa(c.SA)
	s.children = append(s.children, c)
	out = append(out, Note{Level: Info, Msg: "child SA established", Event: ike.ChildUp{Req: req, Child: c}, Attrs: childAttrs(c)})
	h := s.home
	if h == nil {
		return out
	}
	delete(h.asking, xfrm.ReqID(c.ReqID))
	id := xfrm.ReqID(c.ReqID)
	if h.mn != nil {
		n.tellMN(h.mn, mn.ChildUp{Kind: mnKind(c), ReqID: id, InSPI: xfrm.SPI(c.SPIIn),
			OutSPI: xfrm.SPI(c.SPIOut), Handle: s.handle})
	} else {
		n.tellHA(ha.ChildUp{Home: h.addr, Kind: haKind(c), ReqID: id, InSPI: xfrm.SPI(c.SPIIn),
			OutSPI: xfrm.SPI(c.SPIOut), Handle: s.handle, CareOf: s.remote})
	}
	n.retire(h, s)
	return n.dropStale(h, id, out)
}

// retire ends older IKE SAs of a home address all of whose children the newer one
// has too. Only the node does so: were the agent to choose as well, two that came up
// at the same time could both be given up. An SA that the agent has just made is a
// sign that it forgot the older one, which then hears no Delete.
func (n *Node) retire(h *home, by *keySA) {
	if h.mn == nil {
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

// dropStale removes SAs of an earlier run that the new pair replaces.
func (n *Node) dropStale(h *home, id xfrm.ReqID, out []Action) []Action {
	var ops []xfrm.Op
	keep := h.stale[:0]
	for _, sa := range h.stale {
		if sa.ReqID == id {
			ops = append(ops, xfrm.DelSA{ID: sa.ID()})
		} else {
			keep = append(keep, sa)
		}
	}
	h.stale = keep
	if len(ops) == 0 {
		return out
	}
	return append(out, Xfrm{Key: h.addr, Ops: ops})
}

func (n *Node) childRekeyed(a ike.ChildRekeyed, out []Action) []Action {
	c := a.Child
	out = append(out, Note{Level: Info, Msg: "child SA rekeyed", Event: a, Attrs: childAttrs(c)})
	s := n.sa(c.SA)
	for i := range s.children {
		if s.children[i].SPIIn == a.OldSPIIn {
			s.children[i] = c
		}
	}
	h := s.home
	if h == nil {
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
	if h.mn != nil {
		n.tellMN(h.mn, mn.ChildDown{Kind: mnKind(c), InSPI: xfrm.SPI(c.SPIIn)})
	} else {
		n.tellHA(ha.ChildDown{Home: h.addr, Kind: haKind(c), InSPI: xfrm.SPI(c.SPIIn)})
	}
	return out
}

func (n *Node) childRefused(a ike.ChildRefused, out []Action) []Action {
	msg := "child SA refused to the peer"
	if a.ByPeer {
		msg = "child SA refused by the peer"
	}
	out = append(out, Note{Level: Warn, Msg: msg, Event: a, Attrs: []any{
		"conn", a.Conn, "peer", a.Peer.String(), "child", a.Name, "notify", a.Notify.String(),
		"reason", a.Reason, "local", fmt.Sprint(a.Local), "remote", fmt.Sprint(a.Remote)}})
	s := n.sas[a.SA]
	if s == nil || s.home == nil || a.Req == 0 {
		return out
	}
	clear(s.home.asking)
	n.keysRefused(s.home, a.Reason)
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
