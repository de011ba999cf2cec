package config

import (
	"bytes"
	"net/netip"
	"strings"
	"time"
)

// Optimise is [[mn.optimise]]: a rule for packets to a prefix. The first rule that fits counts.
type Optimise struct {
	To       netip.Prefix
	Protocol uint8  // 0: any
	Port     uint16 // the correspondent's, of TCP or UDP; 0: any
	Way      Way
	Packets  uint64 // from so many on; 1: from the first
	Auth     UpdateAuth
	KBM      Secret // of StaticKey: 20 octets
	// Protect asks for SAs between home address and correspondent, which is the one address
	// of To then, by IKE with the [[peer]] of this name.
	Protect Protect
	Peer    string
}

// Way is how packets go to a correspondent.
type Way string

// The ways.
const (
	Direct Way = "direct"
	Tunnel Way = "tunnel" // by the home agent
)

// Correspondents is [mn.correspondents]: what holds for all with whom routes are optimised.
type Correspondents struct {
	Max      int           // at a time
	Lifetime time.Duration // asked for
	Idle     time.Duration // without packets for so long, nothing is renewed
	Remember time.Duration // so long one that knows no Mobile IPv6 is left alone
}

// optimise reads [[mn.optimise]] and [mn.correspondents].
func (ld *loader) optimise(mn *table, m *MN) {
	rules := mn.subs("optimise")
	for _, t := range rules {
		m.Optimise = append(m.Optimise, ld.optimiseRule(t))
	}
	if len(rules) > maxRules {
		mn.fail("optimise", "expected at most %d rules, found %d; prefixes say more with fewer", maxRules, len(rules))
	}
	t := mn.sub("correspondents")
	if t == nil {
		return
	}
	defer t.finish()
	o := &m.Correspondents
	integer(t, "max", 1, 1_000_000, &o.Max)
	t.duration("lifetime", 2*MinLifetime, MaxLifetime, &o.Lifetime) // time to refresh it
	t.duration("idle", time.Second, day, &o.Idle)
	t.duration("remember", time.Second, day, &o.Remember)
}

func (ld *loader) optimiseRule(t *table) Optimise {
	defer t.finish()
	o := Optimise{To: everywhere, Way: Direct, Packets: 1, Auth: ReturnRoutability, Protect: ProtectNone}
	t.destination("to", &o.To)
	t.protocol("protocol", &o.Protocol)
	integer(t, "port", 1, 65535, &o.Port)
	if t.has("port") && o.Protocol != protoTCP && o.Protocol != protoUDP {
		t.fail("port", `expected only with protocol = "tcp" or "udp"`)
	}
	oneOf(t, "way", &o.Way, Direct, Tunnel)
	integer(t, "packets", 1, 1_000_000, &o.Packets)
	oneOf(t, "protect", &o.Protect, ProtectNone, ProtectESP, ProtectAH)
	if o.Protect != ProtectNone {
		o.Auth = IPsec
	}
	oneOf(t, "auth", &o.Auth, ReturnRoutability, StaticKey, IPsec)
	ld.kbm(t, o.Auth, &o.KBM)
	t.str("peer", &o.Peer)
	if o.Way == Tunnel {
		t.only(`way = "direct"`, "packets", "auth", "kbm", "kbm_file", "protect", "peer")
		return o
	}
	oneAddress := o.To.Bits() == 128 || t.ld.bad(join(t.path, "to"))
	switch {
	case o.Protect == ProtectNone && o.Auth == IPsec:
		t.fail("auth", `"ipsec" wants SAs with the correspondent: protect = "esp" or "ah"`)
	case o.Auth == StaticKey && !oneAddress:
		t.fail("auth", `"static" wants one address in to: whoever shares the key can take the traffic of the others`)
	}
	if o.Protect == ProtectNone {
		t.only(`protect = "esp" or "ah"`, "peer")
		return o
	}
	t.need("peer")
	if o.Auth != IPsec {
		t.fail("auth", `expected "ipsec" or nothing with protect: the SA proves the updates`)
	}
	if !oneAddress {
		t.fail("protect", "expected one address in to, the correspondent with which IKE is spoken, found %v", o.To)
	}
	if t.has("protocol") {
		t.fail("protocol", "expected none with protect: every packet between the two addresses has the SA")
	}
	return o
}

const (
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

var everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// protocol reads the name or the number of a protocol above IPv6.
func (t *table) protocol(key string, dst *uint8) {
	v, ok := t.get(key)
	if !ok {
		return
	}
	switch v := v.(type) {
	case string:
		switch strings.ToLower(v) {
		case "tcp":
			*dst = protoTCP
			return
		case "udp":
			*dst = protoUDP
			return
		case "icmpv6":
			*dst = protoICMPv6
			return
		}
	case int64:
		if v > 0 && v < 256 {
			*dst = uint8(v)
			return
		}
	}
	t.wrong(key, `"tcp", "udp", "icmpv6" or a number from 1 to 255`, v)
}

const wantDestination = `an IPv6 address or a prefix without host bits such as "2001:db8:1::/64"`

// destination reads a prefix, "::/0" among them, or one address.
func (t *table) destination(key string, dst *netip.Prefix) bool {
	var s string
	if !t.str(key, &s) {
		return false
	}
	p, ok := parseDestination(s)
	if !ok {
		if q, err := netip.ParsePrefix(s); err == nil && q != q.Masked() {
			t.fail(key, "expected %s, found %q; did you mean %q?", wantDestination, s, q.Masked())
			return false
		}
		t.wrong(key, wantDestination, s)
		return false
	}
	*dst = p
	return true
}

func parseDestination(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, 128), unicast(a)
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p == p.Masked() && (p == everywhere || unicast(p.Addr()))
}

// maxRules bounds [[mn.optimise]]: each is a policy or two in the kernel.
const maxRules = 256

// kbmLen is the length of a binding management key (RFC 6275 §5.2.5).
const kbmLen = 20

// kbm reads a binding management key that was agreed by hand, which goes with StaticKey.
func (ld *loader) kbm(t *table, auth UpdateAuth, dst *Secret) {
	if auth != StaticKey {
		t.get("kbm")
		t.get("kbm_file")
		t.only(`auth = "static"`, "kbm", "kbm_file")
		return
	}
	switch inline, file := t.has("kbm"), t.has("kbm_file"); {
	case inline && file:
		t.fail("kbm_file", "expected either kbm or kbm_file, found both")
	case !inline && !file:
		t.need("kbm")
	}
	ld.octets(t, "kbm", "kbm_file", kbmLen, dst)
	if *dst != nil && len(bytes.Trim(*dst, "\x00")) == 0 {
		t.fail(t.either("kbm", "kbm_file"), "expected a key of random octets; these are all zero")
	}
}
