package control

import (
	"net/netip"
	"time"
)

// The roles of a Binding: what this host is in it.
const (
	RoleMobileNode    = "mobile node"   // an entry of its binding update list
	RoleHomeAgent     = "home agent"    // of its binding cache
	RoleCorrespondent = "correspondent" // likewise
)

// Binding is an entry of a binding cache, or of the binding update list of a mobile node. What
// a role does not have, or does not know, is zero.
type Binding struct {
	Role string `json:"role,omitempty"`
	// Local is our address in it: the agent's, the correspondent's, the mobile node's home address.
	Local netip.Addr `json:"local,omitzero"`
	// Peer is who keeps the binding of a mobile node on this host; With tells what that is:
	// RoleHomeAgent or RoleCorrespondent.
	Peer        netip.Addr `json:"peer,omitzero"`
	With        string     `json:"with,omitempty"`
	Home        netip.Addr `json:"home"`
	CareOf      netip.Addr `json:"care_of"`
	Identity    string     `json:"identity,omitempty"`
	State       string     `json:"state"` // "valid", "checking" (DAD), "deleting", ...
	Sequence    uint16     `json:"sequence"`
	Lifetime    Duration   `json:"lifetime"`
	Remaining   Duration   `json:"remaining"`
	KeyMobility bool       `json:"key_mobility"`
	Registered  time.Time  `json:"registered,omitzero"` // first, since when there has been a binding
	LastMove    time.Time  `json:"last_move,omitzero"`
	Moves       int        `json:"moves"`
	// Auth is how the updates are proved: "return routability", "static key", "ipsec".
	Auth string `json:"auth,omitempty"`
	// The nonce indices of the last update that was proved by return routability.
	HomeNonce   uint16 `json:"home_nonce,omitempty"`
	CareOfNonce uint16 `json:"care_of_nonce,omitempty"`
	// When the mobile node's tokens end; zero: it has none.
	HomeToken   time.Time `json:"home_token_expires,omitzero"`
	CareOfToken time.Time `json:"care_of_token_expires,omitzero"`
	// LastUsed is when a packet last went by it, as of the last time that was asked for; zero: never, or
	// not known. Packets counts where that is known.
	LastUsed   time.Time `json:"last_used,omitzero"`
	Packets    uint64    `json:"packets,omitempty"`
	RefreshAt  time.Time `json:"refresh_at,omitzero"`
	Refreshing bool      `json:"refreshing,omitempty"` // a refresh is under way, or was asked for
}

// Routes answers "ro".
type Routes struct {
	Routes []Route `json:"routes"`
	Next   string  `json:"next,omitempty"` // Page.After of the next request; "": this was the last
}

// Route is a correspondent of a mobile node on this host, and how far route
// optimization with it is.
type Route struct {
	Home        netip.Addr `json:"home"`
	Remote      netip.Addr `json:"remote"`
	State       string     `json:"state"`         // "counting", "testing", "binding", "optimised", "tunnelled", "unbinding", "refused"
	Why         string     `json:"why,omitempty"` // why packets do not go directly
	Since       time.Time  `json:"since,omitzero"`
	Auth        string     `json:"auth"`               // "return routability", "static key", "ipsec"
	Protect     string     `json:"protect,omitempty"`  // "esp" or "ah"; "": none
	CareOf      netip.Addr `json:"care_of,omitzero"`   // that the correspondent knows
	Sequence    uint16     `json:"sequence,omitempty"` // of the last update
	Remaining   Duration   `json:"remaining"`          // of the binding there
	RefreshAt   time.Time  `json:"refresh_at,omitzero"`
	HomeToken   time.Time  `json:"home_token_expires,omitzero"` // zero: there is none
	CareOfToken time.Time  `json:"care_of_token_expires,omitzero"`
	HomeNonce   uint16     `json:"home_nonce,omitempty"`
	CareOfNonce uint16     `json:"care_of_nonce,omitempty"`
	LastUsed    time.Time  `json:"last_used,omitzero"`
	Packets     uint64     `json:"packets"`
	Failures    int        `json:"failures"`    // in a row
	LastStatus  int        `json:"last_status"` // of the last acknowledgement; -1: none
	RetryAt     time.Time  `json:"retry_at,omitzero"`
	Moves       int        `json:"moves"`
}

// ROCounts are the correspondents of a mobile node by their states.
type ROCounts struct {
	Rules      int `json:"rules"` // of the configuration
	Optimised  int `json:"optimised"`
	UnderWay   int `json:"under_way"` // testing, binding, unbinding
	Tunnelled  int `json:"tunnelled"` // counting, or bound before
	Refused    int `json:"refused"`
	MaxRemotes int `json:"max"`
}

// Add counts a correspondent by its state, a Route.State.
func (c *ROCounts) Add(state string) {
	switch state {
	case "optimised":
		c.Optimised++
	case "testing", "binding", "unbinding":
		c.UnderWay++
	case "refused":
		c.Refused++
	default:
		c.Tunnelled++
	}
}

// Total is the number of correspondents.
func (c *ROCounts) Total() int { return c.Optimised + c.UnderWay + c.Tunnelled + c.Refused }

// Correspondent is the correspondent node on this host. Its counters count since the start.
type Correspondent struct {
	Addresses   []string `json:"addresses,omitempty"` // that answer; empty: all
	Default     string   `json:"default"`             // "allow" or "deny"
	Rules       int      `json:"rules"`
	Nodes       int      `json:"nodes"` // with a key or an identity of their own
	Bindings    int      `json:"bindings"`
	MaxBindings int      `json:"max_bindings"`
	MaxLifetime Duration `json:"max_lifetime"`

	HomeTests       uint64 `json:"home_tests"` // answered
	CareOfTests     uint64 `json:"care_of_tests"`
	TestsLimited    uint64 `json:"tests_limited"` // not answered for their rate
	Accepted        uint64 `json:"updates_accepted"`
	Deleted         uint64 `json:"bindings_deleted"` // by their nodes
	Expired         uint64 `json:"bindings_expired"`
	BadAuth         uint64 `json:"refused_authenticator"`
	OldNonces       uint64 `json:"refused_nonces"`
	BadSequence     uint64 `json:"refused_sequence"`
	Prohibited      uint64 `json:"refused_prohibited"`
	NoRoom          uint64 `json:"refused_no_room"`
	Malformed       uint64 `json:"malformed"`
	RefreshRequests uint64 `json:"refresh_requests_sent"`
	ErrorsSent      uint64 `json:"binding_errors_sent"`
	ErrorsLimited   uint64 `json:"binding_errors_limited"`
	RouteErrors     uint64 `json:"route_errors"` // the kernel did not take a route
}
