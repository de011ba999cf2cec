package optimise

import (
	"errors"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// received takes a Mobility Header.
func (m *Machine) received(now time.Time, mh host.MH, out []Action) []Action {
	p := m.peer(mh.Src)
	var msg mobility.Message
	if err := msg.Decode(mh.Data); err != nil {
		switch {
		case errors.Is(err, mobility.ErrAuthPlace): // §11.7.3
			m.s.Count.AcksIgnored++
		case !errors.Is(err, mobility.ErrUnknownType):
			m.s.Count.Malformed++
		}
		return out
	}
	if p != nil {
		p.touch(now)
	}
	switch b := msg.Body.(type) {
	case mobility.HomeTest:
		return m.homeTest(now, p, mh, b, out)
	case mobility.CareOfTest:
		return m.careTest(now, p, mh, b, out)
	case mobility.BindingAck:
		return m.ack(now, p, mh, &msg, b, out)
	case mobility.BindingRefreshRequest:
		return m.refreshRequest(now, p, mh, out)
	case mobility.BindingError:
		return m.bindingError(now, p, mh, b, out)
	}
	return out
}

// ack takes a Binding Acknowledgement (§11.7.3).
func (m *Machine) ack(now time.Time, p *peer, mh host.MH, msg *mobility.Message, b mobility.BindingAck, out []Action) []Action {
	var u update
	ok := p != nil && mh.Dst == m.cfg.Home
	if ok {
		u, ok = m.acknowledged(p, mh, msg, b)
	}
	if !ok {
		m.s.Count.AcksIgnored++
		return out
	}
	p.Status = int(b.Status)
	if p.RTT == 0 {
		p.RTT = now.Sub(u.At)
	}
	if b.Status.Accepted() {
		return m.accepted(now, p, u, b, out)
	}
	m.s.Count.AcksRefused++
	return m.rejected(now, p, u, b, out)
}

// acknowledged is the Binding Update that an acknowledgement is for. It has to be proved: by
// its authenticator, or by the SA without which the policies let nothing pass. One of expired nonces
// has none (§9.5.4), and costs no more than another test.
func (m *Machine) acknowledged(p *peer, mh host.MH, msg *mobility.Message, b mobility.BindingAck) (update, bool) {
	for _, u := range slices.Backward(p.Sent) {
		// Under an SA the refusal of somebody without a binding comes by the tunnel.
		if mh.RouteHeader != u.Abroad && (u.Auth != IPsec || mh.RouteHeader) {
			continue
		}
		if u.Seq != b.Seq && b.Status != mobility.StatusSequence {
			continue
		}
		_, signed := msg.Options.Authenticator()
		switch {
		case u.Auth == IPsec:
			if p.Keys == keysUp {
				return u, true
			}
		case nonceExpired(b.Status) && u.Auth == ReturnRoutability && !signed:
			return u, true
		case u.Key.Verify(u.CareOf, p.Remote, mh.Data):
			return u, true
		}
	}
	return update{}, false
}

func nonceExpired(s mobility.Status) bool {
	return s == mobility.StatusExpiredHomeNonce || s == mobility.StatusExpiredCareOfNonce || s == mobility.StatusExpiredNonces
}

func (m *Machine) accepted(now time.Time, p *peer, u update, b mobility.BindingAck, out []Action) []Action {
	p.Sent = nil
	p.Fixes = 0
	p.KeyTried = false
	if u.Lifetime == 0 {
		m.s.Count.AcksAccepted++
		p.UpdateTry.again()
		p.Acked, p.MayUntil = false, time.Time{}
		out = m.forget(p, out)
		return out
	}
	life := min(u.Lifetime, b.Lifetime).Duration()
	if life == 0 {
		return m.notNow(now, p, "it grants no time", out)
	}
	m.s.Count.AcksAccepted++
	p.UpdateTry.again()
	p.KeyTry.again()
	p.Acked, p.CareOf, p.Refresh = true, u.CareOf, false
	p.Until = u.At.Add(life)   // counted from when the update was sent
	p.MayUntil = now.Add(life) // and there from when it came, at the latest now
	p.RefreshAt = p.Until.Add(-min(renewBefore, life/4))
	p.Refusals, p.Silences = 0, 0
	p.AskAt = m.nextAsk(now, p)
	out = m.save(p, out)
	return m.changed(now, "bound", p, out)
}

// rejected acts on a status of 128 or more.
func (m *Machine) rejected(now time.Time, p *peer, u update, b mobility.BindingAck, out []Action) []Action {
	deleting := u.Lifetime == 0
	switch {
	case b.Status == mobility.StatusSequence:
		p.Seq = b.Seq
		return m.fix(now, p, deleting, b.Status.String(), out)
	case nonceExpired(b.Status):
		if b.Status != mobility.StatusExpiredCareOfNonce {
			p.Home = token{}
		}
		if b.Status != mobility.StatusExpiredHomeNonce {
			p.Care = slices.DeleteFunc(p.Care, func(c careToken) bool { return c.CareOf == u.CareOf })
		}
		return m.fix(now, p, deleting, b.Status.String(), out)
	case deleting: // it has to be told all the same, or forget by itself; with the next retransmission
		p.Sent = nil
		return out
	case b.Status == mobility.StatusUnspecified || b.Status == mobility.StatusNoResources:
		return m.notNow(now, p, b.Status.String(), out)
	}
	out = m.refuse(now, p, m.cfg.Remember, "the correspondent refuses: "+b.Status.String(), out)
	if b.Status == mobility.StatusInvalidCareOf {
		p.NotHere = u.CareOf
	}
	return out
}

// fix tries again at once with what an answer has told, but not for ever.
func (m *Machine) fix(now time.Time, p *peer, deleting bool, why string, out []Action) []Action {
	p.Sent = nil
	p.Fixes++
	if p.Fixes <= maxFixes {
		p.UpdateTry.again()
		return out
	}
	if deleting { // with the next retransmission
		return out
	}
	return m.notNow(now, p, why, out)
}

// notNow tries again after a pause that doubles, and gives up after MaxFailure refusals in a row.
func (m *Machine) notNow(now time.Time, p *peer, why string, out []Action) []Action {
	p.Refusals++
	if p.Refusals >= m.cfg.MaxFailure {
		p.Refusals = 0
		return m.refuse(now, p, m.cfg.Remember, "the correspondent refuses: "+why, out)
	}
	return m.refuse(now, p, min(2*time.Second<<p.Refusals, m.cfg.Remember), "the correspondent refuses for now: "+why, out)
}

// refreshRequest takes a Binding Refresh Request: it is heeded if there is a binding (§11.7.4), and if packets
// went not long ago.
func (m *Machine) refreshRequest(now time.Time, p *peer, mh host.MH, out []Action) []Action {
	m.s.Count.RefreshRequests++
	if p == nil || mh.Dst != m.cfg.Home || !m.acked(now, p) || now.Sub(p.BRRAt) < refreshGap && !p.BRRAt.IsZero() {
		return out
	}
	p.BRRAt, p.Asked = now, true
	p.AskAt = now
	return out
}
