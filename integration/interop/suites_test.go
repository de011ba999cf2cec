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
	{"gcm192", ike.ESP, "aes192gcm16", "aes192gcm16", "aes192gcm16", "aes192gcm16-prfsha384-ecp384"},
	{"chacha", ike.ESP, "chacha20poly1305-esn", "chacha20poly1305-esn", "chacha20poly1305-esn", "chacha20poly1305-prfsha512-x25519"},
	{"cbc128", ike.ESP, "aes128-sha256-modp2048", "aes128-sha256-modp2048", "aes128-sha256", "aes128-sha256-modp2048"},
	{"cbc192", ike.ESP, "aes192-sha384-ecp384", "aes192-sha384-ecp384", "aes192-sha384", "aes192-sha384-modp3072"},
	{"cbc256", ike.ESP, "aes256-sha512-ecp521-esn", "aes256-sha512-ecp521-esn", "aes256-sha512-esn", "aes256-sha512-ecp521"},
	{"ctr128", ike.ESP, "aes128ctr-aescmac", "aes128ctr-aescmac", "aes128ctr-aescmac", "aes128ctr-aescmac-prfaescmac-ecp256"},
	{"ctr256", ike.ESP, "aes256ctr-sha256-modp4096", "aes256ctr-sha256-modp4096", "aes256ctr-sha256", "aes256ctr-sha256-modp4096"},
	{"cmac", ike.ESP, "aes256-aescmac", "aes256-aescmac", "aes256-aescmac", "aes256-aescmac-x25519"},
	{"legacy", ike.ESP, "3des-sha1-modp1024", "3des-sha1-modp1024", "3des-sha1", "3des-sha1-modp1024"},
	{"sha1", ike.ESP, "aes128-sha1", "aes128-sha1", "aes128-sha1", "aes128-sha1-modp2048"},
	{"ah-cmac", ike.AH, "aescmac", "aescmac", "aescmac", ""},
	{"ah-sha1", ike.AH, "sha1", "sha1", "sha1", ""},
}

// TestSuitesWithCharon: negotiation, keys and protected packets with each
// algorithm, made, rekeyed and deleted by either side.
func TestSuitesWithCharon(t *testing.T) {
	needCharon(t, debian)
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
	eachRole(t, debian, can, 0)
}
