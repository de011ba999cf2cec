package mn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
)

// Router solicitation (RFC 4861 §6.3.7, §10), and how many advertisements may be missed
// where a router says how often it sends them (RFC 6275 §11.5.1).
const (
	maxSolicitations     = 3
	solicitationInterval = 4 * time.Second
	missedAdvertisements = 3
)

// What strangers' advertisements may make us remember: routers of a link, and prefixes of one
// router, and of all of them as routes.
const (
	maxRouters  = 16
	maxPrefixes = 32
)

// asks tells whether a router solicitation is wanted on the link.
func (l *link) asks() bool {
	return l.Pref >= 0 && !l.UpSince.IsZero() && l.Asked < maxSolicitations &&
		!slices.ContainsFunc(l.Routers, func(r router) bool { return !l.early(r) })
}

// earlyTime is how long after a link came up an advertisement may be one of the link before: the host
// tells of links and of what arrives by different ways, and either may be late.
const earlyTime = 5 * time.Millisecond

func (l *link) early(r router) bool { return r.Heard.Sub(l.UpSince) < earlyTime }

// solicit asks for routers on links that came up: at once, since a moving node must not wait.
func (m *Machine) solicit(now time.Time, out []Action) []Action {
	for i := range m.s.Links {
		l := &m.s.Links[i]
		if !l.asks() || !due(l.AskAt, now) {
			continue
		}
		l.Asked++
		l.AskAt = now.Add(solicitationInterval)
		out = append(out, Host{Home: m.cfg.Home.Addr(), Ops: []host.Op{host.SolicitRouter{IfIndex: l.Link.Index}}})
	}
	return out
}

func (m *Machine) routerSeen(now time.Time, r host.Router, out []Action) []Action {
	l := m.linkByIndex(r.IfIndex)
	if l == nil || l.Pref < 0 || l.UpSince.IsZero() {
		return out
	}
	var e *router
	for i := range l.Routers {
		if l.Routers[i].Router.Addr == r.Addr {
			e = &l.Routers[i]
		}
	}
	if e == nil {
		if lifetime(r) <= 0 {
			return out // it says that it is none
		}
		// One of the link before is not heard here, and others are.
		l.Routers = slices.DeleteFunc(l.Routers, func(o router) bool {
			return l.early(o) && now.Sub(l.UpSince) >= earlyTime && !slices.ContainsFunc(o.Router.Prefixes, func(p host.RouterPrefix) bool {
				return slices.ContainsFunc(r.Prefixes, func(q host.RouterPrefix) bool { return p.Prefix == q.Prefix })
			})
		})
		m.makeRoom(l)
		l.Routers = append(l.Routers, router{First: now})
		e = &l.Routers[len(l.Routers)-1]
		if len(l.Routers) == 1 {
			out = m.changed("router", out)
		}
	}
	r.Prefixes = m.bounded(r.Prefixes)
	e.Router, e.Heard = r, now
	e.Until = now.Add(lifetime(r))
	if r.Interval > 0 {
		e.Until = earlier(e.Until, now.Add(missedAdvertisements*r.Interval))
	}
	m.revive(l, r)
	return out
}

// makeRoom lets one more router in where there are enough: the one goes that ends first, but one
// that advertises where we are only after the others, and the one in use never.
func (m *Machine) makeRoom(l *link) {
	if len(l.Routers) < maxRouters {
		return
	}
	cur := &m.s.Cur
	here := cur.IfIndex == l.Link.Index
	worst, rank := -1, 0
	for i := range l.Routers {
		r := &l.Routers[i]
		n := 2
		if here && r.Router.Addr == cur.Router {
			continue
		} else if here && advertises(r.Router, cur.CareOf) {
			n = 1
		}
		if n > rank || n == rank && r.Until.Before(l.Routers[worst].Until) {
			worst, rank = i, n
		}
	}
	l.Routers = slices.Delete(l.Routers, worst, worst+1)
}

// bounded are as many prefixes as are remembered of a router, those of the home address and of where
// we are before others.
func (m *Machine) bounded(ps []host.RouterPrefix) []host.RouterPrefix {
	if len(ps) <= maxPrefixes {
		return ps
	}
	ps = slices.Clone(ps)
	slices.SortStableFunc(ps, func(a, b host.RouterPrefix) int { return m.worth(b.Prefix) - m.worth(a.Prefix) })
	return slices.Clone(ps[:maxPrefixes])
}

func (m *Machine) worth(p netip.Prefix) int {
	switch {
	case m.cfg.Home.IsValid() && p.Contains(m.cfg.Home.Addr()):
		return 2
	case m.s.Cur.CareOf.IsValid() && p.Contains(m.s.Cur.CareOf):
		return 1
	}
	return 0
}

// lifetime is how long what a router told is of use.
func lifetime(r host.Router) time.Duration {
	d := r.Lifetime
	for _, p := range r.Prefixes {
		d = max(d, p.Valid)
	}
	return d
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// revive makes addresses of an earlier attachment count again when this link advertises their prefix:
// as new as the advertisement.
func (m *Machine) revive(l *link, r host.Router) {
	stepped := false
	for i := range l.Addrs {
		a := &l.Addrs[i]
		if !l.SawUp || a.Newness > l.UpOrder || !advertises(r, a.Addr.Prefix.Addr()) {
			continue
		}
		if !stepped {
			m.s.Order++
			stepped = true
		}
		a.Newness = m.s.Order
	}
}

// advertises tells whether the router advertises a prefix that holds the address.
func advertises(r host.Router, a netip.Addr) bool {
	for _, p := range r.Prefixes {
		if p.Valid > 0 && p.Prefix.Bits() > 0 && p.Prefix.Contains(a) {
			return true
		}
	}
	return false
}

// advertisedBy is when a router of the link was first seen that advertises the address; zero: none.
func (l *link) advertisedBy(a netip.Addr) time.Time {
	var t time.Time
	for _, r := range l.Routers {
		if advertises(r.Router, a) && (t.IsZero() || r.First.Before(t)) {
			t = r.First
		}
	}
	return t
}

// nextHop is the default router for packets from an address: the one in use if it still will
// do, else one that advertises the address's prefix, else any; zero: none was seen.
func (l *link) nextHop(a, inUse netip.Addr) netip.Addr {
	var best netip.Addr
	rank := 0
	for _, r := range l.Routers {
		if r.Router.Lifetime <= 0 {
			continue
		}
		n := 1
		if advertises(r.Router, a) {
			n = 2
			if r.Router.Addr == inUse {
				n = 3
			}
		}
		if n > rank {
			best, rank = r.Router.Addr, n
		}
	}
	return best
}

// agentHardAddr is the link-layer address of the router that has told the home agent's address as
// its own (R bit), else of the only home agent on the link; nil: it is not known.
func (l *link) agentHardAddr(agent netip.Addr) []byte {
	var only []byte
	agents := 0
	for _, r := range l.Routers {
		told := false
		for _, p := range r.Router.Prefixes {
			if p.RouterAddr == agent {
				return r.Router.HardAddr
			}
			told = told || p.RouterAddr.IsValid()
		}
		if r.Router.HomeAgent {
			agents++
			if only = r.Router.HardAddr; told {
				only = nil // it goes by other addresses
			}
		}
	}
	if agents != 1 {
		return nil
	}
	return only
}

// onLink are the prefixes that are on the link (L bit), in order of their first mention, not
// without bound but with that of the address.
func (l *link) onLink(address netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range l.Routers {
		for _, p := range r.Router.Prefixes {
			if !p.OnLink || p.Valid <= 0 || p.Prefix.Bits() == 0 || p.Prefix.Addr().IsLinkLocalUnicast() {
				continue
			}
			known := false
			for _, q := range out {
				known = known || q == p.Prefix.Masked()
			}
			switch {
			case known:
			case len(out) < maxPrefixes:
				out = append(out, p.Prefix.Masked())
			case p.Prefix.Contains(address):
				out[maxPrefixes-1] = p.Prefix.Masked()
			}
		}
	}
	return out
}
