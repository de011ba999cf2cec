package optimise

import (
	"log/slog"
	"net/netip"
	"time"
)

// goal is what is to be reached with a correspondent now.
type goal uint8

const (
	hold   goal = iota // nothing is sent
	bind               // it shall know the present care-of address
	unbind             // it shall know none
	drop               // nothing is left to be done: forget it
)

func (m *Machine) goal(now time.Time, p *peer) goal {
	s := &m.s
	switch {
	case s.Stopping || p.Gone || s.At.Place == AtHome:
		switch {
		case !p.mayBeBound(now) || s.Stopping && (s.At.Place == Nowhere || due(s.StopAt, now)):
			return drop
		case s.At.Place == Nowhere:
			return hold
		}
		return unbind
	case p.Unused:
		return drop
	case !p.RetryAt.IsZero() || p.Counting || s.At.Place == Nowhere || p.HoldAt.After(now):
		return hold
	case !p.mayBeBound(now) && !s.At.Bound && !s.HomeUntil.After(now):
		return hold // the home address has to be known to be valid first (§11.7.2)
	}
	return bind
}

// settlePeer does for one correspondent what is due.
func (m *Machine) settlePeer(now time.Time, p *peer, out []Action) []Action {
	out = m.expire(now, p, out)
	g := m.goal(now, p)
	if g == drop {
		if out = m.settleDrop(now, p, out); p.State == gone {
			return out
		}
	} else {
		p.DropAt = time.Time{}
		out = m.settleKeys(now, p, g, out)
	}
	out = m.settleRoute(now, p, g, out)
	for _, send := range []func(time.Time, *peer, goal, []Action) []Action{m.sendHomeTest, m.sendCareTest, m.sendUpdate} {
		out = send(now, p, m.goal(now, p), out) // each may find that there is no answer, and refuse
	}
	if g2 := m.goal(now, p); g2 != g {
		out = m.settleRoute(now, p, g2, out)
	}
	out = m.askUse(now, p, out)
	return m.tellState(now, p, out)
}

// expire notes what has come to its end.
func (m *Machine) expire(now time.Time, p *peer, out []Action) []Action {
	if p.Acked && due(p.Until, now) {
		p.Acked, p.Refresh = false, false
		p.Unused = p.Unused || !m.inUse(now, p)
	}
	if due(p.MayUntil, now) {
		p.MayUntil = time.Time{}
		out = m.forget(p, out)
		if !m.inUse(now, p) && p.RetryAt.IsZero() { // a refusal is remembered
			p.Unused = true
		}
	}
	if due(p.RetryAt, now) {
		switch {
		case p.mayBeBound(now) || m.inUse(now, p):
			p.tryAgain()
		case due(p.RetryAt.Add(m.cfg.Remember), now):
			p.Unused = true
		}
	}
	return out
}

func (m *Machine) inUse(now time.Time, p *peer) bool {
	u := p.used()
	return !u.IsZero() && now.Sub(u) <= m.cfg.Idle
}

// settleDrop forgets a correspondent, when packets and answers that are under way have had their time.
func (m *Machine) settleDrop(now time.Time, p *peer, out []Action) []Action {
	if p.DropAt.IsZero() {
		p.DropAt = now
		if p.Route.Accept {
			p.DropAt = now.Add(homeGrace)
		}
		if !p.LastSend.IsZero() { // so that the rate of messages is held if it is met again
			p.DropAt = latest(p.DropAt, p.LastSend.Add(time.Second))
		}
		p.Sent, p.HomeSent, p.CareSent = nil, nil, nil
	}
	if !m.s.Stopping && p.DropAt.After(now) {
		return out
	}
	return m.remove(now, p, out)
}

// remove takes back all that was ordered for a correspondent.
func (m *Machine) remove(now time.Time, p *peer, out []Action) []Action {
	if p.Counting {
		out = append(out, Count{Remote: p.Remote})
	}
	if empty := (Route{Remote: p.Remote}); p.Route != empty {
		out = append(out, empty)
	}
	out = m.keyDown(p, out)
	out = m.forget(p, out)
	p.Counting, p.Route = false, Route{Remote: p.Remote}
	p.State, p.Since = m.stateOf(now, p), now
	out = append(out, Changed{What: "gone", Info: m.info(p)})
	p.State = gone
	return out
}

// save keeps what a start after a crash needs; it comes before the message that makes it so.
func (m *Machine) save(p *peer, out []Action) []Action {
	p.Saved = true
	r := Record{Home: m.cfg.Home, Remote: p.Remote, CareOf: p.Told, Seq: p.Seq, Expires: p.MayUntil}
	if p.Rule.Protect != 0 {
		r.Protect, r.ReqID = p.Rule.Protect, p.Rule.ReqID
	}
	return append(out, Save{Record: r})
}

func (m *Machine) forget(p *peer, out []Action) []Action {
	if !p.Saved {
		return out
	}
	p.Saved = false
	return append(out, Forget{Remote: p.Remote})
}

// refuse leaves a correspondent alone for a while; packets go by the tunnel.
func (m *Machine) refuse(now time.Time, p *peer, d time.Duration, why string, out []Action) []Action {
	p.RetryAt, p.Why, p.Silent, p.NotHere = now.Add(d), why, false, netip.Addr{}
	p.Acked, p.Refresh, p.Renew = false, false, false
	p.Sent, p.HomeSent, p.CareSent = nil, nil, nil
	p.stopTries()
	if p.Route.Direct {
		m.s.Count.Fallbacks++
	}
	out = m.keyDown(p, out)
	out = note(slog.LevelInfo, "packets to a correspondent go by the tunnel", p.Remote, out,
		slog.String("why", why), slog.Duration("for", d))
	return m.changed(now, "refused", p, out)
}

// silence refuses a correspondent that does not answer (MAX_RO_FAILURE, §5.2.9); each time for longer.
func (m *Machine) silence(now time.Time, p *peer, why string, out []Action) []Action {
	p.Silences++
	d := min(retryAfter<<min(p.Silences-1, 10), m.cfg.Remember)
	out = m.refuse(now, p, d, why, out)
	p.Silent = true
	return out
}

// tryAgain ends a refusal.
func (p *peer) tryAgain() {
	p.RetryAt, p.Why, p.Silent, p.NotHere = time.Time{}, "", false, netip.Addr{}
	p.Fixes = 0
	p.stopTries()
}

func (p *peer) stopTries() {
	for _, a := range []*attempt{&p.HomeTry, &p.CareTry, &p.UpdateTry, &p.KeyTry} {
		a.again()
	}
}

// wake is when something is due for a correspondent; zero: never.
func (m *Machine) wake(p *peer) (d time.Time) {
	now := m.s.Now
	min := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	later := func(t time.Time) {
		if t.After(now) {
			min(t)
		}
	}
	g := m.goal(now, p)
	if g == drop {
		min(p.DropAt)
		later(m.s.StopAt)
		return d
	}
	if p.Acked {
		min(p.Until)
	}
	min(p.MayUntil)
	if !p.RetryAt.IsZero() {
		later(p.RetryAt)
		later(p.RetryAt.Add(m.cfg.Remember))
	}
	later(p.HoldAt)
	later(p.NoDirect)
	later(m.s.StopAt)
	min(m.keysAt(now, p, g))
	min(m.homeTestAt(now, p, g))
	min(m.careTestAt(now, p, g))
	min(m.updateAt(now, p, g))
	min(m.askAt(p))
	return d
}
