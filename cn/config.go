package cn

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// Config configures a Machine. Zero values take the default that stands beside them.
type Config struct {
	// Locals are the addresses that answer; empty: all of this host's.
	Locals []netip.Prefix
	// Rules say with whom, the first that fits; Default is for those whom none fits.
	Rules   []Rule
	Default Policy // 0: Allow
	// Peers are nodes that prove their Binding Updates otherwise than by return routability.
	Peers []Peer

	MaxBindings int           // 0: 10,000
	MaxLifetime time.Duration // 0: 420 s (MAX_RR_BINDING_LIFETIME); more counts for Peers only
	// TestRate bounds the answers to Test Inits a second, in all (0: 2,000) and for one
	// source prefix of 64 bits (0: 100).
	TestRate, TestRatePerSource int
	// ErrorRate bounds Binding Errors a second in all (0: 100); to one address one a second goes.
	ErrorRate int
	// FirstReqID is the first of the request ids for SAs with nodes.
	FirstReqID xfrm.ReqID
}

// Policy is what a rule decides.
type Policy uint8

// The policies.
const (
	Allow Policy = iota
	Deny         // status 129 where an answer is asked for
)

// Rule is for home addresses of a prefix.
type Rule struct {
	Home   netip.Prefix
	Policy Policy
}

// Peer is a node with a way of its own.
type Peer struct {
	Home     netip.Addr
	Auth     Auth   // StaticKey or IPsec
	Key      rr.Kbm // StaticKey
	Identity string // IPsec: the folded identity that may have SAs for Home
	Proto    xfrm.Proto
}

// Errors; test with errors.Is.
var (
	ErrConfig         = errors.New("cn: configuration")
	ErrTSUnacceptable = errors.New("cn: selectors are not acceptable")
	ErrDenied         = errors.New("cn: identity is not served here")
)
