package ike

import (
	"encoding/binary"
	"slices"

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
	if !s.passes(p.want.Proto) {
		m.childFailed(s, 0, noAH)
		return
	}
	p.ni = make([]byte, nonceLen)
	if !m.random(p.ni) {
		m.childFailed(s, 0, "no randomness")
		return
	}
	if g := guessKE(p.offers, s.suite.KE); g != transform.KENone {
		if !m.childKE(s, p, g) {
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
	if pend.closed {
		m.rejectAnswer(s, pend, "closed meanwhile")
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
	s.substituteAnswer(pend, p)
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
	if !suite.AddKE.Any() {
		m.install(s, ours, pend)
		return
	}
	x := &series{rest: suite.AddKE.Methods(), pend: pend}
	if m.outdone(s, x) {
		m.abandon(s, pend)
		m.reviveOld(pend)
		if pend.old.heir == nil {
			m.retryRekey(s, pend, refusedWait) // should the peer not go on
		}
		m.finish(s)
		return
	}
	if !m.lead(s, x, p) {
		m.localFailure(s, pend, "answer without ADDITIONAL_KEY_EXCHANGE")
	}
}

// deleteChildResponse takes the answer to a Delete of a pair: now it goes.
func (m *Machine) deleteChildResponse(s *sa) {
	if c := s.bySPIIn(s.req.job.spi); c != nil && c.state == childDeleting {
		m.removeChild(s, c, ReasonClosed)
	}
	m.finish(s)
}
