package ike

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// saRekey is our rekey of an IKE SA under way.
type saRekey struct {
	id      SAID // of the new IKE SA
	ni      []byte
	ke      *transform.Private
	retries int
}

func spiBytes8(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// startRekeySA sends CREATE_CHILD_SA for a new IKE SA (§1.3.2).
func (m *Machine) startRekeySA(s *sa, j job) {
	r := &saRekey{ni: make([]byte, nonceLen)}
	id, ok := m.newSPI()
	ke, err := guessKE(s.conn.IKE, s.suite.KE).Generate(m.rand)
	if !ok || err != nil || !m.random(r.ni) {
		s.rekeyAt = m.now.Add(temporaryWait)
		return
	}
	r.id, r.ke = id, ke
	s.req = &request{job: j, rekey: r}
	m.sendRekeySA(s)
}

func (m *Machine) sendRekeySA(s *sa) {
	r := s.req.rekey
	m.send(s, message.CreateChildSA, []message.Body{
		message.SABody(transform.Proposals(s.conn.IKE, message.ProtoIKE, spiBytes8(uint64(r.id)))),
		{Type: message.TypeNonce, Data: r.ni},
		message.KE{Group: uint16(r.ke.Group()), Data: r.ke.Public()}.Body(),
	})
}

// rekeySAResponse takes the answer to our rekey.
func (m *Machine) rekeySAResponse(s *sa, p *message.Payloads) {
	r := s.req.rekey
	if n := p.FirstError(); n != nil && p.SA == nil {
		if n.Type == message.InvalidKEPayload && m.retryRekeyKE(s, n.Data) {
			return
		}
		m.rekeySARefused(s, n)
		return
	}
	suite, spi, err := transform.Accept(s.conn.IKE, p.SA, message.ProtoIKE)
	if err != nil || len(spi) != 8 || p.Nonce == nil || p.KE == nil || p.KE.Group != uint16(r.ke.Group()) ||
		suite.KE != r.ke.Group() || 2*len(p.Nonce) < suite.PRF.Size() || binary.BigEndian.Uint64(spi) == 0 {
		m.finishWith(s, ReasonSyntax)
		return
	}
	shared, err := r.ke.Shared(p.KE.Data)
	if err != nil {
		m.finishWith(s, ReasonSyntax)
		return
	}
	made := &plannedSA{
		id: r.id, initiator: true, spiI: uint64(r.id), spiR: binary.BigEndian.Uint64(spi), suite: suite,
		ni: r.ni, nr: append([]byte(nil), p.Nonce...), shared: shared,
	}
	if !suite.AddKE.Any() {
		m.rekeyed(s, made, nil)
		return
	}
	x := &series{rest: suite.AddKE.Methods(), made: made}
	if n := s.successor; n != nil && bytes.Compare(x.low(), n.lowNonce) < 0 {
		m.inherit(s, n)
		return
	}
	if m.outdone(s, x) {
		m.finish(s)
		return
	}
	if !m.lead(s, x, p) {
		m.finishWith(s, ReasonSyntax)
	}
}

// rekeyed makes the new IKE SA of our rekey. more are the secrets of its series.
func (m *Machine) rekeyed(s *sa, made *plannedSA, more []byte) {
	n := m.succeed(s, made, more)
	if n == nil {
		m.finishWith(s, ReasonSyntax)
		return
	}
	m.settle(s, n)
}

// rekeySARefused ends our rekey by the peer's error; it is tried again.
func (m *Machine) rekeySARefused(s *sa, n *message.Notify) {
	if s.successor != nil { // the peer's own rekey went through
		m.inherit(s, s.successor)
		return
	}
	wait := refusedWait
	if n.Type == message.TemporaryFailure || n.Type == message.StateNotFound {
		wait = temporaryWait
	}
	s.rekeyAt = m.now.Add(m.jittered(wait, 0.5))
	m.finish(s)
}

// settle decides which of two new IKE SAs lives when both sides rekeyed at
// once: the one whose exchange had the lowest nonce goes (§2.8.2).
func (m *Machine) settle(s, n *sa) {
	if peers := s.successor; peers != nil && m.sas[peers.id] == peers {
		if bytes.Compare(n.lowNonce, peers.lowNonce) < 0 {
			m.inherit(s, peers)
			m.start(n, job{kind: jobDeleteSA})
			return
		}
		peers.dieAt = m.now.Add(2 * goneTime) // the peer deletes it
		m.schedule(peers)
	}
	m.inherit(s, n)
	m.start(s, job{kind: jobDeleteSA})
}

func (m *Machine) retryRekeyKE(s *sa, data []byte) bool {
	r := s.req.rekey
	if len(data) != 2 || r.retries >= maxRetries {
		return false
	}
	g := transform.KE(binary.BigEndian.Uint16(data))
	offered := slices.ContainsFunc(s.conn.IKE, func(o transform.Offer) bool { return slices.Contains(o.KE, g) })
	if !offered || g == r.ke.Group() {
		return false
	}
	ke, err := g.Generate(m.rand)
	if err != nil {
		return false
	}
	r.ke, r.retries = ke, r.retries+1
	m.stats.InvalidKE++
	s.req = &request{job: s.req.job, rekey: r}
	m.sendRekeySA(s)
	return true
}

// succeed makes a new IKE SA from the one that it rekeys. It waits, taking
// nothing but a Delete, until inherit. nil: there are no keys for it.
func (m *Machine) succeed(s *sa, made *plannedSA, more []byte) *sa {
	n := m.newSA(made.id, made.initiator, s.local, s.remote)
	n.spiI, n.spiR, n.suite, n.ni, n.nr = made.spiI, made.spiR, made.suite, made.ni, made.nr
	n.state, n.conn, n.localID, n.peer, n.nat = stateRekeyed, s.conn, s.localID, s.peer, s.nat
	n.heard, n.established = m.now, m.now
	n.fragments, n.fragmentSize = s.fragments, s.fragmentSize
	n.lowNonce = lower(n.ni, n.nr)
	seed := transform.SeedRekey(s.suite.PRF, s.keys.D, n.ni, slices.Concat(n.nr, more), made.shared)
	if err := m.derive(n, seed); err != nil {
		m.remove(n)
		return nil
	}
	return n
}

// inherit makes n the IKE SA in place of s: children and work go over (§2.8).
func (m *Machine) inherit(s, n *sa) {
	m.dropSeries(s)
	n.state, n.dieAt = stateUp, time.Time{}
	n.local, n.remote, n.moves = s.local, s.remote, s.moves
	n.mappedAt, n.sentAt = s.mappedAt, s.sentAt
	m.startLifetime(n)
	told := s.handedOver() // the owner believes in the one that replaces both
	s.relink(n)
	for _, c := range s.children {
		m.unindex(s, c)
		c.SA = n.id
		m.index(n, c)
	}
	n.children, s.children = s.children, nil
	n.queue, s.queue = s.queue, nil
	k := s.key()
	for i, id := range m.peers[k] {
		if id == s.id {
			m.peers[k][i] = n.id
		}
	}
	s.state, s.successor, n.predecessor = stateRekeyed, nil, nil
	s.dieAt = m.now.Add(2 * goneTime)
	if s.req != nil && s.req.job.kind == jobRekeySA {
		s.req = nil
	}
	m.stats.SARekeys++
	if !told {
		m.emit(SARekeyed{Old: s.id, New: n.id, Conn: s.connName(), Peer: s.peer.ID})
	}
	m.pump(n)
	m.schedule(s)
}

// rekeySARequest answers the peer's rekey of the IKE SA.
func (m *Machine) rekeySARequest(s *sa) {
	p := s.inb.p
	if s.state != stateUp || s.successor != nil || s.req != nil && (s.req.job.kind.child() || s.req.series != nil) {
		m.replyNotify(s, message.TemporaryFailure, nil) // §2.25.2
		return
	}
	if p.KE == nil { // §2.18: a rekey always has a key exchange
		m.replyNotify(s, message.NoProposalChosen, nil)
		return
	}
	g := transform.KE(p.KE.Group)
	c, err := transform.Choose(s.conn.IKE, p.SA, message.ProtoIKE, g)
	if err != nil || len(c.Proposal.SPI) != 8 || binary.BigEndian.Uint64(c.Proposal.SPI) == 0 {
		m.replyNotify(s, message.NoProposalChosen, nil)
		return
	}
	if c.Suite.KE != g {
		m.stats.InvalidKE++
		m.replyNotify(s, message.InvalidKEPayload, binary.BigEndian.AppendUint16(nil, uint16(c.Suite.KE)))
		return
	}
	id, ok := m.newSPI()
	nonce := make([]byte, nonceLen)
	ke, err := g.Generate(m.rand)
	if !ok || err != nil || !m.random(nonce) {
		m.replyNotify(s, message.TemporaryFailure, nil)
		return
	}
	shared, err := ke.Shared(p.KE.Data)
	if err != nil || 2*len(p.Nonce) < c.Suite.PRF.Size() {
		m.badRequest(s, "rekey with a bad key exchange or nonce")
		return
	}
	made := &plannedSA{
		id: id, spiI: binary.BigEndian.Uint64(c.Proposal.SPI), spiR: uint64(id), suite: c.Suite,
		ni: append([]byte(nil), p.Nonce...), nr: nonce, shared: shared,
	}
	c.Proposal.SPI = spiBytes8(uint64(id))
	ps := []message.Body{
		message.SABody([]message.Proposal{c.Proposal}),
		{Type: message.TypeNonce, Data: nonce},
		message.KE{Group: uint16(g), Data: ke.Public()}.Body(),
	}
	if c.Suite.AddKE.Any() {
		m.await(s, &series{rest: c.Suite.AddKE.Methods(), made: made}, ps)
		return
	}
	m.rekeySAReply(s, made, nil, ps)
}

// rekeySAReply makes the new IKE SA of the peer's rekey and sends the last answer.
func (m *Machine) rekeySAReply(s *sa, made *plannedSA, more []byte, ps []message.Body) {
	n := m.succeed(s, made, more)
	if n == nil {
		m.replyNotify(s, message.NoProposalChosen, nil)
		return
	}
	m.reply(s, ps)
	if s.req != nil && s.req.job.kind == jobRekeySA {
		s.successor, n.predecessor = n, s // ours is under way too: settle decides
		return
	}
	m.inherit(s, n)
}

// child says whether a job makes, rekeys or closes a child.
// IKE_AUTH makes one that may still be being installed here when the peer's IKE SA is up.
func (k jobKind) child() bool {
	return k == jobAuth || k == jobChild || k == jobRekeyChild || k == jobDeleteChild
}
