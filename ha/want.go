package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

// Want is what the databases are to hold for all that this instance serves, keys
// excepted. WantPage gives the same in pages, and with it what the host is to hold.
func (m *Machine) Want() xfrm.Snapshot {
	var all xfrm.Snapshot
	for cursor, more := 0, true; more; more = cursor != 0 {
		cursor = m.WantPage(cursor, len(m.nodes), func(_ netip.Addr, want xfrm.Snapshot, _ []host.Op) {
			all.SAs = append(all.SAs, want.SAs...)
			all.Policies = append(all.Policies, want.Policies...)
		})
	}
	return all
}

// WantPage gives, for each home address of a page, what the databases and the host
// are to hold for it; the first page (cursor 0) begins with what all share, with
// no home address. It returns the cursor of the next page, 0 at the end.
func (m *Machine) WantPage(cursor, max int, each func(home netip.Addr, want xfrm.Snapshot, ops []host.Op)) (next int) {
	if cursor == 0 && m.cfg.Shard == 0 && m.life == serving {
		each(netip.Addr{}, m.plan.Generic(m.generic()), nil)
	}
	for i := cursor; i < len(m.nodes); i++ {
		n := m.nodes[i]
		if n == nil {
			continue
		}
		if max--; max < 0 {
			return i
		}
		var ops []host.Op
		if e, ok := m.cache.Lookup(n.addr()); ok && !e.Deleted {
			for _, a := range n.addresses(e.Flags) {
				ops = append(ops, host.PutProxy{IfIndex: m.cfg.HomeLink.Index, Addr: a})
			}
			if m.cfg.HostRoutes {
				ops = append(ops, host.PutRoute{Route: m.route(n)})
			}
		}
		each(n.addr(), m.plan.Want(m.have(n)), ops)
	}
	return 0
}
