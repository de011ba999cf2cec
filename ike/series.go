package ike

import (
	"bytes"
	"crypto/subtle"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// series is a CREATE_CHILD_SA whose additional key exchanges are under way, by
// IKE_FOLLOWUP_KE (RFC 9370 §2.2.4). Either side has one at most of its own and
// one of the peer's. Nothing is made before the last of them.
type series struct {
	rest   []transform.KE // methods that are still to come
	shares []byte         // SK(1) | SK(2) | … so far
	link   []byte         // of ADDITIONAL_KEY_EXCHANGE, as responder
	ke     *transform.Private
	pend   *pending   // the child to be, or
	made   *plannedSA // the IKE SA to be
	until  time.Time  // as responder
}

// plannedSA is an IKE SA to be, by a rekey.
type plannedSA struct {
	id         SAID
	initiator  bool
	spiI, spiR uint64
	suite      transform.Suite
	ni, nr     []byte
	shared     []byte // of the exchange itself: SK(0)
}

// low is the lowest nonce of the exchange that began it, which decides where both
// sides began one (RFC 7296 §2.8.1).
func (x *series) low() []byte {
	if x.made != nil {
		return lower(x.made.ni, x.made.nr)
	}
	return lower(x.pend.ni, x.pend.nr)
}

const (
	seriesTimeout = 20 * time.Second // for the peer's next IKE_FOLLOWUP_KE (RFC 9370: 5 to 20 s)
	seriesLost    = 3                // STATE_NOT_FOUND in a row that end the IKE SA
	linkLen       = 16
	maxLink       = 1024
)

// lead begins the series of our exchange, whose response p is: with the peer's
// link, unless the peer's own series for the same takes its place. It reports
// whether the exchange goes on.
func (m *Machine) lead(s *sa, x *series, p *message.Payloads) bool {
	n := p.Notify(message.AdditionalKeyExchange)
	if n == nil || len(n.Data) > maxLink {
		return false
	}
	s.req.series = x
	m.sendFollowup(s, n.Data)
	return true
}

// sendFollowup sends IKE_FOLLOWUP_KE with our half of the next key exchange.
func (m *Machine) sendFollowup(s *sa, link []byte) {
	r := s.req
	link = bytes.Clone(link)
	ke, err := r.series.rest[0].Generate(m.rand)
	if err != nil {
		m.seriesFailed(s, &message.Payloads{Notifies: []message.Notify{{Type: message.TemporaryFailure}}})
		return
	}
	r.series.ke = ke
	s.req = &request{job: r.job, pend: r.pend, rekey: r.rekey, series: r.series}
	m.send(s, message.IKEFollowupKE, []message.Body{
		message.KE{Group: uint16(ke.Group()), Data: ke.Public()}.Body(),
		message.Notify{Type: message.AdditionalKeyExchange, Data: link}.Body(),
	})
}

// followupResponse takes the peer's half; after the last the child or the IKE SA is made.
func (m *Machine) followupResponse(s *sa, p *message.Payloads) {
	x := s.req.series
	if p.KE == nil {
		m.seriesFailed(s, p)
		return
	}
	if transform.KE(p.KE.Group) != x.rest[0] {
		m.finishWith(s, ReasonSyntax)
		return
	}
	shared, err := x.ke.Shared(p.KE.Data)
	if err != nil { // draft-ietf-ipsecme-ikev2-mlkem: the IKE SA goes
		m.finishWith(s, ReasonSyntax)
		return
	}
	x.take(shared)
	if len(x.rest) > 0 {
		if !m.lead(s, x, p) {
			m.finishWith(s, ReasonSyntax)
		}
		return
	}
	s.lost = 0
	if x.made != nil {
		m.rekeyed(s, x.made, x.shares)
		return
	}
	x.pend.more = x.shares
	m.install(s, ours, x.pend)
}

// take adds the secret of the exchange that is over.
func (x *series) take(shared []byte) {
	x.shares = append(x.shares, shared...)
	clear(shared)
	x.rest, x.ke = x.rest[1:], nil
}

// seriesFailed ends our series by the peer's error, or without one.
func (m *Machine) seriesFailed(s *sa, p *message.Payloads) {
	if p.Notify(message.StateNotFound) != nil {
		if s.lost++; s.lost >= seriesLost {
			m.finishWith(s, ReasonSyntax)
			return
		}
	}
	if x := s.req.series; x.pend != nil {
		m.childError(s, x.pend, p)
		return
	}
	n := p.FirstError()
	if n == nil {
		m.finishWith(s, ReasonSyntax)
		return
	}
	m.rekeySARefused(s, n)
}

// outdone decides between our exchange, which needs a series, and the peer's for
// the same: the one with the lowest nonce is not gone on with (RFC 9370 §2.2.4).
// It reports whether that is ours.
func (m *Machine) outdone(s *sa, x *series) bool {
	if x.pend != nil && x.pend.old != nil { // the peer's may be through already
		if heir := present(s, x.pend.old.heir); heir != nil {
			return bytes.Compare(x.low(), heir.low) < 0
		}
	}
	peers := s.series
	if peers == nil || (x.made == nil) != (peers.made == nil) || x.pend != nil && (x.pend.old == nil || x.pend.old != peers.pend.old) {
		return false
	}
	if bytes.Compare(x.low(), peers.low()) < 0 {
		return true
	}
	m.dropSeries(s)
	return false
}

// await answers the exchange of the peer that begins or goes on with a series.
func (m *Machine) await(s *sa, x *series, ps []message.Body) {
	x.link = make([]byte, linkLen)
	if !m.random(x.link) {
		m.dropSeries(s)
		m.abandon(s, x.pend)
		m.replyNotify(s, message.TemporaryFailure, nil)
		return
	}
	if s.series != x {
		m.dropSeries(s)
	}
	s.series = x
	x.until = m.now.Add(seriesTimeout)
	m.reply(s, append(ps, message.Notify{Type: message.AdditionalKeyExchange, Data: x.link}.Body()))
	m.pump(s)
}

// followupRequest takes the peer's half of the next key exchange of its series.
func (m *Machine) followupRequest(s *sa) {
	x, p := s.series, s.inb.p
	n := p.Notify(message.AdditionalKeyExchange)
	if x == nil || n == nil || s.state != stateUp || subtle.ConstantTimeCompare(n.Data, x.link) != 1 {
		m.replyNotify(s, message.StateNotFound, nil)
		return
	}
	g := x.rest[0]
	if p.KE == nil || transform.KE(p.KE.Group) != g || !g.CheckPublic(p.KE.Data) {
		m.badRequest(s, "IKE_FOLLOWUP_KE without the key exchange that was agreed on")
		return
	}
	s.inb.pend = x.pend
	m.answerKE(s, g, p.KE.Data)
}

// followupReply sends ours; after the last the child or the IKE SA is made.
func (m *Machine) followupReply(s *sa, data, shared []byte, err error) {
	if err != nil {
		m.badRequest(s, err.Error())
		return
	}
	x := s.series
	if x == nil { // outdone meanwhile
		m.replyNotify(s, message.StateNotFound, nil)
		return
	}
	ps := []message.Body{message.KE{Group: uint16(x.rest[0]), Data: data}.Body()}
	x.take(shared)
	if len(x.rest) > 0 {
		s.inb.pend = nil
		m.await(s, x, ps)
		return
	}
	s.series = nil
	if x.made != nil {
		m.rekeySAReply(s, x.made, x.shares, ps)
		return
	}
	x.pend.more, x.pend.keOut = x.shares, data
	m.install(s, theirs, x.pend)
}

// dropSeries forgets the peer's series.
func (m *Machine) dropSeries(s *sa) {
	x := s.series
	s.series = nil
	if x != nil {
		m.abandon(s, x.pend)
	}
}

// overdue forgets the peer's series that waits for it too long. If it was to
// replace the IKE SA, we do so.
func (m *Machine) overdue(s *sa) {
	x := s.series
	if x == nil || s.inb != nil || !m.due(x.until) {
		return
	}
	m.dropSeries(s)
	if x.made != nil && s.req == nil {
		s.rekeyAt = m.now.Add(m.jittered(temporaryWait, 0.5))
	}
}

// busy says whether the peer is about to replace the IKE SA: nothing is begun on it then.
func (s *sa) busy() bool { return s.series != nil && s.series.made != nil }

// childKEAnswered goes on with a child whose own key exchange took a task.
func (m *Machine) childKEAnswered(s *sa, data, shared []byte, err error) {
	if err != nil {
		m.refuseChild(s, message.InvalidSyntax, err.Error())
		return
	}
	s.inb.pend.keOut, s.inb.pend.shared = data, shared
	m.answerChild(s)
}

// answerChild goes on with the peer's CREATE_CHILD_SA for a child whose SPI is there.
func (m *Machine) answerChild(s *sa) {
	p := s.inb.pend
	switch {
	case p.keIn != nil && p.shared == nil:
		m.answerKE(s, p.suite.KE, p.keIn)
	case p.suite.AddKE.Any():
		s.inb.pend = nil
		m.await(s, &series{rest: p.suite.AddKE.Methods(), pend: p}, p.replyBodies())
	default:
		m.install(s, theirs, p)
	}
}

// replyBodies is our answer to CREATE_CHILD_SA for a child.
func (p *pending) replyBodies() []message.Body {
	a := p.answerBodies()
	ps := []message.Body{a[0], {Type: message.TypeNonce, Data: p.nr}}
	if p.suite.KE != transform.KENone {
		data := p.keOut
		if p.ke != nil {
			data = p.ke.Public()
		}
		ps = append(ps, message.KE{Group: uint16(p.suite.KE), Data: data}.Body())
	}
	return append(ps, a[1:]...)
}
