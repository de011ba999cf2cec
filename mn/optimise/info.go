package optimise

import (
	"fmt"
	"time"
)

// Info tells of all correspondents, by address.
func (m *Machine) Info() []Info {
	out := make([]Info, 0, len(m.s.Peers))
	for i := range m.s.Peers {
		out = append(out, m.info(&m.s.Peers[i]))
	}
	return out
}

// Counters are those since the start.
func (m *Machine) Counters() Counters { return m.s.Count }

// Routes are those that should hold now, by address: what Route actions have ordered.
func (m *Machine) Routes() []Route {
	var out []Route
	for i := range m.s.Peers {
		if p := &m.s.Peers[i]; p.Route != (Route{Remote: p.Remote}) {
			out = append(out, p.Route)
		}
	}
	return out
}

func (m *Machine) info(p *peer) Info {
	i := Info{Home: m.cfg.Home, Remote: p.Remote, State: p.State, Why: m.why(p), Auth: p.Rule.Auth.String(),
		Seq: p.Seq, Expires: p.MayUntil, RetryAt: p.RetryAt, Since: p.Since, LastUsed: p.LastUsed, Packets: p.Packets,
		LastStatus: p.Status, Moves: p.Moves, Protect: p.Rule.Protect}
	if p.mayBeBound(m.s.Now) {
		i.CareOf = p.CareOf
	}
	if p.Acked {
		i.Expires, i.RefreshAt = p.Until, p.RefreshAt
	}
	if p.Home.fresh(m.s.Now) {
		i.HomeToken, i.HomeNonce = p.Home.Until, p.Home.Nonce
	}
	if t, ok := p.care(m.s.At.CareOf); ok && t.fresh(m.s.Now) {
		i.CareToken, i.CareNonce = t.Until, t.Nonce
	}
	i.Failures = max(p.HomeTry.Late, p.CareTry.Late, p.UpdateTry.Late, p.KeyTry.Late) + p.Refusals + p.Silences
	if i.RetryAt.IsZero() && p.HoldAt.After(m.s.Now) {
		i.RetryAt = p.HoldAt
	}
	return i
}

// stateOf is how far it is with a correspondent.
func (m *Machine) stateOf(now time.Time, p *peer) State {
	g := m.goal(now, p)
	switch {
	case g == unbind || g == drop && !p.Unused && p.CareOf.IsValid():
		return Unbinding
	case p.Counting:
		return Counting
	case !p.RetryAt.IsZero():
		return Refused
	case p.Route.Direct && !p.DirectAt.IsZero():
		return Optimised
	case len(p.Sent) > 0 || g == bind && m.acked(now, p):
		return Binding
	case g == bind && (m.expecting(p) || !p.CareOf.IsValid()):
		return Testing
	case p.CareOf.IsValid() || g == drop:
		return Tunnelled
	}
	return Testing
}

// why says in words why packets do not go directly; "" where they do.
func (m *Machine) why(p *peer) string {
	now := m.s.Now
	switch {
	case p.Why != "":
		return p.Why
	case p.Route.Direct && !p.DirectAt.IsZero():
		return ""
	case p.Counting:
		return fmt.Sprintf("%d of %d packets", p.Packets, p.Rule.Packets)
	case m.s.Stopping:
		return "the program ends"
	case p.Gone:
		return "no rule is for it any more"
	case m.s.At.Place == Nowhere:
		return "no care-of address"
	case m.s.At.Place == AtHome:
		return "at home"
	case !p.mayBeBound(now) && !m.s.At.Bound && !m.s.HomeUntil.After(now):
		return "waits for the home registration"
	case p.HoldAt.After(now):
		return "the correspondent had no binding (Binding Error)"
	case p.NoDirect.After(now):
		return "the host refused the direct path"
	case p.Rule.Protect != 0 && p.Keys != keysUp:
		return "waits for SAs"
	case m.acked(now, p):
		return "the path is about to be put"
	case len(p.Sent) > 0:
		return "waits for the acknowledgement"
	case p.Rule.Auth != ReturnRoutability:
		return "the binding update is about to leave"
	case !p.Home.fresh(now):
		return "waits for the home test"
	}
	if t, ok := p.care(m.s.At.CareOf); !ok || !t.fresh(now) {
		return "waits for the care-of test"
	}
	return "the binding update is about to leave"
}

// changed tells what happened, with the state that follows from it.
func (m *Machine) changed(now time.Time, what string, p *peer, out []Action) []Action {
	if s := m.stateOf(now, p); s != p.State {
		p.State, p.Since = s, now
	}
	return append(out, Changed{What: what, Info: m.info(p)})
}

func (m *Machine) tellState(now time.Time, p *peer, out []Action) []Action {
	if m.stateOf(now, p) == p.State {
		return out
	}
	return m.changed(now, "state", p, out)
}
