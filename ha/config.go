package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// ErrConfig is wrapped by the errors of Config.Validate.
var ErrConfig = errors.New("ha: configuration")

// Config is how a home agent serves. The zero value of what is optional means
// the default that is named beside it.
type Config struct {
	// Agents are this home agent's global addresses on the home link. Nodes may
	// register with any; the first one is the source of Binding Errors for packets
	// that were spoken to none of them.
	Agents   []netip.Addr
	HomeLink HomeLink
	Prefixes []HomePrefix
	// Nodes is the access list. AnyCertificate serves besides it every peer whose
	// certificate names a home address, Pool those that ask for an address.
	Nodes          []Node
	AnyCertificate bool
	Pool           []netip.Prefix // parts of the home prefixes; empty: none

	MaxBindings   int           // live ones of this instance; 0: no limit
	MaxLifetime   time.Duration // of a binding; 0: as much as the node asks for
	RefreshAdvice time.Duration // Binding Refresh Advice; 0: none (RFC 6275 §6.2.4)
	RefuseK       bool          // K = 0 in every acknowledgement
	NoDAD         bool          // for home links where nobody else can have the addresses
	// Forwarding sets the host up as a router (net.ipv6.conf.all.forwarding).
	Forwarding bool
	// HostRoutes puts a route for each bound home address onto the home link.
	HostRoutes bool
	// RestartRate is the number of nodes a second that the agent starts IKE with
	// after its own restart; 0: 50.
	RestartRate int
	// ErrorRate is the number of Binding Errors a second (RFC 6275 §9.3.3); 0: 10.
	ErrorRate int

	// Protection and Caps are those of the databases (see protect.Plan).
	Protection protect.Protection
	Caps       xfrm.Caps

	// Shard of Shards instances; 0 of 0 or of 1: the only one.
	Shard, Shards int
}

// HomeLink is the interface of the home link.
type HomeLink struct {
	Name  string
	Index int
}

// HomePrefix is an on-link prefix of the home link. The zero times mean no end.
type HomePrefix struct {
	Prefix                     netip.Prefix
	ValidUntil, PreferredUntil time.Time
}

// Node is a line of the access list.
type Node struct {
	// Identity of IKE in its printed form, such as mn1.example.org or
	// user@example.org or an address.
	Identity string
	Home     netip.Addr // zero: by the certificate's iPAddress, or from the pool
	Deny     bool
	RefuseK  bool // as Config.RefuseK, for this node
}

const (
	defaultRestartRate = 50
	defaultErrorRate   = 10
)

// Validate tells what is wrong with the configuration; every error wraps ErrConfig.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, a...)...))
	}
	if len(c.Agents) == 0 {
		bad("no address of the home agent")
	}
	for _, a := range c.Agents {
		if !mobility.UnicastRoutable(a) {
			bad("home agent address %v is not unicast routable", a)
		}
	}
	if c.HomeLink.Index <= 0 {
		bad("no home link")
	}
	for _, p := range c.Prefixes {
		if !p.Prefix.IsValid() || !p.Prefix.Addr().Is6() || p.Prefix != p.Prefix.Masked() {
			bad("home prefix %v is not a prefix of IPv6", p.Prefix)
		}
	}
	for _, p := range c.Pool {
		if !p.IsValid() || !p.Addr().Is6() || !c.contains(p) {
			bad("pool %v is no part of a home prefix", p)
		}
	}
	homes, names := map[netip.Addr]bool{}, map[string]bool{}
	for _, n := range c.Nodes {
		switch {
		case n.Identity == "":
			bad("a node without an identity")
		case names[n.Identity]:
			bad("identity %s twice", n.Identity)
		case !n.Deny && n.Home.IsValid() && !mobility.UnicastRoutable(n.Home):
			bad("home address %v of %s is not unicast routable", n.Home, n.Identity)
		case !n.Deny && n.Home.IsValid() && homes[n.Home]:
			bad("home address %v twice", n.Home)
		case n.Home.IsValid() && c.isAgent(n.Home):
			bad("home address %v of %s is the home agent's own", n.Home, n.Identity)
		}
		names[n.Identity] = true
		if n.Home.IsValid() {
			homes[n.Home] = true
		}
	}
	if c.Shard < 0 || c.Shards < 0 || c.Shard >= max(c.Shards, 1) {
		bad("shard %d of %d", c.Shard, c.Shards)
	}
	return errors.Join(errs...)
}

func (c *Config) contains(p netip.Prefix) bool {
	for _, h := range c.Prefixes {
		if h.Prefix.Bits() <= p.Bits() && h.Prefix.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

func (c *Config) isAgent(a netip.Addr) bool {
	for _, x := range c.Agents {
		if x == a {
			return true
		}
	}
	return false
}

// prefix is the home prefix that holds a and has not ended (RFC 6275 §10.3.1).
func (c *Config) prefix(now time.Time, a netip.Addr) (HomePrefix, bool) {
	for _, h := range c.Prefixes {
		if h.Prefix.Contains(a) && (h.ValidUntil.IsZero() || h.ValidUntil.After(now)) {
			return h, true
		}
	}
	return HomePrefix{}, false
}

// ShardOf tells which of n instances owns a home address. Events of a home
// address go to its owner; an Authorise goes where Config.Owner says.
func ShardOf(home netip.Addr, n int) int {
	if n <= 1 {
		return 0
	}
	v := home.As16()
	// A multiplicative hash (Knuth): interface identifiers are often small numbers.
	h := (binary.BigEndian.Uint64(v[:8]) ^ binary.BigEndian.Uint64(v[8:])) * 0x9e3779b97f4a7c15
	return int((h >> 33) % uint64(n))
}
