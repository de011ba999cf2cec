package mn

import (
	"log/slog"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

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
