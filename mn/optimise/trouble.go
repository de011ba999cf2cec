package optimise

import (
	"log/slog"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// bindingError takes a Binding Error (§11.3.6). Anybody may have sent it; it is heeded where it
// can be true, and it has packets go by the tunnel, no more.
func (m *Machine) bindingError(now time.Time, p *peer, mh host.MH, b mobility.BindingError, out []Action) []Action {
	m.s.Count.BindingErrors++
	// It goes to where the packet in error came from: abroad that is the care-of address, which fewer
	// know than the home address.
	ours := mh.Dst == m.s.At.CareOf
	if m.s.At.Place != Abroad {
		ours = mh.Dst == m.cfg.Home
	}
	if p == nil || !ours || m.s.Stopping {
		return out
	}
	switch b.Status {
	case mobility.ErrorUnknownBinding:
		if b.HomeAddr == m.cfg.Home {
			return m.unknownBinding(now, p, out)
		}
	case mobility.ErrorUnrecognizedType:
		if m.expecting(p) && !p.Acked { // one that has just acknowledged knows them
			return m.refuse(now, p, m.cfg.Remember, "the correspondent does not know our messages (Binding Error 2)", out)
		}
	}
	return out
}

// expecting tells whether an answer of the correspondent is awaited.
func (m *Machine) expecting(p *peer) bool {
	return len(p.Sent) > 0 || len(p.HomeSent) > 0 || len(p.CareSent) > 0
}

// awaits tells whether a quoted packet has a Mobility Header of ours that is not answered yet: a test by
// its cookie, which only the way to the correspondent has seen, an update by its sequence number.
func (m *Machine) awaits(p *peer, quoted []byte) bool {
	var pkt mobility.Packet
	if pkt.Walk(quoted) != nil || pkt.Proto != mobility.ProtoMobility {
		return false
	}
	var msg mobility.Message
	if msg.Decode(pkt.Payload) != nil {
		return false
	}
	switch b := msg.Body.(type) {
	case mobility.HomeTestInit:
		return slices.ContainsFunc(p.HomeSent, func(c cookie) bool { return c.Cookie == b.Cookie })
	case mobility.CareOfTestInit:
		return slices.ContainsFunc(p.CareSent, func(c cookie) bool { return c.Cookie == b.Cookie })
	case mobility.BindingUpdate:
		return slices.ContainsFunc(p.Sent, func(u update) bool { return u.Seq == b.Seq })
	}
	return false
}

// unknownBinding falls back to the tunnel at once and tests anew: the correspondent may have been started
// again, so its nonces may be others. If that comes often, the next try waits.
func (m *Machine) unknownBinding(now time.Time, p *peer, out []Action) []Action {
	if !p.Acked || !p.DirectAt.IsZero() && now.Sub(p.DirectAt) < errorGrace {
		return out
	}
	if p.Route.Direct {
		m.s.Count.Fallbacks++
	}
	// If it is not true, packets still come directly: they are accepted as long as they may.
	p.Acked, p.Refresh, p.Renew = false, false, false
	p.Home, p.Care = token{}, nil
	p.Sent, p.HomeSent, p.CareSent = nil, nil, nil
	p.HomeTry.again()
	p.CareTry.again()
	p.UpdateTry.again()
	if p.ErrorAt.IsZero() || now.Sub(p.ErrorAt) >= errorPause {
		p.HoldFor = 0
	} else {
		p.HoldFor = min(max(2*p.HoldFor, time.Second), maxBindack)
		p.HoldAt = now.Add(p.HoldFor)
	}
	p.ErrorAt = now
	p.LastUsed = now      // by the packets that it is about
	if p.Keys == keysUp { // its SAs may be gone as well: what is sent with ours is lost without a word
		p.KeyAnew = true // asked for anew, and theirs carry until then: anybody may have said so
	}
	return note(slog.LevelInfo, "the correspondent has lost our binding", p.Remote, out, slog.Duration("pause", p.HoldFor))
}

// icmpError takes an ICMPv6 error. A Parameter Problem at what is Mobile IPv6's tells that the correspondent
// knows none of it (§11.3.5, §11.6.2). (Of a home address option that is not known the RFC would have us only
// keep a log; but packets with one are then lost, so they go by the tunnel.)
func (m *Machine) icmpError(now time.Time, e host.ICMPError, out []Action) []Action {
	if !e.Refuses {
		return out
	}
	remote := e.Dst
	if e.Final.IsValid() {
		remote = e.Final
	}
	p := m.peer(remote)
	if p == nil || e.From != e.Dst && e.From != remote {
		return out
	}
	mine := e.Src == m.cfg.Home || e.Home == m.cfg.Home && (e.Src == m.s.At.CareOf || e.Src == p.CareOf) ||
		e.MH && !e.Home.IsValid() && m.s.At.Place == Abroad && e.Src == m.s.At.CareOf
	switch {
	case !mine || !p.RetryAt.IsZero() || m.s.Stopping:
		return out
	case e.MH && !m.awaits(p, e.Data), !e.MH && !p.mayBeBound(now):
		return out // nothing of ours that it could be about
	case p.Acked:
		// It knew it a moment ago, and anybody can say that it does not: test anew. If it is true that shows.
		m.s.Count.ParameterProblems++
		p.touch(now)
		return m.unknownBinding(now, p, out)
	}
	m.s.Count.ParameterProblems++
	p.touch(now)
	what := "the home address option"
	if e.MH && !e.Home.IsValid() || e.Code == 1 {
		what = "the Mobility Header"
	}
	return m.refuse(now, p, m.cfg.Remember, "the correspondent does not know "+what+" (ICMPv6 Parameter Problem)", out)
}
