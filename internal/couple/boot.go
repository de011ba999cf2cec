package couple

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

// Boot is for a mobile node that gets its home address from the home agent (RFC 4877 §9,
// RFC 5026 §5.3): over the first usable care-of address it sets up an IKE SA with a
// CFG_REQUEST for INTERNAL_IP6_ADDRESS, learns the address, and ends that IKE SA. From
// then on everything is as with a configured address. The agent binds the address to
// the identity, so that the same one comes at the next start.
type Boot struct {
	HomeAgent netip.Addr
	Conn      string
	ReqID     xfrm.ReqID // of the node's Mobility Header children
	Scout     *mn.Scout
	// Build makes the mobile node for its address with the length of the home prefix.
	Build func(home netip.Prefix) (MN, error)
}

const (
	// bootSettle is how long a care-of address must be the one before it is used: at a start the
	// host tells addresses and routers one by one.
	bootSettle = 100 * time.Millisecond
	// The pause after a refusal doubles between these.
	bootPause    = time.Second
	bootPauseMax = time.Minute
)

// boot is what a Node knows while it has no home address.
type boot struct {
	Boot
	begun, done bool
	start       Start      // what an earlier run left
	careOf      netip.Addr // that IKE is done over
	req         uint64     // of the Initiate under way
	cancelled   uint64     // of the last one that was given up
	sa          ike.SAID   // that stands; it is used for nothing else
	up          bool       // its child is agreed upon
	home        netip.Prefix
	reason      string // of the last refusal
	// refusedSince is when the agent began to refuse the address that it gave, and leaving
	// that the mobile node stops for it.
	refusedSince time.Time
	leaving      bool
	pause        time.Duration
	retryAt      time.Time
}

// BootInfo is what is shown of a node without a home address.
type BootInfo struct {
	Active bool
	CareOf netip.Addr // that the home agent is asked over; zero: none is usable
	Reason string     // of the last refusal
}

// Boot tells how far the search for a home address is.
func (n *Node) Boot() BootInfo {
	b := n.boot
	if b == nil || b.done {
		return BootInfo{}
	}
	return BootInfo{Active: true, CareOf: b.careOf, Reason: b.reason}
}

// startBoot begins, unless a crashed run has left a home address: that one is used at once,
// so that payload goes on.
func (n *Node) startBoot(e Start, out []Action) []Action {
	b := n.boot
	if b == nil {
		return out
	}
	b.begun, b.start = true, e
	for _, r := range slices.Backward(e.MN) {
		home := netip.PrefixFrom(r.Home, r.HomeBits)
		if r.HomeBits > 0 && r.HomeAgent == b.HomeAgent && b.check(home, netip.Addr{}) == nil {
			return n.addMN(home, out)
		}
	}
	return n.followBoot(out)
}

// bootWants tells whether there is a home address to ask for.
func (n *Node) bootWants() bool {
	return n.boot != nil && n.boot.begun && !n.boot.done && !n.stop.begun
}

// followBoot asks where it is time to, and begins anew where the care-of address is another one.
func (n *Node) followBoot(out []Action) []Action {
	b := n.boot
	if !n.bootWants() {
		return out
	}
	n.fromMN(b.Scout.Follow(n.now, nil))
	at := b.Scout.CareOf()
	moved := at != b.careOf
	b.careOf = at
	switch {
	case b.sa != 0: // its child is still to come
		if moved && at.IsValid() {
			n.tellIKE(ike.Moved{SA: b.sa, Local: n.port(at)})
		}
		return out
	case moved:
		n.cancelBoot()
		b.pause, b.retryAt = 0, n.now.Add(bootSettle)
	}
	if !at.IsValid() || b.req != 0 || b.retryAt.After(n.now) {
		return out
	}
	b.retryAt = time.Time{}
	n.lastReq++
	b.req = n.lastReq
	n.tellIKE(ike.Initiate{Req: b.req, Conn: b.Conn, Local: n.port(at), Remote: n.port(b.HomeAgent), InitialContact: true,
		Children: []ike.ChildWant{{Name: nameMH, Mode: ike.Transport, ReqID: uint32(b.ReqID),
			Local:  []message.Selector{message.PrefixSelector(anywhere, protoMH)},
			Remote: []message.Selector{message.PrefixSelector(only(b.HomeAgent), protoMH)}}},
		CFGRequest: []message.Attribute{{Type: message.AttrInternalIP6Address}}})
	return append(out, note(Debug, "asking the home agent for a home address", "agent", b.HomeAgent.String(), "careof", at.String()))
}

// cancelBoot gives up the Initiate under way.
func (n *Node) cancelBoot() {
	req := n.boot.req
	n.boot.req = 0
	if req != 0 {
		n.boot.cancelled = req
		n.tellIKE(ike.Cancel{Req: req})
	}
}

// stopBoot ends the search. Its SPI goes with the IKE SA.
func (n *Node) stopBoot() {
	b := n.boot
	if b == nil || b.done {
		return
	}
	n.cancelBoot()
	if b.sa != 0 {
		n.tellIKE(ike.Close{SA: b.sa})
	}
	n.fromMN(b.Scout.Leave(nil))
}

func (b *boot) deadline() time.Time {
	d := b.Scout.Deadline()
	if b.req == 0 && b.sa == 0 && b.careOf.IsValid() {
		d = earlier(d, b.retryAt)
	}
	return d
}

// bootSA tells whether an IKE SA is that of the search.
func (n *Node) bootSA(id ike.SAID) bool { return n.boot != nil && id != 0 && n.boot.sa == id }

// askAgain is the request for an address that was given before: an agent that has forgotten
// whose it is gives it again.
func (n *Node) askAgain(home netip.Addr) []message.Attribute {
	if n.boot == nil || !n.boot.done || n.boot.home.Addr() != home {
		return nil
	}
	v := home.As16()
	return []message.Attribute{{Type: message.AttrInternalIP6Address, Value: append(v[:], byte(n.boot.home.Bits()))}}
}
