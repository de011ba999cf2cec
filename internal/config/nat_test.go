package config

import (
	"strings"
	"testing"
)

func TestNAT(t *testing.T) {
	for line, want := range map[string]NAT{"": NATAuto, `nat = "auto"`: NATAuto, `nat = "force"`: NATForce, `nat = "off"`: NATOff} {
		c, err := Parse("f", []byte(goodMN+line+"\n"))
		if err != nil || c.Peers[0].NAT != want {
			t.Errorf("%q: %v %v", line, c, err)
		}
	}
	for _, bad := range []string{`nat = "yes"`, "nat = true", "nat = []"} {
		if _, err := Parse("f", []byte(goodMN+bad+"\n")); err == nil || !strings.Contains(err.Error(), `"auto" or "force" or "off"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
