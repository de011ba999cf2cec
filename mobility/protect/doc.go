// Package protect knows which policies, security associations and Mobile IPv6
// states protect a binding, at the mobile node and at its home agent, and in
// which order they change when the node moves, returns home or leaves. It is the
// only place that knows priorities, policy types and request ids.
//
// IKE's own states are not here: they come and go with the child SAs, and meet
// the policies by the request id. What is here are the policies and the states
// of mode RouteOpt (home address option, type 2 routing header).
//
// The sets follow RFC 4877 §6 and §7, coarsened to what Linux can match: an
// inbound policy for the Mobility Header has no message type, because Linux from
// 6.7 on matches none.
//
// Route optimization has three parts. A Path is a pair of addresses that speak directly, or are about to,
// at whichever end: WantPath, ChangePath. A node that optimises has policies that keep
// return routability in the tunnel, and triggers that ask for paths: they are in its Want. A
// correspondent has a generic set.
//
// How Linux reads the templates of one policy decides their order. Outbound they are applied in turn:
// ESP, then the headers of Mobile IPv6, then the tunnel; AH after those headers, since it covers
// them. Inbound they are compared from the last to the first with what the packet had from
// its outermost header on; an optional one that does not fit is passed over, and a header of Mobile IPv6 or a tunnel that
// no template names refuses the packet, while a transport SA more than demanded does not.
package protect

import (
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// Role is whose databases are meant.
type Role uint8

// The roles.
const (
	Node  Role = iota // the mobile node
	Agent             // its home agent
	// Correspondent answers mobile nodes directly (RFC 6275 §9). It has the generic set only, and
	// a Path for each node.
	Correspondent
)

func (r Role) String() string {
	return [...]string{"node", "agent", "correspondent", "?"}[min(r, 3)]
}

// Protection is what of a binding's traffic is protected.
type Protection uint8

// The protections.
const (
	// MHAndPayload protects the Mobility Header between node and agent in
	// transport mode, and everything else of the home address in tunnel mode
	// between care-of address and agent.
	MHAndPayload Protection = iota
	// MHOnly protects the Mobility Header alone. Payload is not this package's.
	MHOnly
)

// Priorities of our policies, the lowest number first.
const (
	PriorityDiscovery = 1    // neighbour discovery, never protected
	PriorityMH        = 10   // Mobility Header between node and agent
	PriorityPathMH    = 12   // Mobility Header of a path
	PriorityProtected = 13   // a path with SAs of its own: no exception lets its packets by them
	PriorityBlock     = 14   // agent: Mobility Header of the home prefix that no node's policy took
	PriorityTests     = 15   // node: Mobility Header by the tunnel, whoever the correspondent
	PriorityNever     = 16   // node: what goes by the tunnel although its path may be direct
	PriorityAnswers   = 17   // correspondent: Mobility Header of anyone
	PriorityPath      = 18   // a path
	PriorityTrigger   = 20   // node: what asks for a path; each its own, in order
	PriorityPayload   = 1000 // the tunnel
)

// Phase is how far a binding is.
type Phase uint8

// The phases. Those without a remark are for both roles.
const (
	// Absent: nothing is installed.
	Absent Phase = iota
	// Home: the Mobility Header is protected, directly between home address and
	// agent. At the node: it is at home. At the agent: there is no binding, and a
	// first Binding Update with a home address option is accepted under ESP. Payload
	// SAs that were made stay, unused, at Tunnel (RFC 4877 §4.2).
	Home
	// Adrift (node): it was at home and has lost the home link. As Home, and what
	// the home address sends is discarded, so that nothing leaves in the clear.
	Adrift
	// Answering (agent): as Home, but what it sends in Mobility Headers goes to
	// CareOf with a type 2 routing header: an acknowledgement that comes before
	// the binding (a refusal) or after it (deregistration from abroad).
	Answering
	// Away: everything through CareOf.
	Away
	// Returning (node): Mobility Headers go directly; the tunnel is still used to send,
	// and still accepted inbound but no longer required.
	Returning
	// Returned: as Home, but tunnelled packets that were under way are accepted still. The
	// agent is here from the deregistration at home on, the node from its acknowledgement on.
	Returned
)

func (p Phase) String() string {
	return [...]string{"absent", "home", "adrift", "answering", "away", "returning", "returned", "?"}[min(p, 7)]
}

// Binding are the facts about one home address.
type Binding struct {
	Phase           Phase
	Home, HomeAgent netip.Addr
	// CareOf is the care-of address; in the phases Home and Adrift it does not matter.
	CareOf netip.Addr
	// Tunnel is the outer address that payload SAs have, zero if there are none. It
	// matters in the phases without a tunnel; in Away, Returning and Returned it is CareOf.
	Tunnel netip.Addr
	ReqIDs ReqIDs
}

// Plan makes the sets for one host.
type Plan struct {
	Role       Role
	Protection Protection
	Caps       xfrm.Caps

	// Optimises: the node does route optimization, by Triggers and Paths.
	Optimises bool
	// Answers: the host is a correspondent too.
	Answers  bool
	Triggers []Trigger
}

// Generic are the facts of the sets that no binding owns.
type Generic struct {
	// HomePrefixes and HomeAgents are the agent's: prefixes that it serves, and
	// the addresses that it serves them with.
	HomePrefixes []netip.Prefix
	HomeAgents   []netip.Addr
}
