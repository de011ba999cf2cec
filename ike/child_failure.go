package ike

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// goneAlready ends our exchange for a pair that the peer deleted before we knew
// that it had made it. What it was to replace goes as well.
func (m *Machine) goneAlready(s *sa, pend *pending) {
	old := present(s, pend.old)
	m.localFailure(s, pend, "the peer deleted it at once")
	if old != nil && old.heir == nil {
		m.closeChild(s, old, ReasonDeleted)
	}
}

// rejectAnswer gives a child up that the peer believes to be up: it is deleted
// over there. The IKE SA stands.
func (m *Machine) rejectAnswer(s *sa, pend *pending, why string) {
	spi := pend.spiIn
	m.localFailure(s, pend, why)
	if spi != 0 && s.state == stateUp {
		m.enqueue(s, job{kind: jobDeleteChild, proto: pend.want.Proto, spi: spi})
	}
}

// localFailure ends our exchange for a child without a result, by a fault of
// this side or of the answer.
func (m *Machine) localFailure(s *sa, pend *pending, why string) {
	m.abandon(s, pend)
	m.reviveOld(pend)
	if pend.old == nil {
		m.childRefused(s, pend.req, pend.want, false, 0, why)
	} else {
		m.retryRekey(s, pend, refusedWait)
	}
	m.finish(s)
}

// childFailed ends an exchange for a child before it was sent.
func (m *Machine) childFailed(s *sa, t message.NotifyType, why string) {
	m.localFailure(s, s.req.pend, why)
}

// reviveOld puts the pair whose rekey failed back: the peer may have rekeyed it.
func (m *Machine) reviveOld(pend *pending) {
	if old := pend.old; old != nil && old.state == childRekeying {
		old.state = childUp
		if old.believed != nil && old.believed != old {
			m.replaced(old)
		}
	}
}

// retryRekey tries a failed rekey again later, while the hard lifetime allows.
func (m *Machine) retryRekey(s *sa, pend *pending, wait time.Duration) {
	old := pend.old
	if present(s, old) == nil || old.state != childUp {
		return
	}
	old.rekeyAt = m.now.Add(m.jittered(wait, 0.5))
	m.schedule(s)
}

// childError handles an answer that is an error.
func (m *Machine) childError(s *sa, pend *pending, p *message.Payloads) {
	n := p.FirstError()
	if n == nil {
		m.rejectAnswer(s, pend, "answer without SA or TS")
		return
	}
	switch n.Type {
	case message.InvalidKEPayload:
		if m.retryKE(s, pend, n.Data) {
			return
		}
	case message.TemporaryFailure, message.StateNotFound:
		m.abandon(s, pend)
		m.reviveOld(pend)
		switch {
		case pend.old != nil:
			m.retryRekey(s, pend, temporaryWait)
		case pend.retries < maxRetries && s.req.job.kind != jobAuth: // that one's owner asks for more than a child
			wait := m.jittered(temporaryWait<<pend.retries, 0.5)
			s.queue = append(s.queue, job{
				kind: jobChild, req: pend.req, want: pend.want, retries: pend.retries + 1, at: m.now.Add(wait),
			})
		default:
			m.childRefused(s, pend.req, pend.want, true, n.Type, "the peer is busy")
		}
		m.finish(s)
		return
	case message.ChildSANotFound:
		// §2.25.1: the peer does not have it any more, so it goes here too.
		m.abandon(s, pend)
		if old := present(s, pend.old); old != nil && old.heir == nil {
			old.state = childUp
			m.removeChild(s, old, ReasonDeleted)
		}
		m.finish(s)
		return
	}
	m.abandon(s, pend)
	m.reviveOld(pend)
	if pend.old == nil {
		m.childRefused(s, pend.req, pend.want, true, n.Type, "the peer refuses")
	} else {
		m.retryRekey(s, pend, refusedWait)
	}
	m.finish(s)
}

// retryKE repeats CREATE_CHILD_SA with the key exchange that the peer wants (§1.3).
func (m *Machine) retryKE(s *sa, pend *pending, data []byte) bool {
	if len(data) != 2 || pend.retries >= maxRetries || s.req.job.kind == jobAuth {
		return false
	}
	g := transform.KE(binary.BigEndian.Uint16(data))
	if pend.ke != nil && g == pend.ke.Group() ||
		!slices.ContainsFunc(pend.offers, func(o transform.Offer) bool { return slices.Contains(o.KE, g) }) {
		return false
	}
	pend.retries++
	ke, err := g.Generate(m.rand)
	if err != nil {
		return false
	}
	pend.ke = ke
	m.stats.InvalidKE++
	s.req = &request{job: s.req.job, pend: pend}
	m.sendChild(s)
	return true
}
