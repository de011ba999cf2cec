package mn

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
)

// wanted is what the agent shall know.
type wanted uint8

const (
	wantNothing wanted = iota
	wantBind           // the care-of address
	wantUnbind         // that there is none any more
)

// registration is the entry of the binding update list for the home agent (RFC 6275 §11.1).
type registration struct {
	Want    wanted
	Acked   bool // Want is done
	NextTx  time.Time
	Timeout time.Duration // of the last transmission; 0: none yet
	Tries   int
	Sent    []sent // unanswered, oldest first
	Seq     uint16 // of the last Binding Update
	Recent  []time.Time

	BoundUntil time.Time  // the agent may have a binding until then
	Registered bool       // and has acknowledged it
	At         netip.Addr // for this care-of address
	Since      time.Time  // bound without a break
	Granted    time.Duration
	RefreshAt  time.Time

	Status   int // of the last acknowledgement
	Final    bool
	Later    time.Duration // pause after the last refusal
	SeqFixes int           // status 135 in a row
	Key      bool          // K in the last acknowledgement
}

// sent is a Binding Update that may be acknowledged yet.
type sent struct {
	Seq      uint16
	At       time.Time
	Lifetime time.Duration
	Key      bool
}

// keepSent bounds the unanswered ones that are remembered.
const keepSent = 8

// register starts anew: what was sent before is not waited for any more.
func (m *Machine) register(now time.Time, want wanted) {
	r := &m.s.Reg
	r.Want, r.Acked, r.NextTx = want, want == wantNothing, now
	r.Timeout, r.Tries, r.Sent, r.SeqFixes, r.Later = 0, 0, nil, 0, 0
	r.RefreshAt = time.Time{}
}

// kick sends at once what still waits for its acknowledgement.
func (m *Machine) kick(now time.Time) {
	if r := &m.s.Reg; !r.Acked {
		r.NextTx, r.Timeout, r.Tries = now, 0, 0
	}
}

// again registers the same anew.
func (m *Machine) again(now time.Time) {
	if m.s.Reg.Want != wantNothing {
		m.register(now, m.s.Reg.Want)
	}
}

// forgive tries again what had been refused for good.
func (m *Machine) forgive(now time.Time) {
	m.s.Reg.Final = false
	m.again(now)
}

func (m *Machine) mayBeBound(now time.Time) bool { return m.s.Reg.BoundUntil.After(now) }

// canSend tells whether a Binding Update may leave now, time and rate apart.
func (m *Machine) canSend() bool {
	s := &m.s
	if !m.open() || s.Reg.Acked || s.Reg.Final {
		return false
	}
	if !m.hasChild(ChildMH) && !(s.Keys.OldMH && s.Reg.Want == wantUnbind) {
		return false
	}
	switch s.Bind.Phase {
	case protect.Away:
		return s.Cur.Kind == abroad && s.Cur.CareOf == s.Bind.CareOf
	case protect.Returning:
		return s.Cur.Kind == atHome
	}
	return false
}

func (m *Machine) regDeadline(min func(time.Time)) {
	r := &m.s.Reg
	if m.canSend() {
		min(r.NextTx)
	}
	if r.Want == wantBind && r.Acked {
		min(r.RefreshAt)
	}
	if r.Want != wantNothing {
		min(r.BoundUntil)
	}
}

// expireReg refreshes before the end, and notes the end.
func (m *Machine) expireReg(now time.Time, out []Action) []Action {
	r := &m.s.Reg
	if r.Want == wantNothing {
		return out
	}
	if due(r.BoundUntil, now) {
		r.BoundUntil, r.Registered = time.Time{}, false
		out = m.note(slog.LevelWarn, "the registration has expired", out)
		if r.Want == wantUnbind && !m.s.Stopping {
			return m.simplyHomeNow(out)
		}
		if r.Acked && r.Want == wantBind {
			m.again(now)
		}
	}
	if r.Want == wantBind && r.Acked && due(r.RefreshAt, now) {
		m.again(now)
	}
	return out
}

// simplyHomeNow ends a return home whose deregistration was never acknowledged.
func (m *Machine) simplyHomeNow(out []Action) []Action {
	if m.s.Cur.Kind == atHome {
		return m.simplyHome(false, out)
	}
	m.register(time.Time{}, wantNothing)
	return out
}

// sendDue sends a Binding Update if one is due and may leave.
func (m *Machine) sendDue(now time.Time, out []Action) []Action {
	s, r := &m.s, &m.s.Reg
	if !m.canSend() || !due(r.NextTx, now) {
		return out
	}
	// MUST NOT send more than MAX_UPDATE_RATE within a second (§11.8).
	r.Recent = slices.DeleteFunc(r.Recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(r.Recent) >= m.cfg.MaxUpdateRate {
		r.NextTx = r.Recent[0].Add(time.Second)
		return out
	}
	msg, u := m.update(now)
	data, err := msg.AppendTo(nil)
	if err != nil { // cannot be: all of it is ours
		r.NextTx = now.Add(m.cfg.MaxBindack)
		return m.note(slog.LevelError, "a binding update cannot be encoded", out, slog.String("error", err.Error()))
	}
	first := r.Tries == 0
	switch {
	case !first:
		r.Timeout = min(2*r.Timeout, m.cfg.MaxBindack)
		s.Count.Retransmissions++
	case m.mayBeBound(now):
		r.Timeout = m.cfg.InitialBindack
	default: // the agent does duplicate address detection first
		r.Timeout = m.cfg.InitialBindackFirstReg
	}
	r.Seq = u.Seq
	r.Tries++
	r.NextTx = now.Add(r.Timeout)
	r.Recent = append(r.Recent, now)
	if len(r.Sent) == keepSent {
		r.Sent = slices.Delete(r.Sent, 0, 1)
	}
	r.Sent = append(r.Sent, sent{Seq: u.Seq, At: now, Lifetime: u.Lifetime.Duration(), Key: u.Flags.Has(mobility.FlagKey)})
	if end := now.Add(u.Lifetime.Duration()); end.After(r.BoundUntil) && r.Want == wantBind {
		r.BoundUntil = end
	}
	s.Count.UpdatesSent++
	out = m.save(out) // a sequence number is never used twice, a crash or not
	mh := host.MH{Src: m.cfg.Home.Addr(), Dst: m.cfg.HomeAgent, Data: data}
	var ops []host.Op
	if s.Bind.Phase == protect.Returning && !first { // the entry may have aged
		ops = m.meetAgent()
	}
	out = append(out, Host{Home: m.cfg.Home.Addr(), Ops: append(ops, host.SendMH{MH: mh})})
	if s.Move.UpdateAt.IsZero() {
		s.Move.UpdateAt = now
	}
	out = m.changed("update", out)
	if r.Want == wantBind && !s.Stopping && r.Tries == m.triesToMax()+1 {
		out = m.rekeyAnew(out)
	}
	return out
}

// triesToMax is how many transmissions it takes until the pause is the longest: by then the agent may
// have lost its SAs, which silences it.
func (m *Machine) triesToMax() int {
	n := 1
	for t := m.cfg.InitialBindack; t < m.cfg.MaxBindack; t *= 2 {
		n++
	}
	return n
}

// update makes a Binding Update (RFC 6275 §11.7.1). The home address option and ESP are
// the work of the policies.
func (m *Machine) update(now time.Time) (mobility.Message, mobility.BindingUpdate) {
	s, r := &m.s, &m.s.Reg
	u := mobility.BindingUpdate{Seq: r.Seq + 1, Flags: mobility.FlagAck | mobility.FlagHome}
	if !m.cfg.NoKeyMobility {
		u.Flags |= mobility.FlagKey
	}
	if l := m.linkByIndex(s.Cur.IfIndex); l != nil && m.linkLocalFlag(l) {
		u.Flags |= mobility.FlagLinkLocal
	}
	if r.Want == wantBind {
		u.Lifetime = m.lifetime(now)
	}
	msg := mobility.Message{}
	// ESP does not protect the outer source address: the care-of address is in the
	// message too, whenever the node is not at home.
	if s.Bind.Phase == protect.Away {
		msg.Options = mobility.Options{mobility.AlternateCareOf{Addr: s.Bind.CareOf}}
	}
	msg.Body = u
	return msg, u
}

// lifetime is what to ask for: no more than the care-of address has left, and never zero.
func (m *Machine) lifetime(now time.Time) mobility.Units {
	d := m.cfg.Lifetime
	if l := m.linkByIndex(m.s.Cur.IfIndex); l != nil {
		if a := l.addr(m.s.Cur.CareOf); a != nil && !a.Addr.Permanent && a.Addr.Valid > 0 {
			d = min(d, a.Addr.Valid-now.Sub(a.ToldAt))
		}
	}
	return max(mobility.UnitsOf(d), 1)
}

// linkLocalFlag tells whether the L bit is right: the link-local address has the interface
// identifier of the home address.
func (m *Machine) linkLocalFlag(l *link) bool {
	if m.cfg.NoLinkLocal || !l.Link.LinkLocal.IsValid() {
		return false
	}
	a, b := l.Link.LinkLocal.As16(), m.cfg.Home.Addr().As16()
	return [8]byte(a[8:]) == [8]byte(b[8:])
}
