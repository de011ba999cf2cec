package interop

import (
	"os"
	"strings"
	"testing"

	"github.com/mip6/mip6/ike"
)

// suites are the algorithms that charon has too, each in an IKE SA, in its
// children and in the key exchange of a child's rekey.
var suites = []path{
	{name: "gcm192", proto: ike.ESP, ours: "aes192gcm16", theirs: "aes192gcm16", suite: "aes192gcm16", ike: "aes192gcm16-prfsha384-ecp384"},
	{name: "chacha", proto: ike.ESP, ours: "chacha20poly1305-esn", theirs: "chacha20poly1305-esn", suite: "chacha20poly1305-esn", ike: "chacha20poly1305-prfsha512-x25519"},
	{name: "cbc128", proto: ike.ESP, ours: "aes128-sha256-modp2048", theirs: "aes128-sha256-modp2048", suite: "aes128-sha256", ike: "aes128-sha256-modp2048"},
	{name: "cbc192", proto: ike.ESP, ours: "aes192-sha384-ecp384", theirs: "aes192-sha384-ecp384", suite: "aes192-sha384", ike: "aes192-sha384-modp3072"},
	{name: "cbc256", proto: ike.ESP, ours: "aes256-sha512-ecp521-esn", theirs: "aes256-sha512-ecp521-esn", suite: "aes256-sha512-esn", ike: "aes256-sha512-ecp521"},
	{name: "ctr128", proto: ike.ESP, ours: "aes128ctr-aescmac", theirs: "aes128ctr-aescmac", suite: "aes128ctr-aescmac", ike: "aes128ctr-aescmac-prfaescmac-ecp256"},
	{name: "ctr256", proto: ike.ESP, ours: "aes256ctr-sha256-modp4096", theirs: "aes256ctr-sha256-modp4096", suite: "aes256ctr-sha256", ike: "aes256ctr-sha256-modp4096"},
	{name: "cmac", proto: ike.ESP, ours: "aes256-aescmac", theirs: "aes256-aescmac", suite: "aes256-aescmac", ike: "aes256-aescmac-x25519"},
	{name: "legacy", proto: ike.ESP, ours: "3des-sha1-modp1024", theirs: "3des-sha1-modp1024", suite: "3des-sha1", ike: "3des-sha1-modp1024"},
	{name: "sha1", proto: ike.ESP, ours: "aes128-sha1", theirs: "aes128-sha1", suite: "aes128-sha1", ike: "aes128-sha1-modp2048"},
	{name: "ah-cmac", proto: ike.AH, ours: "aescmac", theirs: "aescmac", suite: "aescmac"},
	{name: "ah-sha1", proto: ike.AH, ours: "sha1", theirs: "sha1", suite: "sha1"},
}

// strangers differ in what they have. Each is alone: before it says its name, a
// peer is told by its address only.
var strangers = []path{
	{name: "defaults", proto: ike.ESP, ours: byDefault, theirs: byDefault, ike: byDefault},
	{name: "mandatory", proto: ike.ESP, ours: byDefault, theirs: "aes128-sha256", suite: "aes128-sha256", ike: byDefault, theirIKE: "aes128-sha256-modp2048"},
	{name: "kinds", proto: ike.ESP, ours: "chacha20poly1305-x25519, aes256-sha256-modp2048", theirs: "aes256-sha256-modp2048", suite: "aes256-sha256",
		ike: "aes256gcm16-prfsha256-x25519, aes256-sha384-x25519-ecp384", theirIKE: "aes256-sha384-ecp384"},
}

// TestSuitesWithCharon: negotiation, keys and protected packets with each
// algorithm, made, rekeyed and deleted by either side.
func TestSuitesWithCharon(t *testing.T) {
	needCharon(t)
	var can []path
	for _, p := range suites {
		if strings.Contains(p.ike+p.theirs, "ctr") || strings.Contains(p.ike+p.theirs, "cmac") {
			if _, err := os.Stat("/usr/lib/ipsec/plugins/libstrongswan-ctr.so"); err != nil {
				t.Logf("%s: strongSwan lacks it (package libstrongswan-extra-plugins)", p.name)
				continue
			}
		}
		can = append(can, p)
	}
	if quick() {
		can = can[:min(len(can), 2)]
	}
	eachRole(t, can)
}

// TestStrangersWithCharon: both kinds of ciphers in proposals of their own, a first
// guess of the method that is wrong, and what either has by default.
func TestStrangersWithCharon(t *testing.T) {
	needCharon(t)
	if quick() {
		t.Skip("not in the quick half (MIP6_INTEROP)")
	}
	for _, p := range strangers {
		t.Run(p.name, func(t *testing.T) { eachRole(t, []path{p}) })
	}
}
