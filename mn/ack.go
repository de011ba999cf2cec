package mn

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
)

// receive takes a Mobility Header. Those of route optimization are not for this machine.
func (m *Machine) receive(now time.Time, mh host.MH, out []Action) []Action {
	home := m.cfg.Home.Addr()
	var msg mobility.Message
	if err := msg.Decode(mh.Data); err != nil {
		if mh.Dst != home && mh.Dst != m.s.Bind.CareOf {
			return out
		}
		m.s.Count.Malformed++
		if errors.Is(err, mobility.ErrUnknownType) {
			return m.unknownType(now, mh, out)
		}
		return out
	}
	switch b := msg.Body.(type) {
	case mobility.BindingAck:
		if mh.Dst == home && mh.Src == m.cfg.HomeAgent {
			return m.acknowledged(now, mh, b, msg.Options, out)
		}
	case mobility.BindingRefreshRequest:
		// Heeded only from one that has a binding of ours (§11.7.4).
		if mh.Dst == home && mh.Src == m.cfg.HomeAgent && m.s.Reg.Want == wantBind && m.mayBeBound(now) {
			m.s.Count.RefreshRequests++
			if m.s.Reg.Acked {
				m.again(now)
			}
		}
	case mobility.BindingError:
		return m.bindingError(now, mh, b, out)
	case mobility.BindingUpdate:
		return m.noAgent(now, mh, b, out)
	}
	return out
}

// acknowledged checks and takes a Binding Acknowledgement of the agent (§11.7.3). That it came
// under ESP is the policies' work.
func (m *Machine) acknowledged(now time.Time, mh host.MH, ba mobility.BindingAck, opts mobility.Options, out []Action) []Action {
	s, r := &m.s, &m.s.Reg
	away := s.Bind.Phase == protect.Away
	i := slices.IndexFunc(r.Sent, func(u sent) bool { return u.Seq == ba.Seq })
	resyncs := react(ba.Status) == resync && len(r.Sent) > 0
	if r.Want == wantNothing || away != mh.RouteHeader || i < 0 && !resyncs {
		s.Count.AcksIgnored++
		return out
	}
	r.Status = int(ba.Status)
	how := react(ba.Status)
	// The agent has no binding to delete: so be it.
	if r.Want == wantUnbind && ba.Status == mobility.StatusNotHomeAgent {
		how = accept
	}
	if r.Want == wantUnbind && how == final {
		how = later
	}
	if how == accept {
		s.Count.AcksAccepted++
		return m.accepted(now, r.Sent[i], ba, opts, out)
	}
	s.Count.AcksRefused++
	out = m.note(slog.LevelWarn, "the home agent refused a binding update", out,
		slog.Int("status", int(ba.Status)), slog.String("reason", ba.Status.String()))
	r.Sent, r.Timeout, r.Tries = nil, 0, 0
	switch how {
	case resync:
		// Never back behind what was sent already (§11.7.2).
		if !mobility.SequenceAfter(ba.Seq, r.Seq) {
			r.Seq = ba.Seq
		}
		r.SeqFixes++
		r.NextTx = now
		if r.SeqFixes > 2 { // it does not help
			m.pause(now)
		}
	case later:
		m.pause(now)
	case final:
		r.Final = true
		r.NextTx = time.Time{}
	}
	return m.changed("refused", out)
}

// pause waits before the next try, longer each time.
func (m *Machine) pause(now time.Time) {
	r := &m.s.Reg
	r.Later = min(max(2*r.Later, m.cfg.InitialBindack), m.cfg.MaxBindack)
	r.NextTx = now.Add(r.Later)
}

// accepted takes the agent's consent.
func (m *Machine) accepted(now time.Time, u sent, ba mobility.BindingAck, opts mobility.Options, out []Action) []Action {
	s, r := &m.s, &m.s.Reg
	r.Acked, r.Sent, r.Timeout, r.Tries, r.SeqFixes, r.Later = true, nil, 0, 0, 0, 0
	r.Key = ba.Flags.Has(mobility.AckKey)
	if s.Move.AckAt.IsZero() {
		s.Move.AckAt = now
	}
	if r.Want == wantUnbind {
		r.Registered = false
		if s.Stopping {
			r.BoundUntil = time.Time{}
			return out
		}
		out = m.keyMobility(u, out)
		return m.deregistered(now, out)
	}
	// max(L_remain - (L_update - L_ack), 0), counted from the sending (§11.7.3).
	granted := u.Lifetime - max(u.Lifetime-ba.Lifetime.Duration(), 0)
	r.BoundUntil = u.At.Add(granted)
	if !r.Registered {
		r.Since = now
	}
	r.Registered, r.At, r.Granted = r.BoundUntil.After(now), s.Bind.CareOf, granted
	if !r.Registered {
		r.BoundUntil, r.Acked = time.Time{}, false
		m.pause(now)
		return m.note(slog.LevelWarn, "the home agent granted no lifetime", out)
	}
	refresh := granted * 4 / 5
	if advice, ok := opts.RefreshAdvice(); ok && advice > 0 { // §6.2.4
		refresh = min(refresh, advice.Duration())
	}
	r.RefreshAt = later1(u.At.Add(refresh), now.Add(min(time.Second, granted/4)))
	if ba.Status == mobility.StatusPrefixDiscovery {
		out = m.note(slog.LevelWarn, "the home prefix has changed: prefix discovery is needed", out)
	}
	out = m.save(out)
	out = m.changed("registered", out)
	return m.keyMobility(u, out)
}

func later1(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// errorPause is the least time between two Binding Errors that are heeded or sent: they
// are not authenticated.
const errorPause = time.Second

// problemPause is the least time between two notes of a Parameter Problem.
const problemPause = time.Minute

// bindingError takes a Binding Error (§11.3.6). From the home agent, status 1 says that it has lost the binding.
func (m *Machine) bindingError(now time.Time, mh host.MH, be mobility.BindingError, out []Action) []Action {
	s, r := &m.s, &m.s.Reg
	ours := be.HomeAddr == m.cfg.Home.Addr() && (mh.Dst == be.HomeAddr || mh.Dst == s.Bind.CareOf)
	if mh.Src != m.cfg.HomeAgent || !ours {
		return out
	}
	s.Count.BindingErrors++
	if now.Sub(s.BEAt) < errorPause {
		return out
	}
	s.BEAt = now
	out = m.note(slog.LevelWarn, "binding error from the home agent", out, slog.String("reason", be.Status.String()))
	if be.Status == mobility.ErrorUnknownBinding && r.Want == wantBind && r.Acked {
		m.again(now)
	}
	return out
}

// unknownType answers a message of a type that we do not know (§9.2, §9.3.3).
func (m *Machine) unknownType(now time.Time, mh host.MH, out []Action) []Action {
	to := mh.Src
	be := mobility.BindingError{Status: mobility.ErrorUnrecognizedType}
	if mh.CareOf.IsValid() {
		to, be.HomeAddr = mh.CareOf, mh.Src
	}
	if now.Sub(m.s.UnknownAt) < errorPause {
		return out
	}
	m.s.UnknownAt = now
	return m.reply(mh, to, be, out)
}

// noAgent answers a home registration: this node is no home agent (§10.3.1). Nothing that
// came in the clear is believed, and nothing is kept of it. One with a home address option does not get
// here: for that the kernel wants a binding.
func (m *Machine) noAgent(now time.Time, mh host.MH, u mobility.BindingUpdate, out []Action) []Action {
	if !u.Flags.Has(mobility.FlagHome) || mh.CareOf.IsValid() || now.Sub(m.s.RefusedAt) < errorPause ||
		mh.Dst != m.cfg.Home.Addr() && mh.Dst != m.s.Bind.CareOf {
		return out
	}
	m.s.RefusedAt = now
	return m.reply(mh, mh.Src, mobility.BindingAck{Status: mobility.StatusHomeRegUnsupported, Seq: u.Seq}, out)
}

// reply sends a message without options to a stranger, from the address that theirs came to.
func (m *Machine) reply(mh host.MH, to netip.Addr, body mobility.Body, out []Action) []Action {
	local := to.IsLinkLocalUnicast()
	if !local && !mobility.UnicastRoutable(to) {
		return out
	}
	msg := mobility.Message{Body: body}
	data, err := msg.AppendTo(nil)
	if err != nil {
		return out
	}
	answer := host.MH{Src: mh.Dst, Dst: to, Data: data}
	if local { // only the link tells where it is
		answer.IfIndex = mh.IfIndex
	}
	return append(out, Host{Home: m.cfg.Home.Addr(), Ops: []host.Op{host.SendMH{MH: answer}}})
}

// icmpError notes that the home agent cannot read what we send (§11.3.5). Anybody can say so:
// it is not noted without limit.
func (m *Machine) icmpError(now time.Time, e host.ICMPError, out []Action) []Action {
	if e.Dst != m.cfg.HomeAgent || !e.Refuses || now.Sub(m.s.ProblemAt) < problemPause {
		return out
	}
	m.s.ProblemAt = now
	return m.note(slog.LevelWarn, "parameter problem: the home agent does not understand Mobile IPv6", out,
		slog.Int("code", int(e.Code)), slog.String("from", e.From.String()))
}
