package optimise

import (
	"crypto/subtle"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// acked tells whether the correspondent has acknowledged the present care-of address.
func (m *Machine) acked(now time.Time, p *peer) bool {
	return p.Acked && p.CareOf == m.s.At.CareOf && p.Until.After(now)
}

// updateWanted tells whether there is something to tell the correspondent.
func (m *Machine) updateWanted(now time.Time, p *peer, g goal) bool {
	return g == unbind || g == bind && (!m.acked(now, p) || p.Refresh)
}

// provable tells whether a Binding Update can be proved to be ours, the care-of token apart.
func (m *Machine) provable(now time.Time, p *peer, g goal) bool {
	if !m.keyed(p, g) {
		return false
	}
	return p.Rule.Auth != ReturnRoutability || p.Home.fresh(now)
}

// keyed tells whether the SAs stand that have to stand first.
func (m *Machine) keyed(p *peer, g goal) bool { return !m.keysWanted(p, g) || p.Keys == keysUp }

func (m *Machine) homeTestWanted(now time.Time, p *peer, g goal) bool {
	if p.Rule.Auth != ReturnRoutability || !m.keyed(p, g) || g != bind && g != unbind {
		return false
	}
	return p.Renew || m.updateWanted(now, p, g) && !p.Home.fresh(now)
}

// homeTestAt is when a Home Test Init is due; zero: never.
func (m *Machine) homeTestAt(now time.Time, p *peer, g goal) time.Time {
	if !m.homeTestWanted(now, p, g) || p.Route.Ack { // while Ack is on, none can be taken from the tunnel
		return time.Time{}
	}
	// It goes through the home agent, which has to know where we are. Right behind the Binding Update
	// one may be early enough; more wait for the acknowledgement.
	if at := m.s.At; at.Place == Abroad && !at.Bound && (!at.Sent || p.HomeTry.Tries > 0) {
		return time.Time{}
	}
	return m.sendAt(now, &p.HomeTry)
}

// careTestAt is when a Care-of Test Init is due; zero: never.
func (m *Machine) careTestAt(now time.Time, p *peer, g goal) time.Time {
	if p.Rule.Auth != ReturnRoutability || g != bind || !m.keyed(p, g) || !m.updateWanted(now, p, g) {
		return time.Time{}
	}
	if t, ok := p.care(m.s.At.CareOf); ok && t.fresh(now) {
		return time.Time{}
	}
	return m.sendAt(now, &p.CareTry)
}

// sendAt is when a message may leave: its own time, no more than MAX_UPDATE_RATE of its type
// a second to one correspondent (§11.8), and a pace for all of them together.
func (m *Machine) sendAt(now time.Time, a *attempt) time.Time {
	return latest(a.next(now), a.free(m.cfg.UpdateRate), m.s.Pace.Add(-paceBurst), m.s.RandomAt)
}

// left notes that a message has left.
func (m *Machine) left(now time.Time, p *peer, a *attempt, initial time.Duration) {
	a.sent(now, initial, m.cfg.UpdateRate)
	p.LastSend = now
	m.s.Pace = latest(m.s.Pace, now).Add(paceEach)
}

// late tells, before a retransmission, whether there was no answer for too long.
func (m *Machine) late(a *attempt) bool {
	if a.Tries > 0 && a.Timeout >= initialBindack {
		a.Late++
	}
	return a.Late >= m.cfg.MaxFailure
}

// timeout is the first one for a round trip time, 0 where it is not known.
func timeout(rtt time.Duration) time.Duration {
	if rtt == 0 {
		return firstTimeout
	}
	return min(max(2*rtt, leastTimeout), initialBindack)
}

func (m *Machine) sendHomeTest(now time.Time, p *peer, g goal, out []Action) []Action {
	if !due(m.homeTestAt(now, p, g), now) {
		return out
	}
	if m.late(&p.HomeTry) && g == bind {
		if m.acked(now, p) && !p.Refresh { // nothing is lost yet
			p.Renew = false
			p.HomeTry.again()
			return out
		}
		return m.silence(now, p, "no answer to the home test", out)
	}
	var c mobility.Cookie
	if !m.read(c[:]) { // a new cookie each time (§11.8)
		return out
	}
	p.HomeSent = remember(p.HomeSent, cookie{c, now})
	if p.HomeTry.Tries > 0 {
		m.s.Count.Retransmissions++
	}
	m.left(now, p, &p.HomeTry, timeout(p.HomeRTT))
	m.s.Count.HomeTestInits++
	// From the home address: by the tunnel while we are away (§6.1.3).
	return m.send(mobility.HomeTestInit{Cookie: c}, m.cfg.Home, p.Remote, out)
}

func (m *Machine) sendCareTest(now time.Time, p *peer, g goal, out []Action) []Action {
	if !due(m.careTestAt(now, p, g), now) {
		return out
	}
	if m.late(&p.CareTry) {
		return m.silence(now, p, "no answer to the care-of test", out)
	}
	var c mobility.Cookie
	if !m.read(c[:]) {
		return out
	}
	p.CareSent = remember(p.CareSent, cookie{c, now})
	if p.CareTry.Tries > 0 {
		m.s.Count.Retransmissions++
	}
	m.left(now, p, &p.CareTry, timeout(p.RTT))
	m.s.Count.CareOfTestInits++
	return m.send(mobility.CareOfTestInit{Cookie: c}, m.s.At.CareOf, p.Remote, out)
}

// remember keeps the last cookies: the answer to one may come after the next has left.
func remember(list []cookie, c cookie) []cookie {
	if len(list) == keepCookies {
		list = append([]cookie(nil), list[1:]...)
	}
	return append(list, c)
}

func (m *Machine) send(b mobility.Body, src, dst netip.Addr, out []Action) []Action {
	msg := mobility.Message{Body: b}
	data, err := msg.AppendTo(nil)
	if err != nil { // cannot be: all of it is ours
		return out
	}
	return append(out, Host{Ops: []host.Op{host.SendMH{MH: host.MH{Src: src, Dst: dst, Data: data}}}})
}

// homeTest takes a Home Test, if it is the one awaited (§11.6.2): from a correspondent under test, to the
// home address, by the tunnel (the policies see to it, but while Ack is on), with our cookie.
func (m *Machine) homeTest(now time.Time, p *peer, mh host.MH, b mobility.HomeTest, out []Action) []Action {
	if p == nil || mh.Dst != m.cfg.Home || mh.CareOf.IsValid() || mh.RouteHeader || p.Route.Ack {
		m.s.Count.TestsIgnored++
		return out
	}
	c, ok := answered(p.HomeSent, b.Cookie)
	if !ok {
		m.s.Count.TestsIgnored++
		return out
	}
	m.s.Count.HomeTests++
	p.HomeRTT = now.Sub(c.At)
	p.Home = token{b.Token, b.NonceIndex, c.At.Add(rr.MaxTokenLifetime)}
	p.HomeSent, p.Renew = nil, false
	p.HomeTry.again()
	p.AskAt = m.nextAsk(now, p)
	return m.tested(now, p, out)
}

// careTest takes a Care-of Test in the same way; it comes directly to the present care-of address.
func (m *Machine) careTest(now time.Time, p *peer, mh host.MH, b mobility.CareOfTest, out []Action) []Action {
	at := m.s.At
	if p == nil || at.Place != Abroad || mh.Dst != at.CareOf || mh.CareOf.IsValid() || mh.RouteHeader {
		m.s.Count.TestsIgnored++
		return out
	}
	c, ok := answered(p.CareSent, b.Cookie)
	if !ok {
		m.s.Count.TestsIgnored++
		return out
	}
	m.s.Count.CareOfTests++
	p.RTT = now.Sub(c.At)
	p.setCare(careToken{at.CareOf, token{b.Token, b.NonceIndex, c.At.Add(rr.MaxTokenLifetime)}})
	p.CareSent = nil
	p.CareTry.again()
	return m.tested(now, p, out)
}

func answered(list []cookie, c mobility.Cookie) (cookie, bool) {
	for _, o := range list {
		if subtle.ConstantTimeCompare(o.Cookie[:], c[:]) == 1 {
			return o, true
		}
	}
	return cookie{}, false
}

// tested tells when both tokens are there.
func (m *Machine) tested(now time.Time, p *peer, out []Action) []Action {
	t, ok := p.care(m.s.At.CareOf)
	if p.Home.fresh(now) && ok && t.fresh(now) {
		return m.changed(now, "tests", p, out)
	}
	return out
}
