package optimise

import (
	"log/slog"
	"net/netip"
	"time"
)

// keysWanted tells whether SAs have to stand before anything else is done.
func (m *Machine) keysWanted(p *peer, g goal) bool {
	return p.Rule.Protect != 0 && (g == bind || g == unbind && p.Rule.Auth == IPsec)
}

// local is our address that IKE uses; invalid where there is none.
func (m *Machine) local() netip.Addr {
	switch m.s.At.Place {
	case AtHome:
		return m.cfg.Home
	case Abroad:
		return m.s.At.CareOf
	}
	return netip.Addr{}
}

// keysAt is when to ask for SAs; zero: never.
func (m *Machine) keysAt(now time.Time, p *peer, g goal) time.Time {
	if !m.keysWanted(p, g) || p.Keys != keysNone {
		return time.Time{}
	}
	return p.KeyTry.next(now)
}

// settleKeys asks for SAs, and has IKE follow a move before a message tells of it.
func (m *Machine) settleKeys(now time.Time, p *peer, g goal, out []Action) []Action {
	local := m.local()
	if p.Rule.Protect == 0 || !local.IsValid() {
		return out
	}
	if p.KeyAnew && p.Keys == keysUp && m.keysWanted(p, g) {
		p.KeyAnew, p.KeyTried, p.Keys, p.KeyCareOf = false, true, keysAnew, local
		return append(out, m.keyUp(p, local, true))
	}
	if p.Keys != keysNone && p.KeyCareOf != local {
		if p.Keys == keysUp {
			p.KeyCareOf = local
			out = append(out, KeyMoved{Remote: p.Remote, CareOf: local})
		} else { // in the midst of it: from the beginning
			out = m.keyDown(p, out)
			p.KeyTry.again()
		}
	}
	if !due(m.keysAt(now, p, g), now) {
		return out
	}
	p.Keys, p.KeyCareOf, p.KeyAnew = keysAsked, local, false
	return append(out, m.keyUp(p, local, false))
}

func (m *Machine) keyUp(p *peer, local netip.Addr, anew bool) KeyUp {
	return KeyUp{Anew: anew, Remote: p.Remote, CareOf: local, Conn: p.Rule.Conn, Proto: p.Rule.Protect, ReqID: p.Rule.ReqID}
}

func (m *Machine) keyDown(p *peer, out []Action) []Action {
	if p.Keys == keysNone {
		return out
	}
	p.Keys = keysNone
	return append(out, KeyDown{Remote: p.Remote})
}

// keysUp notes that SAs stand, be it that the correspondent began.
func (m *Machine) keysUp(now time.Time, e KeysUp) {
	p := m.peer(e.Remote)
	if p == nil || p.Rule.Protect == 0 || p.Keys == keysUp {
		return
	}
	if p.Keys == keysNone {
		p.KeyCareOf = m.local()
	}
	p.Keys = keysUp
	p.touch(now)
}

// keysDown falls back to the tunnel, and asks again after a pause.
func (m *Machine) keysDown(now time.Time, e KeysDown, out []Action) []Action {
	p := m.peer(e.Remote)
	if p == nil || p.Keys == keysNone {
		return out
	}
	if p.Route.Direct {
		m.s.Count.Fallbacks++
	}
	p.touch(now)
	if p.Keys == keysAsked || p.Keys == keysAnew {
		p.KeyTry.Late++
	}
	p.Keys, p.Acked, p.Refresh = keysNone, false, false
	p.Sent = nil
	p.UpdateTry.again()
	p.KeyTry.sent(now, initialBindack, m.cfg.UpdateRate)
	out = note(slog.LevelInfo, "no SAs with a correspondent", p.Remote, out, slog.String("reason", e.Reason))
	if p.KeyTry.Late >= m.cfg.MaxFailure && m.goal(now, p) == bind {
		return m.silence(now, p, "no SAs: "+e.Reason, out)
	}
	return out
}
