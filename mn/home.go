package mn

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
)

// goHome returns to the home link (RFC 6275 §11.5.5), or simply stays there.
func (m *Machine) goHome(now time.Time, want attachment, out []Action) []Action {
	s := &m.s
	back := s.Cur.Kind == nowhere
	arrived := s.Cur.Kind != atHome || s.Cur.IfIndex != want.IfIndex
	if !arrived && !s.Reput {
		if !want.same(s.Cur) {
			s.Cur = want
			out = m.save(out)
			out = m.hostOps(m.route(m.routing(want), false), false, out)
		}
		return out
	}
	moved := s.Bind.Phase == protect.Away
	if moved || back && s.Bind.Phase != protect.Returning {
		m.beginMove(s.Bind, want)
	}
	s.Cur = want
	if m.mayBeBound(now) && (moved || s.Bind.Phase == protect.Returning) {
		return m.returning(now, moved, back, out)
	}
	return m.simplyHome(back, out)
}

// returning puts the home address on the home link and deregisters. Until the
// acknowledgement the tunnel is what the home address sends by.
func (m *Machine) returning(now time.Time, moved, back bool, out []Action) []Action {
	s := &m.s
	to := m.binding(protect.Returning)
	to.CareOf = s.Bind.CareOf
	from := s.Bind
	s.Bind = to
	out = m.save(out)
	// MUST NOT do duplicate address detection while the agent may defend the address (§11.5.5).
	ops := append(m.meetAgent(), m.homeAddr(true, s.Cur.IfIndex, false)...)
	ops = append(ops, m.route(m.routing(s.Cur), back || s.Reput)...)
	out = m.hostOps(ops, true, out)
	out = m.xfrmOps(m.withReput(m.plan.Change(from, to, protect.Grace{})), out)
	out = m.hostOps(m.letGo(back), false, out)
	s.Reput = false
	if moved {
		out = m.moveKeys(m.cfg.Home.Addr(), out)
	}
	if s.Reg.Want != wantUnbind {
		m.register(now, wantUnbind)
	} else {
		m.kick(now)
	}
	return out
}

// meetAgent records the home agent's link-layer address from its advertisement (§11.5.5). Until it has
// ceased to defend the home address nobody may be asked for it from that address, as
// the kernel would. Where no advertisement has told it, the kernel asks all the same.
func (m *Machine) meetAgent() []host.Op {
	l := m.linkByIndex(m.s.Cur.IfIndex)
	if l == nil {
		return nil
	}
	hard := l.agentHardAddr(m.cfg.HomeAgent)
	if len(hard) == 0 {
		return nil
	}
	return []host.Op{host.PutNeighbour{IfIndex: l.Link.Index, Addr: m.cfg.HomeAgent, HardAddr: hard}}
}

// simplyHome is for a node without a binding: the home address is an address like any other.
// With the keys of an earlier time away the policies of Mobility Headers stay.
func (m *Machine) simplyHome(back bool, out []Action) []Action {
	s := &m.s
	from := s.Bind
	if from.Phase != protect.Absent {
		to := m.binding(protect.Home)
		to.Tunnel = tunnelAt(from)
		s.Bind = to
	}
	m.register(time.Time{}, wantNothing)
	s.HomeGraceAt = time.Time{}
	out = m.save(out)
	onIf := s.Cur.IfIndex
	if l := m.linkByIndex(onIf); s.OnIf != onIf && l != nil && l.addr(m.cfg.Home.Addr()) != nil {
		onIf = 0 // somebody else put it there, and it is theirs to remove
	}
	ops := append(m.route(m.routing(s.Cur), back || s.Reput), m.homeAddr(false, onIf, true)...)
	out = m.hostOps(ops, true, out)
	out = m.xfrmOps(m.withReput(m.plan.Change(from, s.Bind, protect.Grace{})), out)
	s.Reput = false
	return m.changed("home", out)
}

// tunnelAt is where the payload SAs stand.
func tunnelAt(b protect.Binding) netip.Addr {
	switch b.Phase {
	case protect.Away, protect.Returning, protect.Returned:
		return b.CareOf
	}
	return b.Tunnel
}

// deregistered ends the return home: the agent has ceased to defend the home address. The
// neighbours are told where it is now.
func (m *Machine) deregistered(now time.Time, out []Action) []Action {
	s := &m.s
	from := s.Bind
	s.Reg.BoundUntil, s.Reg.RefreshAt = time.Time{}, time.Time{}
	m.register(time.Time{}, wantNothing)
	to := m.binding(protect.Returned)
	to.CareOf = from.CareOf
	s.Bind = to
	out = m.xfrmOps(m.plan.Change(from, to, protect.Grace{}), out)
	out = m.advertise(out)
	s.HomeGraceAt = now.Add(m.cfg.HomeGrace)
	out = m.save(out)
	return m.changed("home", out)
}

// settleHome ends the time in which tunnelled packets were still accepted. Neighbours are told
// once more, multicast being unreliable.
func (m *Machine) settleHome(now time.Time, out []Action) []Action {
	s := &m.s
	s.HomeGraceAt = time.Time{}
	if s.Bind.Phase != protect.Returned {
		return out
	}
	from, to := s.Bind, m.binding(protect.Home)
	to.Tunnel = from.CareOf
	if s.Keys.TunnelAt.IsValid() {
		to.Tunnel, s.Keys.TunnelAt = s.Keys.TunnelAt, netip.Addr{}
	}
	s.Bind = to
	out = m.save(out)
	out = m.xfrmOps(m.plan.Change(from, to, protect.Grace{}), out)
	if s.Cur.Kind == atHome {
		out = m.hostOps(m.homeAddr(false, s.OnIf, false), false, out)
		out = m.advertise(out)
	}
	return out
}

// advertise multicasts unsolicited advertisements with the override flag for the home
// address, and for the link-local address if the agent defended it too (§11.5.5).
func (m *Machine) advertise(out []Action) []Action {
	s := &m.s
	if s.Cur.Kind != atHome {
		return out
	}
	ops := []host.Op{host.AdvertiseNeighbour{IfIndex: s.Cur.IfIndex, Target: m.cfg.Home.Addr(), Override: true}}
	if l := m.linkByIndex(s.Cur.IfIndex); l != nil && m.linkLocalFlag(l) {
		ops = append(ops, host.AdvertiseNeighbour{IfIndex: s.Cur.IfIndex, Target: l.Link.LinkLocal, Override: true})
	}
	return append(out, Host{Home: m.cfg.Home.Addr(), Ops: ops})
}

// adrift takes the home address off a home link that is lost, and discards what it sends until there
// is a care-of address: the next link's default route may work before that, and
// would carry it in the clear.
func (m *Machine) adrift(out []Action) []Action {
	s := &m.s
	from, to := s.Bind, m.binding(protect.Adrift)
	to.Tunnel = tunnelAt(from)
	s.Bind, s.HomeGraceAt = to, time.Time{}
	out = m.save(out)
	out = m.xfrmOps(m.plan.Change(from, to, protect.Grace{}), out)
	out = m.hostOps(m.homeAddr(true, 0, false), true, out)
	return m.note(slog.LevelInfo, "home link lost", out)
}

// prepareLink sets a link up for quick attachment, as configured.
func (m *Machine) prepareLink(l *link, out []Action) []Action {
	conf := func(name string) string { return "net/ipv6/conf/" + name + "/" }
	var ops []host.Op
	switch m.cfg.DAD {
	case DADOptimistic: // RFC 4429
		ops = append(ops, host.SetSysctl{Key: conf(l.Link.Name) + "optimistic_dad", Value: "1"},
			host.SetSysctl{Key: conf(l.Link.Name) + "use_optimistic", Value: "1"})
	case DADOff: // Linux takes the greater of both
		ops = append(ops, host.SetSysctl{Key: conf("all") + "accept_dad", Value: "0"},
			host.SetSysctl{Key: conf(l.Link.Name) + "accept_dad", Value: "0"})
	}
	if len(ops) == 0 {
		return out
	}
	return append(out, Host{Home: m.cfg.Home.Addr(), Ops: ops})
}
