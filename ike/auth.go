package ike

import (
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

const (
	authExchange = message.IKEAuth
	noAdditional = message.NoAdditionalSAs
	methodPSK    = 2 // AUTH method of a pre-shared key (§3.8)
)

// octets is what the AUTH payload of one side covers (§2.15): its first
// message, the other's nonce and its identity, and what IKE_INTERMEDIATE adds.
func (s *sa) octets(initiator bool, idRaw []byte) []byte {
	msg, nonce, key := s.first.initReq, s.nr, s.keys.Pi
	if !initiator {
		msg, nonce, key = s.first.initResp, s.ni, s.keys.Pr
	}
	return slices.Concat(msg, nonce, s.suite.PRF.Sum(key, idRaw), s.first.mid.intAuth())
}

// prove asks for our AUTH payload.
func (m *Machine) prove(s *sa, who side) {
	id := m.newTask(s, who, Child{})
	m.emit(Prove{ID: id, SA: s.id, Request: pki.ProveRequest{
		Conn: s.conn.Name, Method: s.conn.LocalAuth, Local: s.localID, Peer: s.peer.ID, PRF: s.suite.PRF,
		Octets: s.octets(s.initiator, s.localID.Raw()), PeerHashes: s.first.hashes, CertReqs: s.first.certReqs,
	}})
}

// verifyPeer asks whether the peer is who it says. An unknown connection is
// asked for like a known one, so that it looks the same from outside (§2.21.2).
func (m *Machine) verifyPeer(s *sa, who side, p *message.Payloads, id *message.ID) {
	r := pki.VerifyRequest{
		Conn: s.connName(), Method: pki.PSK, Local: s.localID, Peer: id.Identity, PRF: s.suite.PRF,
		Octets: s.octets(!s.initiator, id.Raw), AuthMethod: p.Auth.Method, Data: p.Auth.Data, Now: m.now,
	}
	switch {
	case s.conn != nil:
		r.Method = s.conn.RemoteAuth
	case p.Auth.Method != methodPSK:
		r.Method = pki.Signature
	}
	for _, c := range p.Certs {
		r.Certs = append(r.Certs, pki.Cert(c))
	}
	m.emit(VerifyPeer{ID: m.newTask(s, who, Child{}), SA: s.id, Request: r})
}

// proved sends IKE_AUTH as initiator, or goes on to install as responder.
func (m *Machine) proved(s *sa, who side, e Proved) {
	if who == ours {
		if e.Err != nil {
			m.refuse(s, false, 0, "we cannot authenticate: "+e.Err.Error())
			return
		}
		m.sendAuth(s, e.Proof)
		return
	}
	in := s.inb
	if e.Err != nil {
		m.abandon(s, in.pend)
		m.replyNotify(s, message.AuthenticationFailed, nil)
		m.refuse(s, false, message.AuthenticationFailed, "we cannot authenticate: "+e.Err.Error())
		return
	}
	in.proof = e.Proof
	// The initiator may have changed to port 4500 with this authenticated message (§2.23).
	s.local, s.remote = in.local, in.remote
	m.establish(s, 0, nil)
	if in.pend == nil {
		m.authReply(s, nil)
		return
	}
	m.install(s, theirs, in.pend)
}

// sendAuth sends IKE_AUTH.
func (m *Machine) sendAuth(s *sa, proof pki.Proof) {
	f, pend := s.first, s.req.pend
	ps := []message.Body{{Type: message.TypeIDi, Data: s.localID.Raw()}}
	ps = append(ps, certBodies(proof)...)
	if f.want.InitialContact {
		ps = append(ps, message.Notify{Type: message.InitialContact}.Body())
	}
	ps = append(ps, certReqBody(s.conn)...)
	if !s.peer.ID.IsZero() {
		ps = append(ps, message.Body{Type: message.TypeIDr, Data: s.peer.ID.Raw()})
	}
	ps = append(ps, message.Auth{Method: proof.AuthMethod, Data: proof.Data}.Body())
	if f.want.CFGRequest != nil { // §2.19: before SA
		ps = append(ps, message.CP{Type: message.CFGRequest, Attributes: f.want.CFGRequest}.Body())
	}
	if len(s.conn.offers(pend.want.Proto)) == 0 {
		m.refuse(s, false, 0, noOffers)
		return
	}
	if !s.passes(pend.want.Proto) {
		m.refuse(s, false, 0, noAH)
		return
	}
	// The first child has no key exchange of its own (§1.2).
	pend.offers = transform.WithoutKE(s.conn.offers(pend.want.Proto))
	ps = append(ps, pend.offer(nil)...)
	m.send(s, authExchange, ps)
}

func certBodies(proof pki.Proof) []message.Body {
	var ps []message.Body
	for _, c := range proof.Certs {
		ps = append(ps, message.Cert(c).Body(message.TypeCert))
	}
	return ps
}

// authResponse takes the responder's IKE_AUTH.
func (m *Machine) authResponse(s *sa, p *message.Payloads) {
	if p.Auth == nil || p.IDr == nil {
		if n := p.FirstError(); n != nil {
			if n.Type == message.AuthenticationFailed {
				m.stats.AuthFailures++
			}
			m.refuse(s, true, n.Type, "the peer refuses")
			return
		}
		m.authFailed(s, "IKE_AUTH without AUTH or IDr", message.InvalidSyntax)
		return
	}
	id, want := p.IDr.Identity, s.first.want.Peer
	if !s.conn.RemoteID.accepts(id) || !want.IsZero() && want.Fold() != id.Fold() {
		m.authFailed(s, "the peer is "+id.String()+", which is not expected", message.AuthenticationFailed)
		return
	}
	s.first.answer = p
	m.verifyPeer(s, ours, p, p.IDr)
}

// authFailed gives up as initiator and tells the responder, which believes that
// the IKE SA is up (§2.21.2).
func (m *Machine) authFailed(s *sa, reason string, t message.NotifyType) {
	m.stats.AuthFailures++
	m.emit(Refused{
		SA: s.id, Req: s.first.want.Req, Conn: s.connName(), Peer: s.peer.ID, Local: s.local, Remote: s.remote,
		Notify: t, Reason: reason,
	})
	m.reauthFailed(s)
	m.abandon(s, s.req.pend)
	m.closeHandshake(s)
	s.state = stateClosing
	s.req = &request{job: job{kind: jobAuthFailed}, limit: 2}
	m.send(s, message.Informational, []message.Body{message.Notify{Type: t}.Body()})
}

// verified goes on when the peer's identity is checked.
func (m *Machine) verified(s *sa, who side, e PeerVerified) {
	if who == ours {
		if e.Err != nil {
			m.authFailed(s, e.Err.Error(), message.AuthenticationFailed)
			return
		}
		s.peer = e.Peer
		s.peer.ID = s.first.answer.IDr.Identity
		m.authDone(s)
		return
	}
	in := s.inb
	if e.Err != nil || s.conn == nil {
		reason := "no connection for this identity"
		if e.Err != nil {
			reason = e.Err.Error()
		}
		m.stats.AuthFailures++
		s.peer.ID = in.p.IDi.Identity
		m.replyNotify(s, message.AuthenticationFailed, nil)
		m.refuse(s, false, message.AuthenticationFailed, reason)
		return
	}
	s.peer = e.Peer
	s.peer.ID = in.p.IDi.Identity
	if m.keepsOld(s, in.p) {
		m.replyNotify(s, message.AuthenticationFailed, nil)
		m.refuse(s, false, message.AuthenticationFailed, "the peer has an IKE SA, which is kept")
		return
	}
	if in.p.Childless() {
		m.prove(s, theirs)
		return
	}
	m.considerChild(s)
}

// authDone sets the IKE SA up as initiator; its child may still fail without
// harm to it (§2.21.2).
func (m *Machine) authDone(s *sa) {
	f, pend := s.first, s.req.pend
	p := f.answer
	var reply []message.Attribute
	if p.CP != nil && p.CP.Type == message.CFGReply && f.want.CFGRequest != nil {
		reply = clone(p.CP.Attributes)
	}
	more, req := f.want.Children[1:], f.want.Req
	m.establish(s, req, reply)
	m.greet(s, p)
	for _, w := range more {
		s.queue = append(s.queue, job{kind: jobChild, want: w, req: req})
	}
	pend.ni, pend.nr = s.ni, s.nr
	m.childAnswer(s, pend, p)
}

// establish makes the IKE SA one that is up.
func (m *Machine) establish(s *sa, req uint64, cfg []message.Attribute) {
	m.closeHandshake(s)
	s.state = stateUp
	s.established, s.heard, s.dieAt = m.now, m.now, time.Time{}
	s.began = s.initiator
	m.startLifetime(s)
	m.startReauth(s)
	k := s.key()
	m.peers[k] = append(m.peers[k], s.id)
	m.stats.Handshakes++
	m.stats.Established++
	if list := m.peers[k]; len(list) > maxSAs {
		m.end(m.sas[list[0]], ReasonReplaced, false)
	}
	if old := s.replaces; old != nil && old.state == stateUp {
		m.emit(SARekeyed{Old: old.id, New: s.id, Conn: s.connName(), Peer: s.peer.ID})
		return
	}
	m.emit(SAUp{
		SA: s.id, Req: req, Conn: s.conn.Name, Peer: s.peer, Local: s.local, Remote: s.remote,
		Initiator: s.initiator, SPIi: s.spiI, SPIr: s.spiR, Suite: s.suite, CFGReply: cfg, NATDetected: s.nat.found(),
	})
}

func (m *Machine) startLifetime(s *sa) {
	s.rekeyAt = m.now.Add(m.jittered(s.conn.IKERekey, s.conn.Jitter))
	s.hardAt = m.now.Add(s.conn.IKEHard)
}
