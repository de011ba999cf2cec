package xfrm

import "net/netip"

// Event is something that the databases tell.
type Event interface{ event() }

// Acquire asks for an SA: a packet met a template without a state.
type Acquire struct {
	Seq      uint32 // answer with SA.Acquire
	Src, Dst netip.Addr
	Proto    Proto
	Policy   Policy   // the policy met
	Sel      Selector // of the packet
	Template Template
}

// Expire tells that a limit of an SA was reached. Hard: the SA is gone.
type Expire struct {
	SA   SA
	Hard bool
}

// PolicyExpire tells that a limit of a policy was reached.
type PolicyExpire struct {
	Policy Policy
	Hard   bool
}

// Migrated is a MIGRATE that the databases carried out, ours or another's: the
// notification carries no sender, so the receiver tells its own by the content.
type Migrated struct{ Migration Migration }

// Mapping tells that a peer's UDP-encapsulated ESP comes from a new address.
type Mapping struct {
	ID  ID
	New netip.AddrPort
}

// Report tells of a packet that was refused for want of a binding: the home
// address option CareOf → Sel.Src is unknown (RFC 6275 §9.3.1).
type Report struct {
	Proto  Proto
	Sel    Selector // Src is the home address, Dst the address that was spoken to
	CareOf netip.Addr
}

// Lost tells that events were missed: dump and compare.
type Lost struct{ Err error }

func (Acquire) event()      {}
func (Expire) event()       {}
func (PolicyExpire) event() {}
func (Migrated) event()     {}
func (Mapping) event()      {}
func (Report) event()       {}
func (Lost) event()         {}
