package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Move takes the mobile node from its link to another one: its carrier drops, its
// port is moved to the other bridge, its carrier rises. start is when the carrier
// was dropped, up when the node's kernel was told that it is back: what is lost
// between the two no protocol can save. Move(ctx, None) only drops the carrier (up
// is then zero). The node's kernel sees the loss of carrier before it sees the
// new one, as with a cable.
func (l *Lab) Move(ctx context.Context, to Link) (start, up time.Time, err error) {
	return l.MoveNode(ctx, MN, to)
}

// MoveNode is Move for either mobile node.
func (l *Lab) MoveNode(ctx context.Context, node string, to Link) (start, up time.Time, err error) {
	links, mn := l.Host(Links), l.Host(node)
	port, err := links.NL.LinkByName(portOf(node))
	if err != nil {
		return start, up, err
	}
	start = time.Now()
	if err := links.NL.LinkSetDown(port); err != nil {
		return start, up, err
	}
	if err := mn.waitCarrier(ctx, MNIface, false); err != nil {
		return start, up, err
	}
	l.on[node] = None
	l.say("the carrier of %s dropped", node)
	if to == None {
		return start, up, nil
	}
	if err := links.enslave(port.Attrs().Name, string(to)); err != nil {
		return start, up, fmt.Errorf("lab: move to %s: %w", to, err)
	}
	if err := links.NL.LinkSetUp(port); err != nil {
		return start, up, err
	}
	if err := mn.waitCarrier(ctx, MNIface, true); err != nil {
		return start, up, err
	}
	up = time.Now()
	l.on[node] = to
	l.say("%s is on %s, %.1f ms without carrier", node, to, up.Sub(start).Seconds()*1e3)
	return start, up, nil
}

// errNotYet is the answer of a look that found nothing yet.
var errNotYet = errors.New("lab: not yet")

// poll looks each millisecond until the look succeeds, fails otherwise than by
// errNotYet, or the context (at most for limit) ends.
func poll(ctx context.Context, limit time.Duration, what string, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: %s: waited %v in vain: %w", what, limit, ctx.Err())
		case <-tick.C:
		}
	}
}

// waitCarrier waits for an interface that the kernel has told everyone to be
// running, or not: IFF_RUNNING follows the carrier only when the kernel's link
// watch has worked.
func (h *Host) waitCarrier(ctx context.Context, iface string, want bool) error {
	return poll(ctx, 5*time.Second, fmt.Sprintf("carrier %v of %s %s", want, h.Name, iface), func() error {
		link, err := h.NL.LinkByName(iface)
		if err != nil {
			return err
		}
		if (link.Attrs().RawFlags&unix.IFF_RUNNING != 0) != want {
			return errNotYet
		}
		return nil
	})
}

// WaitAddr waits until the host has a usable (not tentative, or optimistic) address
// of the prefix on the interface, and returns it.
func (l *Lab) WaitAddr(ctx context.Context, host, iface string, p netip.Prefix, limit time.Duration) (netip.Addr, error) {
	var found netip.Addr
	h := l.Host(host)
	err := poll(ctx, limit, fmt.Sprintf("address of %v on %s %s", p, host, iface), func() error {
		link, err := h.NL.LinkByName(iface)
		if err != nil {
			return err
		}
		addrs, err := whole(func() ([]netlink.Addr, error) { return h.NL.AddrList(link, netlink.FAMILY_V6) })
		if err != nil {
			return err
		}
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP)
			tentative := a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0
			if p.Contains(ip) && !tentative && a.Flags&unix.IFA_F_DADFAILED == 0 {
				found = ip
				return nil
			}
		}
		return errNotYet
	})
	return found, err
}

// AddAddr adds an address by hand, as "ip addr add" does.
func (l *Lab) AddAddr(host, iface string, p netip.Prefix) error {
	return l.Host(host).addAddr(iface, p, 0)
}

// DelAddr removes an address, as "ip addr del" does.
func (l *Lab) DelAddr(host, iface string, p netip.Prefix) error {
	h := l.Host(host)
	link, err := h.NL.LinkByName(iface)
	if err != nil {
		return err
	}
	if err := h.NL.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil {
		return fmt.Errorf("lab: %s: delete %v from %s: %w", host, p, iface, err)
	}
	return nil
}
