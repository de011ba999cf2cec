package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ike/message"
)

// namedByMN are the peers that the mobile node on this host calls: its home agent and
// the correspondents with which it has SAs.
func (c *Config) namedByMN() []string {
	if c.MN == nil {
		return nil
	}
	names := []string{c.MN.Peer}
	for _, o := range c.MN.Optimise {
		names = append(names, o.Peer)
	}
	return names
}

// namedForOthers are the peers of which the file says what they are for, so that they are not
// the mobile node's home agent.
func (c *Config) namedForOthers() []string {
	names := c.namedByMN()
	if c.HA != nil {
		names = append(names, c.HA.Peers...)
	}
	if c.CN != nil {
		names = append(names, c.CN.Peers...)
	}
	return names
}

// peersBut are the names of the peers that are not in names.
func (c *Config) peersBut(names []string) []string {
	var out []string
	for _, p := range c.Peers {
		if !slices.Contains(names, p.Name) {
			out = append(out, p.Name)
		}
	}
	return out
}

func theseCouldBe(names []string) string {
	if len(names) == 0 {
		return "there is none that could be"
	}
	return fmt.Sprintf("it could be any of %q", names)
}

// checkOptimise looks at the rules of route optimization, when mn.peer is known.
func (ld *loader) checkOptimise(c *Config) {
	m := c.MN
	var keys sharedKeys
	for i, o := range m.Optimise {
		at := fmt.Sprintf("mn.optimise[%d]", i+1)
		keys.check(ld, at, o.To.Addr(), o.KBM)
		ld.checkPair(at, o, m.Optimise[:i])
		for j, before := range m.Optimise[:i] {
			if before.covers(o) && !ld.bad(at) && !ld.bad(fmt.Sprintf("mn.optimise[%d]", j+1)) {
				ld.warn(at, "this rule is never reached: all that it fits, optimise[%d] fits before", j+1)
				break
			}
		}
		if o.To.Bits() == 128 && (o.To.Addr() == m.HomeAgent || o.To.Addr() == m.HomeAddress.Addr()) {
			ld.fail(at+".to", "expected a correspondent; %v is the home agent's or the node's own", o.To.Addr())
		}
		if o.Peer == "" || len(c.Peers) == 0 && ld.bad("peer") {
			continue
		}
		p, ok := c.Peer(o.Peer)
		switch {
		case !ok:
			ld.fail(at+".peer", "expected the name of a [[peer]], found %q%s", o.Peer, ld.known(c, o.Peer))
		case p.Any:
			ld.fail(at+".peer", `expected a [[peer]] whose remote_id is the correspondent's; that of %q is "*"`, o.Peer)
		case o.Peer == m.Peer:
			ld.fail(at+".peer", "expected a [[peer]] of its own; %q is the home agent", o.Peer)
		}
	}
}

// sharedKeys are binding management keys and where they stand: each pair of node and correspondent
// must have one of its own (RFC 4449 §4).
type sharedKeys map[string]keyAt

type keyAt struct {
	at  string
	who netip.Addr
}

func (k *sharedKeys) check(ld *loader, at string, who netip.Addr, key Secret) {
	if len(key) == 0 {
		return
	}
	if *k == nil {
		*k = sharedKeys{}
	}
	if first, there := (*k)[string(key)]; there {
		if first.who != who {
			ld.fail(at, "expected a key of its own, found that of %s: who has it could take the other's traffic (RFC 4449)", first.at)
		}
		return
	}
	(*k)[string(key)] = keyAt{at, who}
}

// checkPair wants one way to prove and to protect for all packets between the home address and a
// correspondent: those that come first decide for all of them.
func (ld *loader) checkPair(at string, o Optimise, before []Optimise) {
	if o.To.Bits() != 128 || o.Way != Direct || o.Auth == ReturnRoutability {
		return
	}
	for j, b := range before {
		if b.covers(o) || !b.To.Contains(o.To.Addr()) || ld.bad(fmt.Sprintf("mn.optimise[%d]", j+1)) {
			continue
		}
		switch {
		case b.Way == Tunnel && o.Protect != ProtectNone:
			ld.warn(at, "with protect every packet between the two addresses has the SA: what optimise[%d] fits is no exception here", j+1)
		case b.Way == Direct && (b.Auth != o.Auth || b.Protect != o.Protect || b.Peer != o.Peer || !bytes.Equal(b.KBM, o.KBM)):
			ld.fail(at, "expected the auth, protect and peer of optimise[%d]: a packet that it fits would have all others to %v go in its way",
				j+1, o.To.Addr())
		}
	}
}

// covers says whether every packet that fits other fits o.
func (o Optimise) covers(other Optimise) bool {
	return o.To.Bits() <= other.To.Bits() && o.To.Contains(other.To.Addr()) &&
		(o.Protocol == 0 || o.Protocol == other.Protocol) && (o.Port == 0 || o.Port == other.Port)
}

func (ld *loader) checkCN(c *Config) {
	n := c.CN
	for i, r := range n.Rules {
		for j, before := range n.Rules[:i] {
			if r.Home.IsValid() && before.Home.IsValid() && before.Home.Bits() <= r.Home.Bits() && before.Home.Contains(r.Home.Addr()) {
				ld.warn(fmt.Sprintf("cn.rule[%d]", i+1), "this rule is never reached: rule[%d] fits before", j+1)
				break
			}
		}
	}
	seen := map[netip.Addr]int{}
	secured := false
	var keys sharedKeys
	for i, d := range n.Nodes {
		keys.check(ld, fmt.Sprintf("cn.node[%d]", i+1), d.HomeAddress, d.KBM)
		if first, twice := seen[d.HomeAddress]; twice && d.HomeAddress.IsValid() {
			ld.fail(fmt.Sprintf("cn.node[%d].home_address", i+1), "expected each home address once, found that of node[%d]", first)
		}
		seen[d.HomeAddress] = i + 1
		secured = secured || d.Auth == IPsec
	}
	for i, name := range n.Peers {
		if _, ok := c.Peer(name); !ok {
			ld.fail(fmt.Sprintf("cn.peers[%d]", i+1), "expected the name of a [[peer]], found %q%s", name, ld.known(c, name))
		}
	}
	if !secured {
		if len(n.Peers) > 0 && !ld.bad("cn.node") {
			ld.fail("cn.peers", `expected a [[cn.node]] with auth = "ipsec", which alone may use them`)
		}
		return
	}
	ld.checkCNPeers(c)
}

// checkCNPeers fills in the peers that nodes may use, all but the home agent of a mobile node on
// this host, and wants one of them for each identity.
func (ld *loader) checkCNPeers(c *Config) {
	n := c.CN
	if ld.bad("peer") || ld.bad("cn.peers") {
		return
	}
	if len(n.Peers) == 0 {
		var agent []string
		if c.MN != nil {
			agent = []string{c.MN.Peer}
		}
		n.Peers = c.peersBut(agent)
	}
	for i, d := range n.Nodes {
		if d.Auth == IPsec && !d.Identity.IsZero() && !c.proves(n.Peers, d.Identity) {
			ld.fail(fmt.Sprintf("cn.node[%d].identity", i+1), `expected a [[peer]] of cn.peers with this remote_id or "*", found none`)
		}
	}
}

// proves says whether one of these peers may be id.
func (c *Config) proves(names []string, id message.Identity) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		p, ok := c.Peer(name)
		return ok && (p.Any || slices.Contains(p.RemoteID, id))
	})
}
