package ike

import (
	"slices"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// Encapsulate asks for the responder's half of a key exchange by a KEM, which
// draws its own randomness: Method.Encapsulate(Public) does it.
type Encapsulate struct {
	ID     TaskID
	SA     SAID
	Method transform.KE
	Public []byte // of the peer; its length is checked, not its content
}

// Encapsulated answers Encapsulate.
type Encapsulated struct {
	ID                 TaskID
	Ciphertext, Shared []byte
	Err                error
}

func (Encapsulate) action() {}
func (Encapsulated) event() {}

// answerKE makes our half of a key exchange of the request under way, by a task
// where it takes one. keAnswered goes on.
func (m *Machine) answerKE(s *sa, g transform.KE, public []byte) {
	if g.KEM() {
		m.emit(Encapsulate{ID: m.newTask(s, theirs, Child{}), SA: s.id, Method: g, Public: slices.Clone(public)})
		return
	}
	ke, err := g.Generate(m.rand)
	if err != nil {
		m.keAnswered(s, nil, nil, err)
		return
	}
	shared, err := ke.Shared(public)
	m.keAnswered(s, ke.Public(), shared, err)
}

// keAnswered gives our KE data and the shared secret to the exchange.
func (m *Machine) keAnswered(s *sa, data, shared []byte, err error) {
	switch s.inb.exchange {
	case message.IKEIntermediate:
		m.intermediateReply(s, data, shared, err)
	case message.IKEFollowupKE:
		m.followupReply(s, data, shared, err)
	default:
		m.childKEAnswered(s, data, shared, err)
	}
}
