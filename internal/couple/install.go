package couple

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike"
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

// keyed gives an SA its keys in Linux's words: ESP a combined-mode cipher, or a cipher
// with an integrity algorithm; AH the latter alone.
func keyed(sa *xfrm.SA, c ike.Child, key, auth []byte) {
	if sa.Proto != xfrm.AH && c.Encr.Combined() {
		sa.AEAD = xfrm.AEAD{Name: c.Encr.Linux(), Key: key, ICVBits: c.Encr.ICVBits()}
		return
	}
	sa.Auth = xfrm.Auth{Name: c.Integ.Linux(), Key: auth, TruncBits: c.Integ.ICVBits()}
	if sa.Proto != xfrm.AH {
		sa.Crypt = xfrm.Crypt{Name: c.Encr.Linux(), Key: key}
	}
}

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
	h := n.entryOf(s, key)
	in := n.state(c)
	in.Src, in.Dst, in.SPI = c.RemoteAddr, c.LocalAddr, xfrm.SPI(c.SPIIn)
	keyed(&in, c, c.KeyIn, c.AuthIn)
	in.Encap = encap(c.RemotePort, c.LocalPort)
	to := n.state(c)
	to.Src, to.Dst, to.SPI = c.LocalAddr, c.RemoteAddr, xfrm.SPI(c.SPIOut)
	keyed(&to, c, c.KeyOut, c.AuthOut)
	to.Encap = encap(c.LocalPort, c.RemotePort)
	if key.IsValid() && in.Mode == xfrm.Tunnel {
		if node, agent, ok := n.stands(h, in.ReqID); ok {
			in.Src, in.Dst = agent, node
			if h.mn == nil {
				in.Src, in.Dst = node, agent
			}
			to.Src, to.Dst = in.Dst, in.Src
		}
	}
	ops := []xfrm.Op{xfrm.PutSA{SA: in}, xfrm.PutSA{SA: to}}
	if key.IsValid() {
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

// entryOf is where the SAs of an IKE SA's children are filed: with their pair, or their home address.
func (n *Node) entryOf(s *keySA, key netip.Addr) *home {
	if s != nil && s.home != nil {
		return s.home
	}
	if !key.IsValid() {
		return nil
	}
	return n.home(key)
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

// state is what both SAs of a child have in common.
func (n *Node) state(c ike.Child) xfrm.SA {
	return xfrm.SA{
		Proto: xfrm.Proto(c.Proto), Mode: xfrmMode(c.Mode), ReqID: xfrm.ReqID(c.ReqID),
		Replay: xfrm.Replay{Window: n.cfg.ReplayWindow, ESN: c.ESN},
		Life: xfrm.Lifetimes{
			HardTime: c.Hard, SoftBytes: c.Bytes.Rekey, HardBytes: c.Bytes.Hard,
			SoftPackets: c.Packets.Rekey, HardPackets: c.Packets.Hard,
		},
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
			if x.spiIn != c.SPIIn || x.reqid != id || x.in.Proto != xfrm.Proto(c.Proto) {
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
	proto := xfrm.Proto(c.Proto)
	ops := []xfrm.Op{xfrm.DelSA{ID: xfrm.ID{Dst: c.LocalAddr, SPI: xfrm.SPI(c.SPIIn), Proto: proto}}}
	if c.SPIOut != 0 {
		ops = append(ops, xfrm.DelSA{ID: xfrm.ID{Dst: c.RemoteAddr, SPI: xfrm.SPI(c.SPIOut), Proto: proto}})
	}
	return append(out, Xfrm{Key: n.keyOf(n.sas[c.SA], c.ReqID), Ops: ops})
}

// reap puts outbound SAs that were held long enough, then removes SAs whose time is over.
func (n *Node) reap(out []Action) []Action {
	n.reapAt = time.Time{}
	end := n.stop.begun // nothing lingers then
	var idle []*home
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
		if h.pair != nil {
			idle = append(idle, h)
		}
		if len(ops) > 0 {
			out = append(out, Xfrm{Key: h.addr, Ops: ops})
		}
	}
	for _, h := range idle {
		n.releasePair(h)
	}
	return out
}
