package mn

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/internal/host"
)

// routing is what of our own table and its rules is in the host. Default routes of
// links that the node has left linger in the main table for as long as their
// advertised lifetime; our table has the one that works.
type routing struct {
	Routes []host.Route
	Rules  []host.Rule
}

var (
	linkLocalNet = netip.MustParsePrefix("fe80::/64")
	everywhere   = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }

// routing is what an attachment needs. Without a router of its own it is
// nothing: whoever put the address there has put routes too.
func (m *Machine) routing(a attachment) routing {
	if !a.Router.IsValid() {
		return routing{}
	}
	t := m.cfg.Table
	var r routing
	for _, p := range append([]netip.Prefix{linkLocalNet}, a.OnLink...) {
		r.Routes = append(r.Routes, host.Route{Dst: p, IfIndex: a.IfIndex, Table: t})
	}
	r.Routes = append(r.Routes, host.Route{Dst: everywhere, Via: a.Router, IfIndex: a.IfIndex, Table: t})
	if a.Kind == abroad {
		r.Rules = append(r.Rules, m.careOfRule(a.CareOf))
	}
	if home := m.cfg.Home.Addr(); home.IsValid() { // a Scout has none
		r.Rules = append(r.Rules, host.Rule{Src: hostPrefix(home), Table: t, Priority: m.cfg.RulePriority + 1})
	}
	for _, g := range m.s.Grace { // packets from the old address still leave
		if rule := m.careOfRule(g.CareOf); !slices.Contains(r.Rules, rule) {
			r.Rules = append(r.Rules, rule)
		}
	}
	return r
}

func (m *Machine) careOfRule(a netip.Addr) host.Rule {
	return host.Rule{Src: hostPrefix(a), Table: m.cfg.Table, Priority: m.cfg.RulePriority}
}

// route gives the operations that lead to the routing, routes before the rules that use
// them, new rules before old ones go. With force everything is put again: a link that was
// down has lost its routes.
func (m *Machine) route(want routing, force bool) []host.Op {
	have := m.s.Routes
	m.s.Routes = want
	var ops []host.Op
	for _, r := range want.Routes {
		if force || !slices.Contains(have.Routes, r) {
			ops = append(ops, host.PutRoute{Route: r})
		}
	}
	for _, r := range want.Rules {
		if force || !slices.Contains(have.Rules, r) {
			ops = append(ops, host.PutRule{Rule: r})
		}
	}
	for _, r := range have.Rules {
		if !slices.Contains(want.Rules, r) {
			ops = append(ops, host.DelRule{Rule: r})
		}
	}
	for _, r := range have.Routes {
		replaced := slices.ContainsFunc(want.Routes, func(w host.Route) bool { return w.Dst == r.Dst })
		if !replaced {
			ops = append(ops, host.DelRoute{Route: r})
		}
	}
	return ops
}

// letGo frees the packets that wait for the router of the link before, after a link came up again.
// It is for behind the migration: nothing is sent there any more then.
func (m *Machine) letGo(back bool) []host.Op {
	if !back {
		return nil
	}
	return []host.Op{host.DropUnresolved{IfIndex: m.s.Cur.IfIndex, Keep: m.s.Cur.Router}}
}
