package ike

import (
	"net/netip"

	"github.com/mip6/mip6/ike/message"
)

// derive computes the keys of an IKE SA from SKEYSEED.
func (m *Machine) derive(s *sa, seed []byte) error {
	k, err := s.suite.Keys(seed, s.ni, s.nr, s.spiI, s.spiR)
	if err != nil {
		return err
	}
	i, err := s.suite.Protector(k.Ei, k.Ai)
	if err != nil {
		return err
	}
	r, err := s.suite.Protector(k.Er, k.Ar)
	if err != nil {
		return err
	}
	s.keys, s.in, s.outP = k, i, r
	if s.initiator {
		s.in, s.outP = r, i
	}
	if m.cfg.KeyLog {
		m.emit(Keys{
			SPIi: s.spiI, SPIr: s.spiR, SKei: k.Ei, SKer: k.Er, SKai: k.Ai, SKar: k.Ar,
			Encr: s.suite.Encr, Integ: s.suite.Integ,
			WiresharkEnc: s.suite.Encr.Wireshark(), WiresharkInt: s.suite.Integ.Wireshark(),
		})
	}
	return nil
}

// pack makes a protected message: one, or as many fragments as it takes, one
// after the other.
func (s *sa) pack(x message.ExchangeType, id uint32, response bool, ps []message.Body) []byte {
	h, first, inner := s.compose(x, id, response, ps)
	s.coverSent(h, first, inner)
	if out := s.split(h, first, inner); out != nil {
		return out
	}
	return s.sealWhole(h, first, inner)
}

// seal makes a protected message in one piece.
func (s *sa) seal(x message.ExchangeType, id uint32, response bool, ps []message.Body) []byte {
	return s.sealWhole(s.compose(x, id, response, ps))
}

func (s *sa) compose(x message.ExchangeType, id uint32, response bool, ps []message.Body) (message.Header, message.PayloadType, []byte) {
	inner, first := message.AppendChain(nil, ps)
	h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSK, Exchange: x, ID: id}
	if s.initiator {
		h.Flags |= message.FlagInitiator
	}
	if response {
		h.Flags |= message.FlagResponse
	}
	return h, first, inner
}

func (s *sa) sealWhole(h message.Header, first message.PayloadType, inner []byte) []byte {
	n := s.outP.SealedLen(len(inner))
	msg := h.Append(make([]byte, 0, message.HeaderLen+4), message.HeaderLen+4+n)
	msg = message.AppendSKHeader(msg, first, n)
	s.ivOut++
	return s.outP.Seal(msg, inner, s.ivOut)
}

// transmit sends a message, or the fragments of one.
func (m *Machine) transmit(s *sa, local, remote netip.AddrPort, data []byte) {
	s.sentAt = m.now
	for len(data) > 0 {
		var msg []byte
		msg, data = next(data)
		m.stats.Sent++
		m.emit(Send{SA: s.id, Local: local, Remote: remote, Data: msg})
	}
}

// send starts the exchange of s.req with these payloads.
func (m *Machine) send(s *sa, x message.ExchangeType, ps []message.Body) {
	r := s.req
	r.exchange, r.id = x, s.sendID
	s.sendID++
	m.launch(s, s.pack(x, r.id, false, ps))
}

// launch sends the encoded request and starts its repetitions (§2.1, §2.4).
func (m *Machine) launch(s *sa, data []byte) {
	r := s.req
	r.data, r.tries, r.wait = data, 0, m.cfg.Retransmit.First
	switch {
	case r.limit != 0:
	case r.job.kind == jobInit || r.job.kind == jobIntermediate || r.job.kind == jobAuth:
		r.limit = m.cfg.Retransmit.ConnectTries
	default:
		r.limit = m.cfg.Retransmit.Tries
	}
	r.at = m.now.Add(r.wait)
	m.transmit(s, s.local, s.remote, data)
	m.schedule(s)
}

// retransmit repeats the outstanding request bit by bit, or gives up.
func (m *Machine) retransmit(s *sa) {
	r := s.req
	if r.tries >= r.limit {
		m.timedOut(s)
		return
	}
	r.tries++
	m.stats.Retransmits++
	r.wait = min(2*r.wait, m.cfg.Retransmit.Max)
	r.at = m.now.Add(r.wait)
	m.transmit(s, s.local, s.remote, r.data)
}

// timedOut ends an IKE SA whose peer does not answer.
func (m *Machine) timedOut(s *sa) {
	m.stats.Timeouts++
	if s.first != nil {
		reason := "no answer"
		if s.first.refusal != 0 {
			reason = "refused by an unprotected notify"
		}
		m.refuse(s, s.first.refusal != 0, s.first.refusal, reason)
		return
	}
	if s.successor != nil {
		m.inherit(s, s.successor)
		return
	}
	if s.state == stateClosing || s.state == stateRekeyed {
		m.end(s, ReasonClosed, false)
		return
	}
	m.end(s, ReasonTimeout, s.conn != nil && s.conn.KeepChildren)
}

// reply answers the peer's request under way and remembers the answer.
func (m *Machine) reply(s *sa, ps []message.Body) {
	in := s.inb
	data := s.pack(in.exchange, in.id, true, ps)
	s.inb = nil
	s.recvID = in.id + 1
	s.lastReq, s.lastResp = in.hash, data
	m.transmit(s, in.local, in.remote, data)
}

func (m *Machine) replyNotify(s *sa, t message.NotifyType, data []byte) {
	m.reply(s, []message.Body{message.Notify{Type: t, Data: data}.Body()})
}
