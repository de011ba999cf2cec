package ha

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
)

// poolCursor is where the next free address is looked for.
type poolCursor struct {
	prefix int
	addr   netip.Addr
}

// poolTries bounds a search for a free address.
const poolTries = 1 << 16

// assign takes an address from the pool for an identity that has none. It stays
// bound to the identity (RFC 4877 §10) until the pool runs out.
func (m *Machine) assign(ev Authorise) (netip.Addr, error) {
	// What the node suggests, if it is free (RFC 7296 §3.15.1), or what it names.
	for _, want := range append([]netip.Addr{ev.Suggested}, single(ev.Remote)...) {
		if m.inPool(want) && m.freeHome(want) {
			return want, nil
		}
	}
	for range poolTries {
		a, ok := m.nextInPool()
		if !ok {
			break
		}
		if m.freeHome(a) {
			return a, nil
		}
	}
	if n := m.oldestLease(); n != nil {
		a := n.addr()
		m.remove(n)
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("%w: the pool is empty", ErrAddressFailure)
}

// single are the addresses that selectors name alone.
func single(sel []Selector) []netip.Addr {
	var out []netip.Addr
	for _, s := range sel {
		if s.Start == s.End {
			out = append(out, s.Start)
		}
	}
	return out
}

func (m *Machine) inPool(a netip.Addr) bool {
	for _, p := range m.cfg.Pool {
		if a.IsValid() && p.Contains(a) {
			return true
		}
	}
	return false
}

// freeHome tells whether an address may be given away: not the subnet routers' or
// the home agents' anycast address, nobody's, and of this instance.
func (m *Machine) freeHome(a netip.Addr) bool {
	if m.cfg.isAgent(a) || !mobility.UnicastRoutable(a) || ShardOf(a, m.cfg.Shards) != m.cfg.Shard {
		return false
	}
	h, ok := m.cfg.prefix(m.now, a)
	if !ok || a == h.Prefix.Addr() || a == mobility.HomeAgentsAnycast(h.Prefix) {
		return false
	}
	if _, ok := m.byLine[a]; ok {
		return false
	}
	_, used := m.byHome[a.As16()]
	return !used
}

// nextInPool walks through the pool, round and round.
func (m *Machine) nextInPool() (netip.Addr, bool) {
	c := &m.poolNext
	if c.prefix >= len(m.cfg.Pool) {
		*c = poolCursor{}
	}
	p := m.cfg.Pool[c.prefix].Masked()
	if !c.addr.IsValid() {
		c.addr = p.Addr()
	}
	a := c.addr
	if c.addr = a.Next(); !p.Contains(c.addr) {
		*c = poolCursor{prefix: c.prefix + 1}
	}
	return a, p.Contains(a)
}

// oldestLease is the lease that was idle for the longest time, or nil.
func (m *Machine) oldestLease() *node {
	var old *node
	for _, n := range m.nodes {
		if n == nil || !n.assigned || n.phase != protect.Absent || n.asking > 0 || n.work != nil {
			continue
		}
		if old == nil || n.idle.Before(old.idle) {
			old = n
		}
	}
	return old
}

// Owner tells which of Config.Shards instances an Authorise goes to: the owner of
// the home address that the access list or the certificate names, or for the
// pool one that stays the same for an identity.
func (c *Config) Owner(ev Authorise) int {
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Identity == ev.Identity && n.Home.IsValid() {
			return ShardOf(n.Home, c.Shards)
		}
	}
	for _, a := range ev.Addresses {
		if covers(ev.Remote, a) {
			return ShardOf(a, c.Shards)
		}
	}
	h := uint64(14695981039346656037) // FNV-1a of the identity
	for i := 0; i < len(ev.Identity); i++ {
		h = (h ^ uint64(ev.Identity[i])) * 1099511628211
	}
	return int((h >> 33) % uint64(max(c.Shards, 1)))
}
