package config

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// CN is [cn]: this host is a correspondent node that knows Mobile IPv6 (RFC 6275 §9).
type CN struct {
	Addresses   []netip.Prefix // those of this host that answer; empty: all of them
	Default     Policy         // for home addresses that no rule fits
	Rules       []CNRule       // the first that fits counts
	Nodes       []CNNode
	Peers       []string // names of the [[peer]] blocks that Nodes with identities may use
	MaxBindings int
	MaxLifetime time.Duration
	// Answers and Binding Errors a second; TestRatePerSource is for one prefix of 64 bits.
	TestRate, TestRatePerSource, ErrorRate int
}

// Policy says whether a mobile node may optimise its route to this host.
type Policy string

// The policies.
const (
	Allow Policy = "allow"
	Deny  Policy = "deny"
)

// CNRule is [[cn.rule]]: a policy for home addresses of a prefix.
type CNRule struct {
	Home   netip.Prefix
	Policy Policy
}

// CNNode is [[cn.node]]: a node that proves its Binding Updates otherwise than by return routability.
type CNNode struct {
	HomeAddress netip.Addr
	Auth        UpdateAuth       // StaticKey or IPsec
	KBM         Secret           // of StaticKey: 20 octets
	Identity    message.Identity // of IPsec
	Protocol    Protect          // of IPsec: ProtectESP or ProtectAH
}

// UpdateAuth says how Binding Updates to a correspondent are proved.
type UpdateAuth string

// The proofs.
const (
	ReturnRoutability UpdateAuth = "return-routability" // RFC 6275 §5.2
	StaticKey         UpdateAuth = "static"             // RFC 4449
	IPsec             UpdateAuth = "ipsec"              // the SA between home address and correspondent
)

// Protect says whether packets between a home address and a correspondent have IPsec of their own.
type Protect string

// The protections.
const (
	ProtectNone Protect = "none"
	ProtectESP  Protect = "esp"
	ProtectAH   Protect = "ah"
)

// cn reads [cn].
func (ld *loader) cn(root *table, c *Config) {
	t := root.sub("cn")
	if t == nil {
		return
	}
	defer t.finish()
	n := defaultCN()
	t.list("addresses", func(s string) string {
		p, ok := parseDestination(s)
		if !ok {
			return wantDestination
		}
		n.Addresses = append(n.Addresses, p)
		return ""
	})
	oneOf(t, "default", &n.Default, Allow, Deny)
	for _, rt := range t.subs("rule") {
		n.Rules = append(n.Rules, cnRule(rt))
	}
	for _, nt := range t.subs("node") {
		n.Nodes = append(n.Nodes, ld.cnNode(nt))
	}
	t.list("peers", func(s string) string {
		n.Peers = append(n.Peers, s)
		return ""
	})
	integer(t, "max_bindings", 1, 10_000_000, &n.MaxBindings)
	t.duration("max_lifetime", MinLifetime, MaxLifetime, &n.MaxLifetime)
	integer(t, "test_rate", 1, 1_000_000, &n.TestRate)
	integer(t, "test_rate_per_source", 1, 1_000_000, &n.TestRatePerSource)
	integer(t, "error_rate", 1, 1_000_000, &n.ErrorRate)
	c.CN = &n
}

func cnRule(t *table) CNRule {
	defer t.finish()
	var r CNRule
	t.need("home", "policy")
	t.destination("home", &r.Home)
	oneOf(t, "policy", &r.Policy, Allow, Deny)
	return r
}

func (ld *loader) cnNode(t *table) CNNode {
	defer t.finish()
	n := CNNode{Protocol: ProtectESP}
	t.need("home_address", "auth")
	t.addr("home_address", &n.HomeAddress)
	oneOf(t, "auth", &n.Auth, StaticKey, IPsec)
	ld.kbm(t, n.Auth, &n.KBM)
	t.identity("identity", &n.Identity)
	oneOf(t, "protocol", &n.Protocol, ProtectESP, ProtectAH)
	switch n.Auth {
	case IPsec:
		t.need("identity")
	case StaticKey:
		n.Protocol = ProtectNone
		t.only(`auth = "ipsec"`, "identity", "protocol")
	}
	return n
}

// only notes that keys of this table mean nothing, for they go with something else.
func (t *table) only(with string, keys ...string) {
	for _, key := range keys {
		if t.has(key) {
			t.fail(key, "expected only with %s", with)
		}
	}
}
