package optimise

import (
	"errors"
	"fmt"
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

// Validate tells what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case !c.Home.Is6() || !c.Home.IsGlobalUnicast():
		return fmt.Errorf("%w: home is not a global unicast IPv6 address", ErrConfig)
	case !c.HomeAgent.Is6() || !c.HomeAgent.IsGlobalUnicast() || c.HomeAgent == c.Home:
		return fmt.Errorf("%w: home agent is not a global unicast IPv6 address of its own", ErrConfig)
	case c.Lifetime != 0 && c.Lifetime < 8*time.Second:
		return fmt.Errorf("%w: lifetime %v is less than 8 s", ErrConfig, c.Lifetime)
	case c.Max < 0 || c.MaxFailure < 0 || c.UpdateRate < 0:
		return fmt.Errorf("%w: negative number", ErrConfig)
	case c.Idle < 0 || c.Remember < 0:
		return fmt.Errorf("%w: negative time", ErrConfig)
	}
	for i, r := range c.Rules {
		if err := r.validate(); err != nil {
			return fmt.Errorf("%w: rule %d: %s", ErrConfig, i+1, err)
		}
	}
	return nil
}

func (r Rule) validate() error {
	one := r.To.IsValid() && r.To.Bits() == 128
	switch {
	case !r.To.IsValid() || !r.To.Addr().Is6() || r.To.Addr().Is4In6():
		return errors.New("its prefix is not one of IPv6")
	case r.Port != 0 && r.Proto != 6 && r.Proto != 17:
		return errors.New("a port without TCP or UDP")
	case r.Auth > IPsec:
		return errors.New("an unknown way of proof")
	case r.Auth == StaticKey && (!one || r.Key == rr.Kbm{}):
		return errors.New("a static key needs a key, and one address: each correspondent has its own") // RFC 4449 §4
	case r.Auth == IPsec && r.Protect == 0:
		return errors.New("ipsec without an SA to prove it")
	case r.Protect != 0 && r.Protect != xfrm.ESP && r.Protect != xfrm.AH:
		return errors.New("protection is neither ESP nor AH")
	case r.Protect != 0 && (!one || r.Conn == "" || r.ReqID == 0):
		return errors.New("protection needs one address, a connection and a request id")
	}
	return nil
}

// withDefaults fills the zero values in.
func (c Config) withDefaults() Config {
	if c.Max == 0 {
		c.Max = 256
	}
	if c.Lifetime == 0 {
		c.Lifetime = maxRRLifetime
	}
	if c.Idle == 0 {
		c.Idle = time.Minute
	}
	if c.Remember == 0 {
		c.Remember = 10 * time.Minute
	}
	if c.MaxFailure == 0 {
		c.MaxFailure = 3
	}
	if c.UpdateRate == 0 {
		c.UpdateRate = 3
	}
	return c
}
