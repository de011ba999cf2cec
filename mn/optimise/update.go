package optimise

import (
	"log/slog"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// updateAt is when a Binding Update is due; zero: never.
func (m *Machine) updateAt(now time.Time, p *peer, g goal) time.Time {
	if !m.updateWanted(now, p, g) || !m.provable(now, p, g) || p.RouteID != 0 {
		return time.Time{} // it leaves only when its path is in place
	}
	if g == bind {
		if !p.RouteOK || !p.Route.Ack {
			return time.Time{}
		}
		if t, ok := p.care(m.s.At.CareOf); p.Rule.Auth == ReturnRoutability && !(ok && t.fresh(now)) {
			return time.Time{}
		}
	}
	return m.sendAt(now, &p.UpdateTry)
}

func (m *Machine) sendUpdate(now time.Time, p *peer, g goal, out []Action) []Action {
	if !due(m.updateAt(now, p, g), now) {
		return out
	}
	if late := m.late(&p.UpdateTry); late && g == bind {
		return m.silence(now, p, "no answer to binding updates", out)
	} else if late && p.Rule.Auth == IPsec {
		p.MayUntil = time.Time{} // nobody is there who could be told
		out = m.forget(p, out)
		return m.keyDown(p, out)
	}
	if p.Rule.Auth == IPsec && p.UpdateTry.Tries >= 2 && !p.KeyTried && p.Keys == keysUp {
		p.KeyAnew = true // its SAs may be gone: such packets are dropped without a word
		return m.settleKeys(now, p, g, out)
	}
	msg, u := m.update(now, p, g)
	data, err := msg.AppendTo(nil)
	if err == nil && u.Auth != IPsec {
		err = u.Key.Sign(u.CareOf, p.Remote, data)
	}
	if err != nil { // cannot be: all of it is ours
		m.left(now, p, &p.UpdateTry, maxBindack)
		return note(slog.LevelError, "a binding update cannot be encoded", p.Remote, out, slog.String("error", err.Error()))
	}
	p.Seq = u.Seq
	if len(p.Sent) == keepSent {
		p.Sent = append([]update(nil), p.Sent[1:]...)
	}
	p.Sent = append(p.Sent, u)
	if g == bind {
		p.Told = u.CareOf
		p.MayUntil = latest(p.MayUntil, now.Add(u.Lifetime.Duration()))
		if u.CareOf != p.CareOf { // from now on it may know either
			p.Acked = false
		}
	} else {
		p.Acked = false
	}
	if p.UpdateTry.Tries > 0 {
		m.s.Count.Retransmissions++
	}
	m.left(now, p, &p.UpdateTry, timeout(p.RTT))
	m.s.Count.Updates++
	out = m.save(p, out)
	mh := host.MH{Src: m.cfg.Home, Dst: p.Remote, Data: data}
	if u.Abroad && u.Auth != IPsec {
		mh.CareOf = m.s.At.CareOf
	}
	return append(out, Host{Ops: []host.Op{host.SendMH{MH: mh}}})
}

// update makes a Binding Update (§11.7.2). Its authenticator is still to be written.
func (m *Machine) update(now time.Time, p *peer, g goal) (mobility.Message, update) {
	abroad := m.s.At.Place == Abroad
	u := update{Seq: p.Seq + 1, At: now, CareOf: m.cfg.Home, Abroad: abroad, Auth: p.Rule.Auth, Key: p.Rule.Key}
	if g == bind {
		u.CareOf, u.Lifetime = m.s.At.CareOf, m.lifetime(now, p)
	}
	msg := mobility.Message{Body: mobility.BindingUpdate{Seq: u.Seq, Flags: mobility.FlagAck, Lifetime: u.Lifetime}}
	switch u.Auth {
	case IPsec:
		// ESP does not protect the source address: the care-of address is in the message too.
		if abroad {
			msg.Options = mobility.Options{mobility.AlternateCareOf{Addr: m.s.At.CareOf}}
		}
		return msg, u
	case ReturnRoutability:
		n := mobility.NonceIndices{Home: p.Home.Nonce}
		if g == bind {
			care, _ := p.care(m.s.At.CareOf)
			n.CareOf = care.Nonce
			u.Key = rr.Key(p.Home.Token, care.Token)
		} else { // the care-of token has no part in a deletion, and index 0 says so (§11.7.2)
			u.Key = rr.DeleteKey(p.Home.Token)
		}
		msg.Options = mobility.Options{n}
	}
	// With a key set by hand there are no nonces (RFC 4449 §3).
	msg.Options = append(msg.Options, mobility.Authorization{Authenticator: make([]byte, rr.AuthenticatorLen)})
	return msg, u
}

// lifetime is what to ask for: no more than the home registration has left (§11.7.2),
// and with return routability no more than MAX_RR_BINDING_LIFETIME. It is never zero.
func (m *Machine) lifetime(now time.Time, p *peer) mobility.Units {
	d := m.cfg.Lifetime
	if p.Rule.Auth == ReturnRoutability {
		d = min(d, maxRRLifetime)
	}
	if left := m.s.HomeUntil.Sub(now); left > 0 {
		d = min(d, left)
	}
	return max(mobility.UnitsOf(d), 1)
}
