package mn

import (
	"log/slog"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// holdTime is how long after a restart the place of before is waited for.
const holdTime = 100 * time.Millisecond

// restore starts the machine, with what an earlier run left behind.
func (m *Machine) restore(now time.Time, e Restored, out []Action) []Action {
	s := &m.s
	if s.Started {
		return out
	}
	s.Started, s.Fresh = true, true
	for _, r := range e.Records {
		if r.Home != m.cfg.Home.Addr() || r.Phase == protect.Absent {
			continue
		}
		old := protect.Binding{Phase: r.Phase, Home: r.Home, HomeAgent: r.HomeAgent,
			CareOf: r.CareOf, Tunnel: r.Tunnel, ReqIDs: r.ReqIDs}
		if r.HomeAgent != m.cfg.HomeAgent || r.Table != m.cfg.Table || r.RulePriority != m.cfg.RulePriority {
			out = m.demolish(old, r, out)
			continue
		}
		m.cfg.ReqIDs = r.ReqIDs
		s.Bind, s.Fresh, s.Reput = old, false, true
		s.OnLo = r.Phase != protect.Home
		s.OnIf = r.OnIf
		s.Reg.Seq = r.Seq
		s.Keys.OldMH = true
		if r.Phase == protect.Away {
			s.Before = attachment{Kind: abroad, IfIndex: r.IfIndex, CareOf: r.CareOf, Router: r.Router, OnLink: r.OnLink}
		} else {
			s.Before = attachment{Kind: atHome, IfIndex: r.IfIndex, CareOf: r.Home, Router: r.Router, OnLink: r.OnLink}
		}
		s.Routes = m.routing(s.Before)
		if r.Phase == protect.Returned {
			s.HomeGraceAt = now.Add(m.cfg.HomeGrace)
		}
		if r.Expires.After(now) {
			s.Reg.BoundUntil, s.Reg.Registered = r.Expires, r.Registered
		}
		if r.Phase == protect.Away {
			s.Reg.Want, s.Reg.NextTx = wantBind, now
		}
		s.HoldUntil = now.Add(holdTime)
		out = m.note(slog.LevelInfo, "an earlier run's state was found", out,
			slog.String("phase", r.Phase.String()), slog.String("care-of", r.CareOf.String()))
	}
	return out
}

// demolish takes down what an earlier run put up for another configuration.
func (m *Machine) demolish(b protect.Binding, r Record, out []Action) []Action {
	home := m.cfg.Home.Addr()
	none := b
	none.Phase = protect.Absent
	ops := []host.Op{host.DelAddr{Prefix: hostPrefix(home)},
		host.DelRule{Rule: host.Rule{Src: hostPrefix(home), Table: r.Table, Priority: r.RulePriority + 1}}}
	if r.OnIf != 0 {
		ops = append(ops, host.DelAddr{IfIndex: r.OnIf, Prefix: m.cfg.Home})
	}
	if r.CareOf.IsValid() {
		ops = append(ops, host.DelRule{Rule: host.Rule{Src: hostPrefix(r.CareOf), Table: r.Table, Priority: r.RulePriority}})
	}
	out = append(out, Host{Home: home, Ops: ops},
		Xfrm{Home: home, Ops: m.plan.Change(b, none, protect.Grace{})})
	return append(out, Forget{Home: home})
}

// stop begins the orderly end: first the agent is told.
func (m *Machine) stop(now time.Time, e Stop, out []Action) []Action {
	s := &m.s
	if s.Stopping {
		return out
	}
	s.Stopping = true
	if e.Keep || !s.Started {
		s.Stopped = true
		if s.Started {
			out = m.save(out)
		}
		return append(out, Stopped{Home: m.cfg.Home.Addr()})
	}
	s.StopAt = now.Add(m.cfg.StopWait)
	s.HomeGraceAt = time.Time{}
	if s.Bind.Phase == protect.Away && m.mayBeBound(now) {
		final := s.Reg.Final
		m.register(now, wantUnbind)
		s.Reg.Final = final
	}
	return out
}

// settleStop waits for the agent's answer, but not for long, and not if it cannot come.
func (m *Machine) settleStop(now time.Time, out []Action) []Action {
	s := &m.s
	if m.mayBeBound(now) && s.Reg.Want == wantUnbind && !s.Reg.Acked && !due(s.StopAt, now) &&
		(!m.open() || m.canSend()) {
		return m.sendDue(now, out)
	}
	return m.teardown(out)
}

// teardown leaves the host as it was found. The home address goes before the policies that
// keep what it sends from leaving in the clear.
func (m *Machine) teardown(out []Action) []Action {
	s := &m.s
	home := m.cfg.Home.Addr()
	out = append(out, KeyDown{Home: home})
	s.Reput = false
	if ops := m.homeAddr(false, 0, false); len(ops) > 0 {
		out = append(out, Host{Home: home, ID: m.id(), Ops: ops})
	}
	var ops []xfrm.Op
	for len(s.Grace) > 0 {
		ops = append(ops, m.dropGrace(s.Grace[0].CareOf)...)
	}
	from := s.Bind
	s.Bind = m.binding(protect.Absent)
	ops = append(ops, m.plan.Change(from, s.Bind, protect.Grace{})...)
	if len(ops) > 0 {
		out = append(out, Xfrm{Home: home, ID: m.id(), Ops: ops})
	}
	if ops := m.route(routing{}, false); len(ops) > 0 {
		out = append(out, Host{Home: home, ID: m.id(), Ops: ops})
	}
	s.Cur, s.Stopped = attachment{}, true
	s.Keys.Children, s.Keys.Up = nil, false
	out = append(out, Forget{Home: home})
	out = m.tellState(time.Time{}, out)
	return append(out, Stopped{Home: home})
}

// setConfig takes a new configuration where it can be taken while running.
func (m *Machine) setConfig(now time.Time, c Config, out []Action) []Action {
	if !c.Home.IsValid() { // as the agent gave it
		c.Home = m.cfg.Home
	}
	err := c.Validate()
	c = c.withDefaults()
	if err == nil && (c.Home != m.cfg.Home || c.HomeAgent != m.cfg.HomeAgent || c.Protection != m.cfg.Protection ||
		c.Table != m.cfg.Table || c.RulePriority != m.cfg.RulePriority) {
		err = ErrConfig
	}
	if err != nil {
		return m.note(slog.LevelError, "the new configuration cannot be taken while running", out, slog.String("error", err.Error()))
	}
	c.ReqIDs = m.cfg.ReqIDs
	relaid := c.Lifetime != m.cfg.Lifetime || c.NoKeyMobility != m.cfg.NoKeyMobility
	m.cfg = c
	before := m.Want()
	m.plan.Optimises, m.plan.Answers, m.plan.Triggers = c.Optimises, c.Answers, c.Triggers
	out = m.xfrmOps(xfrm.Diff(before, m.Want()), out)
	for i := range m.s.Links {
		l := &m.s.Links[i]
		l.Pref = c.preference(l.Link)
		if l.asks() && l.AskAt.IsZero() {
			l.AskAt = now
		}
	}
	if relaid || m.s.Reg.Final {
		m.forgive(now)
	}
	return out
}
