package optimise

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// The constants of RFC 6275 §12, and ours.
const (
	maxRRLifetime  = 420 * time.Second // MAX_RR_BINDING_LIFETIME
	initialBindack = time.Second       // INITIAL_BINDACK_TIMEOUT
	maxBindack     = 32 * time.Second  // MAX_BINDACK_TIMEOUT

	// firstTimeout and its doublings are quick retransmissions of what may be lost in a
	// handover: until a timeout of initialBindack nothing counts as unanswered.
	firstTimeout = 200 * time.Millisecond
	leastTimeout = 100 * time.Millisecond

	renewBefore = 30 * time.Second // a token's or a binding's end
	pollCount   = time.Second      // while counting
	pollUnused  = 5 * time.Second  // while something should be renewed, and nothing uses it
	homeGrace   = time.Second      // what is on its way when a binding is gone
	stopWait    = time.Second
	routeRetry  = 10 * time.Second
	errorGrace  = 200 * time.Millisecond // a Binding Error so soon is about packets of before
	errorPause  = 10 * time.Second       // another one within it has the next try wait
	refreshGap  = 10 * time.Second       // Binding Refresh Requests heeded
	retryAfter  = time.Minute            // the first pause after silence; it doubles

	tokenMargin = time.Second

	keepCookies = 4
	keepCare    = 4
	keepSent    = 4
	maxFixes    = 3 // refusals in a row that are answered at once

	paceBurst = 128 * time.Millisecond // as many messages at once,
	paceEach  = time.Millisecond       // and then one
)

// peer is the entry of the Binding Update List for one correspondent (§11.1). It is plain data.
type peer struct {
	Remote netip.Addr
	Proto  uint8 // of the packet that it was met by
	Port   uint16
	Rule   Rule
	Gone   bool // no rule is for it any more

	// return routability
	Home     token
	Care     []careToken // the oldest first
	HomeTry  attempt
	CareTry  attempt
	HomeSent []cookie
	CareSent []cookie // of the present care-of address
	RTT      time.Duration
	HomeRTT  time.Duration

	// the registration
	Seq       uint16
	Sent      []update // unanswered, oldest first
	UpdateTry attempt
	CareOf    netip.Addr // that the correspondent has acknowledged
	Told      netip.Addr // that it was told last
	Acked     bool       // and nothing since makes that doubtful
	Until     time.Time  // the end of the acknowledged binding
	MayUntil  time.Time  // the correspondent may have a binding of ours until then
	RefreshAt time.Time
	Refresh   bool // renew the binding
	Renew     bool // renew the home token
	Fixes     int  // refusals in a row that were answered at once
	Refusals  int  // temporary refusals in a row
	Silences  int  // times given up for want of an answer
	Status    int

	// counting and use
	Counting bool
	AskID    uint64 // 0: not asked
	AskAt    time.Time
	Asked    bool // by a Binding Refresh Request
	Unused   bool // to be forgotten
	Saved    bool // there is a record
	LastUsed time.Time
	LastMet  time.Time
	Packets  uint64
	BRRAt    time.Time

	// routes
	Route    Route // the last one, without its ID
	RouteID  uint64
	RouteOK  bool
	DirectAt time.Time // when packets began to go directly
	NoDirect time.Time // the host refused that: not before

	// keys
	Keys      keyState
	KeyTry    attempt
	KeyCareOf netip.Addr
	KeyAnew   bool // those that stand are not to be trusted
	KeyTried  bool // others were asked for since the correspondent was last heard

	RetryAt  time.Time // refused until then
	Silent   bool      // refused for want of an answer: another care-of address may do
	NotHere  netip.Addr
	Why      string
	HoldAt   time.Time // after a Binding Error
	HoldFor  time.Duration
	ErrorAt  time.Time
	DropAt   time.Time
	LastSend time.Time

	Wake  time.Time // when something is due
	State State     // as told last
	Since time.Time
	Moves uint64
}

// keyState is how far IKE with a correspondent is.
type keyState uint8

const (
	keysNone keyState = iota
	keysAsked
	keysUp
	keysAnew // they stand and carry, and others are asked for
)

func (p *peer) care(careOf netip.Addr) (token, bool) {
	for _, c := range p.Care {
		if c.CareOf == careOf {
			return c.token, true
		}
	}
	return token{}, false
}

func (p *peer) setCare(c careToken) {
	p.Care = slices.DeleteFunc(p.Care, func(o careToken) bool { return o.CareOf == c.CareOf })
	if len(p.Care) == keepCare {
		p.Care = slices.Delete(p.Care, 0, 1)
	}
	p.Care = append(p.Care, c)
}

func (p *peer) mayBeBound(now time.Time) bool { return p.MayUntil.After(now) }

// find is the place of a correspondent in the list.
func (m *Machine) find(remote netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(m.s.Peers, remote, func(p peer, a netip.Addr) int { return p.Remote.Compare(a) })
}

func (m *Machine) peer(remote netip.Addr) *peer {
	if i, ok := m.find(remote); ok {
		return &m.s.Peers[i]
	}
	return nil
}

// add makes room and enters a correspondent; nil where there is none.
func (m *Machine) add(now time.Time, remote netip.Addr) *peer {
	if len(m.s.Peers) >= m.cfg.Max {
		return nil
	}
	var b [2]byte // §11.7.2: the sequence number starts at a random value
	if !m.read(b[:]) {
		return nil
	}
	i, _ := m.find(remote)
	p := peer{Remote: remote, Seq: uint16(b[0])<<8 | uint16(b[1]), Status: -1, Since: now, Wake: now, State: noState, Route: Route{Remote: remote}}
	m.s.Peers = slices.Insert(m.s.Peers, i, p)
	return &m.s.Peers[i]
}

// noState is that of a peer whose state has not been told yet.
const noState State = 0xff

// idlest is the correspondent to give up for another: without a binding, and unused for the
// longest time. One that was written to within a second stays: else the
// rate of messages to it would not be held.
func (m *Machine) idlest(now time.Time) *peer {
	var best *peer
	for i := range m.s.Peers {
		p := &m.s.Peers[i]
		if p.mayBeBound(now) || now.Sub(p.LastSend) < time.Second {
			continue
		}
		if best == nil || cmp.Compare(p.used().UnixNano(), best.used().UnixNano()) < 0 {
			best = p
		}
	}
	return best
}

func (p *peer) used() time.Time {
	if p.LastMet.After(p.LastUsed) {
		return p.LastMet
	}
	return p.LastUsed
}

// protected is what every packet of the pair needs now.
func (p *peer) protected() (xfrm.Proto, xfrm.ReqID) {
	if p.Keys == keysUp || p.Keys == keysAnew {
		return p.Rule.Protect, p.Rule.ReqID
	}
	return 0, 0
}
