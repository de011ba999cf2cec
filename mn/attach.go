package mn

import (
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
)

// follow goes where choose says.
func (m *Machine) follow(now time.Time, out []Action) []Action {
	want := m.choose(now)
	if !m.s.HoldUntil.IsZero() { // the host tells its addresses one by one
		if (want.Kind == nowhere || want.Kind == abroad && want.CareOf != m.s.Bind.CareOf) && !due(m.s.HoldUntil, now) {
			return out
		}
		m.s.HoldUntil = time.Time{}
	}
	switch want.Kind {
	case abroad:
		return m.goAbroad(now, want, out)
	case atHome:
		return m.goHome(now, want, out)
	}
	return m.detach(out)
}

// detach notes that there is no place to be. Everything is kept for the next
// one; only what the home address sends must not leave in the clear when
// it is not at home any more.
func (m *Machine) detach(out []Action) []Action {
	if m.s.Cur.Kind == nowhere {
		switch m.s.Bind.Phase {
		case protect.Home, protect.Returned: // an earlier run was at home, and we are not
			return m.adrift(out)
		}
		return out
	}
	m.s.Cur = attachment{}
	switch m.s.Bind.Phase {
	case protect.Absent, protect.Home, protect.Returned:
		return m.adrift(out)
	}
	return out
}

// strays removes the home address from interfaces where an earlier run has left it: with the
// home flag, which nobody else gives it.
// And it puts it again where it was taken off.
func (m *Machine) strays(now time.Time, out []Action) []Action {
	home := m.cfg.Home.Addr()
	if m.s.Renew {
		m.s.Renew = false
		var ops []host.Op
		for _, op := range m.WantHost() {
			if a, ok := op.(host.PutAddr); ok {
				if a.IfIndex != 0 {
					a.NoDAD = m.mayBeBound(now)
				}
				ops = append(ops, a)
			}
		}
		out = m.hostOps(ops, true, out)
	}
	for i := range m.s.Links {
		l := &m.s.Links[i]
		a := l.addr(home)
		if a == nil || !a.Addr.Home || l.Link.Name == "lo" || l.Link.Index == m.s.OnIf {
			continue
		}
		stray := host.DelAddr{IfIndex: l.Link.Index, Prefix: a.Addr.Prefix} // a is not valid behind dropAddr
		l.dropAddr(home)
		out = m.hostOps([]host.Op{stray}, false, out)
	}
	return out
}

// goAbroad moves to a care-of address: routes, policies and SAs, the IKE SA's end,
// and then, when the databases have confirmed, the Binding Update.
func (m *Machine) goAbroad(now time.Time, want attachment, out []Action) []Action {
	s := &m.s
	from, to := s.Bind, m.binding(protect.Away)
	to.CareOf = want.CareOf
	back := s.Cur.Kind == nowhere // the link may have lost its routes
	if from.Phase == protect.Away && from.CareOf == to.CareOf && s.OnLo != m.dup() && !s.Reput {
		changed := !want.same(s.Cur)
		// The address may be told before the router that it comes from: what was sent
		// meanwhile went by the main table, which may know the link of before only.
		rerouted := want.Router != s.Cur.Router
		s.Cur = want
		if changed || back {
			out = m.save(out)
			out = m.hostOps(m.route(m.routing(want), back), false, out)
		}
		if back || rerouted {
			m.kick(now)
		}
		return out
	}
	moved := from.Phase != protect.Away || from.CareOf != to.CareOf
	if moved {
		m.beginMove(from, want)
		out = m.changed("careof", out)
	}
	s.HomeGraceAt = time.Time{}
	// A grace copy of an SA at the new address would stand in the way of the SA itself.
	ops := m.dropGrace(to.CareOf)
	leaving := m.leave(now, from, to)
	s.Cur = want
	ops = append(ops, m.plan.Change(from, to, protect.Grace{Inbound: leaving.Inbound})...)
	s.Bind = to
	out = m.save(out)
	out = m.hostOps(m.route(m.routing(want), back || s.Reput), true, out)
	out = m.xfrmOps(m.withReput(ops), out)
	out = m.hostOps(m.homeAddr(!m.dup(), 0, false), true, out)
	out = m.hostOps(m.letGo(back), false, out)
	s.Reput = false
	if moved {
		out = m.moveKeys(to.CareOf, out)
		if !m.plan.Caps.Migrate { // the SAs stay behind: others are made
			out = m.rekeyAnew(out)
		}
		m.register(now, wantBind)
	}
	return out
}

// homeAddr gives the operations that put the home address on the loopback interface (abroad)
// and on a link (at home), or on both while changing over, and take it off elsewhere.
func (m *Machine) homeAddr(onLo bool, onIf int, dad bool) []host.Op {
	s, home := &m.s, m.cfg.Home
	lo := hostPrefix(home.Addr())
	var ops []host.Op
	if onLo && (!s.OnLo || s.Reput) {
		// The home flag lets the kernel accept type 2 routing headers for it. No
		// duplicate address detection: it is the agent's task while away.
		ops = append(ops, host.PutAddr{Prefix: lo, Home: true, NoDAD: true})
	}
	if onIf != 0 && (s.OnIf != onIf || s.Reput) {
		ops = append(ops, host.PutAddr{IfIndex: onIf, Prefix: home, Home: true, NoDAD: !dad})
	}
	if s.OnIf != 0 && s.OnIf != onIf {
		ops = append(ops, host.DelAddr{IfIndex: s.OnIf, Prefix: home})
	}
	if s.OnLo && !onLo {
		ops = append(ops, host.DelAddr{Prefix: lo})
	}
	s.OnLo, s.OnIf = onLo, onIf
	return ops
}

// beginMove starts the record of where time goes. What was before the last move began is no part of it.
func (m *Machine) beginMove(from protect.Binding, to attachment) {
	s := &m.s
	since := func(t time.Time) time.Time {
		if s.Moves > 0 && !t.After(s.MoveAt) {
			return time.Time{}
		}
		return t
	}
	t := MoveTimes{From: from.CareOf, To: to.CareOf,
		LinkUp: since(to.LinkUp), RouterAt: since(to.RouterAt), CareOfAt: since(to.CareOfAt)}
	if from.Phase != protect.Away && from.Phase != protect.Returning && from.Phase != protect.Absent {
		t.From = m.cfg.Home.Addr()
	}
	s.Move, s.MoveAt = t, s.Now
	s.Moves++
}
