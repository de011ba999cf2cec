package ike

import (
	"encoding/binary"
	"slices"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// refusal that choose reports beside its notify.
type refusal struct {
	notify message.NotifyType
	data   []byte
}

const noProposal = "no proposal of the peer is acceptable"

// chooseProposal picks one of those of the request under way: where the peer
// offers ESP and AH, the first for which we have a fitting offer.
func (s *sa) chooseProposal(protos ...message.Protocol) (uint8, transform.Chosen, error) {
	p := s.inb.p
	var prefer transform.KE
	if p.KE != nil {
		prefer = transform.KE(p.KE.Group)
	}
	if len(protos) == 0 {
		for _, x := range p.SA {
			if !slices.Contains(protos, x.Protocol) {
				protos = append(protos, x.Protocol)
			}
		}
	}
	for _, x := range protos {
		proto := childProto(x)
		if proto == 0 || !s.passes(proto) {
			continue
		}
		offers := s.conn.offers(proto)
		if s.inb.exchange == authExchange {
			offers = transform.WithoutKE(offers)
		}
		if c, err := transform.Choose(offers, p.SA, x, prefer); err == nil {
			return proto, c, nil
		}
	}
	return 0, transform.Chosen{}, transform.ErrNoProposal
}

// choose picks a proposal for the child of the request under way, of these
// protocols (none: any), and makes our part of its key exchange.
func (m *Machine) choose(s *sa, protos ...message.Protocol) (*pending, refusal) {
	in := s.inb
	p := in.p
	proto, c, err := s.chooseProposal(protos...)
	if err != nil {
		return nil, refusal{notify: message.NoProposalChosen}
	}
	pend := &pending{want: ChildWant{Proto: proto}, suite: c.Suite, answer: c.Proposal, spiOut: binary.BigEndian.Uint32(c.Proposal.SPI)}
	if pend.spiOut < minSPI {
		return nil, refusal{notify: message.NoProposalChosen}
	}
	if in.exchange == authExchange {
		pend.ni, pend.nr = s.ni, s.nr
		in.pend = pend
		return pend, refusal{}
	}
	if g := c.Suite.KE; g != transform.KENone {
		if p.KE == nil || transform.KE(p.KE.Group) != g || !g.CheckPublic(p.KE.Data) {
			m.stats.InvalidKE++
			return nil, refusal{message.InvalidKEPayload, binary.BigEndian.AppendUint16(nil, uint16(g))}
		}
		if g.KEM() {
			pend.keIn = p.KE.Data
		} else if pend.ke, err = g.Generate(m.rand); err == nil {
			pend.shared, err = pend.ke.Shared(p.KE.Data)
		}
		if err != nil {
			return nil, refusal{notify: message.InvalidSyntax}
		}
	}
	pend.ni, pend.nr = append([]byte(nil), p.Nonce...), make([]byte, nonceLen)
	if !m.random(pend.nr) {
		return nil, refusal{notify: message.TemporaryFailure}
	}
	in.pend = pend
	return pend, refusal{}
}
