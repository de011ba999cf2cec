package optimise

import (
	"log/slog"
	"net/netip"
	"time"
)

// wantRoute is how packets of the pair should go now.
func (m *Machine) wantRoute(now time.Time, p *peer, g goal) Route {
	r := Route{Remote: p.Remote, CareOf: p.Route.CareOf}
	if !r.CareOf.IsValid() {
		r.CareOf = p.CareOf // an earlier run's
	}
	r.Protect, r.ReqID = p.protected()
	abroad := m.s.At.Place == Abroad
	ready := (g == bind || g == unbind) && m.updateWanted(now, p, g) && m.provable(now, p, g)
	r.Accept = p.mayBeBound(now) || g == bind && ready || g == drop && p.Route.Accept
	r.Ack = abroad && ready
	// Only what the correspondent has acknowledged is used (§11.3.1), else it drops the packets.
	r.Direct = abroad && g == bind && m.acked(now, p) && !p.NoDirect.After(now) &&
		(p.Rule.Protect == 0 || p.Keys == keysUp)
	switch {
	case !r.Accept && !r.Ack && !r.Direct:
		r.CareOf = netip.Addr{}
	case abroad:
		r.CareOf = m.s.At.CareOf
	}
	return r
}

// settleRoute orders it.
func (m *Machine) settleRoute(now time.Time, p *peer, g goal, out []Action) []Action {
	want := m.wantRoute(now, p, g)
	if want == p.Route {
		return out
	}
	was := p.Route.Direct && !p.DirectAt.IsZero()
	p.Route, p.RouteID, p.RouteOK = want, m.id(), false
	send := want
	send.ID = p.RouteID
	out = append(out, send)
	if !want.Direct {
		p.DirectAt = time.Time{}
		if was {
			out = m.changed(now, "tunnel", p, out)
		}
	}
	return out
}

// routeDone tells that a route is in place, or that the host would not have it.
func (m *Machine) routeDone(now time.Time, e RouteDone, out []Action) []Action {
	for i := range m.s.Peers {
		p := &m.s.Peers[i]
		if e.ID == 0 || p.RouteID != e.ID {
			continue
		}
		p.RouteID, p.RouteOK = 0, e.Err == nil
		p.touch(now)
		switch {
		case e.Err == nil && p.Route.Direct:
			if p.DirectAt.IsZero() {
				p.DirectAt = now
				m.s.Count.Optimised++
				out = m.changed(now, "direct", p, out)
			}
		case e.Err == nil:
		case p.Route.Direct:
			p.NoDirect = now.Add(routeRetry)
			out = m.routeError(p, e.Err, out)
		case p.Route.Ack && m.goal(now, p) == bind:
			out = m.routeError(p, e.Err, out)
			out = m.refuse(now, p, retryAfter, "the host could not take the path: "+e.Err.Error(), out)
		default:
			out = m.routeError(p, e.Err, out)
		}
		break
	}
	return out
}

func (m *Machine) routeError(p *peer, err error, out []Action) []Action {
	m.s.Count.RouteErrors++
	return note(slog.LevelWarn, "the host refused a direct path", p.Remote, out, slog.String("error", err.Error()))
}
