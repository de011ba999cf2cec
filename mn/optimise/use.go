package optimise

import (
	"log/slog"
	"net/netip"
	"time"
)

// rule is the first that fits a packet; false where there is none, or it says never.
func (m *Machine) rule(remote netip.Addr, proto uint8, port uint16) (Rule, bool) {
	for _, r := range m.cfg.Rules {
		if r.To.Contains(remote) && (r.Proto == 0 || r.Proto == proto) && (r.Port == 0 || r.Port == port) {
			return r, !r.Never
		}
	}
	return Rule{}, false
}

// possible tells whether an address can be a correspondent's.
func (m *Machine) possible(remote netip.Addr) bool {
	return remote.Is6() && !remote.Is4In6() && remote.Zone() == "" && remote.IsGlobalUnicast() &&
		remote != m.cfg.Home && remote != m.cfg.HomeAgent && remote != m.s.At.CareOf
}

// met begins with a correspondent, if a rule is for it.
func (m *Machine) met(now time.Time, e Met, out []Action) []Action {
	if m.s.Stopping || m.s.At.Place != Abroad || !m.possible(e.Remote) {
		return out
	}
	if p := m.peer(e.Remote); p != nil {
		p.LastMet, p.Unused = now, false
		p.touch(now)
		return m.metAgain(p, e, out)
	}
	r, ok := m.rule(e.Remote, e.Proto, e.Port)
	if !ok {
		return out
	}
	if len(m.s.Peers) >= m.cfg.Max {
		old := m.idlest(now)
		if old == nil {
			return out
		}
		out = m.remove(now, old, out)
		i, _ := m.find(old.Remote)
		m.s.Peers = append(m.s.Peers[:i], m.s.Peers[i+1:]...)
	}
	p := m.add(now, e.Remote)
	if p == nil {
		return note(slog.LevelWarn, "no randomness for a correspondent", e.Remote, out)
	}
	p.Proto, p.Port, p.Rule, p.LastMet = e.Proto, e.Port, r, now
	if r.Packets > 1 {
		p.Counting, p.AskAt = true, now.Add(pollCount)
		out = append(out, Count{Remote: p.Remote, On: true})
	}
	return out
}

// metAgain ends the counting where another rule, for this packet, asks for none.
func (m *Machine) metAgain(p *peer, e Met, out []Action) []Action {
	r, ok := m.rule(e.Remote, e.Proto, e.Port)
	if !p.Counting || p.Gone || !ok || r.Packets > 1 {
		return out
	}
	p.Rule, p.Proto, p.Port, p.Counting = r, e.Proto, e.Port, false
	return append(out, Count{Remote: p.Remote})
}

// askAt is when to ask for the use of a route; zero: never.
func (m *Machine) askAt(p *peer) time.Time {
	if p.AskID != 0 || m.s.Stopping || p.Gone || m.s.At.Place == AtHome {
		return time.Time{}
	}
	if p.Counting || p.Acked && p.RetryAt.IsZero() && m.s.At.Place == Abroad {
		return p.AskAt
	}
	return time.Time{}
}

func (m *Machine) askUse(now time.Time, p *peer, out []Action) []Action {
	if !due(m.askAt(p), now) {
		return out
	}
	p.AskID = m.id()
	return append(out, AskUse{ID: p.AskID, Remote: p.Remote})
}

// usedAnswer decides by the use whether to begin, or to renew.
func (m *Machine) usedAnswer(now time.Time, e Used, out []Action) []Action {
	for i := range m.s.Peers {
		p := &m.s.Peers[i]
		if e.ID == 0 || p.AskID != e.ID {
			continue
		}
		p.AskID = 0
		p.touch(now)
		if e.Packets > p.Packets && p.Counting {
			p.LastUsed = now
		}
		p.Packets, p.LastUsed = e.Packets, latest(p.LastUsed, e.Last)
		if p.Counting {
			return m.counted(now, p, out)
		}
		if m.inUse(now, p) {
			if p.Asked || due(p.RefreshAt, now) {
				p.Refresh = true
			}
			// The home test goes through the home agent, and takes the longer for it: ahead of time.
			if p.Rule.Auth == ReturnRoutability && !p.Home.Until.After(now.Add(renewBefore)) {
				p.Renew = true
			}
		}
		p.Asked = false
		p.AskAt = m.nextAsk(now, p)
		break
	}
	return out
}

// counted ends the counting where there were packets enough, or none for long.
func (m *Machine) counted(now time.Time, p *peer, out []Action) []Action {
	switch {
	case p.Packets >= p.Rule.Packets:
		p.Counting = false
		p.LastUsed = now
		return append(out, Count{Remote: p.Remote})
	case !m.inUse(now, p):
		p.Unused = true
	}
	p.AskAt = now.Add(pollCount)
	return out
}

// nextAsk is when the use matters next: a token or the binding is to be renewed, or was not because
// nothing used it then.
func (m *Machine) nextAsk(now time.Time, p *peer) time.Time {
	t := now.Add(m.cfg.Idle)
	sooner := func(o time.Time) {
		if o.After(now) && o.Before(t) {
			t = o
		}
	}
	sooner(p.RefreshAt)
	if p.Rule.Auth == ReturnRoutability {
		sooner(p.Home.Until.Add(-renewBefore))
	}
	if due(p.RefreshAt, now) {
		sooner(now.Add(pollUnused))
	}
	return latest(t, now.Add(pollCount))
}
