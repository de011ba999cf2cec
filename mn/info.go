package mn

import (
	"log/slog"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
)

// state is the registration's state, told from the facts.
func (m *Machine) state() State {
	s := &m.s
	switch {
	case s.Stopped:
		return StateStopped
	case s.Stopping:
		return StateStopping
	case !s.Started:
		return StateStarting
	case s.Cur.Kind == nowhere && s.Bind.Phase == protect.Absent && len(s.Links) == 0:
		return StateStarting
	case s.Cur.Kind == nowhere:
		return StateDetached
	case s.Cur.Kind == atHome && s.Bind.Phase == protect.Returning:
		return StateReturning
	case s.Cur.Kind == atHome:
		return StateHome
	case s.Reg.Final:
		return StateRefused
	case s.Reg.Acked:
		return StateRegistered
	case !m.hasChild(ChildMH):
		return StateKeying
	}
	return StateRegistering
}

// Info is the machine's state for those who look.
func (m *Machine) Info() Info {
	s := &m.s
	i := Info{
		State: m.state(), Home: m.cfg.Home.Addr(), HomeAgent: m.cfg.HomeAgent,
		CareOf: s.Bind.CareOf, Interface: s.Cur.Name, Router: s.Cur.Router, AtHome: s.Cur.Kind == atHome,
		Seq: s.Reg.Seq, Status: s.Reg.Status,
		KeyMobility: s.Reg.Key, Keys: s.Keys.Up,
		LastMove: s.Move, Moves: s.Moves, Counters: s.Count,
	}
	switch s.Bind.Phase {
	case protect.Away, protect.Adrift, protect.Returning:
		i.Away = true
	}
	i.Ready = s.Bind.Phase == protect.Away && m.open() && s.Cur.Kind == abroad && s.Cur.CareOf == s.Bind.CareOf
	i.Bound = i.Ready && s.Reg.Registered && s.Reg.At == s.Bind.CareOf
	i.Sent = i.Bound || i.Ready && s.Reg.Want == wantBind && s.Reg.Tries > 0
	if s.Reg.Registered {
		i.Expires, i.RefreshAt, i.Since, i.Granted = s.Reg.BoundUntil, s.Reg.RefreshAt, s.Reg.Since, s.Reg.Granted
	}
	if s.Reg.Status >= 0 {
		i.StatusText = mobility.Status(s.Reg.Status).String()
	}
	for _, c := range s.Keys.Children {
		i.Children = append(i.Children, c.ChildInfo)
	}
	return i
}

func (m *Machine) changed(what string, out []Action) []Action {
	return append(out, Changed{Home: m.cfg.Home.Addr(), What: what, Info: m.Info()})
}

func (m *Machine) tellState(_ time.Time, out []Action) []Action {
	st := m.state()
	if st == m.s.LastState {
		return out
	}
	m.s.LastState = st
	return m.changed("state", out)
}

func (m *Machine) note(level slog.Level, msg string, out []Action, attrs ...slog.Attr) []Action {
	return append(out, Note{Home: m.cfg.Home.Addr(), Level: level, Msg: msg, Attrs: attrs})
}

// save keeps what a start after a crash needs.
func (m *Machine) save(out []Action) []Action {
	s := &m.s
	r := Record{Home: m.cfg.Home.Addr(), HomeBits: m.cfg.Home.Bits(), HomeAgent: m.cfg.HomeAgent, ReqIDs: m.cfg.ReqIDs,
		Phase: s.Bind.Phase, CareOf: s.Bind.CareOf, Tunnel: s.Bind.Tunnel,
		IfIndex: s.Cur.IfIndex, Router: s.Cur.Router, OnLink: s.Cur.OnLink, OnIf: s.OnIf, Table: m.cfg.Table, RulePriority: m.cfg.RulePriority,
		Seq: s.Reg.Seq, Registered: s.Reg.Registered, Expires: s.Reg.BoundUntil}
	return append(out, Save{Home: r.Home, Record: r})
}
