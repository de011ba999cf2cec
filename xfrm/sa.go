package xfrm

import (
	"net/netip"
	"time"
)

// SA is a security association, or with mode RouteOpt a Mobile IPv6 state.
type SA struct {
	Dst   netip.Addr // with SPI and Proto the key of an SA
	SPI   SPI
	Proto Proto

	Src    netip.Addr
	Mode   Mode
	ReqID  ReqID
	CareOf netip.Addr // RouteOpt only: the care-of address; "::" in a wildcard
	// WildRecv lets one state accept from any address (XFRM_STATE_WILDRECV).
	WildRecv bool

	AEAD  AEAD // set for combined-mode ciphers, else Crypt and Auth
	Crypt Crypt
	Auth  Auth

	Sel    Selector // the zero Selector where the state accepts all its policy does
	Replay Replay
	Life   Lifetimes
	Encap  *Encap // UDP encapsulation (RFC 3948), nil without

	// Acquire answers the acquire with this sequence number: the held packet goes.
	Acquire uint32
	// Larval tells in a dump that the state waits for its keys.
	Larval bool
	Stats  Stats // filled by Dump only
	Mark   uint32
}

// ID is the key of an SA.
type ID struct {
	Dst   netip.Addr
	Src   netip.Addr // matters for RouteOpt only, where the SPI is 0
	SPI   SPI
	Proto Proto
}

// ID returns the key. The source address belongs to it for RouteOpt states only.
func (s SA) ID() ID {
	id := ID{Dst: s.Dst, SPI: s.SPI, Proto: s.Proto}
	if s.Mode == RouteOpt {
		id.Src = s.Src
	}
	return id
}

// AEAD is a combined-mode cipher. Key has the salt at its end (RFC 4106 §8.1).
type AEAD struct {
	Name    string // as Linux names it: "rfc4106(gcm(aes))"
	Key     []byte
	ICVBits int
}

// Crypt is a cipher without integrity: "cbc(aes)", "cipher_null".
type Crypt struct {
	Name string
	Key  []byte
}

// Auth is an integrity algorithm: "hmac(sha256)", truncated to TruncBits.
type Auth struct {
	Name      string
	Key       []byte
	TruncBits int
}

// Replay is the anti-replay state (RFC 4303 §3.4.3). Window is in packets; ESN
// is set for 64-bit sequence numbers. OSeq and Seq are the last numbers sent and
// received, and Bitmap the window behind Seq in the backend's own order; they
// carry over when an SA is copied and are ignored by Diff.
type Replay struct {
	Window uint32
	ESN    bool
	OSeq   uint64
	Seq    uint64
	Bitmap []uint32
}

// Lifetimes are limits; zero means none. Soft limits raise an Expire event and
// leave the SA in use, hard ones remove it.
type Lifetimes struct {
	SoftTime, HardTime       time.Duration
	SoftBytes, HardBytes     uint64
	SoftPackets, HardPackets uint64
}

// Encap is UDP encapsulation of ESP.
type Encap struct {
	SrcPort, DstPort uint16
}

// Stats counts the use of an SA or a policy. Linux counts the packets of every SA, but
// writes down when the last one came or left for outbound RouteOpt states only. For inbound ones Get
// tells when a packet last came from their source by whatever way.
type Stats struct {
	Bytes, Packets                 uint64
	Added, LastUsed                time.Time // zero: never or unknown
	ReplayDrops, IntegrityFailures uint32
}
