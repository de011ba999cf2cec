package xfrm

import "net/netip"

// Op is one change of the databases.
type Op interface{ op() }

// PutSA adds the SA or replaces the one with its ID; it also fills a larval one.
type PutSA struct{ SA SA }

// DelSA removes an SA. One that is not there is no error.
type DelSA struct {
	ID ID
	// Linger waits for a moment (some milliseconds) first, where an operation before it in the same Apply
	// has turned a policy away from the SA: packets that have chosen it are on their way out still.
	Linger bool
}

// PutPolicy adds the policy or replaces the one with its ID, atomically.
type PutPolicy struct{ Policy Policy }

// DelPolicy removes a policy. One that is not there is no error.
type DelPolicy struct{ ID PolicyID }

// CopySA adds a second instance of a live SA under another destination, with
// its keys and its present replay state: an inbound SA is accepted on the old and
// on the new care-of address while packets to the old one are on their way. It
// stands beside the original until a DelSA. Not having the original is ErrNotFound.
type CopySA struct {
	From   ID
	NewDst netip.Addr
}

// Remap gives a live SA in UDP encapsulation other outer addresses and ports, with its keys and
// its replay state: the NAT before the peer has given it another mapping. The one that
// receives has another source, the one that sends another destination. Not having the SA is ErrNotFound.
type Remap struct {
	ID       ID // as it is before
	Src, Dst netip.Addr
	Encap    Encap
}

// Migrate moves one policy's template and its states to other outer addresses,
// keeping SPI, keys and replay state (XFRM_MSG_MIGRATE). States that the
// backend's own move leaves behind (larval ones, the second SA of a rekey in
// progress) are the backend's duty. There being no state yet is no error.
type Migrate struct{ Migration Migration }

func (PutSA) op()     {}
func (DelSA) op()     {}
func (PutPolicy) op() {}
func (DelPolicy) op() {}
func (CopySA) op()    {}
func (Remap) op()     {}
func (Migrate) op()   {}

// Migration is the content of a MIGRATE, sent or seen.
type Migration struct {
	Policy PolicyID
	Moves  []Move
	// Endpoints are the addresses that IKE shall use from now on, as seen from
	// this host (XFRMA_KMADDRESS); nil where the message has none.
	Endpoints *Endpoints
}

// Move is one change of addresses in a Migration. In transport mode the kernel
// moves no template; the message still tells key management.
type Move struct {
	OldSrc, OldDst netip.Addr
	NewSrc, NewDst netip.Addr
	Proto          Proto
	Mode           Mode
	ReqID          ReqID
}

// Endpoints are the two ends of key management.
type Endpoints struct {
	Local, Remote netip.Addr
}
