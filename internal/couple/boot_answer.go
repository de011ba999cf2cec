package couple

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/xfrm"
)

// bootUp takes the answer of the home agent; it counts when the child is agreed upon as well.
func (n *Node) bootUp(a ike.SAUp) {
	b := n.boot
	b.req, b.sa, b.up, b.home = 0, a.SA, false, netip.Prefix{}
	for _, attr := range a.CFGReply {
		// 16 octets of address and one of prefix length (RFC 7296 §3.15.1).
		if attr.Type == message.AttrInternalIP6Address && len(attr.Value) == 17 {
			b.home = netip.PrefixFrom(netip.AddrFrom16([16]byte(attr.Value)), int(attr.Value[16]))
		}
	}
}

// bootInstall agrees to the child without putting it into the databases: it exists because
// IKE_AUTH makes one, and it is closed at once. The SPI was reserved at the care-of address.
func (n *Node) bootInstall(a ike.Install, out []Action) []Action {
	b := n.boot
	b.up = true
	n.tellIKE(ike.Installed{ID: a.ID})
	return append(out, Xfrm{Ops: []xfrm.Op{xfrm.DelSA{ID: xfrm.ID{Dst: b.careOf, SPI: xfrm.SPI(a.Child.SPIIn), Proto: xfrm.ESP}}}})
}

// bootChildUp looks at the address that was given.
func (n *Node) bootChildUp(c ike.Child, out []Action) []Action {
	b := n.boot
	err := b.check(b.home, b.careOf)
	if a := b.home.Addr(); err == nil && (len(c.Local) != 1 || c.Local[0].Start != a || c.Local[0].End != a) {
		err = fmt.Errorf("%w: its selectors are for %v", errAssigned, c.Local)
	}
	if err != nil {
		return n.bootFailed(err.Error(), out)
	}
	n.tellIKE(ike.Close{SA: b.sa})
	return out
}

var errAssigned = errors.New("the home agent's address is of no use")

// check refuses what cannot be a home address.
func (b *boot) check(home netip.Prefix, careOf netip.Addr) error {
	a := home.Addr()
	switch {
	case !a.IsValid():
		return fmt.Errorf("%w: it assigned none", errAssigned)
	case !home.IsValid() || home.Bits() == 0:
		return fmt.Errorf("%w: %v has no prefix length", errAssigned, a)
	case !a.Is6() || a.Is4In6() || !a.IsGlobalUnicast():
		return fmt.Errorf("%w: %v is not global unicast", errAssigned, a)
	case a == b.HomeAgent:
		return fmt.Errorf("%w: %v is its own", errAssigned, a)
	case a == careOf:
		return fmt.Errorf("%w: %v is the care-of address", errAssigned, a)
	case home.Bits() < 127 && a == home.Masked().Addr(): // RFC 4291 §2.6.1, RFC 6164
		return fmt.Errorf("%w: %v is the anycast address of the subnet's routers", errAssigned, a)
	}
	return nil
}

// bootFailed says why there is no address, ends what stands, and tries again later.
func (n *Node) bootFailed(reason string, out []Action) []Action {
	b := n.boot
	b.reason, b.home, b.req = reason, netip.Prefix{}, 0
	b.pause = min(max(2*b.pause, bootPause), bootPauseMax)
	b.retryAt = n.now.Add(b.pause)
	if b.sa != 0 {
		n.tellIKE(ike.Close{SA: b.sa})
	}
	return append(out, note(Warn, "no home address from the home agent", "agent", b.HomeAgent.String(), "conn", b.Conn,
		"reason", reason, "again_in", b.pause.String()))
}

// bootReason says a refusal in words: the notification where there is one.
func bootReason(t message.NotifyType, reason string) string {
	if t == 0 {
		return reason
	}
	return t.String() + ": " + reason
}

// bootDown goes on when the IKE SA of the search is gone.
func (n *Node) bootDown(a ike.SADown, out []Action) []Action {
	b := n.boot
	home := b.home
	b.sa = 0
	delete(n.sas, a.SA)
	switch {
	case n.stop.begun:
	case home.IsValid() && b.up:
		return n.addMN(home, out)
	case b.retryAt.IsZero():
		return n.bootFailed(string(a.Reason), out)
	}
	return out
}

// addMN makes the mobile node for its home address and starts it.
func (n *Node) addMN(home netip.Prefix, out []Action) []Action {
	b := n.boot
	m, err := b.Build(home)
	if err != nil {
		return n.bootFailed(err.Error(), out)
	}
	b.done, b.reason, b.home = true, "", home
	n.cfg.MNs = append(n.cfg.MNs, m) // there is room: those before stay where they are
	added := &n.cfg.MNs[len(n.cfg.MNs)-1]
	n.know(added)
	if len(n.cfg.MNs) == 1 {
		if ops := n.shared(true); len(ops) > 0 {
			out = append(out, Xfrm{Ops: ops})
		}
	}
	out = append(out, note(Info, "home address", "home", home.String(), "agent", b.HomeAgent.String()))
	added.Machine.Learn(b.Scout)
	n.restore(added, b.start)
	return out
}
