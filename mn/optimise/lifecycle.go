package optimise

import (
	"log/slog"
	"time"
)

// restore takes up what an earlier run had registered: packets may come directly, and where we
// are now is to be told.
func (m *Machine) restore(now time.Time, e Restored, out []Action) []Action {
	if m.s.Started {
		return out
	}
	m.s.Started = true
	for _, r := range e.Records {
		if r.Home != m.cfg.Home || !m.possible(r.Remote) || !r.Expires.After(now) || m.peer(r.Remote) != nil {
			out = append(out, Forget{Remote: r.Remote})
			continue
		}
		p := m.add(now, r.Remote)
		if p == nil {
			out = append(out, Forget{Remote: r.Remote})
			continue
		}
		p.Seq, p.CareOf, p.Told, p.MayUntil, p.Saved = r.Seq, r.CareOf, r.CareOf, r.Expires, true
		p.LastMet = now
		m.adopt(p)
	}
	return out
}

// adopt finds the rule for a correspondent of which only the address is known.
func (m *Machine) adopt(p *peer) {
	for _, r := range m.cfg.Rules {
		switch {
		case !r.To.Contains(p.Remote):
		case !r.Never:
			p.Rule, p.Proto, p.Port = r, r.Proto, r.Port
			return
		case r.Proto == 0: // it was not by a later one
			p.Gone = true
			return
		}
	}
	p.Gone = true
}

// setConfig takes another configuration; correspondents that no rule is for any more, or another
// in what is secret or protected, are deregistered.
func (m *Machine) setConfig(c Config, out []Action) []Action {
	if err := c.Validate(); err != nil || c.Home != m.cfg.Home {
		return append(out, Note{Level: slog.LevelError, Msg: "a configuration of route optimization is not taken"})
	}
	m.cfg = c.withDefaults()
	for i := range m.s.Peers {
		p := &m.s.Peers[i]
		r, ok := m.rule(p.Remote, p.Proto, p.Port)
		o := p.Rule
		p.Gone = !ok || r.Auth != o.Auth || r.Key != o.Key || r.Protect != o.Protect || r.Conn != o.Conn || r.ReqID != o.ReqID
		if !p.Gone {
			p.Rule = r
		}
	}
	return out
}

// stop begins the end: correspondents are told, as far as that is possible soon.
func (m *Machine) stop(now time.Time) {
	if m.s.Stopping {
		return
	}
	m.s.Stopping, m.s.StopAt = true, now.Add(stopWait)
	for i := range m.s.Peers {
		p := &m.s.Peers[i]
		p.Sent = nil
		p.HomeTry.again()
		p.UpdateTry.again()
	}
}
