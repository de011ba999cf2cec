package mn

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// grace is an old care-of address at which packets under way are still accepted.
type grace struct {
	CareOf  netip.Addr
	Inbound []xfrm.SPI
	Until   time.Time
}

// follow goes where choose says.
func (m *Machine) follow(now time.Time, out []Action) []Action {
	want := m.choose()
	if !m.s.HoldUntil.IsZero() { // the host tells its addresses one by one
		if want.Kind != atHome && want.CareOf != m.s.Bind.CareOf && !due(m.s.HoldUntil, now) {
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
		l.dropAddr(home)
		out = m.hostOps([]host.Op{host.DelAddr{IfIndex: l.Link.Index, Prefix: a.Addr.Prefix}}, false, out)
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
	s.Reput = false
	if moved {
		out = m.moveKeys(to.CareOf, out)
		m.register(now, wantBind)
	}
	return out
}

// leave notes the old care-of address for a grace time if packets to it can still arrive, and
// which SAs are to be accepted at it.
func (m *Machine) leave(now time.Time, from, to protect.Binding) grace {
	if from.Phase != protect.Away || from.CareOf == to.CareOf || !m.reachable(from.CareOf) {
		return grace{}
	}
	g := grace{CareOf: from.CareOf, Until: now.Add(m.cfg.Grace)}
	if m.plan.Protection == protect.MHAndPayload && m.plan.Caps.Migrate {
		for _, c := range m.s.Keys.Children {
			if c.Kind == ChildPayload {
				g.Inbound = append(g.Inbound, c.InSPI)
			}
		}
	}
	m.s.Grace = append(m.s.Grace, g)
	return g
}

// dropGrace ends the grace of one address at once.
func (m *Machine) dropGrace(a netip.Addr) []xfrm.Op {
	var ops []xfrm.Op
	keep := m.s.Grace[:0]
	for _, g := range m.s.Grace {
		if g.CareOf == a {
			ops = append(ops, protect.EndGrace(g.CareOf, protect.Grace{Inbound: g.Inbound})...)
			continue
		}
		keep = append(keep, g)
	}
	m.s.Grace = keep
	return ops
}

// expireGrace ends what is over.
func (m *Machine) expireGrace(now time.Time, out []Action) []Action {
	for i := 0; i < len(m.s.Grace); {
		if !due(m.s.Grace[i].Until, now) {
			i++
			continue
		}
		if ops := m.dropGrace(m.s.Grace[i].CareOf); len(ops) > 0 {
			out = append(out, Xfrm{Home: m.cfg.Home.Addr(), ID: m.id(), Ops: ops})
		}
		// Only the rules change: routes of a place that is lost stay as they are.
		want := m.s.Routes
		want.Rules = slices.DeleteFunc(slices.Clone(want.Rules), m.unused)
		out = m.hostOps(m.route(want, false), false, out)
	}
	return out
}

// unused tells whether a rule's source is neither in use nor in its grace time.
func (m *Machine) unused(r host.Rule) bool {
	a := r.Src.Addr()
	return a != m.cfg.Home.Addr() && a != m.s.Bind.CareOf &&
		!slices.ContainsFunc(m.s.Grace, func(g grace) bool { return g.CareOf == a })
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

// hostOps emits a batch. With gate a Binding Update waits for it.
func (m *Machine) hostOps(ops []host.Op, gate bool, out []Action) []Action {
	if len(ops) == 0 {
		return out
	}
	p := pending{ID: m.id(), Hard: make([]bool, len(ops))}
	for i, op := range ops {
		switch op.(type) {
		case host.PutAddr, host.PutRoute, host.PutRule:
			p.Hard[i] = true
		}
	}
	m.s.Pending = append(m.s.Pending, p)
	if gate {
		m.s.HostGate = p.ID
	}
	return append(out, Host{Home: m.cfg.Home.Addr(), ID: p.ID, Ops: ops})
}

// xfrmOps emits a batch that a Binding Update waits for.
func (m *Machine) xfrmOps(ops []xfrm.Op, out []Action) []Action {
	if len(ops) == 0 {
		return out
	}
	p := pending{ID: m.id(), Hard: make([]bool, len(ops))}
	for i, op := range ops {
		switch op.(type) {
		case xfrm.PutSA, xfrm.PutPolicy, xfrm.Migrate:
			p.Hard[i] = true
		}
	}
	m.s.Pending = append(m.s.Pending, p)
	m.s.XfrmGate = p.ID
	return append(out, Xfrm{Home: m.cfg.Home.Addr(), ID: p.ID, Ops: ops})
}

// withReput adds everything that should be there, after a start with a record of what was.
func (m *Machine) withReput(ops []xfrm.Op) []xfrm.Op {
	if !m.s.Reput {
		return ops
	}
	return append(ops, m.everything()...)
}

func (m *Machine) everything() []xfrm.Op {
	var ops []xfrm.Op
	s := m.Want()
	for _, sa := range s.SAs {
		ops = append(ops, xfrm.PutSA{SA: sa})
	}
	for _, p := range s.Policies {
		ops = append(ops, xfrm.PutPolicy{Policy: p})
	}
	return ops
}

// The pause before a failed change is tried again.
const (
	firstRepair = 100 * time.Millisecond
	lastRepair  = 10 * time.Second
)

// done takes the answer to a batch. A gate opens only if nothing hard failed.
func (m *Machine) done(now time.Time, id uint64, errs []error, gate, count *uint64, out []Action) []Action {
	s := &m.s
	i := slices.IndexFunc(s.Pending, func(p pending) bool { return p.ID == id })
	if i < 0 {
		return out
	}
	p := s.Pending[i]
	s.Pending = slices.Delete(s.Pending, i, i+1)
	failed := false
	for j, err := range errs {
		if err == nil || j >= len(p.Hard) || !p.Hard[j] {
			continue
		}
		failed = true
		*count++
		out = m.note(slog.LevelWarn, "a change failed", out, slog.Int("operation", j), slog.String("error", err.Error()))
	}
	if failed {
		if s.RepairAt.IsZero() {
			s.RepairPause = min(max(2*s.RepairPause, firstRepair), lastRepair)
			s.RepairAt = now.Add(s.RepairPause)
		}
		return out
	}
	if *gate != id {
		return out
	}
	*gate = 0
	if m.open() {
		s.RepairPause = 0
		if s.Move.Migrated.IsZero() && s.Cur.Kind != nowhere {
			s.Move.Migrated = now
			out = m.changed("migrated", out)
		}
	}
	return out
}

// repair puts everything again after a failure: an SA that could not be migrated has then at
// least the right policy, and IKE makes another.
func (m *Machine) repair(now time.Time, out []Action) []Action {
	s := &m.s
	if !due(s.RepairAt, now) {
		return out
	}
	s.RepairAt = time.Time{}
	if s.Cur.Kind == nowhere {
		s.Reput = true
		s.HostGate, s.XfrmGate = 0, 0 // closed anew by the next attachment
		return out
	}
	s.Reput = true
	out = m.hostOps(m.route(m.routing(s.Cur), true), true, out)
	out = m.xfrmOps(m.everything(), out)
	out = m.hostOps(m.homeAddr(s.OnLo, s.OnIf, !m.mayBeBound(now)), true, out)
	s.Reput = false
	return out
}

// beginMove starts the record of where time goes.
func (m *Machine) beginMove(from protect.Binding, to attachment) {
	s := &m.s
	t := MoveTimes{From: from.CareOf, To: to.CareOf, LinkUp: to.LinkUp, RouterAt: to.RouterAt, CareOfAt: to.CareOfAt}
	if from.Phase != protect.Away && from.Phase != protect.Returning && from.Phase != protect.Absent {
		t.From = m.cfg.Home.Addr()
	}
	s.Move = t
	s.Moves++
}
