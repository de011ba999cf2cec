// Package ike is the IKEv2 machine (RFC 7296): its events, its actions, its
// state. One Machine owns many IKE SAs (a shard). It is pure: time and
// randomness are arguments, sockets, keys and the kernel are elsewhere.
//
// What takes time or lives elsewhere is an action with a TaskID, answered by an
// event with the same TaskID: Prove → Proved, VerifyPeer → PeerVerified,
// Authorise → Authorised, AllocSPI → SPIAllocated, Install → Installed. Every
// such action must be answered exactly once, with Err set on failure; an answer
// that comes too late (its SA is gone) is ignored, except that a SPI that was
// allocated for it is given back by Uninstall.
//
// Actions of one IKE SA are to be done in the order they come.
package ike

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
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

func (m Mode) String() string {
	switch m {
	case Tunnel:
		return "tunnel"
	case Transport:
		return "transport"
	}
	return "unknown"
}

// ---- events ----

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
	Peer           message.Identity // expected identity where the connection's is a template; or zero
	Children       []ChildWant
	InitialContact bool                // first contact since we started (RFC 7296 §2.4)
	CFGRequest     []message.Attribute // attributes of a CFG_REQUEST, e.g. INTERNAL_IP6_ADDRESS; nil: none
}

// ChildWant describes a child SA that we ask for.
type ChildWant struct {
	Name          string // of the child within the connection: "mh", "payload"
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
// is sent for it. A zero Local or Remote leaves that side as it is. Idempotent.
type Moved struct {
	SA            SAID
	Local, Remote netip.AddrPort
}

// Probe checks now whether the peer is alive (RFC 7296 §2.4); SADown follows if not.
type Probe struct{ SA SAID }

// Expire reports that the kernel expired the SA with this SPI and destination.
// Soft starts a rekey, hard removes the child. Unknown ones are ignored, so
// that it may be given to every shard.
type Expire struct {
	SPI  uint32
	Dst  netip.Addr
	Hard bool
}

// ForgetPeer silently drops every IKE SA of this connection with this peer
// identity, except one: the peer restarted (InitialContact of another shard).
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
// ErrAddressFailure or ErrUseAssignedHoA is told to the peer as that notify,
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
func (CreateChild) event()  {}
func (RekeyChild) event()   {}
func (RekeySA) event()      {}
func (CloseChild) event()   {}
func (Close) event()        {}
func (DropOrphans) event()  {}
func (Moved) event()        {}
func (Probe) event()        {}
func (Expire) event()       {}
func (ForgetPeer) event()   {}
func (SetConfig) event()    {}
func (Proved) event()       {}
func (PeerVerified) event() {}
func (Authorised) event()   {}
func (SPIAllocated) event() {}
func (Installed) event()    {}

// ---- actions ----

// Send transmits Data (it begins with the IKE header; the socket of port 4500
// puts the non-ESP marker before it) from Local to Remote. Data must not be changed.
type Send struct {
	SA            SAID // zero for stateless answers
	Local, Remote netip.AddrPort
	Data          []byte
}

// Prove asks for our AUTH payload; pki.Keyring.Prove does it.
type Prove struct {
	ID      TaskID
	SA      SAID
	Request pki.ProveRequest
}

// VerifyPeer asks whether the peer's AUTH payload proves its identity;
// pki.Keyring.Verify does it.
type VerifyPeer struct {
	ID      TaskID
	SA      SAID
	Request pki.VerifyRequest
}

// Authorise asks the owner of the policy whether a verified peer may have a
// child SA (we are the responder). Local and Remote are the proposed selectors
// from our point of view. Rekeys are not asked: they keep what was authorised.
type Authorise struct {
	ID                    TaskID
	SA                    SAID
	Conn                  string
	Peer                  pki.Peer
	LocalAddr, RemoteAddr netip.AddrPort // IKE's endpoints
	Local, Remote         []message.Selector
	Transport             bool                // USE_TRANSPORT_MODE was asked for
	CFGRequest            []message.Attribute // nil: none
}

// AllocSPI asks for an inbound SPI: Src and Dst are the addresses of the
// inbound SA (Dst is ours), as far as known now.
type AllocSPI struct {
	ID       TaskID
	SA       SAID
	Protocol uint8 // 50
	Src, Dst netip.Addr
	Mode     Mode
	ReqID    uint32
}

// Child is a pair of child SAs, everything there is to know of it.
type Child struct {
	SA        SAID
	Conn      string
	Peer      message.Identity
	Name      string
	Initiator bool // we asked for this pair (of a rekey: for the rekey)
	Mode      Mode
	Proxy     bool // transport mode for addresses that are not IKE's
	ReqID     uint32
	SPIIn     uint32
	SPIOut    uint32
	// Addresses of the SAs (the outer ones in tunnel mode): ours, the peer's.
	LocalAddr, RemoteAddr netip.Addr
	Local, Remote         []message.Selector
	Encr                  transform.Encr
	Integ                 transform.Integ
	ESN                   bool
	// Encryption keys as Linux wants them: for AES-GCM key then 4 octets of salt.
	KeyIn, KeyOut []byte
	// Integrity keys; empty for combined-mode ciphers.
	AuthIn, AuthOut []byte
	// Soft: when the machine rekeys by itself; Hard: when the SA must be gone.
	// From installation; the kernel wants Hard, and Soft only as a second alarm.
	Soft, Hard time.Duration
}

// Install puts both SAs of a child in. Replaces are the inbound SPIs of the
// child that this one rekeys; that one stays in until its Uninstall. As
// responder, our answer leaves only after Installed (RFC 7296 §2.8).
type Install struct {
	ID       TaskID
	Child    Child
	Replaces []uint32
}

// Uninstall removes both SAs of a child (keys are not filled in). SPIOut is
// zero for a larval SA whose exchange failed.
type Uninstall struct{ Child Child }

// SAUp says that an IKE SA is established.
type SAUp struct {
	SA            SAID
	Req           uint64 // of Initiate; zero as responder
	Conn          string
	Peer          pki.Peer
	Local, Remote netip.AddrPort
	Initiator     bool
	SPIi, SPIr    uint64
	Suite         transform.Suite
	CFGReply      []message.Attribute
	NATDetected   bool
}

// SARekeyed says that an IKE SA lives on with new SPIs and its children.
type SARekeyed struct {
	Old, New SAID
	Conn     string
	Peer     message.Identity
}

// SADown says that an established IKE SA is gone. Its children's Uninstall and
// ChildDown came before it; Kept says that they were kept as orphans instead.
type SADown struct {
	SA     SAID
	Conn   string
	Peer   message.Identity
	Reason Reason
	Kept   bool
}

// ChildUp says that a child is installed on our side.
type ChildUp struct {
	Req   uint64 // of CreateChild or Initiate; zero as responder
	Child Child  // keys are not filled in
}

// ChildRekeyed says that a new pair took the place of the one with OldSPIIn.
type ChildRekeyed struct {
	OldSPIIn uint32
	Child    Child // keys are not filled in
}

// ChildDown says that a child is gone (not said of a pair that was rekeyed).
type ChildDown struct {
	Child  Child // keys are not filled in
	Reason Reason
}

// ChildRefused says that a child could not be made; the IKE SA stands.
// ByPeer: the peer refused ours; else we refused the peer's.
type ChildRefused struct {
	SA            SAID
	Req           uint64
	Conn          string
	Peer          message.Identity
	Name          string
	ByPeer        bool
	Notify        message.NotifyType
	Reason        string
	Local, Remote []message.Selector
}

// Refused says that no IKE SA came about, in words for the log of this side.
// ByPeer: the peer refused us; else we refused the peer, or gave up.
type Refused struct {
	SA            SAID
	Req           uint64 // of Initiate; zero as responder
	Conn          string // empty if none matched
	Peer          message.Identity
	Local, Remote netip.AddrPort
	ByPeer        bool
	Notify        message.NotifyType // what was told or heard; zero: nothing
	Reason        string
}

// InitialContact says that this peer restarted: the SAs that it had here are
// dropped. With several shards, give the others ForgetPeer.
type InitialContact struct {
	SA   SAID
	Conn string
	Peer message.Identity
}

// Keys carries the keys of an IKE SA for a key log (Config.KeyLog), in the
// order of Wireshark's ikev2_decryption_table. Never emitted otherwise.
type Keys struct {
	SPIi, SPIr   uint64
	SKei, SKer   []byte // with the salt, for AES-GCM
	SKai, SKar   []byte
	Encr         transform.Encr
	Integ        transform.Integ
	WiresharkEnc string // the table's name of the cipher
	WiresharkInt string // the table's name of the integrity algorithm
}

func (Send) action()           {}
func (Prove) action()          {}
func (VerifyPeer) action()     {}
func (Authorise) action()      {}
func (AllocSPI) action()       {}
func (Install) action()        {}
func (Uninstall) action()      {}
func (SAUp) action()           {}
func (SARekeyed) action()      {}
func (SADown) action()         {}
func (ChildUp) action()        {}
func (ChildRekeyed) action()   {}
func (ChildDown) action()      {}
func (ChildRefused) action()   {}
func (Refused) action()        {}
func (InitialContact) action() {}
func (Keys) action()           {}
