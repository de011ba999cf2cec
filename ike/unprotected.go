package ike

import (
	"encoding/binary"

	"github.com/mip6/mip6/ike/message"
)

// closeTries is how often a Delete is repeated to a peer that does not know the
// IKE SA: our answer that makes it may not have arrived yet.
const closeTries = 3

// unprotected looks at an unprotected message with the SPIs of one of our IKE
// SAs: at most it is a hint that the peer is gone, and a reason to ask (§2.4).
func (m *Machine) unprotected(s *sa, e Datagram, p *message.Payloads) {
	if p.Notify(message.InvalidIKESPI) == nil && p.Notify(message.InvalidSPI) == nil {
		m.stats.DropUnexpected++
		return
	}
	m.stats.Hints++
	if s.state == stateClosing && s.remote == e.Remote && s.req != nil && s.req.tries >= closeTries && p.Notify(message.InvalidIKESPI) != nil {
		m.end(s, ReasonClosed, false) // nobody is left to be told
		return
	}
	if s.state != stateUp || m.now.Sub(s.hintAt) < hintInterval && !s.hintAt.IsZero() {
		return
	}
	s.hintAt = m.now
	m.probe(s)
	m.schedule(s)
}

// invalidSPI takes the INVALID_SPI of a peer that has no IKE SA to say it by
// (§1.5): it got a packet of a child that it does not know. From where that child
// goes it is a hint, as any other; it is not answered.
func (m *Machine) invalidSPI(e Datagram, h message.Header) bool {
	if h.Exchange != message.Informational || h.Response() || h.Next != message.TypeNotify {
		return false
	}
	p, err := message.Parse(h, e.Data)
	if err != nil {
		return false
	}
	n := p.Notify(message.InvalidSPI)
	if n == nil {
		return false
	}
	if len(n.Data) != 4 {
		m.stats.DropMalformed++
		return true
	}
	spi := binary.BigEndian.Uint32(n.Data)
	for _, id := range m.spis[spi] {
		if s := m.sas[id]; s != nil && s.remote.Addr() == e.Remote.Addr() && s.bySPIOut(0, spi) != nil {
			m.unprotected(s, e, p)
			return true
		}
	}
	return true
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
