package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Volume is how much a child SA may carry before it is rekeyed, and when it ends; 0: no limit.
type Volume struct{ Rekey, Hard uint64 }

// Unique says what a peer's new IKE SA means for its older ones.
type Unique string

// The policies for duplicates.
const (
	UniqueContact Unique = "contact" // they end where the peer says that it is new (INITIAL_CONTACT)
	UniqueReplace Unique = "replace" // they end
	UniqueKeep    Unique = "keep"    // the new one is refused
	UniqueNever   Unique = "never"   // they stay, whatever the peer says
)

// Padding is how we sign with an RSA key.
type Padding string

// The paddings of RSA signatures.
const (
	PaddingPSS   Padding = "pss"   // RSASSA-PSS
	PaddingPKCS1 Padding = "pkcs1" // RSASSA-PKCS1-v1_5
)

// maxVolume is what a limit may be at most: the kernel takes more for none.
const maxVolume = 1 << 60

// units of octets.
var units = []struct {
	name string
	bits int
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}

// volume reads the two limits of a kind. Where only the first is said, the end
// follows at a tenth more.
func (t *table) volume(rekey, hard string, octets bool, low uint64, dst *Volume) {
	t.amount(rekey, octets, low, &dst.Rekey)
	if t.has(rekey) && !t.has(hard) {
		dst.Hard = dst.Rekey + dst.Rekey/10
	}
	t.amount(hard, octets, low, &dst.Hard)
	if dst.Hard != 0 && dst.Hard <= dst.Rekey {
		t.fail(hard, "expected more than %s, which is %d", rekey, dst.Rekey)
		dst.Hard = dst.Rekey + dst.Rekey/10
	} else if dst.Hard == 0 && dst.Rekey != 0 {
		dst.Hard = dst.Rekey + dst.Rekey/10
	}
}

// amount reads a number; of octets also with a unit.
func (t *table) amount(key string, octets bool, low uint64, dst *uint64) {
	v, ok := t.get(key)
	if !ok {
		return
	}
	want := fmt.Sprintf("0 or a whole number from %d on", low)
	if octets {
		want += `, or with a unit such as "64MiB" or "10GiB"`
	}
	var n uint64
	switch v := v.(type) {
	case int64:
		n, ok = uint64(v), v >= 0
	case string:
		n, ok = parseOctets(v)
		ok = ok && octets
	default:
		ok = false
	}
	if !ok || n != 0 && n < low || n > maxVolume {
		t.wrong(key, want, v)
		return
	}
	*dst = n
}

func parseOctets(s string) (uint64, bool) {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseUint(digits, 10, 64)
			return n << u.bits, err == nil && n <= maxVolume>>u.bits
		}
	}
	return 0, false
}
