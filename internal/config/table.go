package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// table reads the keys of one TOML table. Each reader leaves its destination, which
// holds the default, where the key is missing or wrong, and notes the mistake.
// finish notes the keys that nobody asked for.
type table struct {
	ld    *loader
	path  string
	raw   map[string]any
	known []string
}

// has says whether the file has the key.
func (t *table) has(key string) bool {
	_, ok := t.raw[key]
	return ok
}

func (t *table) get(key string) (any, bool) {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	v, ok := t.raw[key]
	return v, ok
}

// fail notes a mistake at key; "" means the table itself.
func (t *table) fail(key, format string, args ...any) {
	path := t.path
	if key != "" {
		path = join(t.path, key)
	}
	t.ld.fail(path, format, args...)
}

func (t *table) wrong(key, expected string, found any) {
	t.fail(key, "expected %s, found %s", expected, describe(found))
}

// need notes a mistake where key is missing.
func (t *table) need(keys ...string) bool {
	all := true
	for _, key := range keys {
		if _, ok := t.get(key); !ok {
			t.ld.missing(join(t.path, key), t.path)
			all = false
		}
	}
	return all
}

// finish notes keys that were never read.
func (t *table) finish() {
	if t.ld.onFinish != nil {
		t.ld.onFinish(t)
	}
	for key := range t.raw { // mistakes are sorted by line in the end
		if slices.Contains(t.known, key) {
			continue
		}
		msg := "unknown key"
		if near := nearest(key, t.known); near != "" {
			msg += fmt.Sprintf("; did you mean %q?", near)
		} else {
			msg += "; expected one of " + strings.Join(t.known, ", ")
		}
		t.fail(key, "%s", msg)
	}
}

// describe names a TOML value as its writer sees it.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.80q", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date"
}

func (t *table) str(key string, dst *string) bool {
	v, ok := t.get(key)
	if !ok {
		return false
	}
	s, ok := v.(string)
	if !ok || s == "" {
		t.wrong(key, "a text in quotes", v)
		return false
	}
	*dst = s
	return true
}

func (t *table) boolean(key string, dst *bool) {
	if v, ok := t.get(key); ok {
		b, ok := v.(bool)
		if !ok {
			t.wrong(key, "true or false", v)
			return
		}
		*dst = b
	}
}

// integer reads a number between low and high.
func integer[T ~int | ~uint16 | ~uint32](t *table, key string, low, high int64, dst *T) {
	if v, ok := t.get(key); ok {
		n, ok := v.(int64)
		if !ok || n < low || n > high {
			t.wrong(key, fmt.Sprintf("a whole number from %d to %d", low, high), v)
			return
		}
		*dst = T(n)
	}
}

func (t *table) fraction(key string, dst *float64) {
	if v, ok := t.get(key); ok {
		f, isFloat := v.(float64)
		if n, isInt := v.(int64); isInt {
			f, isFloat = float64(n), true
		}
		if !isFloat || math.IsNaN(f) || f < 0 || f > 1 {
			t.wrong(key, "a number from 0 to 1", v)
			return
		}
		*dst = f
	}
}

// oneOf reads one of a few words.
func oneOf[T ~string](t *table, key string, dst *T, words ...T) bool {
	v, ok := t.get(key)
	if !ok {
		return false
	}
	s, _ := v.(string)
	if !slices.Contains(words, T(s)) {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = fmt.Sprintf("%q", string(w))
		}
		t.wrong(key, strings.Join(quoted, " or "), v)
		return false
	}
	*dst = T(s)
	return true
}

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

const wantIdentity = `an identity: a host name, user@host, an IP address, "keyid:HEX" or "dn:HEX"`

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
	return id, err == nil && !strings.ContainsAny(s, " \t\r\n*") && len(s) < 2048
}

// offers reads a list of proposals, best first.
func (t *table) offers(key string, esp bool, dst *[]transform.Offer) {
	var out []transform.Offer
	want := `a proposal such as "aes128gcm16-prfsha256-x25519"`
	if esp {
		want = `a proposal such as "aes128gcm16-esn"`
	}
	good := t.list(key, func(s string) string {
		o, err := transform.ParseOffer(s)
		switch {
		case err != nil:
			return want + " (" + strings.TrimPrefix(err.Error(), "ike/transform: ") + ")"
		case !esp && (len(o.PRF) == 0 || len(o.KE) == 0):
			return want + " with a pseudo-random function and a key exchange"
		case !esp && len(o.ESN) > 0, esp && len(o.PRF) > 0:
			return want
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

// sub opens the table under key; nil where there is none.
func (t *table) sub(key string) *table {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.fail(key, "expected a table [%s], found %s", join(t.path, key), describe(v))
		return nil
	}
	return &table{ld: t.ld, path: join(t.path, key), raw: m}
}

// subs opens the tables of the array under key.
func (t *table) subs(key string) []*table {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	var maps []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		maps = v
	case []any: // an inline list of inline tables
		for i, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				t.wrong(fmt.Sprintf("%s[%d]", key, i+1), "a table in braces", e)
				continue
			}
			maps = append(maps, m)
		}
	default:
		t.fail(key, "expected tables [[%s]], each with two brackets, found %s", join(t.path, key), describe(v))
	}
	out := make([]*table, len(maps))
	for i, m := range maps {
		out[i] = &table{ld: t.ld, path: fmt.Sprintf("%s[%d]", join(t.path, key), i+1), raw: m}
	}
	return out
}
