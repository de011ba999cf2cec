package couple

import (
	"slices"

	"github.com/mip6/mip6/xfrm"
)

// acquired notes that a packet waits for an SA of this home address, which says so when it is
// put. There is one number for each request id that is known here, so they are few.
func (h *home) acquired(e xfrm.Acquire) {
	if id := e.Template.ReqID; slices.Contains(h.reqids, id) {
		h.acquires[id] = e.Seq
	}
}

// answer is the acquire that the next outbound SA answers, 0 for none. It is answered once.
func (h *home) answer(id xfrm.ReqID) uint32 {
	seq := h.acquires[id]
	delete(h.acquires, id)
	return seq
}
