package mn

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// Machine is the mobile node for one home address. It is not for concurrent use.
type Machine struct {
	cfg  Config
	plan protect.Plan
	s    state
}

// state is everything that changes, as plain data: copied between any two steps it
// gives the same trace. (Its fields are exported so that a test can copy them.)
type state struct {
	Started, Fresh bool      // Fresh: started without a record
	Now            time.Time // of the last step
	NextID, Order  uint64

	Links      []link // by index
	DoubtUntil time.Time

	Cur    attachment // where we are; nowhere while no care-of address is usable
	Before attachment // where an earlier run was
	Bind   protect.Binding
	Reg    registration
	Keys   keys

	Routes routing
	OnLo   bool // the home address is on the loopback interface
	OnIf   int  // and by us on this one (at home), or 0
	Renew  bool // it was taken off: to be put again
	Grace  []grace

	HostGate, XfrmGate uint64 // ids whose success a Binding Update waits for; 0: open
	Pending            []pending
	Reput              bool // put everything again at the next attachment
	RepairAt           time.Time
	RepairPause        time.Duration
	HomeGraceAt        time.Time
	AgainAt            time.Time // the home address is put on the home link once more
	AgainPause         time.Duration

	HoldUntil time.Time // after a restart: wait so long for the care-of address of before

	Stopping, Stopped bool
	StopAt            time.Time

	LastState State
	Move      MoveTimes
	MoveAt    time.Time // when it began
	Moves     uint64
	Count     Counters
	BEAt      time.Time // when a Binding Error was last heeded
	UnknownAt time.Time // when an unknown type was last answered
	RefusedAt time.Time // when a Binding Update was last refused
	ProblemAt time.Time // when a Parameter Problem was last noted
}

// pending are the operations of a batch that waits for its answer: Hard ones
// must succeed, of the others an error is no harm.
type pending struct {
	ID   uint64
	Hard []bool
}

// New makes a machine. It does nothing until Restored. random gives the first sequence number
// (RFC 6275 §11.7.2: it should be random) and is not kept.
func New(cfg Config, caps xfrm.Caps, random io.Reader) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var b [2]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("mn: random source: %w", err)
	}
	m := &Machine{cfg: cfg.withDefaults(), plan: protect.Plan{Role: protect.Node, Protection: cfg.Protection, Caps: caps,
		Optimises: cfg.Optimises, Answers: cfg.Answers, Triggers: cfg.Triggers}}
	m.s.Bind = m.binding(protect.Absent)
	m.s.Reg.Seq = binary.BigEndian.Uint16(b[:])
	m.s.Reg.Status = -1
	return m, nil
}

// Step takes one event in and appends the actions that follow, in order.
func (m *Machine) Step(now time.Time, ev Event, out []Action) []Action {
	if m.s.Stopped {
		return out
	}
	m.s.Now = now
	switch e := ev.(type) {
	case Restored:
		out = m.restore(now, e, out)
	case HostEvent:
		out = m.hostEvent(now, e.Event, out)
	case HostDone:
		out = m.done(now, e.ID, e.Errs, &m.s.HostGate, &m.s.Count.HostErrors, out)
	case XfrmDone:
		out = m.done(now, e.ID, e.Errs, &m.s.XfrmGate, &m.s.Count.XfrmErrors, out)
	case KeysUp:
		out = m.keysUp(e, out)
	case KeysDown:
		out = m.keysDown(now, e, out)
	case KeysRefused:
		out = m.keysRefused(now, e, out)
	case ChildUp:
		out = m.childUp(now, e, out)
	case ChildRekeyed:
		m.childRekeyed(e)
	case ChildDown:
		m.childDown(now, e)
	case SetConfig:
		out = m.setConfig(now, e.Config, out)
	case Refresh:
		m.forgive(now)
	case Stop:
		out = m.stop(now, e, out)
	}
	return m.settle(now, out)
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	if m.s.Stopped {
		return out
	}
	m.s.Now = now
	return m.settle(now, out)
}

// settle brings what is in line with what should be. It is called after every
// event, so that whatever order events come in, the machine ends in the same place.
func (m *Machine) settle(now time.Time, out []Action) []Action {
	if !m.s.Started || m.s.Stopped {
		return out
	}
	out = m.expire(now, out)
	if m.s.Stopping {
		out = m.settleStop(now, out)
	} else {
		out = m.follow(now, out)
		out = m.strays(now, out)
		out = m.repair(now, out)
		out = m.putAgain(now, out)
		out = m.solicit(now, out)
		if m.open() {
			out = m.sendDue(now, out)
			out = m.wantKeys(now, out)
		}
	}
	return m.tellState(now, out)
}

// open tells whether everything that a Binding Update needs is in place.
func (m *Machine) open() bool { return m.s.HostGate == 0 && m.s.XfrmGate == 0 }

// Deadline is when Tick is wanted next; zero: never.
func (m *Machine) Deadline() time.Time {
	s := &m.s
	var d time.Time
	min := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	if !s.Started || s.Stopped {
		return d
	}
	min(s.StopAt)
	min(s.HomeGraceAt)
	min(s.DoubtUntil)
	for _, g := range s.Grace {
		min(g.Until)
	}
	m.regDeadline(min)
	if s.Stopping {
		return d
	}
	min(s.RepairAt)
	min(s.AgainAt)
	min(s.HoldUntil)
	for i := range s.Links {
		s.Links[i].deadline(s.Now, min)
	}
	if m.open() && len(m.toAsk()) > 0 {
		min(s.Keys.RetryAt)
	}
	return d
}

// expire drops what is over.
func (m *Machine) expire(now time.Time, out []Action) []Action {
	s := &m.s
	m.expireLinks(now)
	out = m.expireGrace(now, out)
	if due(s.HomeGraceAt, now) {
		out = m.settleHome(now, out)
	}
	return m.expireReg(now, out)
}

func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// binding is our binding in a phase.
func (m *Machine) binding(p protect.Phase) protect.Binding {
	return protect.Binding{Phase: p, Home: m.cfg.Home.Addr(), HomeAgent: m.cfg.HomeAgent, ReqIDs: m.cfg.ReqIDs}
}

func (m *Machine) id() uint64 {
	m.s.NextID++
	return m.s.NextID
}

// Want is what should be in the databases now, Mobile IPv6 states and policies; IKE's
// states are not in it.
func (m *Machine) Want() xfrm.Snapshot { return m.plan.Want(m.s.Bind) }

// WantHost is what should be in the host now (addresses, routes, rules), as the operations that
// would make it: what carries the program's mark and is not in it is a left-over of
// an earlier run.
func (m *Machine) WantHost() []host.Op {
	s := &m.s
	var ops []host.Op
	for _, r := range s.Routes.Routes {
		ops = append(ops, host.PutRoute{Route: r})
	}
	for _, r := range s.Routes.Rules {
		ops = append(ops, host.PutRule{Rule: r})
	}
	if s.OnLo {
		ops = append(ops, host.PutAddr{Prefix: hostPrefix(m.cfg.Home.Addr()), Home: true, NoDAD: true})
	}
	if s.OnIf != 0 {
		ops = append(ops, host.PutAddr{IfIndex: s.OnIf, Prefix: m.cfg.Home, Home: true, NoDAD: s.OnLo})
	}
	return ops
}
