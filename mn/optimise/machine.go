package optimise

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Machine is route optimization for one home address. It is not for concurrent use.
type Machine struct {
	cfg    Config
	random io.Reader
	s      state
}

// state is everything that changes, as plain data: copied between any two steps it gives the
// same trace. (Its fields are exported so that a test can copy them.)
type state struct {
	Started, Stopping, Stopped bool
	Now                        time.Time // of the last step
	NextID                     uint64
	At                         Placed
	HomeUntil                  time.Time // the end of the home registration, as known last
	Peers                      []peer    // by address
	Pace                       time.Time // when the messages so far would have left one after the other
	StopAt                     time.Time
	RandomAt                   time.Time // the source of randomness failed: not again before
	Count                      Counters
}

// New makes a machine. It does nothing until Restored. random is kept: cookies (RFC 6275 §5.2.3)
// and first sequence numbers are read from it.
func New(cfg Config, random io.Reader) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if random == nil {
		return nil, fmt.Errorf("%w: no source of randomness", ErrConfig)
	}
	return &Machine{cfg: cfg.withDefaults(), random: random}, nil
}

// Step takes one event in and appends the actions that follow, in order.
func (m *Machine) Step(now time.Time, ev Event, out []Action) []Action {
	if m.s.Stopped {
		return out
	}
	m.s.Now = now
	if e, ok := ev.(Restored); ok {
		out = m.restore(now, e, out)
	}
	if !m.s.Started {
		if e, ok := ev.(Placed); ok { // known already when it starts
			m.s.At = e
		}
		return out
	}
	switch e := ev.(type) {
	case Placed:
		m.placed(now, e)
		m.touchAll(now)
	case Met:
		out = m.met(now, e, out)
	case MHReceived:
		out = m.received(now, e.MH, out)
	case ICMPError:
		out = m.icmpError(now, e.Error, out)
	case RouteDone:
		out = m.routeDone(now, e, out)
	case Used:
		out = m.usedAnswer(now, e, out)
	case KeysUp:
		m.keysUp(now, e)
	case KeysDown:
		out = m.keysDown(now, e, out)
	case SetConfig:
		out = m.setConfig(e.Config, out)
		m.touchAll(now)
	case Stop:
		m.stop(now)
		m.touchAll(now)
	}
	return m.settle(now, out)
}

// touch has a correspondent settled at the end of this step.
func (p *peer) touch(now time.Time) { p.Wake = now }

func (m *Machine) touchAll(now time.Time) {
	for i := range m.s.Peers {
		m.s.Peers[i].touch(now)
	}
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	if !m.s.Started || m.s.Stopped {
		return out
	}
	m.s.Now = now
	return m.settle(now, out)
}

// settle brings what is in line with what should be, for all correspondents that an event was about
// or for which something is due: whatever order events come in, the machine ends in the same place.
func (m *Machine) settle(now time.Time, out []Action) []Action {
	for i := range m.s.Peers {
		p := &m.s.Peers[i]
		if !due(p.Wake, now) {
			continue
		}
		out = m.settlePeer(now, p, out)
		p.Wake = m.wake(p)
	}
	m.s.Peers = slices.DeleteFunc(m.s.Peers, func(p peer) bool { return p.State == gone })
	if m.s.Stopping && len(m.s.Peers) == 0 {
		m.s.Stopped = true
		out = append(out, Stopped{})
	}
	return out
}

// gone marks a peer that is to be removed.
const gone State = 0xfe

// Deadline is when Tick is wanted next; zero: never.
func (m *Machine) Deadline() time.Time {
	var d time.Time
	if !m.s.Started || m.s.Stopped {
		return d
	}
	for i := range m.s.Peers {
		if t := m.s.Peers[i].Wake; !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	return d
}

func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

func latest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.After(t) {
			t = o
		}
	}
	return t
}

func (m *Machine) id() uint64 {
	m.s.NextID++
	return m.s.NextID
}

// read reads random octets, false where there are none now.
func (m *Machine) read(b []byte) bool {
	if m.s.RandomAt.After(m.s.Now) {
		return false
	}
	if _, err := io.ReadFull(m.random, b); err != nil {
		m.s.RandomAt = m.s.Now.Add(time.Second)
		return false
	}
	return true
}

func note(level slog.Level, msg string, remote netip.Addr, out []Action, attrs ...slog.Attr) []Action {
	attrs = append([]slog.Attr{slog.String("correspondent", remote.String())}, attrs...)
	return append(out, Note{Level: level, Msg: msg, Attrs: attrs})
}
