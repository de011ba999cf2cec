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

// CareOf is the address that would be the care-of address now; zero: none is usable.
func (s *Scout) CareOf(now time.Time) netip.Addr { return s.m.choose(now).CareOf }

// Learn gives a new Machine what a Scout has seen. It is to be called before Restored.
func (m *Machine) Learn(s *Scout) {
	if m.s.Started {
		return
	}
	m.s.Links, m.s.Order, m.s.DoubtUntil = s.m.s.Links, s.m.s.Order, s.m.s.DoubtUntil
	for i := range m.s.Links {
		m.s.Links[i].Pref = m.cfg.preference(m.s.Links[i].Link.Name)
	}
}

// Resume gives a Scout what a Machine that has stopped knew of the links.
func (s *Scout) Resume(m *Machine) {
	s.m.s.Links, s.m.s.Order, s.m.s.DoubtUntil = m.s.Links, m.s.Order, m.s.DoubtUntil
}
