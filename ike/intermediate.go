package ike

import (
	"encoding/binary"
	"slices"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// intermediate is the part of a handshake that IKE_INTERMEDIATE plays (RFC 9242):
// one exchange for each additional key exchange that was agreed on, no more.
type intermediate struct {
	rest         []transform.KE // methods that are still to come
	done         uint32         // exchanges that are over
	heard        []byte         // what AUTH covers of the message that came last
	authI, authR []byte         // IntAuth_iN and IntAuth_rN so far
}

// wantsMore says whether offers may lead to additional key exchanges.
func wantsMore(offers []transform.Offer) bool {
	return slices.ContainsFunc(offers, func(o transform.Offer) bool { return o.AddKE.Any() })
}

// intermediateNotify says that IKE_INTERMEDIATE may be used. It is said only
// where there is a use: so both sides know the number of exchanges (RFC 9242 §5).
func intermediateNotify(wanted bool) []message.Body {
	if !wanted {
		return nil
	}
	return []message.Body{message.Notify{Type: message.IntermediateSupported}.Body()}
}

// offered are the proposals of a first message that may be chosen from: without
// IKE_INTERMEDIATE none that has an additional key exchange (RFC 9370 §2.2.1).
func offered(p *message.Payloads) []message.Proposal {
	if p.Notify(message.IntermediateSupported) == nil {
		return transform.WithoutAddKE(p.SA)
	}
	return p.SA
}

// advance goes on with a new IKE SA as initiator: with the next additional key
// exchange, and after the last with IKE_AUTH.
func (m *Machine) advance(s *sa) {
	f := s.first
	if len(f.mid.rest) > 0 {
		m.sendIntermediate(s)
		return
	}
	want := f.want.Children[0]
	pend := &pending{req: f.want.Req, want: want, initiator: true, mode: want.Mode}
	s.req = &request{job: job{kind: jobAuth}, exchange: message.IKEAuth, pend: pend}
	m.allocate(s, ours, pend)
}

// sendIntermediate sends IKE_INTERMEDIATE with our half of the next key exchange.
func (m *Machine) sendIntermediate(s *sa) {
	ke, err := s.first.mid.rest[0].Generate(m.rand)
	if err != nil {
		m.refuse(s, false, 0, err.Error())
		return
	}
	s.first.ke = ke
	s.req = &request{job: job{kind: jobIntermediate}}
	m.send(s, message.IKEIntermediate, []message.Body{message.KE{Group: uint16(ke.Group()), Data: ke.Public()}.Body()})
}

// intermediateResponse takes the responder's half.
func (m *Machine) intermediateResponse(s *sa, p *message.Payloads) {
	mid := &s.first.mid
	s.cover(false, mid.heard)
	if p.KE == nil {
		if n := p.FirstError(); n != nil {
			m.refuse(s, true, n.Type, "the peer refuses an additional key exchange")
			return
		}
		m.refuse(s, false, 0, "IKE_INTERMEDIATE without KE")
		return
	}
	if transform.KE(p.KE.Group) != mid.rest[0] {
		m.refuse(s, false, 0, "IKE_INTERMEDIATE with another key exchange than agreed")
		return
	}
	shared, err := s.first.ke.Shared(p.KE.Data)
	if err == nil {
		err = m.stir(s, shared)
	}
	if err != nil {
		m.refuse(s, false, 0, err.Error())
		return
	}
	s.first.ke = nil
	m.advance(s)
}

// intermediateRequest takes the initiator's half of the next key exchange.
func (m *Machine) intermediateRequest(s *sa) {
	mid, p := &s.first.mid, s.inb.p
	s.cover(true, mid.heard)
	g := mid.rest[0]
	if p.KE == nil || transform.KE(p.KE.Group) != g || !g.CheckPublic(p.KE.Data) {
		m.badRequest(s, "IKE_INTERMEDIATE without the key exchange that was agreed on")
		return
	}
	m.answerKE(s, g, p.KE.Data)
}

// intermediateReply sends ours, under the keys that were there before it.
func (m *Machine) intermediateReply(s *sa, data, shared []byte, err error) {
	if err != nil {
		m.badRequest(s, err.Error())
		return
	}
	m.reply(s, []message.Body{message.KE{Group: uint16(s.first.mid.rest[0]), Data: data}.Body()})
	if err := m.stir(s, shared); err != nil {
		m.refuse(s, false, 0, err.Error())
	}
}

// stir makes new keys of the IKE SA after an additional key exchange (RFC 9370
// §2.2.2): SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr).
func (m *Machine) stir(s *sa, shared []byte) error {
	mid := &s.first.mid
	mid.rest, mid.done = mid.rest[1:], mid.done+1
	seed := transform.SeedRekey(s.suite.PRF, s.keys.D, s.ni, s.nr, shared)
	clear(shared)
	return m.derive(s, seed)
}

// cover takes a message of IKE_INTERMEDIATE into what AUTH proves (RFC 9242
// §3.3.2): IntAuth_n = prf(SK_pn, IntAuth_n-1 | A | P).
func (s *sa) cover(byInitiator bool, covered []byte) {
	mid := &s.first.mid
	if byInitiator {
		mid.authI = s.suite.PRF.Sum(s.keys.Pi, mid.authI, covered)
	} else {
		mid.authR = s.suite.PRF.Sum(s.keys.Pr, mid.authR, covered)
	}
	mid.heard = nil
}

// coverSent does so with a message of ours before it is encrypted and cut.
func (s *sa) coverSent(h message.Header, first message.PayloadType, inner []byte) {
	if h.Exchange == message.IKEIntermediate && s.first != nil {
		s.cover(s.initiator, message.Covered(message.AppendSKHeader(h.Append(nil, 0), first, 0), inner))
	}
}

// intAuth is what IKE_INTERMEDIATE adds to the octets that AUTH covers; nothing
// if there was none. IKE_AUTH has the message ID after the last of them.
func (i *intermediate) intAuth() []byte {
	if i.done == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(slices.Concat(i.authI, i.authR), i.done+1)
}
