package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// defence is what puts the home agent in the node's place on the home link: it
// answers for its addresses and says so to all (RFC 6275 §10.4.1).
func (m *Machine) defence(n *node, flags mobility.UpdateFlags) []host.Op {
	var ops []host.Op
	for _, a := range n.addresses(flags) {
		ops = append(ops, host.PutProxy{IfIndex: m.cfg.HomeLink.Index, Addr: a})
	}
	if m.cfg.HostRoutes {
		ops = append(ops, host.PutRoute{Route: m.route(n)})
	}
	return append(ops, m.advertisements(n, flags)...)
}

// advertisements override the neighbours' entries; R is zero, the node is no router.
func (m *Machine) advertisements(n *node, flags mobility.UpdateFlags) []host.Op {
	var ops []host.Op
	for _, a := range n.addresses(flags) {
		ops = append(ops, host.AdvertiseNeighbour{IfIndex: m.cfg.HomeLink.Index, Target: a, Override: true})
	}
	return ops
}

// surrender ends it: no defence from now on (RFC 6275 §10.4.1).
func (m *Machine) surrender(n *node, flags mobility.UpdateFlags) []host.Op {
	var ops []host.Op
	for _, a := range n.addresses(flags) {
		ops = append(ops, host.DelProxy{IfIndex: m.cfg.HomeLink.Index, Addr: a})
	}
	if m.cfg.HostRoutes {
		ops = append(ops, host.DelRoute{Route: m.route(n)})
	}
	return ops
}

func (m *Machine) route(n *node) host.Route {
	return host.Route{Dst: netip.PrefixFrom(n.addr(), 128), IfIndex: m.cfg.HomeLink.Index}
}

// defend follows the L flag of a binding that is there.
func (m *Machine) defend(n *node, old, new mobility.UpdateFlags) {
	ll := mobility.WithPrefix(linkLocal, n.addr())
	switch had, has := old.Has(mobility.FlagLinkLocal), new.Has(mobility.FlagLinkLocal); {
	case has && !had:
		m.act(n, host.PutProxy{IfIndex: m.cfg.HomeLink.Index, Addr: ll},
			host.AdvertiseNeighbour{IfIndex: m.cfg.HomeLink.Index, Target: ll, Override: true})
	case had && !has:
		m.act(n, host.DelProxy{IfIndex: m.cfg.HomeLink.Index, Addr: ll})
	}
}

func (m *Machine) advertiseAgain(n *node, count int) {
	e, ok := m.cache.Lookup(n.addr())
	if !ok || e.Deleted || count <= 0 {
		return
	}
	m.act(n, m.advertisements(n, e.Flags)...)
	m.after(advertiseAfter, n, advertise, count-1)
}
