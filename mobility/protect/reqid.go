package protect

import "github.com/mip6/mip6/xfrm"

// Request ids of ours lie in one block, so that left-overs are recognised and
// other users of the databases (who count up from 1) are never met. The node's
// and the agent's halves are apart: one host may be both.
const (
	ReqIDBase  xfrm.ReqID = 0x4d000000
	ReqIDBlock            = 1 << 24 // how many there are
	// MaxIndex is how many home addresses each role can have.
	MaxIndex = ReqIDBlock / 2 / reqIDStep

	reqIDStep = 2
)

// ReqIDs are the request ids of one home address: one for each child SA, since
// a MIGRATE finds its states by the request id.
type ReqIDs struct {
	MH, Payload xfrm.ReqID
}

// ReqIDsFor returns the ids of the home address with this index, which must be
// below MaxIndex. An index once given to a home address is to be kept.
func ReqIDsFor(r Role, index uint32) ReqIDs {
	first := ReqIDBase + xfrm.ReqID(index%MaxIndex)*reqIDStep
	if r == Agent {
		first += ReqIDBlock / 2
	}
	return ReqIDs{MH: first, Payload: first + 1}
}

// Index is the inverse of ReqIDsFor; ok is false for ids that are not ours.
func (q ReqIDs) Index() (r Role, index uint32, ok bool) {
	if !Owned(q.MH) {
		return 0, 0, false
	}
	n := uint32(q.MH - ReqIDBase)
	if n >= ReqIDBlock/2 {
		r, n = Agent, n-ReqIDBlock/2
	}
	return r, n / reqIDStep, q == ReqIDsFor(r, n/reqIDStep)
}

// Owned tells whether the id is of our block.
func Owned(id xfrm.ReqID) bool { return id >= ReqIDBase && id-ReqIDBase < ReqIDBlock }
