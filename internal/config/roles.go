package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// mn reads [mn].
func (ld *loader) mn(root *table, c *Config) {
	t := root.sub("mn")
	if t == nil {
		return
	}
	defer t.finish()
	m := defaultMN()
	t.need("home_address", "home_agent")
	t.homeAddress("home_address", &m)
	t.addr("home_agent", &m.HomeAgent)
	t.str("peer", &m.Peer)
	t.list("interfaces", func(s string) string {
		if !interfaceName(s) {
			return "the name of an interface"
		}
		for _, have := range m.Interfaces {
			if have == s {
				return "each interface once"
			}
		}
		m.Interfaces = append(m.Interfaces, s)
		return ""
	})
	t.duration("lifetime", MinLifetime, MaxLifetime, &m.Lifetime)
	t.boolean("key_mobility", &m.KeyMobility)
	oneOf(t, "dad", &m.DAD, DADKernel, DADOff, DADOptimistic)
	integer(t, "table", 1, 1<<31-1, &m.Table)
	if m.Table >= 253 && m.Table <= 255 {
		t.wrong("table", "a routing table of its own, not one of the kernel's (253 to 255)", int64(m.Table))
	}
	integer(t, "rule_priority", 1, 32765, &m.Priority)
	if tt := t.sub("timers"); tt != nil {
		defer tt.finish()
		tt.duration("first_binding_ack", 100*time.Millisecond, time.Minute, &m.Timers.FirstBindAck)
		tt.duration("binding_ack", 100*time.Millisecond, time.Minute, &m.Timers.BindAck)
		tt.duration("max_binding_ack", 100*time.Millisecond, 10*time.Minute, &m.Timers.MaxBindAck)
		if m.Timers.MaxBindAck < max(m.Timers.BindAck, m.Timers.FirstBindAck) {
			tt.fail("max_binding_ack", "expected no less than the two other waits for an acknowledgement")
		}
		tt.duration("grace", 0, time.Minute, &m.Timers.Grace)
	}
	ld.optimise(t, &m)
	c.MN = &m
}

// fromAgent in place of a home address: the home agent gives one.
const fromAgent = "agent"

// homeAddress reads an address with the length of its prefix, or "agent".
func (t *table) homeAddress(key string, m *MN) {
	if s, _ := t.raw[key].(string); s == fromAgent {
		t.get(key)
		m.HomeFromAgent = true
		return
	}
	t.orWord = fromAgent
	t.prefix(key, true, &m.HomeAddress)
	t.orWord = ""
}

// ha reads [ha].
func (ld *loader) ha(root *table, c *Config) {
	t := root.sub("ha")
	if t == nil {
		return
	}
	defer t.finish()
	h := defaultHA()
	t.need("address", "home_link", "home_prefix")
	t.addr("address", &h.Address)
	if t.str("home_link", &h.HomeLink) && !interfaceName(h.HomeLink) {
		t.wrong("home_link", "the name of the interface on the home link", h.HomeLink)
	}
	for _, pt := range t.subs("home_prefix") {
		h.HomePrefixes = append(h.HomePrefixes, homePrefix(pt))
	}
	t.list("peers", func(s string) string {
		h.Peers = append(h.Peers, s)
		return ""
	})
	integer(t, "max_bindings", 1, 10_000_000, &h.MaxBindings)
	t.duration("max_lifetime", MinLifetime, MaxLifetime, &h.MaxLifetime)
	t.duration("refresh_advice", 0, MaxLifetime, &h.RefreshAdvice)
	if h.RefreshAdvice > h.MaxLifetime {
		t.fail("refresh_advice", "expected no more than ha.max_lifetime, %s", short(h.MaxLifetime))
	}
	t.boolean("key_mobility", &h.KeyMobility)
	oneOf(t, "dad", &h.DAD, DADProbe, DADOff)
	oneOf(t, "home_address_from", &h.HomeAddressFrom, FromTable, FromCertificate, FromPool)
	for _, nt := range t.subs("node") {
		h.Nodes = append(h.Nodes, node(nt))
	}
	if pt := t.sub("pool"); pt != nil {
		pt.need("prefix")
		pt.prefix("prefix", false, &h.Pool.Prefix)
		pt.finish()
	}
	t.list("deny", func(s string) string {
		id, ok := parseIdentity(s)
		if !ok {
			return wantIdentity
		}
		h.Deny = append(h.Deny, id)
		return ""
	})
	c.HA = &h
}

func homePrefix(t *table) HomePrefix {
	defer t.finish()
	p := defaultHomePrefix()
	t.need("prefix")
	t.prefix("prefix", false, &p.Prefix)
	t.duration("valid", MinLifetime, Infinite, &p.Valid)
	t.duration("preferred", 0, Infinite, &p.Preferred)
	if p.Preferred > p.Valid {
		t.fail("preferred", "expected no more than the valid lifetime, %s", short(p.Valid))
	}
	return p
}

func node(t *table) Node {
	defer t.finish()
	var n Node
	t.need("identity", "home_address")
	t.identity("identity", &n.Identity)
	t.addr("home_address", &n.HomeAddress)
	return n
}

// interfaceName says whether Linux would take s for one.
func interfaceName(s string) bool {
	return s != "" && len(s) < 16 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n")
}

// idNames lists identities for a message.
func idNames(ids []message.Identity) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.String()
	}
	return fmt.Sprintf("%q", names)
}
