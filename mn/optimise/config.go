package optimise

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// Config configures a Machine. Zero values take the default that stands beside them.
type Config struct {
	Home, HomeAgent netip.Addr
	// Rules say with whom, the first that fits a packet; without one the tunnel is used.
	Rules []Rule

	Max        int           // correspondents at a time; 0: 256
	Lifetime   time.Duration // asked for; 0: 420 s (MAX_RR_BINDING_LIFETIME)
	Idle       time.Duration // without packets for so long, nothing is renewed; 0: 60 s
	Remember   time.Duration // how long a correspondent that knows no Mobile IPv6 is left alone; 0: 10 min
	MaxFailure int           // MAX_RO_FAILURE: refused so often, it is left alone; 0: 3
	UpdateRate int           // Binding Updates a second to one correspondent (MAX_UPDATE_RATE); 0: 3
}

// Auth is how Binding Updates to a correspondent are proved.
type Auth uint8

// The ways.
const (
	ReturnRoutability Auth = iota // RFC 6275 §5.2
	StaticKey                     // a binding management key set by hand (RFC 4449)
	IPsec                         // by the SA of Rule.Protect
)

func (a Auth) String() string {
	return [...]string{"return routability", "static key", "ipsec", "?"}[min(a, 3)]
}

// Rule is for packets to a prefix.
type Rule struct {
	To      netip.Prefix
	Proto   uint8  // 0: any
	Port    uint16 // the correspondent's, with Proto 6 or 17; 0: any
	Never   bool   // by the tunnel
	Packets uint64 // from so many packets on; 0 or 1: from the first
	Auth    Auth
	Key     rr.Kbm // StaticKey
	// Protect is ESP or AH: SAs between home address and correspondent for all packets of the pair,
	// made by IKE on Conn. With it the correspondent is one address.
	Protect xfrm.Proto
	Conn    string
	ReqID   xfrm.ReqID
}

// ErrConfig wraps what Validate finds.
var ErrConfig = errors.New("mn/optimise: configuration")
