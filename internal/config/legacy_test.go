package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestLegacyPeers: what is no longer safe is a mistake everywhere but in a peer that says so.
func TestLegacyPeers(t *testing.T) {
	for _, c := range []mistake{
		{"in [ike]", goodMN, "[mn]\n", "[ike]\nike_proposals = [\"aes128-sha1-modp2048\"]\nesp_proposals = [\"aes128-sha256\", \"3des-sha256\"]\n[mn]\n", []string{
			`2: ike.ike_proposals[1]: expected a proposal such as "aes128gcm16-prfsha256-x25519" (only a [[peer]] with legacy = true may have sha1, prfsha1)`,
			`3: ike.esp_proposals[2]: expected a proposal such as "aes128gcm16-esn" (only a [[peer]] with legacy = true may have 3des)`}},
		{"in a peer", goodMN, "auth = \"psk\"\n", "auth = \"psk\"\nike_proposals = [\"aes128-sha256-modp1024\"]\n", []string{
			`9: peer[1].ike_proposals[1]: expected a proposal such as "aes128gcm16-prfsha256-x25519" (only a [[peer]] with legacy = true may have modp1024`}},
		{"in a peer that is not", goodMN, "auth = \"psk\"\n", "auth = \"psk\"\nlegacy = false\nah_proposals = [\"sha1\"]\n", []string{
			`10: peer[1].ah_proposals[1]: expected a proposal such as "sha256-esn-noesn" (only a [[peer]] with legacy = true may have sha1`}},
		{"no word", goodMN, "auth = \"psk\"\n", "auth = \"psk\"\nlegacy = \"yes\"\n", []string{`9: peer[1].legacy: expected true or false`}},
		{"both kinds", goodMN, "[mn]\n", "[ike]\nesp_proposals = [\"aes128gcm16-aes128-sha256\", \"aes128\", \"aes128gcm16-sha256\"]\n[mn]\n", []string{
			`2: ike.esp_proposals[1]: expected a proposal such as "aes128gcm16-esn" (invalid value: aes128gcm16 and aes128 go in proposals of their own`,
			`2: ike.esp_proposals[2]: expected a proposal such as "aes128gcm16-esn" (invalid value: aes128 needs an integrity algorithm such as sha256`,
			`2: ike.esp_proposals[3]: expected a proposal such as "aes128gcm16-esn" (invalid value: aes128gcm16 needs no integrity algorithm`}},
	} {
		c.check(t)
	}
	for keys, want := range map[string]string{
		"ike_proposals = [\"3des-sha1-modp1024\"]\nesp_proposals = [\"aes128-sha1\"]\n": "3des, sha1, prfsha1, modp1024: what is protected so",
		"esp_proposals = [\"aes128-sha256\"]\n":                                         "no proposal of this peer names sha1",
	} {
		c, err := Parse("f", []byte(strings.Replace(goodMN, "auth = \"psk\"\n", "auth = \"psk\"\nlegacy = true\n"+keys, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if !c.Peers[0].Legacy || !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("warnings %q, want %q", c.Warnings, want)
		}
	}
}

// TestStrongSwansWords: proposals as they stand in a swanctl.conf.
func TestStrongSwansWords(t *testing.T) {
	c, err := Parse("f", []byte(strings.Replace(goodMN, "[mn]\n",
		"[ike]\nike_proposals = [\"aes256-sha256-modp2048\", \"aes256gcm16-sha384-ecp384\", \"chacha20poly1305-prfsha256-curve25519\"]\n[mn]\n", 1)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range c.Peers[0].IKEProposals {
		got = append(got, o.String())
	}
	if want := []string{"aes256-sha256-prfsha256-modp2048", "aes256gcm16-prfsha384-ecp384", "chacha20poly1305-prfsha256-x25519"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}
