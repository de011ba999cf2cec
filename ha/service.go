package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// start puts up what all home addresses share, and takes over what was restored.
func (m *Machine) start() {
	if m.life != fresh {
		return
	}
	m.life = serving
	if m.cfg.Shard == 0 {
		m.apply(nil, m.plan.Start(m.generic()))
		m.act(nil, m.sysctls()...)
	}
	m.resume()
}

func (m *Machine) generic() protect.Generic {
	g := protect.Generic{HomeAgents: m.cfg.Agents}
	for _, p := range m.cfg.Prefixes {
		g.HomePrefixes = append(g.HomePrefixes, p.Prefix)
	}
	return g
}

// sysctls let the host answer for its nodes, at once: a delayed proxy answer could
// come after the end of another node's duplicate address detection.
func (m *Machine) sysctls() []host.Op {
	link := m.cfg.HomeLink.Name
	ops := []host.Op{
		host.SetSysctl{Key: "net/ipv6/conf/" + link + "/proxy_ndp", Value: "1"},
		host.SetSysctl{Key: "net/ipv6/neigh/" + link + "/proxy_delay", Value: "0"},
	}
	if m.cfg.Forwarding {
		ops = append(ops, host.SetSysctl{Key: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	return ops
}

// stop takes the service down, a page of nodes at a time.
func (m *Machine) stop(ev Stop) {
	if m.life > serving {
		return
	}
	started := m.life == serving
	m.life, m.sweep = stopping, 0
	if ev.Keep || !started {
		m.life = stopped
		m.emit(Stopped{})
	}
}

// sweepPage is the number of nodes that one step takes down.
const sweepPage = 256

// drain goes on with the end of the service.
func (m *Machine) drain() {
	if m.life == stopping {
		for n := 0; n < sweepPage && m.sweep < len(m.nodes); m.sweep++ {
			if m.nodes[m.sweep] != nil {
				m.takeDown(m.nodes[m.sweep])
				n++
			}
		}
		if m.sweep < len(m.nodes) {
			return
		}
		if m.cfg.Shard == 0 {
			m.apply(nil, m.plan.Stop(m.generic()))
		}
		m.life = draining
	}
	if m.life == draining && !m.waiting() {
		m.life = stopped
		m.emit(Stopped{})
	}
}

// waiting tells whether answers are out that matter for the end.
func (m *Machine) waiting() bool {
	for _, p := range m.pending {
		if p.host != nil || p.xfrm != nil {
			return true
		}
	}
	return false
}

// takeDown leaves nothing of a node in the host.
func (m *Machine) takeDown(n *node) {
	if e, ok := m.cache.Lookup(n.addr()); ok && !e.Deleted {
		m.act(n, m.surrender(n, e.Flags)...)
	}
	m.cache.Remove(n.addr())
	n.work = nil
	m.apply(n, m.change(n, protect.Absent, netip.Addr{}))
	m.remove(n)
}

// setConfig replaces the configuration in the running service.
func (m *Machine) setConfig(cfg Config) {
	if err := cfg.Validate(); err != nil {
		m.note(Warn, nil, "configuration is not taken", "err", err)
		return
	}
	before := m.generic()
	// What cannot change in a running machine.
	cfg.Agents, cfg.HomeLink, cfg.Shard, cfg.Shards = m.cfg.Agents, m.cfg.HomeLink, m.cfg.Shard, m.cfg.Shards
	cfg.Protection, cfg.Caps, cfg.HostRoutes = m.cfg.Protection, m.cfg.Caps, m.cfg.HostRoutes
	m.configure(cfg)
	if m.life != serving {
		return
	}
	if m.cfg.Shard == 0 {
		m.apply(nil, exchange(m.plan.Generic(before), m.plan.Generic(m.generic())))
		m.act(nil, m.sysctls()...)
	}
	for _, n := range m.nodes {
		if n != nil {
			m.review(n)
		}
	}
}

// exchange puts the policies that are new and takes out those that are not wanted.
func exchange(have, want xfrm.Snapshot) []xfrm.Op {
	ids := func(s xfrm.Snapshot) map[xfrm.PolicyID]bool {
		out := map[xfrm.PolicyID]bool{}
		for _, p := range s.Policies {
			out[p.ID()] = true
		}
		return out
	}
	var ops []xfrm.Op
	had, wanted := ids(have), ids(want)
	for _, p := range want.Policies {
		if !had[p.ID()] {
			ops = append(ops, xfrm.PutPolicy{Policy: p})
		}
	}
	for _, p := range have.Policies {
		if !wanted[p.ID()] {
			ops = append(ops, xfrm.DelPolicy{ID: p.ID()})
		}
	}
	return ops
}

// review looks at a node after the configuration changed: its binding ends with
// its home prefix (RFC 6275 §10.3.1), and at once where it is not served any more.
func (m *Machine) review(n *node) {
	e, found := m.cache.Lookup(n.addr())
	bound := found && !e.Deleted
	p, served := m.cfg.prefix(m.now, n.addr())
	line := m.byName[n.identity]
	denied := line != nil && (line.Deny || line.Home.IsValid() && line.Home != n.addr())
	if owner, ok := m.byLine[n.addr()]; ok && owner != n.identity {
		denied = true
	}
	if denied || !served {
		if bound {
			m.cache.Delete(n.addr(), e.Seq, m.now.Add(binding.DeleteTimeout))
			m.unbind(n, e, Dropped)
		}
		if denied && !n.gone && (n.handle != 0 || n.mh != 0) {
			m.emit(KeyDown{Home: n.addr(), Reason: "not served any more"})
		}
		return
	}
	if bound && !p.ValidUntil.IsZero() && p.ValidUntil.Before(e.Expires) {
		e.Expires = p.ValidUntil
		_ = m.cache.Put(e)
		m.save(n)
	}
}
