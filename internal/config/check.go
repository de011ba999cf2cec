package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// check looks at what single keys do not show.
func (ld *loader) check(c *Config) {
	if c.MN == nil && c.HA == nil && c.CN == nil {
		if ld.bad("mn") || ld.bad("ha") || ld.bad("cn") {
			return // no table, but a try
		}
		ld.fail("", "expected a role: a table [mn] for a mobile node, [ha] for a home agent or [cn] for a correspondent node")
		return
	}
	ld.checkPeers(c)
	if c.MN != nil {
		ld.checkMN(c)
		ld.checkOptimise(c)
	}
	if c.HA != nil {
		ld.checkHA(c)
	}
	if c.CN != nil {
		ld.checkCN(c)
	}
}

func (ld *loader) checkPeers(c *Config) {
	names := map[string]int{}
	for i, p := range c.Peers {
		at := fmt.Sprintf("peer[%d]", i+1)
		if first, twice := names[p.Name]; twice && p.Name != "" {
			ld.fail(at+".name", "expected a name of its own, found that of peer[%d]", first)
		}
		names[p.Name] = i + 1
		if ld.bad(at) {
			continue
		}
		if p.LocalAuth == pki.Signature && (p.Certificate == "" || p.PrivateKey == "") {
			ld.fail(at, "expected certificate and private_key, with which this side proves itself")
		}
		if p.RemoteAuth == pki.Signature && len(p.CA) == 0 {
			ld.fail(at, "expected ca: the authorities that the peer's certificate must lead to")
		}
		if p.LocalAuth == pki.PSK || p.RemoteAuth == pki.PSK {
			ld.checkPSK(c, p, at)
		}
	}
	ids := map[message.Identity]int{}
	for i, k := range c.PSKs {
		if first, twice := ids[k.ID]; twice && !k.ID.IsZero() {
			ld.fail(fmt.Sprintf("psk[%d].id", i+1), "expected each identity once, found that of psk[%d]", first)
		}
		ids[k.ID] = i + 1
	}
}

// checkPSK wants a key for every identity that a peer may have.
func (ld *loader) checkPSK(c *Config, p Peer, at string) {
	has := func(id message.Identity) bool {
		return slices.ContainsFunc(c.PSKs, func(k PSK) bool { return k.ID == id })
	}
	switch {
	case p.Any && len(p.PSK) > 0:
		ld.fail(at+".psk", `one key for all makes every peer able to pose as any other; expected a table [[psk]] for each identity`)
	case p.Any && len(c.PSKs) == 0:
		ld.fail(at, "expected a table [[psk]] for each identity")
	case !p.Any && len(p.PSK) == 0:
		for _, id := range p.RemoteID {
			if !has(id) {
				ld.fail(at, "expected psk, psk_file, or a table [[psk]] for %q", id)
			}
		}
	case len(p.PSK) > 0 && len(p.RemoteID) > 1:
		ld.warn(at+".remote_id", "these peers share a key: each of them can pose as any other")
	}
}

func (ld *loader) checkMN(c *Config) {
	m := c.MN
	ld.ordinary("mn.home_address", m.HomeAddress)
	if m.HomeAgent == m.HomeAddress.Addr() && m.HomeAgent.IsValid() {
		ld.fail("mn.home_agent", "expected another address than the home address")
	} else if m.HomeAgent.IsValid() && m.HomeAddress.IsValid() && !m.HomeAddress.Contains(m.HomeAgent) {
		ld.warn("mn.home_agent", "the home agent %v is outside the home prefix %v", m.HomeAgent, m.HomeAddress.Masked())
	}
	if ld.bad("mn.peer") || len(c.Peers) == 0 && ld.bad("peer") {
		return
	}
	if m.Peer == "" {
		left := c.peersBut(c.namedForOthers())
		if len(left) != 1 {
			ld.fail("mn", "expected peer, the name of the [[peer]] that is the home agent: %s", theseCouldBe(left))
			return
		}
		m.Peer = left[0]
	}
	p, ok := c.Peer(m.Peer)
	if !ok {
		ld.fail("mn.peer", "expected the name of a [[peer]], found %q%s", m.Peer, ld.known(c, m.Peer))
	} else if p.Any {
		ld.fail("mn.peer", `expected a [[peer]] whose remote_id is the home agent's; that of %q is "*"`, m.Peer)
	}
}

// known helps with the name of a peer.
func (ld *loader) known(c *Config, name string) string {
	var names []string
	for _, p := range c.Peers {
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return "; there is none"
	}
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Sprintf("; there are %q", names)
}

func (ld *loader) checkHA(c *Config) {
	h := c.HA
	if !h.inPrefixes(h.Address) && h.Address.IsValid() && !ld.bad("ha.home_prefix") && len(h.HomePrefixes) > 0 {
		ld.warn("ha.address", "the agent's address %v is in none of its home prefixes", h.Address)
	}
	for i, p := range h.HomePrefixes {
		for j, q := range h.HomePrefixes[:i] {
			if p.Prefix.IsValid() && q.Prefix.IsValid() && p.Prefix.Overlaps(q.Prefix) {
				ld.fail(fmt.Sprintf("ha.home_prefix[%d].prefix", i+1), "%v overlaps home_prefix[%d]", p.Prefix, j+1)
			}
		}
	}
	ld.checkHAPeers(c)
	ld.checkNodes(c)
	switch h.HomeAddressFrom {
	case FromTable:
		if len(h.Nodes) == 0 && !ld.bad("ha.node") {
			ld.fail("ha", `expected a table [[ha.node]] for each node, since home_address_from is "table"`)
		}
	case FromPool:
		if !h.Pool.Prefix.IsValid() && !ld.bad("ha.pool") {
			ld.fail("ha", `expected [ha.pool] with a prefix, since home_address_from is "pool"`)
		}
	case FromCertificate:
		for _, name := range h.Peers {
			if p, ok := c.Peer(name); ok && p.RemoteAuth != pki.Signature {
				ld.fail("ha.home_address_from", `"certificate" wants peers with certificates, and %q proves itself by a key`, name)
			}
		}
	}
	if p := h.Pool.Prefix; p.IsValid() {
		if (!h.inPrefixes(p.Addr()) || p.Bits() > 120) && !ld.bad("ha.home_prefix") {
			ld.fail("ha.pool.prefix", "expected a part of a home prefix with at least 256 addresses, found %v", p)
		}
	}
}

// checkHAPeers fills in the peers that nodes may use: all but those that a mobile node on
// this host speaks to itself.
func (ld *loader) checkHAPeers(c *Config) {
	h := c.HA
	for i, name := range h.Peers {
		if _, ok := c.Peer(name); !ok {
			ld.fail(fmt.Sprintf("ha.peers[%d]", i+1), "expected the name of a [[peer]], found %q%s", name, ld.known(c, name))
		}
	}
	if len(h.Peers) == 0 {
		h.Peers = c.peersBut(c.namedByMN())
	}
	if len(h.Peers) == 0 && !ld.bad("peer") && !ld.bad("ha.peers") {
		ld.fail("ha", "expected at least one [[peer]] for the nodes")
	}
}

func (ld *loader) checkNodes(c *Config) {
	h := c.HA
	seen := map[netip.Addr]int{}
	for i, n := range h.Nodes {
		at := fmt.Sprintf("ha.node[%d].home_address", i+1)
		if !n.HomeAddress.IsValid() {
			continue
		}
		first, twice := seen[n.HomeAddress]
		seen[n.HomeAddress] = i + 1
		home, inside := h.prefixOf(n.HomeAddress)
		switch {
		case twice:
			ld.fail(at, "expected each home address once, found that of node[%d]", first)
		case n.HomeAddress == h.Address:
			ld.fail(at, "expected another address than the home agent's own")
		case !inside && len(h.HomePrefixes) > 0 && !ld.bad("ha.home_prefix"):
			ld.fail(at, "expected an address in a home prefix, found %v", n.HomeAddress)
		case inside:
			ld.ordinary(at, netip.PrefixFrom(n.HomeAddress, home.Bits()))
		}
	}
}

// ordinary refuses the anycast addresses of a subnet as a home address: that of its
// routers (RFC 4291 §2.6.1) and the reserved ones (RFC 2526).
func (ld *loader) ordinary(at string, p netip.Prefix) {
	if !p.IsValid() || p.Bits() > 120 {
		return
	}
	if p.Addr() == p.Masked().Addr() {
		ld.fail(at, "expected the address of a host; %v is the anycast address of the subnet's routers", p.Addr())
	}
	b := p.Addr().As16()
	if p.Bits() <= 64 && b[8] == 0xfd && b[15] >= 0x80 && slices.Equal(b[9:15], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
		ld.fail(at, "expected the address of a host; %v is a reserved anycast address (RFC 2526)", p.Addr())
	}
}

func (h *HA) inPrefixes(a netip.Addr) bool {
	_, ok := h.prefixOf(a)
	return ok
}

// prefixOf returns the home prefix that holds a.
func (h *HA) prefixOf(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range h.HomePrefixes {
		if p.Prefix.IsValid() && a.IsValid() && p.Prefix.Contains(a) {
			return p.Prefix, true
		}
	}
	return netip.Prefix{}, false
}
