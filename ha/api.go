// Package ha is the home agent's machine (RFC 6275 §10, RFC 4877): its events,
// its actions, its state. One Machine serves many home addresses and can be
// sharded by home address (see ShardOf). It is pure: time is an argument, and
// sockets, IKE, the kernel and files are elsewhere.
//
// What takes time is an action with an ID, answered exactly once by an event
// with the same ID: Host → HostDone, Xfrm → XfrmDone, ProbeDAD → DADDone; the
// machine answers Authorise by Authorised in the same way. Actions of one home
// address are to be carried out strictly in the order in which they are
// emitted, Host, Xfrm and Save alike; actions with the zero Home belong to the
// whole agent and are ordered among themselves.
package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

// Event is what happens to a Machine: the types below, and no others.
type Event interface{ event() }

// Kind tells the two children of a home address apart.
type Kind uint8

// The children that a home address has.
const (
	NoKind  Kind = 0
	MH      Kind = 1 // transport mode, home address ↔ home agent, Mobility Header
	Payload Kind = 2 // tunnel mode, home address ↔ ::/0
)

func (k Kind) String() string {
	return [...]string{"none", "mh", "payload", "unknown"}[min(k, 3)]
}

// Selector is a traffic selector of IKE: a range of addresses and of ports of
// one protocol (0: any). For the Mobility Header the port is the message type
// times 256 (RFC 4877 §7.3); 0 to 65535 is any.
type Selector struct {
	Proto              uint8
	StartPort, EndPort uint16
	Start, End         netip.Addr
}

// ---- events ----

// Start begins the service. The daemon gives Restored first where there was a
// ledger. Only the instance with Config.Shard 0 sets up what all share.
type Start struct{}

// Stop ends the service: what was put into the host and the kernel is taken
// out, no node is told, the bindings are over. With Keep all stays as it is, for
// a restart of the program that takes over. The last action is Stopped.
type Stop struct{ Keep bool }

// SetConfig replaces the configuration. Bindings stay; they are cut where a
// home prefix became shorter-lived or went away, and dropped where the access
// list refuses the node now. Agents, HomeLink, Shard, Shards and reqids do not
// change in a running Machine.
type SetConfig struct{ Config Config }

// Restored gives the records of the ledger after a crash, before Start. Their
// policies, states and keys are taken to be in the kernel still.
type Restored struct{ Records []Record }

// MHReceived is a Mobility Header that came to the home agent.
type MHReceived struct{ MH host.MH }

// Report tells that the databases refused a home address option for want of a
// binding (RFC 6275 §9.3.1): a Binding Error is owed.
type Report struct{ Report xfrm.Report }

// HostDone answers Host, with one error or nil for each operation.
type HostDone struct {
	ID   uint64
	Errs []error
}

// XfrmDone answers Xfrm, with one error or nil for each operation.
type XfrmDone struct {
	ID   uint64
	Errs []error
}

// DADDone answers ProbeDAD. Err is set where it could not be carried out.
type DADDone struct {
	ID        uint64
	Duplicate bool
	Err       error
}

// Authorise asks whether a verified peer may have a child SA. Local and Remote
// are the proposed selectors seen from the agent (Local: TSr, Remote: TSi).
// Answered by Authorised once the node's policies are in.
type Authorise struct {
	ID          uint64
	Identity    string       // of the peer, as Node.Identity has it
	Conn        string       // name of the IKE connection
	Agent       netip.Addr   // IKE's own address that the peer speaks to; zero: the first
	CareOf      netip.Addr   // IKE's remote address
	Addresses   []netip.Addr // iPAddress entries of the peer's certificate
	Local       []Selector
	Remote      []Selector
	Transport   bool       // USE_TRANSPORT_MODE was asked for
	WantAddress bool       // CFG_REQUEST with INTERNAL_IP6_ADDRESS
	Suggested   netip.Addr // the address that CFG_REQUEST named, or zero
}

// KeysUp tells that an IKE SA for this home address stands. Handle is the
// caller's name of it. CareOf is its remote address.
type KeysUp struct {
	Home   netip.Addr
	Handle uint64
	CareOf netip.Addr
}

// KeysDown tells that an IKE SA of this home address is gone; one that the
// machine does not know as the newest is ignored. Its children are told apart,
// by ChildDown, since they may outlive it.
type KeysDown struct {
	Home   netip.Addr
	Handle uint64
	Reason string
}

// KeysRefused tells that KeyUp came to nothing.
type KeysRefused struct {
	Home   netip.Addr
	Reason string
}

// ChildUp tells that a child SA is installed. CareOf is the outer address of
// the peer in tunnel mode.
type ChildUp struct {
	Home          netip.Addr
	Kind          Kind
	ReqID         xfrm.ReqID
	InSPI, OutSPI xfrm.SPI
	Handle        uint64
	CareOf        netip.Addr
}

// ChildRekeyed tells that new SAs took the place of those with OldInSPI.
type ChildRekeyed struct {
	Home                    netip.Addr
	Kind                    Kind
	OldInSPI, InSPI, OutSPI xfrm.SPI
}

// ChildDown tells that a child SA is gone, but not one that was rekeyed.
type ChildDown struct {
	Home  netip.Addr
	Kind  Kind
	InSPI xfrm.SPI
}

func (Start) event()        {}
func (Stop) event()         {}
func (SetConfig) event()    {}
func (Restored) event()     {}
func (MHReceived) event()   {}
func (Report) event()       {}
func (HostDone) event()     {}
func (XfrmDone) event()     {}
func (DADDone) event()      {}
func (Authorise) event()    {}
func (KeysUp) event()       {}
func (KeysDown) event()     {}
func (KeysRefused) event()  {}
func (ChildUp) event()      {}
func (ChildRekeyed) event() {}
func (ChildDown) event()    {}
