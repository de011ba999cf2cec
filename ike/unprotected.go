package ike

import "github.com/mip6/mip6/ike/message"

// unprotected looks at an unprotected message with the SPIs of one of our IKE
// SAs: at most it is a hint that the peer is gone, and a reason to ask (§2.4).
func (m *Machine) unprotected(s *sa, p *message.Payloads) {
	if p.Notify(message.InvalidIKESPI) == nil && p.Notify(message.InvalidSPI) == nil {
		m.stats.DropUnexpected++
		return
	}
	m.stats.Hints++
	if s.state != stateUp || m.now.Sub(s.hintAt) < hintInterval && !s.hintAt.IsZero() {
		return
	}
	s.hintAt = m.now
	m.probe(s)
	m.schedule(s)
}

// stateless sends an unprotected answer with the SPIs and the message ID of the
// request, and keeps nothing (§1.5, §2.6).
func (m *Machine) stateless(e Datagram, h message.Header, t message.NotifyType, data []byte) {
	if h.Exchange != message.IKESAInit && !m.answers.allow(m.now, answersPerSecond) {
		return
	}
	out := message.Header{SPIi: h.SPIi, SPIr: h.SPIr, Exchange: h.Exchange, ID: h.ID, Flags: message.FlagResponse}
	out.Flags |= ^h.Flags & message.FlagInitiator
	n := message.Notify{Type: t, Data: data}
	m.stats.Sent++
	m.emit(Send{Local: e.Local, Remote: e.Remote, Data: message.Plain(out, []message.Body{n.Body()})})
}
