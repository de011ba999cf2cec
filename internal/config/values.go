package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// duration reads a time between low and high.
func (t *table) duration(key string, low, high time.Duration, dst *time.Duration) {
	v, ok := t.get(key)
	if !ok {
		return
	}
	s, ok := v.(string)
	d, err := parseDuration(s)
	if !ok || err != nil {
		t.wrong(key, `a duration such as "500ms", "30s", "10m" or "1h30m"`, v)
		return
	}
	if d < low || d > high {
		t.wrong(key, fmt.Sprintf("a duration from %s to %s", short(low), short(high)), v)
		return
	}
	*dst = d
}

// parseDuration is time.ParseDuration, and knows whole days ("30d") and "infinite".
func parseDuration(s string) (time.Duration, error) {
	if s == "infinite" {
		return Infinite, nil
	}
	var days int64
	if n, err := fmt.Sscanf(s, "%dd", &days); n == 1 && err == nil && s == fmt.Sprintf("%dd", days) && days >= 0 && days < 100000 {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

// short prints a duration without its empty parts.
func short(d time.Duration) string {
	if d == Infinite {
		return "infinite"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// list reads a list of texts; each is given to take, which says what was expected
// where it does not like one.
func (t *table) list(key string, take func(s string) (expected string)) bool {
	v, ok := t.get(key)
	if !ok {
		return false
	}
	items, ok := v.([]any)
	if !ok {
		t.wrong(key, "a list of texts in brackets", v)
		return false
	}
	good := true
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", key, i+1)
		s, ok := item.(string)
		if !ok || s == "" {
			t.wrong(at, "a text in quotes", item)
			good = false
		} else if expected := take(s); expected != "" {
			t.wrong(at, expected, item)
			good = false
		}
	}
	return good
}

const wantAddr = `a global unicast IPv6 address such as "2001:db8:1::1"`

// addr reads an IPv6 address that a host may have.
func (t *table) addr(key string, dst *netip.Addr) bool {
	var s string
	if !t.str(key, &s) {
		return false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !unicast(a) {
		t.wrong(key, wantAddr, s)
		return false
	}
	*dst = a
	return true
}

// prefix reads an IPv6 prefix. With host set the address in it must be a host's.
func (t *table) prefix(key string, host bool, dst *netip.Prefix) bool {
	var s string
	if !t.str(key, &s) {
		return false
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case host && (err != nil || !unicast(p.Addr()) || p.Bits() == 0):
		t.wrong(key, `an IPv6 address with the length of its prefix such as "2001:db8:1::10/64"`, s)
	case !host && (err != nil || !unicast(p.Addr()) || p.Bits() == 0):
		t.wrong(key, `an IPv6 prefix such as "2001:db8:1::/64"`, s)
	case !host && p != p.Masked():
		t.fail(key, "expected a prefix without host bits, found %q; did you mean %q?", s, p.Masked())
	default:
		*dst = p
		return true
	}
	return false
}

func unicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && a.IsGlobalUnicast()
}

const wantIdentity = `an identity: a host name, user@host, an IP address, a distinguished name as "C=DE, CN=mn", "keyid:HEX" or "dn:HEX"`

func (t *table) identity(key string, dst *message.Identity) bool {
	var s string
	if !t.str(key, &s) {
		return false
	}
	id, ok := parseIdentity(s)
	if !ok {
		t.wrong(key, wantIdentity, s)
		return false
	}
	*dst = id
	return true
}

func parseIdentity(s string) (message.Identity, bool) {
	id, err := message.ParseIdentity(s)
	odd := " \t\r\n*"
	if id.Type == message.IDDERDN { // whose values may have both
		odd = "\t\r\n"
	}
	return id, err == nil && !strings.ContainsAny(s, odd) && len(s) < 2048
}

// offerKind is what the proposals of a list are for.
type offerKind struct {
	parse func(string) (transform.Offer, error)
	want  string
	ike   bool
}

var (
	ikeOffers = offerKind{transform.ParseIKEOffer, `a proposal such as "aes128gcm16-prfsha256-x25519"`, true}
	espOffers = offerKind{transform.ParseOffer, `a proposal such as "aes128gcm16-esn"`, false}
	ahOffers  = offerKind{transform.ParseAHOffer, `a proposal such as "sha256-esn-noesn"`, false}
)

// offers reads a list of proposals, best first. Algorithms of the past are a mistake
// where legacy is not set.
func (t *table) offers(key string, kind offerKind, legacy bool, dst *[]transform.Offer) {
	var out []transform.Offer
	good := t.list(key, func(s string) string {
		o, err := kind.parse(s)
		switch {
		case err != nil:
			return kind.want + " (" + strings.TrimPrefix(err.Error(), "ike/transform: ") + ")"
		case !kind.ike && len(o.PRF) > 0:
			return kind.want
		case !legacy && len(o.Legacy()) > 0:
			return fmt.Sprintf("%s (only a [[peer]] with legacy = true may have %s)", kind.want, strings.Join(o.Legacy(), ", "))
		}
		out = append(out, o)
		return ""
	})
	if good && len(out) == 0 {
		t.fail(key, "expected at least one proposal")
	} else if good {
		*dst = out
	}
}

// legacy warns where a peer may be of the past and no proposal makes use of it.
func (t *table) legacy(p *Peer) {
	for _, list := range [][]transform.Offer{p.IKEProposals, p.ESPProposals, p.AHProposals} {
		for _, o := range list {
			if len(o.Legacy()) > 0 {
				t.ld.warn(join(t.path, "legacy"), "%s: what is protected so may be read or forged one day", strings.Join(o.Legacy(), ", "))
				return
			}
		}
	}
	if p.Legacy && p.LocalAuth != pki.Signature && p.RemoteAuth != pki.Signature {
		t.ld.warn(join(t.path, "legacy"), "no proposal of this peer names sha1, prfsha1, 3des or modp1024")
	}
}
