package ike

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// startChild prepares CREATE_CHILD_SA for a new child, or the rekey of old.
func (m *Machine) startChild(s *sa, j job, old *child) {
	p := &pending{req: j.req, initiator: true, want: j.want, mode: j.want.Mode, old: old, retries: j.retries}
	if old != nil { // a rekey keeps selectors and owner (§2.8)
		p.want, p.mode = old.asWant(), old.Mode
		old.state = childRekeying
	}
	p.offers = s.conn.offers(p.want.Proto)
	s.req = &request{job: j, exchange: message.CreateChildSA, pend: p}
	if len(p.offers) == 0 { // the configuration has changed
		m.childFailed(s, 0, noOffers)
		return
	}
	p.ni = make([]byte, nonceLen)
	if !m.random(p.ni) {
		m.childFailed(s, 0, "no randomness")
		return
	}
	if g := p.offers[0].KE; len(g) > 0 && g[0] != transform.KENone {
		if !m.childKE(s, p, g[0]) {
			return
		}
	}
	m.allocate(s, ours, p)
}

// noOffers is why a child is refused here.
const noOffers = "the connection has no proposals for this protocol"

// canMake says whether a connection has offers for a wanted child.
func (c *Conn) canMake(w ChildWant) bool {
	return (w.Proto == ESP || w.Proto == AH || w.Proto == 0) && len(c.offers(w.Proto)) > 0
}

// asWant is a pair as it would be asked for again.
func (c *child) asWant() ChildWant {
	return ChildWant{Name: c.Name, Proto: c.Proto, Mode: c.Mode, ReqID: c.ReqID, Local: c.Local, Remote: c.Remote}
}

func (m *Machine) childKE(s *sa, p *pending, g transform.KE) bool {
	ke, err := g.Generate(m.rand)
	if err != nil {
		m.childFailed(s, 0, err.Error())
		return false
	}
	p.ke = ke
	return true
}

// offer is what we propose: SA, transport mode, nonce, key exchange, selectors.
// TSi is ours, TSr the peer's (RFC 4877 §7.3: the home address, not IKE's).
func (p *pending) offer(nonce []byte) []message.Body {
	ps := []message.Body{message.SABody(transform.Proposals(p.offers, wire(p.want.Proto), spiBytes(p.spiIn)))}
	if p.want.Mode == Transport {
		ps = append(ps, message.Notify{Type: message.UseTransportMode}.Body())
	}
	if nonce != nil {
		ps = append(ps, message.Body{Type: message.TypeNonce, Data: nonce})
	}
	if p.ke != nil {
		ps = append(ps, message.KE{Group: uint16(p.ke.Group()), Data: p.ke.Public()}.Body())
	}
	return append(ps, message.TSBody(message.TypeTSi, p.want.Local), message.TSBody(message.TypeTSr, p.want.Remote))
}

// sendChild sends CREATE_CHILD_SA.
func (m *Machine) sendChild(s *sa) {
	p := s.req.pend
	var ps []message.Body
	if p.old != nil {
		if present(s, p.old) == nil || p.old.heir != nil {
			// The peer was quicker: it deleted or rekeyed the pair meanwhile.
			m.abandon(s, p)
			if p.old.state == childRekeying {
				m.replaced(p.old)
			}
			m.finish(s)
			return
		}
		ps = append(ps, message.Notify{
			Protocol: wire(p.old.Proto), SPI: spiBytes(p.old.SPIIn), Type: message.RekeySA,
		}.Body())
	}
	m.send(s, message.CreateChildSA, append(ps, p.offer(p.ni)...))
}

// childResponse takes the answer to CREATE_CHILD_SA.
func (m *Machine) childResponse(s *sa, p *message.Payloads) {
	pend := s.req.pend
	if p.Nonce == nil && p.SA != nil {
		m.rejectAnswer(s, pend, "answer without nonce")
		return
	}
	if p.SA != nil && s.shortNonce(p.Nonce) {
		m.rejectAnswer(s, pend, "answer with a short nonce")
		return
	}
	pend.nr = append([]byte(nil), p.Nonce...)
	m.childAnswer(s, pend, p)
}

// childAnswer checks the responder's part of a child, in IKE_AUTH or after, and
// installs it.
func (m *Machine) childAnswer(s *sa, pend *pending, p *message.Payloads) {
	if p.SA == nil || p.TSi == nil || p.TSr == nil {
		m.childError(s, pend, p)
		return
	}
	suite, spi, err := transform.Accept(pend.offers, p.SA, wire(pend.want.Proto))
	if err != nil {
		m.rejectAnswer(s, pend, err.Error())
		return
	}
	pend.suite, pend.spiOut = suite, binary.BigEndian.Uint32(spi)
	if pend.spiOut < minSPI {
		m.rejectAnswer(s, pend, "the peer's SPI is reserved")
		return
	}
	if slices.Contains(pend.gone, pend.spiOut) {
		m.goneAlready(s, pend)
		return
	}
	if suite.KE != transform.KENone {
		if pend.ke == nil || p.KE == nil || p.KE.Group != uint16(suite.KE) || pend.ke.Group() != suite.KE {
			m.rejectAnswer(s, pend, "answer with the wrong key exchange")
			return
		}
		if pend.shared, err = pend.ke.Shared(p.KE.Data); err != nil {
			m.rejectAnswer(s, pend, err.Error())
			return
		}
	}
	transport := p.Notify(message.UseTransportMode) != nil
	switch {
	case transport && pend.want.Mode != Transport:
		m.rejectAnswer(s, pend, "the peer uses transport mode, which was not asked for")
		return
	case !transport && pend.want.Mode == Transport: // §1.3.1: not acceptable, so it goes
		m.rejectAnswer(s, pend, "the peer does not agree to transport mode")
		return
	case len(p.TSi) == 0 || len(p.TSr) == 0 ||
		!message.Covers(pend.want.Local, p.TSi) || !message.Covers(pend.want.Remote, p.TSr):
		m.rejectAnswer(s, pend, "the peer's selectors are not within ours")
		return
	case pend.old != nil && (!message.Covers(p.TSi, pend.old.Local) || !message.Covers(p.TSr, pend.old.Remote)):
		m.rejectAnswer(s, pend, "the peer narrowed a rekey") // §2.9.2
		return
	}
	l, r, _ := addresses(s, pend.mode, pend.want.Local, pend.want.Remote)
	// Who asks for an address leaves its own side open, and does not know yet where the SAs will be (RFC 4877 §9).
	open := len(pend.want.Local) > 0 && pend.want.Local[0].Start != pend.want.Local[0].End
	if nl, nr, _ := addresses(s, pend.mode, p.TSi, p.TSr); nl != l && !open || nr != r {
		m.rejectAnswer(s, pend, "the peer's selectors change the SAs' addresses")
		return
	}
	pend.want.Local, pend.want.Remote = p.TSi, p.TSr
	m.install(s, ours, pend)
}

// goneAlready ends our exchange for a pair that the peer deleted before we knew
// that it had made it. What it was to replace goes as well.
func (m *Machine) goneAlready(s *sa, pend *pending) {
	old := present(s, pend.old)
	m.localFailure(s, pend, "the peer deleted it at once")
	if old != nil && old.heir == nil {
		m.closeChild(s, old, ReasonDeleted)
	}
}

// rejectAnswer gives a child up that the peer believes to be up: it is deleted
// over there. The IKE SA stands.
func (m *Machine) rejectAnswer(s *sa, pend *pending, why string) {
	spi := pend.spiIn
	m.localFailure(s, pend, why)
	if spi != 0 && s.state == stateUp {
		m.enqueue(s, job{kind: jobDeleteChild, proto: pend.want.Proto, spi: spi})
	}
}

// localFailure ends our exchange for a child without a result, by a fault of
// this side or of the answer.
func (m *Machine) localFailure(s *sa, pend *pending, why string) {
	m.abandon(s, pend)
	m.reviveOld(pend)
	if pend.old == nil {
		m.childRefused(s, pend.req, pend.want, false, 0, why)
	} else {
		m.retryRekey(s, pend, refusedWait)
	}
	m.finish(s)
}

// childFailed ends an exchange for a child before it was sent.
func (m *Machine) childFailed(s *sa, t message.NotifyType, why string) {
	m.localFailure(s, s.req.pend, why)
}

// reviveOld puts the pair whose rekey failed back: the peer may have rekeyed it.
func (m *Machine) reviveOld(pend *pending) {
	if old := pend.old; old != nil && old.state == childRekeying {
		old.state = childUp
		if old.heir != nil {
			m.replaced(old)
		}
	}
}

// retryRekey tries a failed rekey again later, while the hard lifetime allows.
func (m *Machine) retryRekey(s *sa, pend *pending, wait time.Duration) {
	old := pend.old
	if present(s, old) == nil || old.state != childUp {
		return
	}
	old.rekeyAt = m.now.Add(m.jittered(wait, 0.5))
	m.schedule(s)
}

// childError handles an answer that is an error.
func (m *Machine) childError(s *sa, pend *pending, p *message.Payloads) {
	n := p.FirstError()
	if n == nil {
		m.rejectAnswer(s, pend, "answer without SA or TS")
		return
	}
	switch n.Type {
	case message.InvalidKEPayload:
		if m.retryKE(s, pend, n.Data) {
			return
		}
	case message.TemporaryFailure:
		m.abandon(s, pend)
		m.reviveOld(pend)
		switch {
		case pend.old != nil:
			m.retryRekey(s, pend, temporaryWait)
		case pend.retries < maxRetries && s.req.job.kind != jobAuth: // that one's owner asks for more than a child
			wait := m.jittered(temporaryWait<<pend.retries, 0.5)
			s.queue = append(s.queue, job{
				kind: jobChild, req: pend.req, want: pend.want, retries: pend.retries + 1, at: m.now.Add(wait),
			})
		default:
			m.childRefused(s, pend.req, pend.want, true, n.Type, "the peer is busy")
		}
		m.finish(s)
		return
	case message.ChildSANotFound:
		// §2.25.1: the peer does not have it any more, so it goes here too.
		m.abandon(s, pend)
		if old := present(s, pend.old); old != nil && old.heir == nil {
			old.state = childUp
			m.removeChild(s, old, ReasonDeleted)
		}
		m.finish(s)
		return
	}
	m.abandon(s, pend)
	m.reviveOld(pend)
	if pend.old == nil {
		m.childRefused(s, pend.req, pend.want, true, n.Type, "the peer refuses")
	} else {
		m.retryRekey(s, pend, refusedWait)
	}
	m.finish(s)
}

// retryKE repeats CREATE_CHILD_SA with the key exchange that the peer wants (§1.3).
func (m *Machine) retryKE(s *sa, pend *pending, data []byte) bool {
	if len(data) != 2 || pend.retries >= maxRetries || s.req.job.kind == jobAuth {
		return false
	}
	g := transform.KE(binary.BigEndian.Uint16(data))
	if pend.ke != nil && g == pend.ke.Group() ||
		!slices.ContainsFunc(pend.offers, func(o transform.Offer) bool { return slices.Contains(o.KE, g) }) {
		return false
	}
	pend.retries++
	ke, err := g.Generate(m.rand)
	if err != nil {
		return false
	}
	pend.ke = ke
	m.stats.InvalidKE++
	s.req = &request{job: s.req.job, pend: pend}
	m.sendChild(s)
	return true
}

// deleteChildResponse takes the answer to a Delete of a pair: now it goes.
func (m *Machine) deleteChildResponse(s *sa) {
	if c := s.bySPIIn(s.req.job.spi); c != nil && c.state == childDeleting {
		m.removeChild(s, c, ReasonClosed)
	}
	m.finish(s)
}
