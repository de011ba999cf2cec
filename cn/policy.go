package cn

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

const (
	// maxRRLifetime is MAX_RR_BINDING_LIFETIME (RFC 6275 §12): no binding that return
	// routability authorised may be longer (§5.2.6).
	maxRRLifetime = 420 * time.Second

	defaultBindings  = 10_000
	defaultTestRate  = 2000
	defaultPerSource = 100
	defaultErrorRate = 100
)

// Validate tells what is wrong; the error wraps ErrConfig.
func (c *Config) Validate() error {
	for i, p := range c.Locals {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() {
			return fmt.Errorf("%w: local address %d is not of IPv6", ErrConfig, i+1)
		}
	}
	for i, r := range c.Rules {
		if !r.Home.IsValid() || !r.Home.Addr().Is6() || r.Policy > Deny {
			return fmt.Errorf("%w: rule %d", ErrConfig, i+1)
		}
	}
	if c.Default > Deny {
		return fmt.Errorf("%w: default policy", ErrConfig)
	}
	if c.MaxBindings < 0 || c.TestRate < 0 || c.TestRatePerSource < 0 || c.ErrorRate < 0 {
		return fmt.Errorf("%w: negative limit", ErrConfig)
	}
	if c.MaxLifetime < 0 || c.MaxLifetime > 0 && mobility.UnitsOf(c.MaxLifetime) == 0 {
		return fmt.Errorf("%w: lifetimes are in units of 4 s", ErrConfig)
	}
	return c.validatePeers()
}

func (c *Config) validatePeers() error {
	homes, keys := map[netip.Addr]bool{}, map[rr.Kbm]bool{}
	for i, p := range c.Peers {
		bad := func(what string) error { return fmt.Errorf("%w: peer %d (%v): %s", ErrConfig, i+1, p.Home, what) }
		if !mobility.UnicastRoutable(p.Home) {
			return bad("the home address is not unicast routable")
		}
		if homes[p.Home] {
			return bad("its home address has another peer too")
		}
		homes[p.Home] = true
		switch p.Auth {
		case ReturnRoutability: // nothing of its own: return routability is everybody's
		case StaticKey:
			if p.Key == (rr.Kbm{}) {
				return bad("no key")
			}
			if keys[p.Key] { // RFC 4449 §4: a MUST
				return bad("its key is another peer's too")
			}
			keys[p.Key] = true
		case IPsec:
			if p.Identity == "" {
				return bad("no identity")
			}
			if p.Proto != 0 && p.Proto != xfrm.ESP && p.Proto != xfrm.AH {
				return bad("neither ESP nor AH")
			}
		default:
			return bad("no such way to prove")
		}
	}
	return nil
}

// or is a value, or its default where it is zero.
func or(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

// policy is what the rules decide for a home address.
func (c *Config) policy(home netip.Addr) Policy {
	for _, r := range c.Rules {
		if r.Home.Contains(home) {
			return r.Policy
		}
	}
	return c.Default
}

// closed tells that nobody is served at all.
func (c *Config) closed() bool {
	if c.Default != Deny {
		return false
	}
	for _, r := range c.Rules {
		if r.Policy != Deny {
			return false
		}
	}
	return true
}

// local tells whether an address of this host answers.
func (c *Config) local(a netip.Addr) bool {
	if !mobility.UnicastRoutable(a) {
		return false
	}
	for _, p := range c.Locals {
		if p.Contains(a) {
			return true
		}
	}
	return len(c.Locals) == 0
}

// lifetime is what is granted of a lifetime asked for (RFC 6275 §5.2.6, §9.5.2). There is no bound for
// keys set by hand (RFC 4449 §4), nor for an SA, but the one that is configured.
func (c *Config) lifetime(asked mobility.Units, auth Auth) mobility.Units {
	most := c.MaxLifetime
	if most == 0 || auth == ReturnRoutability && most > maxRRLifetime {
		most = maxRRLifetime
	}
	return min(asked, mobility.UnitsOf(most))
}
