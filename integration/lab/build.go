package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wires are the veth pairs: host and interface at either end. A port of a bridge
// is named after the host and interface at its other end.
var wires = []struct{ a, ai, b, bi string }{
	{CN, CNIface, Core, "cn0"},
	{HA, HACoreIface, Core, "ha0"},
	{Router, "core0", Core, "router0"},
	{HA, HAHomeIface, Links, "ha-home0"},
	{Router, "f1", Links, "router-f1"},
	{Router, "f2", Links, "router-f2"},
	{MN, MNIface, Links, portOf(MN)},
}

// portOf is the end of a mobile node's wire that moves between the bridges.
func portOf(node string) string { return node + "-" + MNIface }

// wire makes bridges and veth pairs, all down. No address is formed before settle.
func (l *Lab) wire(context.Context) error {
	links := l.Host(Links)
	if err := links.Sysctls("ipv6/conf/all/disable_ipv6=1", "ipv6/conf/default/disable_ipv6=1"); err != nil {
		return err
	}
	for _, name := range []Link{Home, Foreign1, Foreign2} {
		// Snooping would lose neighbour discovery of a node that just arrived.
		snooping := false
		br := &netlink.Bridge{LinkAttrs: attrs(string(name), l.Plan.MTU), MulticastSnooping: &snooping}
		if err := links.NL.LinkAdd(br); err != nil {
			return fmt.Errorf("lab: bridge %s: %w", name, err)
		}
		if err := links.NL.LinkSetUp(br); err != nil {
			return err
		}
	}
	for i, w := range wires {
		if err := l.addWire(w.a, w.ai, w.b, w.bi, byte(i)); err != nil {
			return err
		}
	}
	for port, bridge := range map[string]Link{"ha-home0": Home, "router-f1": Foreign1, "router-f2": Foreign2} {
		if err := links.enslave(port, string(bridge)); err != nil {
			return err
		}
		if err := links.up(port); err != nil {
			return err
		}
	}
	return nil
}

// addWire makes one veth pair; n is in the addresses of its ends.
func (l *Lab) addWire(a, ai, b, bi string, n byte) error {
	v := &netlink.Veth{LinkAttrs: attrs(ai, l.Plan.MTU), PeerName: bi, PeerMTU: uint32(l.Plan.MTU)}
	v.Namespace, v.PeerNamespace = netlink.NsFd(l.Host(a).NS), netlink.NsFd(l.Host(b).NS)
	v.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 1, n, 1}
	v.PeerHardwareAddr = net.HardwareAddr{0x02, 0, 0, 1, n, 2}
	if mac, ok := macs[a]; ok {
		v.HardwareAddr = mac[:]
	}
	if err := netlink.LinkAdd(v); err != nil {
		return fmt.Errorf("lab: wire %s %s: %w", a, b, err)
	}
	return nil
}

func attrs(name string, mtu int) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, mtu
	return a
}

func (h *Host) enslave(port, bridge string) error {
	p, err := h.NL.LinkByName(port)
	if err != nil {
		return err
	}
	br, err := h.NL.LinkByName(bridge)
	if err != nil {
		return err
	}
	return h.NL.LinkSetMaster(p, br)
}

func (h *Host) up(iface string) error {
	link, err := h.NL.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("lab: %s %s: %w", h.Name, iface, err)
	}
	return h.NL.LinkSetUp(link)
}

// settle writes the sysctls, brings the interfaces up and sets the addresses that
// do not change.
func (l *Lab) settle(context.Context) error {
	// Every host but the mobile node comes up without duplicate address detection,
	// so that the lab stands at once.
	for _, name := range []string{Core, Router, HA, CN} {
		h := l.Host(name)
		if err := h.Sysctls("ipv6/conf/all/accept_dad=0", "ipv6/conf/default/accept_dad=0", "ipv6/conf/default/accept_ra=0",
			"ipv6/conf/all/accept_ra=0"); err != nil {
			return err
		}
		ifaces, err := h.Ifaces()
		if err != nil {
			return err
		}
		for _, i := range ifaces {
			if err := h.Sysctls("ipv6/conf/"+i+"/accept_dad=0", "ipv6/conf/"+i+"/accept_ra=0"); err != nil {
				return err
			}
			if err := h.up(i); err != nil {
				return err
			}
		}
		if name != CN {
			if err := h.Sysctl("ipv6/conf/all/forwarding", "1"); err != nil {
				return err
			}
		}
	}
	for _, w := range wires {
		if w.b == Core {
			if err := l.Host(Core).up(w.bi); err != nil {
				return err
			}
		}
	}
	if err := l.settleMN(MN); err != nil {
		return err
	}
	p := l.Plan
	for _, a := range []struct {
		host, iface string
		addr        netip.Addr
	}{
		{CN, CNIface, p.CN}, {Core, "cn0", coreToCN}, {Core, "ha0", coreToHA}, {Core, "router0", coreToRouter},
		{HA, HACoreIface, p.HACore}, {HA, HAHomeIface, p.HA}, {Router, "core0", routerToCore},
		{Router, "f1", p.F1Router}, {Router, "f2", p.F2Router},
	} {
		if err := l.Host(a.host).addAddr(a.iface, netip.PrefixFrom(a.addr, 64), unix.IFA_F_NODAD); err != nil {
			return err
		}
	}
	// The agent detects duplicates for its mobile nodes: from here on as Linux does.
	ha := l.Host(HA)
	return ha.Sysctls("ipv6/conf/all/accept_dad=1", "ipv6/conf/"+HAHomeIface+"/accept_dad=1", "ipv6/conf/default/accept_dad=1")
}

// settleMN prepares a mobile node: a host as a laptop's kernel is, with addresses
// from its MAC so that they can be foretold, and the plan's DAD.
func (l *Lab) settleMN(node string) error {
	h := l.Host(node)
	set := []string{"addr_gen_mode=0", "use_tempaddr=0", "accept_ra=1", "autoconf=1"}
	switch l.Plan.DAD {
	case DADOff:
		set = append(set, "accept_dad=0")
	case DADOn, "":
		set = append(set, "accept_dad=1", "dad_transmits=1")
	case DADOptimistic:
		set = append(set, "accept_dad=1", "dad_transmits=1", "optimistic_dad=1", "use_optimistic=1")
	default:
		return fmt.Errorf("lab: unknown DAD mode %q", l.Plan.DAD)
	}
	for _, conf := range []string{"all", "default", MNIface} {
		for _, s := range set {
			err := h.Sysctls("ipv6/conf/" + conf + "/" + s)
			if err != nil && strings.Contains(s, "optimistic") && os.IsNotExist(unwrapPath(err)) {
				return ErrNoOptimistic
			}
			if err != nil {
				return err
			}
		}
	}
	return h.up(MNIface) // no carrier yet: the other end is down
}

func (h *Host) addAddr(iface string, p netip.Prefix, flags int) error {
	link, err := h.NL.LinkByName(iface)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipNet(p), Flags: flags}
	if err := h.NL.AddrAdd(link, a); err != nil {
		return fmt.Errorf("lab: %s: address %v on %s: %w", h.Name, p, iface, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// routes sets the static routes and the delay.
func (l *Lab) routes(context.Context) error {
	p := l.Plan
	all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	for _, r := range []struct {
		host string
		dst  netip.Prefix
		via  netip.Addr
	}{
		{CN, all, coreToCN}, {HA, all, coreToHA}, {Router, all, coreToRouter},
		{Core, p.HomePrefix, p.HACore}, {Core, p.F1Prefix, routerToCore}, {Core, p.F2Prefix, routerToCore},
	} {
		route := &netlink.Route{Dst: ipNet(r.dst), Gw: r.via.AsSlice()}
		if err := l.Host(r.host).NL.RouteAdd(route); err != nil {
			return fmt.Errorf("lab: %s: route %v: %w", r.host, r.dst, err)
		}
	}
	if p.Delay == 0 {
		return nil
	}
	return l.delay([][2]string{{Core, "router0"}, {Router, "core0"}}, p.Delay)
}

// unwrapPath gives the system's error of a failed file operation.
func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
