package config

import (
	"strings"
	"testing"
)

// TestFragmentSize: the usual one, another, none, and what is no size.
func TestFragmentSize(t *testing.T) {
	for text, want := range map[string]int{"": 1280, "fragment_size = 0": 0, "fragment_size = 256": 256, "fragment_size = 65535": 65535} {
		c, err := Parse("f", []byte(strings.Replace(goodMN, "[mn]\n", "[ike]\n"+text+"\n[mn]\n", 1)))
		if err != nil || c.IKE.FragmentSize != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, c := range []mistake{
		{"too small", goodMN, "[mn]\n", "[ike]\nfragment_size = 255\n[mn]\n", []string{`2: ike.fragment_size: expected 0 (no fragments) or a number from 256 on, found 255`}},
		{"too large", goodMN, "[mn]\n", "[ike]\nfragment_size = 65536\n[mn]\n", []string{`2: ike.fragment_size: expected a whole number from 0 to 65535`}},
	} {
		c.check(t)
	}
}

// TestAdditionalKeyExchanges: in proposals of IKE and of ESP, as strongSwan names them.
func TestAdditionalKeyExchanges(t *testing.T) {
	const text = "[ike]\nike_proposals = [\"aes128gcm16-prfsha256-x25519-ke1_mlkem768\"]\n" +
		"esp_proposals = [\"aes128gcm16-mlkem1024\", \"aes128gcm16-x25519-ke1_mlkem768-ke1_none\"]\n[mn]\n"
	c, err := Parse("f", []byte(strings.Replace(goodMN, "[mn]\n", text, 1)))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Peers[0]
	if p.IKEProposals[0].String() != "aes128gcm16-prfsha256-x25519-ke1_mlkem768" || p.ESPProposals[1].String() != "aes128gcm16-x25519-ke1_mlkem768-ke1_none" {
		t.Errorf("%s, %s", p.IKEProposals, p.ESPProposals)
	}
	for _, c := range []mistake{
		{"ML-KEM first", goodMN, "[mn]\n", "[ike]\nike_proposals = [\"aes128gcm16-prfsha256-mlkem768\"]\n[mn]\n", []string{
			`2: ike.ike_proposals[1]: expected a proposal such as "aes128gcm16-prfsha256-x25519" (invalid value: mlkem768 does not fit IKE_SA_INIT: x25519-ke1_mlkem768`}},
		{"nothing to add to", goodMN, "[mn]\n", "[ike]\nesp_proposals = [\"aes128gcm16-ke1_mlkem768\"]\n[mn]\n", []string{
			`2: ike.esp_proposals[1]: expected a proposal such as "aes128gcm16-esn" (invalid value: additional key exchanges without one to add to`}},
		{"an eighth", goodMN, "[mn]\n", "[ike]\nesp_proposals = [\"aes128gcm16-x25519-ke8_mlkem768\"]\n[mn]\n", []string{
			`2: ike.esp_proposals[1]: expected a proposal such as "aes128gcm16-esn" (unsupported algorithm: "ke8_mlkem768"`}},
		{"of the past", goodMN, "[mn]\n", "[ike]\nesp_proposals = [\"aes128gcm16-x25519-ke1_modp1024\"]\n[mn]\n", []string{
			`2: ike.esp_proposals[1]: expected a proposal such as "aes128gcm16-esn" (only a [[peer]] with legacy = true may have modp1024`}},
	} {
		c.check(t)
	}
}
