package ike

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

const (
	maxRestarts = 6               // of IKE_SA_INIT for cookies and key exchange methods
	hintGrace   = 2 * time.Second // for a good answer after an unprotected refusal
)

// initiate starts a new IKE SA.
func (m *Machine) initiate(e Initiate) {
	fail := func(reason string) {
		m.emit(Refused{Req: e.Req, Conn: e.Conn, Peer: e.Peer, Local: e.Local, Remote: e.Remote, Reason: reason})
	}
	c := m.conn(e.Conn)
	switch {
	case c == nil:
		fail("no such connection")
		return
	case len(e.Children) == 0:
		fail("an IKE SA needs a child")
		return
	case !e.Local.IsValid() || !e.Remote.IsValid():
		fail("addresses missing")
		return
	case slices.ContainsFunc(e.Children, func(w ChildWant) bool { return !c.canMake(w) }):
		fail(noOffers)
		return
	}
	e.Children = slices.Clone(e.Children)
	for i := range e.Children {
		e.Children[i].Proto = or(e.Children[i].Proto, ESP)
	}
	peer := e.Peer
	if peer.IsZero() {
		peer = c.RemoteID.expected()
	}
	if m.waits(e, contact{c.LocalID.Fold(), peer.Fold()}) {
		return
	}
	id, ok := m.newSPI()
	nonce := make([]byte, nonceLen)
	if !ok || !m.random(nonce) {
		fail("no randomness")
		return
	}
	ke, err := c.IKE[0].KE[0].Generate(m.rand)
	if err != nil {
		fail(err.Error())
		return
	}
	s := m.newSA(id, true, e.Local, e.Remote)
	s.state, s.spiI, s.ni, s.conn, s.localID = stateInit, uint64(id), nonce, c, c.LocalID
	s.peer.ID = peer
	s.nat.tell(c.NAT)
	s.first = &handshake{want: e, ke: ke}
	e.replaces.link(s)
	m.firstContact(s)
	m.sendInit(s)
}

// sendInit sends IKE_SA_INIT, anew with a cookie or another key exchange. All
// else stays as it was (§2.6); the message ID is 0 each time.
func (m *Machine) sendInit(s *sa) {
	f := s.first
	var ps []message.Body
	if f.cookie != nil {
		ps = append(ps, message.Notify{Type: message.Cookie, Data: f.cookie}.Body())
	}
	ps = append(ps,
		message.SABody(transform.Proposals(s.conn.IKE, message.ProtoIKE, nil)),
		message.KE{Group: uint16(f.ke.Group()), Data: f.ke.Public()}.Body(),
		message.Body{Type: message.TypeNonce, Data: s.ni})
	ps = append(ps, s.nat.natPayloads(s.spiI, 0, s.local, s.remote)...)
	ps = append(ps, hashNotify())
	ps = append(ps, m.fragmentNotify()...)
	ps = append(ps, intermediateNotify(wantsMore(s.conn.IKE))...)
	f.initReq = message.Plain(message.Header{SPIi: s.spiI, Exchange: message.IKESAInit, Flags: message.FlagInitiator}, ps)
	s.req = &request{job: job{kind: jobInit}, exchange: message.IKESAInit}
	s.sendID = 1
	m.launch(s, f.initReq)
}

// initResponse takes an answer to IKE_SA_INIT. It is not authenticated: what
// does not fit is dropped, and the real answer may still come.
func (m *Machine) initResponse(s *sa, e Datagram, h message.Header) {
	if s.state != stateInit || h.Exchange != message.IKESAInit || !h.Response() || h.ID != 0 {
		m.stats.DropUnexpected++
		return
	}
	p, err := message.Parse(h, e.Data)
	if err != nil || p.SK != nil {
		m.stats.DropMalformed++
		return
	}
	defer m.schedule(s)
	if p.SA == nil || h.SPIr == 0 {
		m.initNotify(s, p)
		return
	}
	if p.KE == nil || p.Nonce == nil {
		m.stats.DropMalformed++
		return
	}
	suite, spi, err := transform.Accept(s.conn.IKE, p.SA, message.ProtoIKE)
	f := s.first
	if err != nil || len(spi) != 0 || suite.KE != f.ke.Group() || uint16(suite.KE) != p.KE.Group ||
		2*len(p.Nonce) < suite.PRF.Size() || suite.AddKE.Any() && p.Notify(message.IntermediateSupported) == nil {
		m.stats.DropMalformed++
		return
	}
	shared, err := f.ke.Shared(p.KE.Data)
	if err != nil {
		m.stats.DropMalformed++
		return
	}
	s.suite, s.nr, s.spiR = suite, append([]byte(nil), p.Nonce...), h.SPIr
	if err := m.derive(s, suite.Seed(s.ni, s.nr, shared)); err != nil {
		m.refuse(s, false, 0, err.Error())
		return
	}
	f.initResp, f.ke = append([]byte(nil), e.Data...), nil
	f.refusal, s.dieAt = 0, time.Time{}
	f.hashes = peerHashes(p)
	f.certReqs = certReqs(p)
	m.agreeFragments(s, p)
	s.nat.hear(p, h, e.Local, e.Remote)
	m.float(s)
	s.state = stateAuth
	s.heard = m.now
	f.mid.rest = suite.AddKE.Methods()
	m.advance(s)
}

// initNotify handles the answers that ask for another try, and refusals.
func (m *Machine) initNotify(s *sa, p *message.Payloads) {
	f := s.first
	if n := p.Notify(message.Cookie); n != nil && len(n.Data) >= 1 && len(n.Data) <= 64 {
		if f.restarts++; f.restarts <= maxRestarts {
			f.cookie = append([]byte(nil), n.Data...)
			m.sendInit(s)
		}
		return
	}
	if n := p.Notify(message.InvalidKEPayload); n != nil && len(n.Data) == 2 {
		g := transform.KE(binary.BigEndian.Uint16(n.Data))
		offered := slices.ContainsFunc(s.conn.IKE, func(o transform.Offer) bool { return slices.Contains(o.KE, g) })
		// Only what we offered, and not what we sent (§1.2).
		if !offered || g == f.ke.Group() {
			m.stats.DropUnexpected++
			return
		}
		if f.restarts++; f.restarts > maxRestarts {
			return
		}
		ke, err := g.Generate(m.rand)
		if err != nil {
			m.stats.RandomFailures++
			return
		}
		f.ke = ke
		m.stats.InvalidKE++
		m.sendInit(s)
		return
	}
	n := p.FirstError()
	if n == nil {
		m.stats.DropUnexpected++
		return
	}
	// Anybody on the path can forge this, so the true answer gets some more time.
	m.stats.Hints++
	if f.refusal == 0 {
		f.refusal = n.Type
		s.dieAt = m.now.Add(hintGrace)
		s.req.at = time.Time{} // no more repetitions
	}
}

// certReqs are the authorities that the peer trusts (§3.7): SHA-1 of their keys.
func certReqs(p *message.Payloads) [][]byte {
	var out [][]byte
	for _, c := range p.CertReqs {
		if c.Encoding != certX509 {
			continue
		}
		for b := c.Data; len(b) >= 20; b = b[20:] {
			out = append(out, append([]byte(nil), b[:20]...))
		}
	}
	return out
}

// certReqBody is our CERTREQ, if the peer is to show a certificate.
func certReqBody(c *Conn) []message.Body {
	b := authorities(c)
	if len(b) == 0 {
		return nil
	}
	return []message.Body{message.Cert{Encoding: certX509, Data: b}.Body(message.TypeCertReq)}
}
