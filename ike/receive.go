package ike

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
)

const (
	maxInit          = 4096 // octets of a message of IKE_SA_INIT
	answersPerSecond = 20   // unprotected answers about unknown IKE SPIs and versions
	hintInterval     = 10 * time.Second
)

// ShardOf says which of 2^bits shards a datagram is for: by the upper bits of
// our SPI, for the first message of an IKE SA by a hash of source and SPI.
func ShardOf(data []byte, source netip.AddrPort, bits uint8) (shard uint64, ok bool) {
	h, err := message.ParseHeader(data)
	if err != nil && !errors.Is(err, message.ErrVersion) {
		return 0, false
	}
	if bits == 0 {
		return 0, true
	}
	own := h.SPIi
	if h.FromInitiator() {
		own = h.SPIr
	}
	if own == 0 {
		a := source.Addr().As16()
		sum := sha256.Sum256(append(a[:], data[:8]...))
		own = uint64(sum[0])<<56 | uint64(sum[1])<<48
	}
	return own >> (64 - bits), true
}

// datagram sorts a received message. Nothing unauthenticated changes an
// established IKE SA.
func (m *Machine) datagram(e Datagram) {
	m.stats.Received++
	h, err := message.ParseHeader(e.Data)
	switch {
	case errors.Is(err, message.ErrVersion):
		m.stats.DropVersion++
		// §2.5: a higher major version gets an answer, a lower one does not.
		if len(e.Data) > 17 && e.Data[17]>>4 > 2 && !h.Response() {
			m.stateless(e, h, message.InvalidMajorVersion, nil)
		}
		return
	case err != nil, h.SPIi == 0:
		m.stats.DropMalformed++
		return
	case h.Exchange == message.IKESAInit && !h.Response():
		m.initRequest(e, h)
		return
	}
	own := h.SPIi
	if h.FromInitiator() {
		own = h.SPIr
	}
	s := m.sas[SAID(own)]
	if s == nil || s.initiator == h.FromInitiator() || s.spiI != h.SPIi ||
		s.spiR != h.SPIr && s.state != stateInit {
		m.stats.DropUnknownSPI++
		if m.invalidSPI(e, h) {
			return
		}
		// §2.21.4: an answer to requests only, and not too many.
		if !h.Response() {
			m.stateless(e, h, message.InvalidIKESPI, nil)
		}
		return
	}
	if h.Exchange == message.IKESAInit || s.state == stateInit {
		m.initResponse(s, e, h)
		return
	}
	m.protected(s, e, h)
}

// protected handles a message of an IKE SA that has keys, or should have.
func (m *Machine) protected(s *sa, e Datagram, h message.Header) {
	hash := sha256.Sum256(e.Data)
	if !h.Response() && m.duplicate(s, e, h, hash) {
		return
	}
	outer, err := message.Parse(h, e.Data)
	if err != nil {
		m.stats.DropMalformed++
		return
	}
	if outer.SK == nil && outer.SKF == nil {
		m.unprotected(s, e, outer)
		return
	}
	if s.state == stateHalfOpen && s.in == nil && !m.completeKeys(s, h) {
		return
	}
	if s.in == nil || s.state == stateGone {
		m.stats.DropUnexpected++
		return
	}
	if outer.SKF != nil {
		m.fragment(s, e, h, outer.SKF, hash)
		return
	}
	plain, err := s.in.Open(e.Data, outer.SK.Offset)
	if err != nil {
		m.stats.DropIntegrity++
		return
	}
	defer m.schedule(s)
	m.opened(s, e, h, hash, e.Data[:outer.SK.Offset], plain)
}

// opened goes on with what a message protected, be it in one piece or not. head
// is the message up to that, hash that of its first datagram.
func (m *Machine) opened(s *sa, e Datagram, h message.Header, hash [32]byte, head, plain []byte) {
	m.follow(s, e, h)
	if h.Exchange == message.IKEIntermediate && s.first != nil {
		s.first.mid.heard = message.Covered(head, plain)
	}
	p, err := message.ParseInner(message.PayloadType(head[len(head)-4]), plain)
	if h.Response() {
		m.response(s, h, p, err)
		return
	}
	m.request(s, e, h, hash, p, err)
}

// duplicate absorbs a request that was answered, or is being worked on: the
// stored answer goes out again, bit by bit (§2.1).
func (m *Machine) duplicate(s *sa, e Datagram, h message.Header, hash [32]byte) bool {
	if s.lastResp != nil && h.ID == s.recvID-1 && hash == s.lastReq {
		m.stats.Duplicates++
		m.transmit(s, e.Local, e.Remote, s.lastResp)
		return true
	}
	if s.inb != nil && h.ID == s.inb.id && hash == s.inb.hash {
		m.stats.Duplicates++
		s.inb.local, s.inb.remote = e.Local, e.Remote // §2.11: answer where it came from last
		return true
	}
	return false
}

// request starts to work on an authenticated request.
func (m *Machine) request(s *sa, e Datagram, h message.Header, hash [32]byte, p *message.Payloads, err error) {
	if h.ID != s.recvID || s.inb != nil {
		m.stats.DropMessageID++
		return
	}
	// §2.4: a fresh message, which one that is sent again is not.
	s.heard = m.now
	if s.state == stateAuth { // the peer is not authenticated yet; it will repeat
		m.stats.DropUnexpected++
		return
	}
	s.inb = &inbound{id: h.ID, exchange: h.Exchange, local: e.Local, remote: e.Remote, hash: hash, p: p}
	var critical *message.UnsupportedCritical
	switch {
	case errors.As(err, &critical):
		m.stats.BadRequests++
		m.replyNotify(s, message.UnsupportedCriticalPayload, []byte{byte(critical.Type)})
		if s.first != nil {
			m.refuse(s, false, message.UnsupportedCriticalPayload, err.Error())
		}
		return
	case err != nil:
		m.badRequest(s, err.Error())
		return
	}
	if old := s.predecessor; old != nil && old.successor == s && !deletesIKE(p) {
		m.inherit(old, s) // the peer has settled on this one of two new IKE SAs
	}
	switch {
	case h.Exchange == message.IKEIntermediate && s.state == stateHalfOpen && len(s.first.mid.rest) > 0:
		m.intermediateRequest(s)
	case h.Exchange == message.IKEAuth && s.state == stateHalfOpen && len(s.first.mid.rest) == 0:
		m.authRequest(s)
	case s.state == stateHalfOpen, h.Exchange == message.IKEAuth, h.Exchange == message.IKEIntermediate:
		m.badRequest(s, h.Exchange.String()+" out of order")
	case h.Exchange == message.CreateChildSA:
		m.createRequest(s)
	case h.Exchange == message.IKEFollowupKE:
		m.followupRequest(s)
	case h.Exchange == message.Informational:
		m.informRequest(s)
	default:
		m.badRequest(s, h.Exchange.String())
	}
}

func deletesIKE(p *message.Payloads) bool {
	return slices.ContainsFunc(p.Deletes, func(d message.Delete) bool { return d.Protocol == message.ProtoIKE })
}

// badRequest answers an authenticated request that breaks the protocol, and
// ends the IKE SA (§2.21.2, §2.21.3).
func (m *Machine) badRequest(s *sa, why string) {
	m.stats.BadRequests++
	m.replyNotify(s, message.InvalidSyntax, nil)
	if s.first != nil {
		m.refuse(s, false, message.InvalidSyntax, why)
		return
	}
	m.end(s, ReasonSyntax, false)
}

// response gives an authenticated response to the exchange that waits for it.
func (m *Machine) response(s *sa, h message.Header, p *message.Payloads, err error) {
	r := s.req
	if r == nil || r.data == nil || r.answered || h.ID != r.id || h.Exchange != r.exchange {
		m.stats.DropUnexpected++
		return
	}
	r.answered, s.heard = true, m.now // §2.4
	if k := r.job.kind; s.state == stateClosing && k != jobDeleteSA && k != jobAuthFailed {
		m.start(s, job{kind: jobDeleteSA}) // what it was about is given up already
		return
	}
	if err != nil {
		m.brokenResponse(s, err)
		return
	}
	if r.exchange == message.IKEFollowupKE {
		m.followupResponse(s, p)
		return
	}
	switch r.job.kind {
	case jobIntermediate:
		m.intermediateResponse(s, p)
	case jobAuth:
		m.authResponse(s, p)
	case jobChild, jobRekeyChild:
		m.childResponse(s, p)
	case jobRekeySA:
		m.rekeySAResponse(s, p)
	case jobDeleteChild:
		m.deleteChildResponse(s)
	case jobDeleteSA, jobAuthFailed:
		s.req = nil
		m.end(s, ReasonClosed, false)
	default:
		m.finish(s)
	}
}

// brokenResponse ends an IKE SA whose authenticated peer sends nonsense (§2.21).
func (m *Machine) brokenResponse(s *sa, err error) {
	if s.first != nil {
		m.refuse(s, false, 0, err.Error())
		return
	}
	m.finishWith(s, ReasonSyntax)
}
