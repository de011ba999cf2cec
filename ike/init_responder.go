package ike

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

const nonceLen = 32 // at least half the key size of every PRF (§2.10)

// candidates are the connections that serve these addresses.
func (m *Machine) candidates(local, remote netip.Addr) []*Conn {
	var out []*Conn
	for _, c := range m.conns {
		if c.LocalAddr.IsValid() && c.LocalAddr != local {
			continue
		}
		if c.RemoteNet.IsValid() && !c.RemoteNet.Contains(remote) {
			continue
		}
		out = append(out, c)
	}
	return out
}

// initRequest answers the first message of a peer. Until the answer is sure, no
// state is kept; then a half-open IKE SA, within its limits.
func (m *Machine) initRequest(e Datagram, h message.Header) {
	if h.SPIr != 0 || h.ID != 0 || !h.FromInitiator() || len(e.Data) > maxInit {
		m.stats.DropMalformed++
		return
	}
	key := initKey(e)
	if s := m.sas[m.inits[key]]; s != nil {
		if s.first != nil && s.lastResp == nil {
			m.stats.Duplicates++
			m.transmit(s, e.Local, e.Remote, s.first.initResp)
		}
		return
	}
	p, err := message.Parse(h, e.Data)
	var critical *message.UnsupportedCritical
	if errors.As(err, &critical) {
		m.stateless(e, h, message.UnsupportedCriticalPayload, []byte{byte(critical.Type)})
		return
	}
	if err != nil || p.SA == nil || p.KE == nil || p.Nonce == nil || p.SK != nil {
		m.stats.DropMalformed++
		m.stateless(e, h, message.InvalidSyntax, nil)
		return
	}
	conns := m.candidates(e.Local.Addr(), e.Remote.Addr())
	if len(conns) == 0 {
		m.stats.DropNoConn++
		m.stateless(e, h, message.NoProposalChosen, nil)
		return
	}
	if !m.mayOpen(e, h, p) {
		return
	}
	group := transform.KE(p.KE.Group)
	chosen, err := chooseIKE(conns, offered(p), group)
	if err != nil || len(chosen.Proposal.SPI) != 0 {
		m.stateless(e, h, message.NoProposalChosen, nil)
		m.emit(Refused{Local: e.Local, Remote: e.Remote, Notify: message.NoProposalChosen,
			Reason: "no IKE proposal of the peer is acceptable"})
		return
	}
	if chosen.Suite.KE != group {
		m.stats.InvalidKE++
		m.stateless(e, h, message.InvalidKEPayload, binary.BigEndian.AppendUint16(nil, uint16(chosen.Suite.KE)))
		return
	}
	if !group.CheckPublic(p.KE.Data) || 2*len(p.Nonce) < chosen.Suite.PRF.Size() {
		m.stats.DropMalformed++
		m.stateless(e, h, message.InvalidSyntax, nil)
		return
	}
	m.open(e, h, p, key, conns, chosen)
}

// initKey recognises a repetition of a first message: all its octets (§2.1).
func initKey(e Datagram) [32]byte {
	w := sha256.New()
	a := e.Remote.Addr().As16()
	w.Write(a[:])
	w.Write(binary.BigEndian.AppendUint16(nil, e.Remote.Port()))
	w.Write(e.Data)
	return [32]byte(w.Sum(nil))
}

// sourceOf is what half-open IKE SAs are counted by: the /64, or an IPv4 address.
func sourceOf(a netip.Addr) (k [8]byte) {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		copy(k[4:], b[:])
		return k
	}
	b := a.As16()
	copy(k[:], b[:8])
	return k
}

// mayOpen demands a cookie above the threshold (§2.6) and keeps the limits.
func (m *Machine) mayOpen(e Datagram, h message.Header, p *message.Payloads) bool {
	if t := m.cfg.CookieThreshold; t < 0 || m.halfOpen >= t {
		want, ok := m.cookieFor(e.Remote, h.SPIi, p.Nonce)
		if !ok {
			return false
		}
		got := p.Notify(message.Cookie)
		if !m.cookieGood(got, e.Remote, h.SPIi, p.Nonce) {
			if got != nil {
				m.stats.CookiesWrong++
			}
			m.stats.CookiesSent++
			m.stateless(e, h, message.Cookie, want)
			return false
		}
	}
	if m.halfOpen >= m.cfg.HalfOpenMax || m.perSource[sourceOf(e.Remote.Addr())] >= m.cfg.HalfOpenPerSource {
		m.stats.DropHalfOpen++
		return false
	}
	return true
}

// open makes the half-open IKE SA and answers. The shared secret is computed
// only when IKE_AUTH arrives, so that a flood costs one key generation each.
func (m *Machine) open(e Datagram, h message.Header, p *message.Payloads, key [32]byte, conns []*Conn, c transform.Chosen) {
	id, ok := m.newSPI()
	nonce := make([]byte, nonceLen)
	if !ok || !m.random(nonce) {
		return
	}
	ke, err := c.Suite.KE.Generate(m.rand)
	if err != nil {
		m.stats.RandomFailures++
		return
	}
	s := m.newSA(id, false, e.Local, e.Remote)
	s.state, s.spiI, s.spiR, s.suite = stateHalfOpen, h.SPIi, uint64(id), c.Suite
	s.ni, s.nr, s.recvID = append([]byte(nil), p.Nonce...), nonce, 1
	s.nat.tell(policyOf(conns))
	s.nat.hear(p, h, e.Local, e.Remote)
	m.agreeFragments(s, p)
	s.dieAt = m.now.Add(m.cfg.HalfOpenTimeout)
	s.heard = m.now
	s.first = &handshake{
		initReq: append([]byte(nil), e.Data...), initKey: key, ke: ke,
		kePeer: append([]byte(nil), p.KE.Data...), source: sourceOf(e.Remote.Addr()), counted: true,
		hashes: peerHashes(p), mid: intermediate{rest: c.Suite.AddKE.Methods()},
	}
	s.first.initResp = message.Plain(
		message.Header{SPIi: s.spiI, SPIr: s.spiR, Exchange: message.IKESAInit, Flags: message.FlagResponse},
		m.initResponseBodies(s, c, conns))
	m.inits[key] = id
	m.halfOpen++
	m.perSource[s.first.source]++
	m.transmit(s, e.Local, e.Remote, s.first.initResp)
	m.schedule(s)
}

func (m *Machine) initResponseBodies(s *sa, c transform.Chosen, conns []*Conn) []message.Body {
	ps := []message.Body{
		message.SABody([]message.Proposal{c.Proposal}),
		message.KE{Group: uint16(c.Suite.KE), Data: s.first.ke.Public()}.Body(),
		{Type: message.TypeNonce, Data: s.nr},
	}
	ps = append(ps, s.nat.natPayloads(s.spiI, s.spiR, s.local, s.remote)...)
	ps = append(ps, hashNotify(), message.Notify{Type: message.ChildlessSupported}.Body())
	if s.fragments {
		ps = append(ps, m.fragmentNotify()...)
	}
	ps = append(ps, intermediateNotify(c.Suite.AddKE.Any())...)
	if b := authorities(conns...); len(b) > 0 {
		ps = append(ps, message.Cert{Encoding: certX509, Data: b}.Body(message.TypeCertReq))
	}
	return ps
}

// authorities are those that vouch for the peers of these connections, each once (§3.7).
func authorities(conns ...*Conn) []byte {
	var list [][]byte
	for _, c := range conns {
		for _, a := range c.Authority {
			if c.RemoteAuth == pki.Signature && !slices.ContainsFunc(list, func(x []byte) bool { return bytes.Equal(x, a) }) {
				list = append(list, a)
			}
		}
	}
	return slices.Concat(list...)
}

const certX509 = 4 // X.509 certificate, signature (§3.6)

// hashNotify is SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4, RFC 8420 §2). SHA-1 is not among
// them: who has nothing else uses the old method.
func hashNotify() message.Body {
	var b []byte
	for _, h := range []pki.Hash{pki.HashSHA256, pki.HashSHA384, pki.HashSHA512, pki.HashIdentity} {
		b = binary.BigEndian.AppendUint16(b, uint16(h))
	}
	return message.Notify{Type: message.SignatureHashAlgorithms, Data: b}.Body()
}

func peerHashes(p *message.Payloads) []pki.Hash {
	n := p.Notify(message.SignatureHashAlgorithms)
	if n == nil || len(n.Data) > 64 {
		return nil
	}
	var out []pki.Hash
	for b := n.Data; len(b) >= 2; b = b[2:] {
		out = append(out, pki.Hash(binary.BigEndian.Uint16(b)))
	}
	return out
}

// completeKeys computes the keys when the first message arrives that needs them:
// IKE_AUTH, or IKE_INTERMEDIATE where that was agreed on.
func (m *Machine) completeKeys(s *sa, h message.Header) bool {
	expected := message.IKEAuth
	if len(s.first.mid.rest) > 0 {
		expected = message.IKEIntermediate
	}
	if h.Exchange != expected || h.ID != 1 || h.Response() || s.first.ke == nil {
		m.stats.DropUnexpected++
		return false
	}
	shared, err := s.first.ke.Shared(s.first.kePeer)
	if err == nil {
		err = m.derive(s, s.suite.Seed(s.ni, s.nr, shared))
	}
	if err != nil { // a KE value that is no point: nobody can ever authenticate with it
		m.stats.DropMalformed++
		m.refuse(s, false, 0, err.Error())
		return false
	}
	s.first.ke = nil
	return true
}
