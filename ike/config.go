package ike

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// Reasons that the answer to Authorise may give, each told to the peer.
var (
	ErrTSUnacceptable   = errors.New("ike: traffic selectors not acceptable")
	ErrFailedCPRequired = errors.New("ike: configuration payload required")
	ErrAddressFailure   = errors.New("ike: no address to assign")
	ErrUseAssignedHoA   = errors.New("ike: the assigned home address must be used")
	ErrTemporary        = errors.New("ike: not now") // the peer asks again after a while (§2.25)
)

// ErrConfig wraps what Config.Validate finds.
var ErrConfig = errors.New("ike: configuration")

// Reason says why an SA went down.
type Reason string

// Reasons.
const (
	ReasonDeleted   Reason = "deleted by the peer"
	ReasonClosed    Reason = "closed here"
	ReasonDiscarded Reason = "discarded here without a Delete"
	ReasonTimeout   Reason = "the peer does not answer"
	ReasonReplaced  Reason = "replaced by a newer SA of the same peer"
	ReasonSyntax    Reason = "the peer broke the protocol"
	ReasonExpired   Reason = "lifetime over"
	ReasonInstall   Reason = "installation failed"
	ReasonRefused   Reason = "refused"
)

// Config configures a Machine. Zero fields take the default that stands beside them.
type Config struct {
	Conns []Conn // the first that fits an incoming IKE SA wins

	CookieThreshold   int           // half-open IKE SAs from which on cookies are demanded (RFC 7296 §2.6); 0: 64, <0: always
	HalfOpenMax       int           // half-open IKE SAs in total; 0: 4096
	HalfOpenPerSource int           // half-open IKE SAs of one source (/64 for IPv6); 0: 64
	HalfOpenTimeout   time.Duration // until an IKE SA must be authenticated; 0: 30 s

	Retransmit Retransmit

	// NATPort is the UDP port, ours and the peers', that IKE changes to where a NAT is found, and
	// that has UDP-encapsulated ESP (RFC 7296 §2.23); 0: 4500.
	NATPort uint16

	// FragmentSize is the size of an IP datagram, in octets, above which a message
	// is sent in fragments to a peer that takes them (RFC 7383); 0: 1280 with IPv6,
	// 576 with IPv4; <0: no fragments, neither sent nor taken.
	FragmentSize int

	// KeyLog makes the machine emit Keys actions. Whoever reads them reads the traffic.
	KeyLog bool

	// The upper ShardBits bits of our own SPIs are Shard (see ShardOf).
	ShardBits uint8
	Shard     uint64
}

// Retransmit says how long an unanswered request is repeated (RFC 7296 §2.4).
type Retransmit struct {
	First time.Duration // until the first repetition; doubles each time; 0: 500 ms
	Max   time.Duration // upper bound of one wait; 0: 30 s
	Tries int           // repetitions before the IKE SA is given up; 0: 7
	// ConnectTries is Tries for IKE_SA_INIT and IKE_AUTH: there is no IKE SA to lose yet, and
	// whoever asked for it begins anew, which a peer that has restarted meanwhile
	// answers. 0: 3, so that with First 500 ms it is given up after 7.5 s; not more than Tries.
	ConnectTries int
	// ProbeTries is Tries for liveness checks, whose failure may have to be seen
	// sooner; 0: as Tries.
	ProbeTries int
}

// IDMatch says which identities a connection accepts from the peer.
type IDMatch struct {
	Exact []message.Identity // any of these
	Any   bool               // or any that authentication vouches for (a template)
}

// Conn is a connection template: one block may serve many peers.
type Conn struct {
	Name string

	LocalAddr  netip.Addr   // incoming: only to this address; zero: any
	RemoteNet  netip.Prefix // incoming: only from here; zero: anywhere
	LocalID    message.Identity
	RemoteID   IDMatch
	LocalAuth  pki.Method
	RemoteAuth pki.Method

	Authority [][]byte // for CERTREQ where RemoteAuth is Signature: pki.Keyring.Authorities(Name)

	IKE []transform.Offer // best first; empty: aes128gcm16-prfsha256-x25519-ecp256, aes256gcm16-…, and with aes128-sha256
	ESP []transform.Offer // best first; empty: aes128gcm16, aes256gcm16, aes128-aes256-sha256
	AH  []transform.Offer // best first; empty: no child with AH, neither ours nor the peer's
	// Legacy: the proposals may have algorithms of the past (transform.Offer.Legacy).
	Legacy bool

	NAT NAT // what is done about NATs; 0: NATAuto
	// Keepalive is how long a NAT before us may see nothing of us; 0: 20 s; <0: no keepalives.
	Keepalive time.Duration
	// Mobile: the ends of the IKE SA are Mobile IPv6's. Only Moved changes them, and children
	// keep protocol 50 or 51, whatever is on the way.
	Mobile bool

	DPD time.Duration // liveness check after so long without a sign of the peer; 0: none

	IKERekey time.Duration // rekey of the IKE SA; 0: 4 h
	IKEHard  time.Duration // and its end; 0: 4 h 24 min

	ChildRekey time.Duration // rekey of a child; 0: 1 h
	ChildHard  time.Duration // and its end; 0: 66 min
	// What a child may carry, either way. Without 64-bit sequence numbers packets are
	// limited in any case.
	ChildBytes, ChildPackets Volume
	// Jitter: up to this part (0..1) is taken off each rekey time at random, so
	// that both ends rarely rekey together; 0: 0.1; <0: none.
	Jitter float64

	// Reauth: after so long the IKE SA is authenticated anew, where we began it; 0: never.
	Reauth time.Duration
	Unique Unique

	// KeepChildren keeps the children as orphans when the peer does not answer
	// any more (make before break): see Close.KeepChildren.
	KeepChildren bool
}
