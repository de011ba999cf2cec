package mn

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"time"

	"github.com/mip6/mip6/mobility/protect"
)

// DADMode says how addresses become usable on a foreign link.
type DADMode uint8

// The modes. The machine asks the host for them at its start.
const (
	DADNormal     DADMode = iota // as the host has it
	DADOptimistic                // RFC 4429, where the kernel has it
	DADOff                       // no duplicate address detection on the interfaces
)

// Config configures a Machine. Zero values take the default that stands beside them.
type Config struct {
	Home      netip.Prefix // the home address with the length of the home prefix
	HomeAgent netip.Addr

	// Interfaces are patterns of interface names (as path.Match), the most preferred first. None:
	// all interfaces but the loopback and tunnels, alike.
	Interfaces []string

	Lifetime time.Duration // wanted for a registration; 0: 10 min; at least 8 s

	// NoKeyMobility clears the K bit: at a move IKE is done anew.
	NoKeyMobility bool
	// NoLinkLocal never sets the L bit. Else it is set where an interface's
	// link-local address has the home address's interface identifier.
	NoLinkLocal bool

	Protection protect.Protection
	ReqIDs     protect.ReqIDs // required; a record's go before them

	// Optimises says that the node does route optimization with what Triggers choose, Answers that
	// its host is a correspondent too: some policies differ.
	Optimises, Answers bool
	Triggers           []protect.Trigger

	// Our own routing table, and the priorities of the rules that lead to it. Each
	// home address needs its own.
	Table        int // 0: 0x4d00
	RulePriority int // 0: 1000; RulePriority and RulePriority+1 are used

	DAD DADMode

	// Timers of RFC 6275 §12 and §13.
	InitialBindackFirstReg time.Duration // 0: 1.5 s
	InitialBindack         time.Duration // 0: 1 s
	MaxBindack             time.Duration // 0: 32 s
	MaxUpdateRate          int           // Binding Updates a second; 0: 3

	// Grace is how long packets to the old care-of address are still accepted
	// after a move, where the host still has it. 0: 1 s.
	Grace time.Duration
	// HomeGrace is how long tunnelled packets are accepted after the return home. 0: 600 ms.
	HomeGrace time.Duration
	// StopWait bounds the deregistration at the end. 0: 2 s.
	StopWait time.Duration
	// KeyRetry is the first pause after IKE failed; it doubles up to 32 s. 0: 200 ms.
	KeyRetry time.Duration
}

// ErrConfig wraps what Validate finds.
var ErrConfig = errors.New("mn: configuration")

// Validate tells what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case !c.Home.IsValid() || !c.Home.Addr().Is6() || c.Home.Addr().Is4In6():
		return fmt.Errorf("%w: home is not an IPv6 address with a prefix length", ErrConfig)
	case c.Home.Bits() == 0 || !c.Home.Addr().IsGlobalUnicast():
		return fmt.Errorf("%w: home %v is not a global unicast address with its prefix length", ErrConfig, c.Home)
	case !c.HomeAgent.Is6() || !c.HomeAgent.IsGlobalUnicast():
		return fmt.Errorf("%w: home agent is not a global unicast IPv6 address", ErrConfig)
	case c.HomeAgent == c.Home.Addr():
		return fmt.Errorf("%w: home agent and home address are the same", ErrConfig)
	case c.Lifetime != 0 && c.Lifetime < 8*time.Second:
		return fmt.Errorf("%w: lifetime %v is less than 8 s", ErrConfig, c.Lifetime)
	case c.ReqIDs.MH == 0 || c.ReqIDs.Payload == 0 || c.ReqIDs.MH == c.ReqIDs.Payload:
		return fmt.Errorf("%w: request ids are missing or the same", ErrConfig)
	case c.Table < 0 || c.RulePriority < 0 || c.RulePriority >= 32765:
		return fmt.Errorf("%w: table or rule priority out of range", ErrConfig)
	case c.MaxUpdateRate < 0:
		return fmt.Errorf("%w: negative update rate", ErrConfig)
	}
	for _, d := range []time.Duration{c.Lifetime, c.InitialBindackFirstReg, c.InitialBindack,
		c.MaxBindack, c.Grace, c.HomeGrace, c.StopWait, c.KeyRetry} {
		if d < 0 {
			return fmt.Errorf("%w: negative time %v", ErrConfig, d)
		}
	}
	for _, p := range c.Interfaces {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%w: interface pattern %q: %v", ErrConfig, p, err)
		}
	}
	return nil
}

// withDefaults fills the zero values in.
func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Lifetime, 10*time.Minute)
	def(&c.InitialBindackFirstReg, 1500*time.Millisecond)
	def(&c.InitialBindack, time.Second)
	def(&c.MaxBindack, 32*time.Second)
	def(&c.Grace, time.Second)
	def(&c.HomeGrace, 600*time.Millisecond)
	def(&c.StopWait, 2*time.Second)
	def(&c.KeyRetry, 200*time.Millisecond)
	if c.Table == 0 {
		c.Table = 0x4d00
	}
	if c.RulePriority == 0 {
		c.RulePriority = 1000
	}
	if c.MaxUpdateRate == 0 {
		c.MaxUpdateRate = 3
	}
	return c
}
