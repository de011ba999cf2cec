package couple

import (
	"fmt"
	"net/netip"
	"slices"
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
	// held is the outbound SA that is not put yet, and till when.
	held  *xfrm.SA
	till  time.Time
	rekey bool // it took the place of another by a rekey
}

// dying is an SA that goes at a time.
type dying struct {
	id    xfrm.ID
	src   netip.Addr
	mode  xfrm.Mode
	reqid xfrm.ReqID
	at    time.Time
}

const (
	// lingerTime is how long the inbound SA of a pair that was replaced is kept: what
	// the peer sent with it is still under way.
	lingerTime = 2 * time.Second
	// holdTime is how long the responder goes on sending with the pair before, unless
	// the peer deletes that: the initiator has no keys until our answer came, and an
	// answer may have to be repeated (RFC 7296 §2.8).
	holdTime = 500 * time.Millisecond
)

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
	if key.IsValid() && in.Mode == xfrm.Tunnel {
		if node, agent, ok := n.stands(n.home(key), in.ReqID); ok {
			in.Src, in.Dst = agent, node
			if n.home(key).mn == nil {
				in.Src, in.Dst = node, agent
			}
			to.Src, to.Dst = in.Dst, in.Src
		}
	}
	ops := []xfrm.Op{xfrm.PutSA{SA: in}, xfrm.PutSA{SA: to}}
	if key.IsValid() {
		h := n.home(key)
		to.Acquire = h.answer(in.ReqID)
		ops[1] = xfrm.PutSA{SA: to}
		x := installed{spiIn: c.SPIIn, reqid: in.ReqID, mode: in.Mode, in: in.ID(), out: to.ID(),
			inSrc: in.Src}
		// IKE takes a pair out and installs it again where it moved meanwhile.
		h.dying = slices.DeleteFunc(h.dying, func(d dying) bool { return d.id == x.in || d.id == x.out })
		h.installed = slices.DeleteFunc(h.installed, func(o installed) bool { return o.spiIn == x.spiIn && o.reqid == x.reqid })
		if !c.Initiator && n.sends(h, in.ReqID) {
			x.held, x.till = &to, n.now.Add(holdTime)
			n.reapAt = earlier(n.reapAt, x.till)
			ops = ops[:1]
		}
		h.installed = append(h.installed, x)
	}
	return append(out, Xfrm{Key: key, Token: Token{Owner: OwnerIKE, ID: uint64(a.ID)}, Ops: ops})
}

// stands tells where the tunnel of a home address is for its role: at the care-of address,
// or where the SAs were left before. A new pair is put there: at home IKE speaks from the
// home address, but the next move begins at the tunnel and takes all SAs along.
func (n *Node) stands(h *home, id xfrm.ReqID) (node, agent netip.Addr, ok bool) {
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

// sends tells whether there is an outbound SA already that serves these policies.
func (n *Node) sends(h *home, id xfrm.ReqID) bool {
	for i := range h.installed {
		if x := &h.installed[i]; x.reqid == id && x.held == nil {
			return true
		}
	}
	for i := range h.stale {
		if h.stale[i].ReqID == id && !n.inbound(h, h.stale[i].Dst) {
			return true
		}
	}
	return false
}

// inbound tells whether SAs with this destination are ours to receive with.
func (n *Node) inbound(h *home, dst netip.Addr) bool {
	if h.mn != nil {
		return dst != h.mn.HomeAgent
	}
	return n.isAgent(dst)
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

// uninstall takes a pair out, from where it stands now: the outbound SA at once,
// since nothing may be sent any more that the peer has no state for, unless its
// successor is held back still; the inbound one after a while, where another pair has taken
// its place.
func (n *Node) uninstall(c ike.Child, out []Action) []Action {
	id := xfrm.ReqID(c.ReqID)
	for _, h := range n.order {
		for i, x := range h.installed {
			if x.spiIn != c.SPIIn || x.reqid != id {
				continue
			}
			h.installed = append(h.installed[:i:i], h.installed[i+1:]...)
			inAt, outAt := n.now, n.now
			for j := range h.installed {
				next := &h.installed[j]
				if next.reqid != id {
					continue
				}
				inAt = n.now.Add(lingerTime)
				switch {
				case next.held == nil:
				case next.rekey:
					next.till = n.now // the peer has the new one: it deletes the old
				default:
					outAt = next.till
				}
			}
			h.dying = append(h.dying, dying{x.in, x.inSrc, x.mode, x.reqid, inAt})
			if x.held == nil {
				h.dying = append(h.dying, dying{x.out, x.in.Dst, x.mode, x.reqid, outAt})
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

// reap puts outbound SAs that were held long enough, then removes SAs whose time is over.
func (n *Node) reap(out []Action) []Action {
	n.reapAt = time.Time{}
	end := n.stop.begun // nothing lingers then
	for _, h := range n.order {
		var ops []xfrm.Op
		for i := range h.installed {
			x := &h.installed[i]
			switch {
			case x.held == nil:
			case x.till.After(n.now) && !end:
				n.reapAt = earlier(n.reapAt, x.till)
			default:
				ops = append(ops, xfrm.PutSA{SA: *x.held})
				x.held = nil
			}
		}
		keep := h.dying[:0]
		for _, d := range h.dying {
			if d.at.After(n.now) && !end {
				n.reapAt = earlier(n.reapAt, d.at)
				keep = append(keep, d)
				continue
			}
			ops = append(ops, xfrm.DelSA{ID: d.id})
		}
		h.dying = keep
		if len(ops) > 0 {
			out = append(out, Xfrm{Key: h.addr, Ops: ops})
		}
	}
	return out
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

// childUp tells the role, and lets go of what the new pair replaces.
func (n *Node) childUp(req uint64, c ike.Child, out []Action) []Action {
	s := n.sa(c.SA)
	s.children = append(s.children, c)
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
	if h.mn != nil {
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
	if h.mn == nil {
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
	for i := range s.children {
		if s.children[i].SPIIn == a.OldSPIIn {
			s.children[i] = c
		}
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
