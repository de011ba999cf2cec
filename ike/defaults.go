package ike

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// withDefaults returns a copy with every zero field filled in. The connections
// are copied too: the machine's state points at them.
func (c Config) withDefaults() Config {
	c.CookieThreshold = or(c.CookieThreshold, 64)
	c.HalfOpenMax = or(c.HalfOpenMax, 4096)
	c.HalfOpenPerSource = or(c.HalfOpenPerSource, 64)
	c.HalfOpenTimeout = or(c.HalfOpenTimeout, 30*time.Second)
	c.NATPort = or(c.NATPort, 4500)
	c.Retransmit.First = or(c.Retransmit.First, 500*time.Millisecond)
	c.Retransmit.Max = or(c.Retransmit.Max, 30*time.Second)
	c.Retransmit.Tries = or(c.Retransmit.Tries, 7)
	c.Retransmit.ConnectTries = min(or(c.Retransmit.ConnectTries, 3), c.Retransmit.Tries)
	c.Retransmit.ProbeTries = or(c.Retransmit.ProbeTries, c.Retransmit.Tries)
	c.Conns = slices.Clone(c.Conns)
	for i := range c.Conns {
		c.Conns[i] = c.Conns[i].withDefaults()
	}
	return c
}

func (c Conn) withDefaults() Conn {
	if len(c.IKE) == 0 {
		c.IKE = defaultIKE()
	}
	if len(c.ESP) == 0 {
		c.ESP = defaultESP()
	}
	c.IKERekey = or(c.IKERekey, 4*time.Hour)
	c.IKEHard = or(c.IKEHard, c.IKERekey+c.IKERekey/10)
	c.ChildRekey = or(c.ChildRekey, time.Hour)
	c.ChildHard = or(c.ChildHard, c.ChildRekey+c.ChildRekey/10)
	c.ChildBytes, c.ChildPackets = c.ChildBytes.withDefaults(), c.ChildPackets.withDefaults()
	c.Jitter = or(c.Jitter, 0.1)
	c.Keepalive = or(c.Keepalive, keepaliveDefault)
	return c
}

// Validate says what is wrong with a configuration: the first mistake found.
func (c Config) Validate() error {
	seen := map[string]bool{}
	for _, k := range c.Conns {
		if k.Name == "" || seen[k.Name] {
			return fmt.Errorf("%w: connection name %q is empty or used twice", ErrConfig, k.Name)
		}
		seen[k.Name] = true
		if err := k.validate(); err != nil {
			return fmt.Errorf("%w: connection %s: %v", ErrConfig, k.Name, err)
		}
	}
	if n := c.FragmentSize; n > 0 && n < minFragmentSize || n > math.MaxUint16 {
		return fmt.Errorf("%w: fragment size %d is not between %d and %d", ErrConfig, c.FragmentSize, minFragmentSize, math.MaxUint16)
	}
	if c.ShardBits > 16 || c.Shard >= 1<<c.ShardBits {
		return fmt.Errorf("%w: shard %d of %d bits", ErrConfig, c.Shard, c.ShardBits)
	}
	return nil
}

func (c Conn) validate() error {
	c = c.withDefaults()
	switch {
	case c.LocalID.IsZero():
		return fmt.Errorf("no local identity")
	case !c.RemoteID.Any && len(c.RemoteID.Exact) == 0:
		return fmt.Errorf("no remote identity")
	case c.LocalAuth != pki.PSK && c.LocalAuth != pki.Signature,
		c.RemoteAuth != pki.PSK && c.RemoteAuth != pki.Signature:
		return fmt.Errorf("authentication must be psk or cert on both sides")
	case c.IKEHard <= c.IKERekey, c.ChildHard <= c.ChildRekey:
		return fmt.Errorf("a hard lifetime must be longer than the rekey time")
	case c.NAT > NATOff:
		return fmt.Errorf("nat must be auto, force or off")
	case c.Reauth < 0 || c.Unique > UniqueNever:
		return fmt.Errorf("reauth must not be negative, unique one of the four policies")
	case c.Jitter >= 1:
		return fmt.Errorf("jitter %v is not below 1", c.Jitter)
	}
	if err := c.ChildBytes.validate("octets"); err != nil {
		return err
	}
	if err := c.ChildPackets.validate("packets"); err != nil {
		return err
	}
	return c.checkProposals()
}

// accepts says whether the peer may be who it says.
func (m IDMatch) accepts(id message.Identity) bool {
	if id.IsZero() {
		return false
	}
	if m.Any {
		return true
	}
	return slices.ContainsFunc(m.Exact, func(x message.Identity) bool { return x.Fold() == id.Fold() })
}

// expected is the one identity that we can name to the peer, or zero.
func (m IDMatch) expected() message.Identity {
	if !m.Any && len(m.Exact) == 1 {
		return m.Exact[0]
	}
	return message.Identity{}
}
