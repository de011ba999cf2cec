package ike

import (
	"errors"

	"github.com/mip6/mip6/ike/message"
)

// createRequest takes the peer's CREATE_CHILD_SA.
func (m *Machine) createRequest(s *sa) {
	p := s.inb.p
	if len(p.SA) == 0 || p.Nonce == nil {
		m.badRequest(s, "CREATE_CHILD_SA without SA or nonce")
		return
	}
	if p.SA[0].Protocol == message.ProtoIKE {
		m.rekeySARequest(s)
		return
	}
	if p.TSi == nil || p.TSr == nil {
		m.badRequest(s, "CREATE_CHILD_SA without selectors")
		return
	}
	if s.shortNonce(p.Nonce) {
		m.badRequest(s, "CREATE_CHILD_SA with a short nonce")
		return
	}
	if s.state != stateUp || s.req != nil && s.req.job.kind == jobRekeySA {
		m.replyNotify(s, message.TemporaryFailure, nil) // §2.25.2
		return
	}
	n := p.Notify(message.RekeySA)
	if n == nil {
		if len(s.children) >= maxChildren {
			m.refuseChild(s, noAdditional, "the peer has too many children") // §1.3
			return
		}
		m.considerChild(s)
		return
	}
	m.rekeyRequest(s, n)
}

// shortNonce tells whether a nonce for a child is shorter than half the key of the PRF
// that makes the child's keys of it (§2.10).
func (s *sa) shortNonce(nonce []byte) bool { return 2*len(nonce) < s.suite.PRF.Size() }

// rekeyRequest takes the peer's rekey of a pair. It keeps what was authorised.
func (m *Machine) rekeyRequest(s *sa, n *message.Notify) {
	spi, ok := n.ChildSPI()
	var old *child
	if proto := childProto(n.Protocol); ok && proto != 0 {
		old = s.bySPIOut(proto, spi)
	}
	if old == nil && s.makingChild() != nil {
		// It may be the one whose making we have not heard the answer of.
		m.replyNotify(s, message.TemporaryFailure, nil)
		return
	}
	if old == nil {
		m.reply(s, []message.Body{message.Notify{
			Protocol: n.Protocol, SPI: n.SPI, Type: message.ChildSANotFound,
		}.Body()})
		return
	}
	// §2.25.1: one that we are closing, or that has a successor already.
	if s.req != nil && s.req.series != nil && s.req.series.pend != nil && s.req.series.pend.old == old {
		m.replyNotify(s, message.TemporaryFailure, nil) // RFC 9370 §2.2.4: ours is further
		return
	}
	if old.state == childDeleting || old.state == childReplaced && present(s, old.heir) != nil {
		m.replyNotify(s, message.TemporaryFailure, nil)
		return
	}
	p := s.inb.p
	if !old.Proxy {
		s.substitute()
	}
	pend, t := m.choose(s, n.Protocol)
	if pend == nil {
		m.refuseWith(s, t, noProposal)
		return
	}
	// §2.9.2: a rekey must not be narrower than what it replaces.
	if !message.Covers(p.TSi, old.Remote) || !message.Covers(p.TSr, old.Local) {
		m.refuseChild(s, message.TSUnacceptable, "a rekey with narrower selectors")
		return
	}
	pend.old = old
	pend.want, pend.mode = old.asWant(), old.Mode
	if (p.Notify(message.UseTransportMode) != nil) != (old.Mode == Transport) {
		m.refuseChild(s, message.NoProposalChosen, "a rekey in another mode")
		return
	}
	m.allocate(s, theirs, pend)
}

// makingChild is the child that our request under way asks for, or nil.
func (s *sa) makingChild() *pending {
	if s.req == nil || s.req.data == nil {
		return nil
	}
	return s.req.pend
}

// considerChild asks the owner of the policy about the child of the request.
func (m *Machine) considerChild(s *sa) {
	in := s.inb
	p := in.p
	s.substitute()
	pend, t := m.choose(s)
	if pend == nil {
		m.refuseWith(s, t, noProposal)
		return
	}
	if len(p.TSi) == 0 || len(p.TSr) == 0 {
		m.refuseChild(s, message.TSUnacceptable, "no selector of a known type")
		return
	}
	a := Authorise{
		ID: m.newTask(s, theirs, Child{}), SA: s.id, Conn: s.connName(), Peer: s.peer,
		LocalAddr: s.local, RemoteAddr: s.remote, Local: p.TSr, Remote: p.TSi,
		Proto: pend.want.Proto, Transport: p.Notify(message.UseTransportMode) != nil,
		OriginalLocal: in.tsr, OriginalRemote: in.tsi,
	}
	if p.CP != nil && p.CP.Type == message.CFGRequest {
		a.CFGRequest = clone(p.CP.Attributes)
		if a.CFGRequest == nil {
			a.CFGRequest = []message.Attribute{}
		}
	}
	m.emit(a)
}

// authorised goes on with the owner's decision.
func (m *Machine) authorised(s *sa, e Authorised) {
	in := s.inb
	p, pend := in.p, in.pend
	asked := p.Notify(message.UseTransportMode) != nil
	if e.Mode == 0 {
		e.Mode = Tunnel
		if asked {
			e.Mode = Transport
		}
	}
	if e.Mode == Tunnel || !message.Covers(p.TSr, e.Local) || !message.Covers(p.TSi, e.Remote) {
		in.restore() // what the peer sent it may have meant (§2.23.1)
	}
	switch {
	case e.Err != nil:
		m.refuseChild(s, notifyOf(e.Err), e.Err.Error())
		return
	case len(e.Local) == 0 || len(e.Remote) == 0 || !message.Covers(p.TSr, e.Local) || !message.Covers(p.TSi, e.Remote):
		m.refuseChild(s, message.TSUnacceptable, "authorised selectors are not within the proposed ones")
		return
	case e.Mode == Transport && !asked:
		m.refuseChild(s, message.NoProposalChosen, "transport mode is wanted here, but was not asked for")
		return
	}
	in.cfgReply = e.CFGReply
	pend.mode = e.Mode
	pend.want = ChildWant{
		Name: e.Name, Proto: pend.want.Proto, Mode: e.Mode, ReqID: e.ReqID, Local: e.Local, Remote: e.Remote,
	}
	m.allocate(s, theirs, pend)
}

func notifyOf(err error) message.NotifyType {
	switch {
	case errors.Is(err, ErrTSUnacceptable):
		return message.TSUnacceptable
	case errors.Is(err, ErrFailedCPRequired):
		return message.FailedCPRequired
	case errors.Is(err, ErrAddressFailure):
		return message.InternalAddressFailure
	case errors.Is(err, ErrUseAssignedHoA):
		return message.UseAssignedHoA
	case errors.Is(err, ErrTemporary):
		return message.TemporaryFailure
	}
	return message.NoProposalChosen
}

// refuseChild refuses the child of the peer's request. The IKE SA stands; in
// IKE_AUTH it is set up without a child (§2.21.2).
func (m *Machine) refuseChild(s *sa, t message.NotifyType, why string) {
	m.refuseWith(s, refusal{notify: t}, why)
}

func (m *Machine) refuseWith(s *sa, t refusal, why string) {
	in := s.inb
	if t.notify != message.InvalidKEPayload {
		m.emit(ChildRefused{
			SA: s.id, Conn: s.connName(), Peer: s.peer.ID, Notify: t.notify, Reason: why,
			Local: in.p.TSr, Remote: in.p.TSi,
		})
	}
	m.abandon(s, in.pend)
	in.pend = nil
	if in.exchange != authExchange {
		m.replyNotify(s, t.notify, t.data)
		return
	}
	in.refusal = t.notify
	if s.state == stateUp {
		m.authReply(s, nil)
		return
	}
	m.prove(s, theirs)
}

// answerBodies is our part of a child, as responder.
func (p *pending) answerBodies() []message.Body {
	a := p.answer
	a.SPI = spiBytes(p.spiIn)
	ps := []message.Body{message.SABody([]message.Proposal{a})}
	if p.mode == Transport {
		ps = append(ps, message.Notify{Type: message.UseTransportMode}.Body())
	}
	return append(ps, message.TSBody(message.TypeTSi, p.want.Remote), message.TSBody(message.TypeTSr, p.want.Local))
}

// childReply answers CREATE_CHILD_SA now that our inbound SA is in (§2.8).
func (m *Machine) childReply(s *sa, p *pending, c *child) {
	ps := p.replyBodies()
	if s.inb.exchange == message.IKEFollowupKE { // the rest is said
		add := p.suite.AddKE.Methods()
		ps = []message.Body{message.KE{Group: uint16(add[len(add)-1]), Data: p.keOut}.Body()}
	}
	m.reply(s, ps)
	m.adopt(s, p, c)
	m.pump(s)
}
