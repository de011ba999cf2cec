package xfrm

import (
	"context"
	"errors"
)

// Backend keeps the databases. xfrm/kernel and xfrm/userspace implement it and
// are held to one suite, xfrm/xfrmtest.
type Backend interface {
	Caps() Caps
	// AllocSPI reserves an inbound SPI for an SA with these addresses, protocol,
	// mode and request id. The reservation ends by PutSA, DelSA or in time.
	AllocSPI(ctx context.Context, want SA) (SPI, error)
	// Apply carries the operations out in order and goes on after an error; the
	// result has one entry for each. Operations that follow one another are
	// handed over in as few system calls as the backend can.
	Apply(ctx context.Context, ops []Op) []error
	// Dump streams every object that the filter wants: an SA or a Policy.
	Dump(ctx context.Context, f Filter, each func(Object) error) error
	// Get gives one SA or state, with its Stats: ErrNotFound where there is none, or a
	// larval one only.
	Get(ctx context.Context, id ID) (SA, error)
	// Watch delivers events to sink until ctx ends. Missed ones become Lost.
	Watch(ctx context.Context, sink func(Event)) error
	Close() error
}

// Object is an SA or a Policy.
type Object interface{ object() }

func (SA) object()     {}
func (Policy) object() {}

// Filter narrows a dump.
type Filter struct {
	SAs, Policies bool
	Proto         Proto // 0: any
	Type          *PolicyType
}

// Caps says what a backend can do; Missing holds a reason for each lack.
type Caps struct {
	Name         string // "kernel" or "userspace"
	ESP6, AH6    bool
	MIP6         bool // route optimization states
	Migrate      bool
	MigrateState bool // XFRM_MSG_MIGRATE_STATE
	SubPolicy    bool
	InboundTypes bool // inbound policies match Mobility Header types (Linux < 6.7)
	Missing      []Missing
}

// Missing is a feature that a backend lacks.
type Missing struct {
	Feature string // "ESP6", as in Caps
	Err     error  // a *FeatureError from the backend
	Remedy  string // what to do, in a sentence
}

// FeatureError is the typed error for a feature that the backend's host lacks.
type FeatureError struct {
	Feature string
	Err     error
}

func (e *FeatureError) Error() string { return "xfrm: " + e.Feature + " is missing: " + e.Err.Error() }
func (e *FeatureError) Unwrap() error { return e.Err }

// Errors of Apply, AllocSPI and Dump; test with errors.Is.
var (
	ErrNotFound    = errors.New("xfrm: no such object")
	ErrExists      = errors.New("xfrm: object exists")
	ErrUnsupported = errors.New("xfrm: not supported here")
	ErrPermission  = errors.New("xfrm: not permitted (root or CAP_NET_ADMIN is needed)")
)

// Snapshot is the whole of what is in the databases or should be.
type Snapshot struct {
	SAs      []SA
	Policies []Policy
}
