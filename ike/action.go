package ike

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// Send transmits Data (it begins with the IKE header; the socket of port 4500
// puts the non-ESP marker before it) from Local to Remote. Data must not be changed.
type Send struct {
	SA            SAID // zero for stateless answers
	Local, Remote netip.AddrPort
	Data          []byte
}

// Keepalive sends one octet 0xFF from Local, the socket of port 4500, to Remote: without a
// non-ESP marker (RFC 3948 §2.3). No answer comes.
type Keepalive struct {
	SA            SAID
	Local, Remote netip.AddrPort
}

// Remapped says that the NAT before a peer has given it another address or port:
// the IKE SA's end is New, and so are those of the children that are in UDP encapsulation,
// whose SAs are to be given what stands in Children. Where a child's address changed, so
// did its policies' (transport mode: their selectors).
type Remapped struct {
	SA       SAID
	Conn     string
	Peer     message.Identity
	Old, New netip.AddrPort
	Children []Child // as they are now; keys are not filled in
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
	Proto                 uint8               // ESP or AH, as the peer asks and our offers allow
	Transport             bool                // USE_TRANSPORT_MODE was asked for
	CFGRequest            []message.Attribute // nil: none
	// The selectors as the peer sent them, where a NAT is on the way and transport mode was asked for: then
	// Local and Remote have IKE's addresses in place of theirs (RFC 7296 §2.23.1). Who answers with
	// tunnel mode, or means addresses that are not IKE's, chooses from these. nil: as Local and Remote.
	OriginalLocal, OriginalRemote []message.Selector
}

// AllocSPI asks for an inbound SPI: Src and Dst are the addresses of the
// inbound SA (Dst is ours), as far as known now.
type AllocSPI struct {
	ID       TaskID
	SA       SAID
	Protocol uint8 // ESP or AH
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
	Initiator bool  // we asked for this pair (of a rekey: for the rekey)
	Proto     uint8 // ESP or AH
	Mode      Mode
	Proxy     bool // transport mode for addresses that are not IKE's
	ReqID     uint32
	SPIIn     uint32
	SPIOut    uint32
	// Addresses of the SAs (the outer ones in tunnel mode): ours, the peer's.
	LocalAddr, RemoteAddr netip.Addr
	Local, Remote         []message.Selector
	// The ports of both SAs' UDP encapsulation (RFC 3948); zero: none.
	LocalPort, RemotePort uint16
	Encr                  transform.Encr  // zero for AH
	Integ                 transform.Integ // of AH; its Linux method names it
	ESN                   bool
	// Encryption keys as Linux wants them: for AES-GCM key then 4 octets of salt; empty for AH.
	KeyIn, KeyOut []byte
	// Integrity keys; empty for combined-mode ciphers.
	AuthIn, AuthOut []byte
	// Soft: when the machine rekeys by itself; Hard: when the SA must be gone.
	// From installation; the kernel wants Hard, and Soft only as a second alarm.
	Soft, Hard time.Duration
	// What each SA may carry: the kernel counts, and its alarms come back as Expire.
	Bytes, Packets Volume
}

// Install puts both SAs of a child in. Replaces are the inbound SPIs (unique
// within an IKE SA, whatever the protocol) of the child that this one rekeys; that one stays in until its Uninstall. As
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

// InitialContact says that this peer restarted: the IKE SAs that it had here are
// dropped (SADown, Kept), their children when the new ones of their names are
// in, or some seconds later. It comes for every connection by which the peer had
// some. With several shards, give the others ForgetPeer.
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
func (Keepalive) action()      {}
func (Remapped) action()       {}
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
