package mn

import (
	"net/netip"
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

// asks tells whether a router solicitation is wanted on the link.
func (l *link) asks() bool {
	return l.Pref >= 0 && !l.UpSince.IsZero() && len(l.Routers) == 0 && l.Asked < maxSolicitations
}

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
		l.Routers = append(l.Routers, router{First: now})
		e = &l.Routers[len(l.Routers)-1]
		if len(l.Routers) == 1 {
			out = m.changed("router", out)
		}
	}
	e.Router = r
	e.Until = now.Add(lifetime(r))
	if r.Interval > 0 {
		e.Until = earlier(e.Until, now.Add(missedAdvertisements*r.Interval))
	}
	m.revive(l, r)
	return out
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

// onLink are the prefixes that are on the link (L bit), in order of their first mention.
func (l *link) onLink() []netip.Prefix {
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
			if !known {
				out = append(out, p.Prefix.Masked())
			}
		}
	}
	return out
}
