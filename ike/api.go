// Package ike is the IKEv2 machine (RFC 7296): its events, its actions, its
// state. One Machine owns many IKE SAs (a shard). It is pure: time and
// randomness are arguments, sockets, keys and the kernel are elsewhere.
//
// What takes time or lives elsewhere is an action with a TaskID, answered by an
// event with the same TaskID: Prove → Proved, VerifyPeer → PeerVerified,
// Authorise → Authorised, AllocSPI → SPIAllocated, Install → Installed,
// Encapsulate → Encapsulated. Every
// such action must be answered exactly once, with Err set on failure; an answer
// that comes too late (its SA is gone) is ignored, except that a SPI that was
// allocated for it is given back by Uninstall.
//
// Actions of one IKE SA are to be done in the order they come.
package ike

import (
	"net/netip"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// SAID is the handle of an IKE SA: our own SPI. A rekeyed IKE SA has a new one
// (see SARekeyed).
type SAID uint64

// TaskID names a waiting task. It is never zero and never used twice by a Machine.
type TaskID uint64

// Event is what happens to a Machine: the types below, and no others.
type Event interface{ event() }

// Action is what a Machine wants done: the types below, and no others.
type Action interface{ action() }

// Mode is the mode of a child SA.
type Mode uint8

// Modes of child SAs.
const (
	Tunnel    Mode = 1
	Transport Mode = 2 // addresses are those of the selectors, be they IKE's or not
)

// Protocols of child SAs, by their numbers in IP.
const (
	ESP uint8 = 50
	AH  uint8 = 51 // the IKE connection must have offers for it: Conn.AH
)

func (m Mode) String() string {
	switch m {
	case Tunnel:
		return "tunnel"
	case Transport:
		return "transport"
	}
	return "unknown"
}

// Datagram is a received IKE message: Data begins with the IKE header (the
// socket of port 4500 has removed the non-ESP marker) and is not kept.
type Datagram struct {
	Local, Remote netip.AddrPort
	Data          []byte
}

// Initiate starts a new IKE SA over Local and Remote. Req is the caller's
// token: it comes back in SAUp or Refused. The first of Children is set up
// within IKE_AUTH, the others follow by CREATE_CHILD_SA; there must be one.
type Initiate struct {
	Req            uint64
	Conn           string
	Local, Remote  netip.AddrPort
	Peer           message.Identity // expected identity where the connection's is a template; pre-shared keys are chosen by it; or zero
	Children       []ChildWant
	InitialContact bool                // first contact since we started (RFC 7296 §2.4); not said while there is another IKE SA with the peer; what is begun meanwhile waits
	replaces       *sa                 // of a reauthentication
	CFGRequest     []message.Attribute // attributes of a CFG_REQUEST, e.g. INTERNAL_IP6_ADDRESS; nil: none
}

// Cancel gives up an IKE SA that is not up yet, by the Req of its Initiate: the
// node moved on, say. Refused follows. One that is up is not touched.
type Cancel struct{ Req uint64 }

// ChildWant describes a child SA that we ask for.
type ChildWant struct {
	Name          string // of the child within the connection: "mh", "payload"
	Proto         uint8  // ESP or AH; 0: ESP
	Mode          Mode
	ReqID         uint32
	Local, Remote []message.Selector // our side, the peer's side
}

// CreateChild asks for a further child of an established IKE SA. Req comes
// back in ChildUp or ChildRefused.
type CreateChild struct {
	Req  uint64
	SA   SAID
	Want ChildWant
}

// RekeyChild rekeys the child with this inbound SPI now.
type RekeyChild struct {
	SA    SAID
	SPIIn uint32
}

// RekeySA rekeys the IKE SA itself now.
type RekeySA struct{ SA SAID }

// CloseChild deletes the child with this inbound SPI, telling the peer.
type CloseChild struct {
	SA    SAID
	SPIIn uint32
}

// Close ends an IKE SA. Silent discards it locally, without a Delete. With
// KeepChildren (Silent only) its children stay installed as orphans: they are
// uninstalled when a child of the same connection, peer identity and name takes
// their place, on DropOrphans, or at their hard lifetime.
type Close struct {
	SA           SAID
	Silent       bool
	KeepChildren bool
}

// DropOrphans uninstalls the orphans of this connection and peer now.
type DropOrphans struct {
	Conn string
	Peer message.Identity
}

// Moved gives an IKE SA new endpoints at once (the Mobile IPv6 move, RFC 6275
// §10.3.1: the K bit). Messages in flight go on from the new addresses; the
// outer addresses of tunnel children that were the old ones follow. No message
// is sent for it. A zero Local or Remote leaves that side as it is. Ports count only
// as long as the IKE SA has not changed to Config.NATPort. Idempotent.
type Moved struct {
	SA            SAID
	Local, Remote netip.AddrPort
}

// Mapped reports that the databases got a child's UDP-encapsulated packet, authenticated and
// new, from another address than the child's: its inbound SPI, our address, the source.
// The IKE SA and its children follow (Remapped) where a NAT was found before the peer.
type Mapped struct {
	SPI    uint32
	Dst    netip.Addr
	Remote netip.AddrPort
}

// Probe checks now whether the peer is alive (RFC 7296 §2.4); SADown follows if not.
type Probe struct{ SA SAID }

// Expire reports that the kernel expired the SA with this SPI and destination.
// Soft starts a rekey, hard removes the child. Unknown ones are ignored, so
// that it may be given to every shard.
type Expire struct {
	SPI   uint32
	Proto uint8 // ESP or AH, which may use the same SPI; 0: either
	Dst   netip.Addr
	Hard  bool
}

// ForgetPeer silently drops every IKE SA of this connection with this peer
// identity, except one: the peer restarted (InitialContact of another shard).
// Their children stay as orphans, for some seconds at most.
type ForgetPeer struct {
	Conn   string
	Peer   message.Identity
	Except SAID
}

// SetConfig replaces the configuration. Established IKE SAs keep what they
// negotiated; timers that start later use the new values.
type SetConfig struct{ Config Config }

// Proved answers Prove.
type Proved struct {
	ID    TaskID
	Proof pki.Proof
	Err   error
}

// PeerVerified answers VerifyPeer.
type PeerVerified struct {
	ID   TaskID
	Peer pki.Peer
	Err  error
}

// Authorised answers Authorise. Local and Remote are the narrowed selectors
// (subsets of what was asked, each not empty); ReqID and Name are the policy
// owner's. An Err that wraps ErrTSUnacceptable, ErrFailedCPRequired,
// ErrAddressFailure, ErrUseAssignedHoA or ErrTemporary is told to the peer as that notify,
// any other as NO_PROPOSAL_CHOSEN. A refused child does not end the IKE SA.
type Authorised struct {
	ID            TaskID
	Name          string
	ReqID         uint32
	Mode          Mode // Transport only if it was asked for
	Local, Remote []message.Selector
	CFGReply      []message.Attribute // answers a CFG_REQUEST; nil: no CFG_REPLY
	Err           error
}

// SPIAllocated answers AllocSPI.
type SPIAllocated struct {
	ID  TaskID
	SPI uint32
	Err error
}

// Installed answers Install.
type Installed struct {
	ID  TaskID
	Err error
}

func (Datagram) event()     {}
func (Initiate) event()     {}
func (Cancel) event()       {}
func (CreateChild) event()  {}
func (RekeyChild) event()   {}
func (RekeySA) event()      {}
func (CloseChild) event()   {}
func (Close) event()        {}
func (DropOrphans) event()  {}
func (Moved) event()        {}
func (Mapped) event()       {}
func (Probe) event()        {}
func (Expire) event()       {}
func (ForgetPeer) event()   {}
func (SetConfig) event()    {}
func (Proved) event()       {}
func (PeerVerified) event() {}
func (Authorised) event()   {}
func (SPIAllocated) event() {}
func (Installed) event()    {}
