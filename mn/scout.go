package mn

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
)

// Scout chooses a care-of address for a node that has no home address yet: it gets one
// from its home agent, and there is no Machine before (RFC 5026 §5). It sees links as a Machine does,
// asks for routers, and what it has learnt goes on to the Machine.
type Scout struct{ m *Machine }

// NewScout makes one. Config.Home is not looked at.
func NewScout(cfg Config) *Scout {
	cfg.Home = netip.Prefix{} // so that no link is the home link, and no address is of it
	return &Scout{m: &Machine{cfg: cfg.withDefaults()}}
}

// Step takes what the host tells.
func (s *Scout) Step(now time.Time, ev host.Event, out []Action) []Action {
	s.m.s.Now = now
	switch ev.(type) {
	case host.LinkChanged, host.AddrChanged, host.RouterSeen, host.Lost:
		out = s.keep(s.m.hostEvent(now, ev, nil), out)
	}
	return s.Tick(now, out)
}

// Tick does what is due.
func (s *Scout) Tick(now time.Time, out []Action) []Action {
	s.m.s.Now = now
	s.m.expireLinks(now)
	return s.keep(s.m.solicit(now, nil), out)
}

// keep leaves out what is said of a registration: there is none.
func (s *Scout) keep(acts, out []Action) []Action {
	for _, a := range acts {
		if h, ok := a.(Host); ok {
			out = append(out, h)
		}
	}
	return out
}

// Deadline is when Tick is wanted next; zero: never.
func (s *Scout) Deadline() time.Time {
	var d time.Time
	min := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	min(s.m.s.DoubtUntil)
	for i := range s.m.s.Links {
		s.m.s.Links[i].deadline(s.m.s.Now, min)
	}
	return d
}

// Follow chooses the care-of address, and puts its routes: the main table may still know the
// router of the link before. CareOf is the choice; zero: none is usable.
func (s *Scout) Follow(now time.Time, out []Action) []Action {
	m := s.m
	m.s.Now = now
	want := m.choose(now)
	if want.same(m.s.Cur) {
		return out
	}
	back := m.s.Cur.Kind == nowhere // the link may have lost its routes
	m.s.Cur = want
	if want.Kind == nowhere {
		return out
	}
	return hostAction(m.route(m.routing(want), back), out)
}

// CareOf is what Follow has chosen.
func (s *Scout) CareOf() netip.Addr { return s.m.s.Cur.CareOf }

// Leave takes away what Follow has put.
func (s *Scout) Leave(out []Action) []Action {
	s.m.s.Cur = attachment{}
	return hostAction(s.m.route(routing{}, false), out)
}

func hostAction(ops []host.Op, out []Action) []Action {
	if len(ops) == 0 {
		return out
	}
	return append(out, Host{Ops: ops})
}

// Learn gives a new Machine what a Scout has seen, and the routes that it has put. It is to be
// called before Restored.
func (m *Machine) Learn(s *Scout) {
	if m.s.Started {
		return
	}
	m.s.Links, m.s.Order, m.s.DoubtUntil = s.m.s.Links, s.m.s.Order, s.m.s.DoubtUntil
	m.s.Routes, s.m.s.Routes = s.m.s.Routes, routing{}
	for i := range m.s.Links {
		m.s.Links[i].Pref = m.cfg.preference(m.s.Links[i].Link)
	}
}

// Resume gives a Scout what a Machine that has stopped knew of the links.
func (s *Scout) Resume(m *Machine) {
	s.m.s.Links, s.m.s.Order, s.m.s.DoubtUntil = m.s.Links, m.s.Order, m.s.DoubtUntil
	s.m.s.Cur = attachment{}
}
