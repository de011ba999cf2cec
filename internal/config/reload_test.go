package config

import (
	"slices"
	"strings"
	"testing"
)

func TestFixed(t *testing.T) {
	const all = goodRO + "[cn]\ntest_rate = 10\n"
	for _, c := range []struct {
		base, from, to string
		want           []string
	}{
		{goodMN, "", "", nil},
		{goodMN, "[[peer]]", "[[mn.optimise]]\n[[peer]]", nil},
		{all, "packets = 3", "packets = 4", nil},
		{all, "[[mn.optimise]]\nprotocol = \"udp\"\nport = 53\nway = \"tunnel\"\n", "[mn.correspondents]\nidle = \"5m\"\n", nil},
		{all, "test_rate = 10", "default = \"deny\"", nil},
		{all, "[cn]\ntest_rate = 10\n", "", []string{"[cn]"}},
		{all, "2001:db8:1::10/64", "2001:db8:1::11/64", []string{"[mn]"}},
		{all, "[mn]\n", "[daemon]\nlog_level = \"debug\"\n[ike]\nport = 501\n[mn]\n", []string{"[daemon]", "[ike]"}},
		{all, "remote_id = \"cn.example.org\"", "remote_id = \"cn2.example.org\"", []string{"[[peer]]"}},
		{goodHA, "key = \"sixteen", "key = \"seventeen", []string{"[[psk]]"}},
		{goodHA, "[ha]\n", "[ha]\nmax_bindings = 7\n", []string{"[ha]"}},
		{goodMN, goodMN, goodHA, []string{"[daemon]", "[mn]", "[ha]", "[[peer]]", "[[psk]]"}}, // the hash of policies follows the role
	} {
		now, err := Parse("now", []byte(c.base))
		if err != nil {
			t.Fatal(err)
		}
		next, err := Parse("next", []byte(strings.Replace(c.base, c.from, c.to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := now.Fixed(next); !slices.Equal(got, c.want) {
			t.Errorf("%q in place of %q: %q, want %q", c.to, c.from, got, c.want)
		}
	}
}
