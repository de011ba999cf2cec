package protect

import "github.com/mip6/mip6/xfrm"

// Request ids of ours lie in one block, so that left-overs are recognised and
// other users of the databases (who count up from 1) are never met. Each quarter is
// for itself, since one host may have all roles: the node's home addresses, its
// paths, the agent's home addresses, the correspondent's paths.
const (
	ReqIDBase  xfrm.ReqID = 0x4d000000
	ReqIDBlock            = 1 << 24 // how many there are
	// MaxIndex is how many home addresses each role can have, MaxPaths how many protected paths.
	MaxIndex = reqIDQuarter / reqIDStep
	MaxPaths = reqIDQuarter

	reqIDStep    = 2
	reqIDQuarter = ReqIDBlock / 4
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
	if n/reqIDQuarter%2 != 0 {
		return 0, 0, false // of a path
	}
	if n >= ReqIDBlock/2 {
		r, n = Agent, n-ReqIDBlock/2
	}
	return r, n / reqIDStep, q == ReqIDsFor(r, n/reqIDStep)
}

// Owned tells whether the id is of our block.
func Owned(id xfrm.ReqID) bool { return id >= ReqIDBase && id-ReqIDBase < ReqIDBlock }

// PathReqID returns the id of the protected path with this index, which must be below
// MaxPaths: at the node's end with role Node, at the correspondent's with Correspondent.
func PathReqID(r Role, index uint32) xfrm.ReqID {
	first := ReqIDBase + reqIDQuarter
	if r == Correspondent {
		first += ReqIDBlock / 2
	}
	return first + xfrm.ReqID(index%MaxPaths)
}
