package mn

import (
	"net/netip"
	"path"
	"sort"
	"time"

	"github.com/mip6/mip6/internal/host"
)

// link is an interface with what is known of it.
type link struct {
	Link    host.Link
	Pref    int // place in the configuration's order, -1: not to be used
	SeenAt  time.Time
	UpSince time.Time // zero: down
	UpOrder uint64    // value of the order counter at the last carrier-up
	SawUp   bool      // the carrier came up before our eyes
	Addrs   []addr
	Routers []router // seen since UpSince
	Asked   int      // router solicitations sent since UpSince
	AskAt   time.Time
	Doubt   bool // not told anew since events were lost
}

// addr is an address on a link.
type addr struct {
	Addr     host.Addr
	ToldAt   time.Time // its lifetimes count from here
	UsableAt time.Time // zero: not usable
	Since    time.Time // of its appearance
	Appeared uint64    // order of its appearance
	Newness  uint64    // order of appearance, or of the advertisement that revived it
	Doubt    bool
}

// router is what a router told last.
type router struct {
	Heard  time.Time // last
	Router host.Router
	First  time.Time // since the link came up
	Until  time.Time // zero: never over
}

// doubtTime is how long after lost events things not told anew are believed.
const doubtTime = time.Second

// settled is how long after a link was first seen its addresses count as
// having been there before: nothing is known of their order.
const settled = 500 * time.Millisecond

func (m *Machine) hostEvent(now time.Time, ev host.Event, out []Action) []Action {
	switch e := ev.(type) {
	case host.LinkChanged:
		return m.linkChanged(now, e, out)
	case host.AddrChanged:
		m.addrChanged(now, e)
		if !e.Gone {
			return m.duplicateAtHome(now, e.Addr, out)
		}
	case host.RouterSeen:
		return m.routerSeen(now, e.Router, out)
	case host.MHReceived:
		return m.receive(now, e.MH, out)
	case host.ICMPError:
		return m.icmpError(now, e, out)
	case host.Lost:
		m.s.DoubtUntil = now.Add(doubtTime)
		for i := range m.s.Links {
			l := &m.s.Links[i]
			l.Doubt = true
			for j := range l.Addrs {
				l.Addrs[j].Doubt = true
			}
		}
	}
	return out
}

func (m *Machine) linkByIndex(index int) *link {
	for i := range m.s.Links {
		if m.s.Links[i].Link.Index == index {
			return &m.s.Links[i]
		}
	}
	return nil
}

func (m *Machine) linkChanged(now time.Time, e host.LinkChanged, out []Action) []Action {
	s := &m.s
	l := m.linkByIndex(e.Link.Index)
	if e.Gone {
		if l != nil {
			m.dropLink(e.Link.Index)
		}
		return out
	}
	first := l == nil
	if first {
		s.Links = append(s.Links, link{SeenAt: now})
		l = &s.Links[len(s.Links)-1]
	}
	wasUp := !l.UpSince.IsZero()
	renamed := first || l.Link.Name != e.Link.Name || l.Link.Tunnel != e.Link.Tunnel
	l.Link, l.Doubt = e.Link, false
	if renamed {
		l.Pref = m.cfg.preference(e.Link)
		if l.Pref >= 0 {
			out = m.prepareLink(l, out)
		}
	}
	switch {
	case e.Link.Up && !wasUp:
		s.Order++
		l.UpSince, l.UpOrder, l.SawUp = now, s.Order, !first
		l.Routers, l.Asked, l.AskAt = nil, 0, now
		if l.Pref >= 0 && l.SawUp {
			out = m.changed("link", out)
		}
	case !e.Link.Up:
		l.UpSince, l.Routers, l.AskAt = time.Time{}, nil, time.Time{}
		l.SawUp = true // when it comes up again, that is seen
	}
	if first {
		sort.Slice(s.Links, func(i, j int) bool { return s.Links[i].Link.Index < s.Links[j].Link.Index })
	}
	return out
}

// dropLink forgets a link and what we had on it.
func (m *Machine) dropLink(index int) {
	s := &m.s
	keep := s.Links[:0]
	for _, l := range s.Links {
		if l.Link.Index != index {
			keep = append(keep, l)
		}
	}
	s.Links = keep
	if s.OnIf == index {
		s.OnIf = 0
	}
}

// preference is the place of the first pattern that the name matches, or -1. An interface that
// is itself carried by another is for those who name it.
func (c Config) preference(l host.Link) int {
	if len(c.Interfaces) == 0 && l.Name != "lo" && !l.Tunnel {
		return 0
	}
	for i, p := range c.Interfaces {
		if ok, _ := path.Match(p, l.Name); ok {
			return i
		}
	}
	return -1
}

func (m *Machine) addrChanged(now time.Time, e host.AddrChanged) {
	l := m.linkByIndex(e.Addr.IfIndex)
	if l == nil {
		return
	}
	a := l.addr(e.Addr.Prefix.Addr())
	if e.Gone {
		if a != nil {
			l.dropAddr(e.Addr.Prefix.Addr())
		}
		m.homeGone(l, e.Addr.Prefix.Addr())
		return
	}
	if a == nil {
		m.s.Order++
		l.Addrs = append(l.Addrs, addr{Since: now, Appeared: m.s.Order, Newness: m.s.Order})
		a = &l.Addrs[len(l.Addrs)-1]
		if !l.SawUp && now.Sub(l.SeenAt) < settled {
			a.Newness = 0
		}
	}
	a.Addr, a.ToldAt, a.Doubt = e.Addr, now, false
	switch {
	case !e.Addr.Usable():
		a.UsableAt = time.Time{}
	case a.UsableAt.IsZero():
		a.UsableAt = now
	}
}

// homeGone notes that the home address is not where we had put it: somebody took it off, or
// the news of our own earlier removal comes late. Putting it again does no harm.
func (m *Machine) homeGone(l *link, a netip.Addr) {
	if a == m.cfg.Home.Addr() && (m.s.OnLo && l.Link.Name == "lo" || l.Link.Index == m.s.OnIf) {
		m.s.Renew = true
	}
}

func (l *link) addr(a netip.Addr) *addr {
	for i := range l.Addrs {
		if l.Addrs[i].Addr.Prefix.Addr() == a {
			return &l.Addrs[i]
		}
	}
	return nil
}

func (l *link) dropAddr(a netip.Addr) {
	keep := l.Addrs[:0]
	for _, x := range l.Addrs {
		if x.Addr.Prefix.Addr() != a {
			keep = append(keep, x)
		}
	}
	l.Addrs = keep
}

// expireLinks forgets routers that are over, and what was not told anew after a loss.
func (m *Machine) expireLinks(now time.Time) {
	s := &m.s
	sweep := due(s.DoubtUntil, now)
	if sweep {
		s.DoubtUntil = time.Time{}
		for i := len(s.Links) - 1; i >= 0; i-- {
			if s.Links[i].Doubt {
				m.dropLink(s.Links[i].Link.Index)
			}
		}
	}
	for i := range s.Links {
		l := &s.Links[i]
		routers := l.Routers[:0]
		for _, r := range l.Routers {
			if !due(r.Until, now) {
				routers = append(routers, r)
			}
		}
		l.Routers = routers
		if !sweep {
			continue
		}
		for j := len(l.Addrs) - 1; j >= 0; j-- {
			if a := l.Addrs[j]; a.Doubt {
				l.dropAddr(a.Addr.Prefix.Addr())
				m.homeGone(l, a.Addr.Prefix.Addr())
			}
		}
	}
}

func (l *link) deadline(now time.Time, min func(time.Time)) {
	for i := range l.Addrs {
		if t := l.Addrs[i].waits(l); t.After(now) {
			min(t)
		}
	}
	for _, r := range l.Routers {
		min(r.Until)
	}
	if l.asks() {
		min(l.AskAt)
	}
}
