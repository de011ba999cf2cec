package ike

import (
	"slices"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// authRequest takes the initiator's IKE_AUTH.
func (m *Machine) authRequest(s *sa) {
	p := s.inb.p
	if p.IDi == nil || !p.Childless() && (p.SA == nil || p.TSi == nil || p.TSr == nil) {
		m.badRequest(s, "IKE_AUTH without IDi, SA or TS")
		return
	}
	s.peer.ID = p.IDi.Identity
	if p.Auth == nil { // the peer wants EAP, which no connection allows
		m.stats.AuthFailures++
		m.replyNotify(s, message.AuthenticationFailed, nil)
		m.refuse(s, false, message.AuthenticationFailed, "the peer asks for EAP")
		return
	}
	s.conn = m.connFor(s, p)
	if s.conn != nil {
		s.localID = s.conn.LocalID
	}
	s.first.certReqs = certReqs(p)
	m.verifyPeer(s, theirs, p, p.IDi)
}

// connFor finds the connection for the identities of an IKE_AUTH request: the
// first that has proposals for the child, or else the first of all, which is
// then refused its child.
func (m *Machine) connFor(s *sa, p *message.Payloads) *Conn {
	var first *Conn
	for _, c := range m.candidates(s.local.Addr(), s.remote.Addr()) {
		switch {
		case !c.RemoteID.accepts(p.IDi.Identity):
		case p.IDr != nil && p.IDr.Identity.Fold() != c.LocalID.Fold():
		case (c.RemoteAuth == pki.PSK) != (p.Auth.Method == methodPSK):
		case !allows(c.IKE, s.suite):
		case c.serves(p.SA):
			return c
		case first == nil:
			first = c
		}
	}
	return first
}

// serves says whether one of the peer's proposals for the child of IKE_AUTH fits.
func (c *Conn) serves(ps []message.Proposal) bool {
	for _, proto := range []uint8{ESP, AH} {
		if _, err := transform.Choose(transform.WithoutKE(c.offers(proto)), ps, wire(proto), transform.KENone); err == nil {
			return true
		}
	}
	return false
}

// allows says whether a suite is one that the offers may lead to.
func allows(offers []transform.Offer, s transform.Suite) bool {
	return slices.ContainsFunc(offers, func(o transform.Offer) bool {
		return slices.Contains(o.Encr, s.Encr) && slices.Contains(o.PRF, s.PRF) && slices.Contains(o.KE, s.KE) && o.AddKE.Allow(s.AddKE) &&
			(s.Integ == 0 || slices.Contains(o.Integ, s.Integ))
	})
}

// authReply sends our IKE_AUTH as responder, with the child c or its refusal.
func (m *Machine) authReply(s *sa, c *child) {
	in := s.inb
	ps := []message.Body{{Type: message.TypeIDr, Data: s.localID.Raw()}}
	ps = append(ps, certBodies(in.proof)...)
	ps = append(ps, message.Auth{Method: in.proof.AuthMethod, Data: in.proof.Data}.Body())
	if c != nil {
		if in.cfgReply != nil && in.p.CP != nil && in.p.CP.Type == message.CFGRequest {
			ps = append(ps, message.CP{Type: message.CFGReply, Attributes: in.cfgReply}.Body())
		}
		ps = append(ps, in.pend.answerBodies()...)
	} else if in.refusal != 0 {
		ps = append(ps, message.Notify{Type: in.refusal}.Body())
	}
	pend := in.pend
	m.reply(s, ps)
	m.greet(s, in.p) // only now, when the new pair is in: the traffic has no gap
	if c != nil {
		m.adopt(s, pend, c)
	}
	m.pump(s)
}
