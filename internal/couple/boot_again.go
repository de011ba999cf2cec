package couple

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// giveUpAfter is for how long a home agent refuses a given home address until another one is
// asked for: an agent that is only starting refuses as well.
const giveUpAfter = 5 * time.Second

// bootRefused notes that the home agent refuses the address that it has given: it may have
// forgotten it, and given it to another node meanwhile (RFC 4877 §10).
func (n *Node) bootRefused(h *home, byPeer bool, t message.NotifyType) {
	b := n.boot
	if b == nil || h.pair != nil || !b.done || b.leaving || n.stop.begun || h.addr != b.home.Addr() ||
		!byPeer || t != message.TSUnacceptable && t != message.InternalAddressFailure {
		return
	}
	if b.refusedSince.IsZero() {
		b.refusedSince = n.now
	}
	if n.now.Sub(b.refusedSince) < giveUpAfter {
		return
	}
	b.leaving, b.refusedSince = true, time.Time{}
	n.queue = append(n.queue, leave{h})
}

// leave ends the mobile node of a home address that is another's now.
type leave struct{ h *home }

// bootAccepted forgets the refusals of before.
func (n *Node) bootAccepted(h *home) {
	if b := n.boot; b != nil && h.pair == nil && h.addr == b.home.Addr() {
		b.refusedSince = time.Time{}
	}
}

// left goes on when the mobile node of the lost address has taken everything down.
func (n *Node) left(addr netip.Addr, out []Action) []Action {
	b := n.boot
	if b == nil || !b.leaving || b.home.Addr() != addr {
		n.roleStopped()
		return out
	}
	b.leaving = false
	if n.stop.begun {
		n.roleStopped()
		return out
	}
	last := len(n.cfg.MNs) - 1
	if ops := n.nodesOnly(); last == 0 && len(ops) > 0 {
		out = append(out, Xfrm{Ops: ops})
	}
	// What is told to it late is told to a machine that has stopped.
	gone := n.cfg.MNs[last]
	n.cfg.MNs = n.cfg.MNs[:last]
	h := n.home(addr)
	h.mn, h.reqids = &gone, nil
	b.Scout.Resume(gone.Machine)
	b.done, b.home, b.careOf, b.start = false, netip.Prefix{}, netip.Addr{}, Start{}
	b.pause, b.retryAt = 0, time.Time{}
	return append(out, note(Warn, "home address given up: the home agent refuses it", "home", addr.String(), "agent", b.HomeAgent.String()))
}
