package cn

import (
	"container/heap"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// pair is the key of the binding cache: each address of ours has one of its own (RFC 6275 §9.1).
type pair struct{ local, home [16]byte }

func pairOf(local, home netip.Addr) pair { return pair{local.As16(), home.As16()} }

// entry is what is known of a home address that spoke to an address of ours: a
// binding, or the sequence number of one that is gone, or SAs.
type entry struct {
	index       uint32
	local, home netip.Addr

	bound                 bool
	careOf                netip.Addr
	flags                 mobility.UpdateFlags
	lifetime              mobility.Units
	expires, since, moved time.Time
	moves                 uint64
	auth                  Auth
	nonces                mobility.NonceIndices
	refresh               refresh
	unreachable           unreachable

	// seq is of the last update that was accepted, at the time updated. It is known while there is a
	// binding, and until the time forget: as long as nonces from before updated are good (RFC 6275
	// §5.2.8). With keep it is never forgotten (RFC 4449 §3).
	seq     uint16
	known   bool
	keep    bool
	updated time.Time
	forget  time.Time

	// saved: the next run is to know the care-of address.
	saved bool

	// protected: the route asks for SAs of this request id; keyed: it has been put so.
	protected, keyed bool
	proto            xfrm.Proto
	reqSlot          int

	route   uint64 // id of the last Route that is not answered; 0: none
	answer  *answer
	waiting []Authorised // answers to Authorise, until the route is put

	due   time.Time // its place in the queue
	queue *queue
	pos   int
}

// remember says how long the sequence number of a binding that is gone is known: until no nonce
// is good that was given out before its last update.
func (e *entry) remember(now time.Time) {
	e.forget = e.updated.Add(rr.MaxNonceLifetime)
	e.known = e.known && (e.keep || e.forget.After(now))
}

// answer is an acknowledgement that waits for the route.
type answer struct {
	to   update
	seq  uint16
	ack  bool   // it was asked for
	what string // of Changed
}

// refresh is how far asking for a new update is.
type refresh struct {
	next time.Time // when to ask for the use; zero: not any more
	from time.Time // from when on a node is asked to renew what is in use
	ask  uint64    // id of AskUse, not answered
	sent int       // Binding Refresh Requests
	used time.Time
}

// unreachable counts ICMPv6 errors about the care-of address.
type unreachable struct {
	count       int
	first, last time.Time
}

// update is a Binding Update.
type update struct {
	local, home netip.Addr
	from        netip.Addr // source on the wire, where that was not the home address
	careOf      netip.Addr
	seq         uint16
	flags       mobility.UpdateFlags
	asked       mobility.Units
	delete      bool
	auth        Auth
	nonces      mobility.NonceIndices
	signed      bool // it had the right authenticator, by key
	key         rr.Kbm
	fresh       time.Time // its nonces were first given out after this time; zero: not known
}

// registered is the address that the authenticators are computed with (RFC 6275 §6.2.7).
func (u *update) registered() netip.Addr {
	if u.delete {
		return u.home
	}
	return u.careOf
}

// table holds the entries.
type table struct {
	slots  []*entry // nil where free
	free   []uint32
	byPair map[pair]uint32
	alive  queue // bindings, by what is to be done next
	memory queue // what is left of others, by when it is forgotten
	reqs   []bool
}

func (t *table) find(local, home netip.Addr) *entry {
	if i, ok := t.byPair[pairOf(local, home)]; ok {
		return t.slots[i]
	}
	return nil
}

// obtain finds the entry or makes one.
func (t *table) obtain(local, home netip.Addr) *entry {
	if e := t.find(local, home); e != nil {
		return e
	}
	e := &entry{local: local, home: home, reqSlot: -1}
	if n := len(t.free); n > 0 {
		e.index, t.free = t.free[n-1], t.free[:n-1]
		t.slots[e.index] = e
	} else {
		e.index = uint32(len(t.slots))
		t.slots = append(t.slots, e)
	}
	t.byPair[pairOf(local, home)] = e.index
	return e
}

// place puts an entry where its state belongs, and takes it out where it has none.
func (t *table) place(e *entry) {
	var q *queue
	switch {
	case e.bound:
		q, e.due = &t.alive, soonest(e.expires, e.refresh.next)
	case e.known && !e.keep:
		q, e.due = &t.memory, e.forget
	}
	if e.queue != nil && e.queue != q {
		heap.Remove(e.queue, e.pos)
		e.queue = nil
	}
	switch {
	case q == nil:
	case e.queue == nil:
		e.queue = q
		heap.Push(q, e)
	default:
		heap.Fix(q, e.pos)
	}
	if q == nil && !e.keep && !e.protected && len(e.waiting) == 0 {
		delete(t.byPair, pairOf(e.local, e.home))
		t.slots[e.index] = nil
		t.free = append(t.free, e.index)
	}
}

// queue is a heap of entries by due.
type queue []*entry

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].due.Before(q[j].due) || q[i].due.Equal(q[j].due) && q[i].index < q[j].index
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i, j
}
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.pos = len(*q)
	*q = append(*q, e)
}
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

func (q queue) deadline() time.Time {
	if len(q) == 0 {
		return time.Time{}
	}
	return q[0].due
}

// soonest is the earlier one; the zero time is never.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
