package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var profiles = []string{"mn.toml", "ha.toml", "cn.toml"}

func readProfile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "configs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProfilesLoad(t *testing.T) {
	for _, name := range profiles {
		c, err := Load(filepath.Join("..", "..", "configs", name))
		if err != nil {
			t.Fatal(err)
		}
		if (c.MN != nil) != (name == "mn.toml") || (c.HA != nil) != (name == "ha.toml") || (c.CN != nil) != (name == "cn.toml") {
			t.Errorf("%s: wrong roles", name)
		}
		for _, w := range c.Warnings {
			if !strings.Contains(w, "chmod 600") { // a fresh clone is readable
				t.Errorf("warning: %s", w)
			}
		}
	}
}

// TestProfileDefaults holds the profiles to their word: a line "#key = value" shows
// what is so anyway.
func TestProfileDefaults(t *testing.T) {
	shown := regexp.MustCompile(`(?m)^#([a-z])`)
	for _, name := range profiles {
		text := readProfile(t, name)
		plain, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all := shown.ReplaceAllString(text, "$1")
		if all == text {
			t.Fatalf("%s shows no defaults", name)
		}
		set, err := Parse(name, []byte(all))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(plain, set) {
			t.Errorf("%s: a default that is shown is not the default:\n%+v\n%+v", name, plain.Redacted(), set.Redacted())
		}
	}
}

// roleTables are what a profile must have, in use or as an example.
var roleTables = map[string][]string{
	"mn.toml": {"mn", "mn.timers", "mn.optimise[4]", "mn.correspondents", "peer[2]"},
	"ha.toml": {"ha", "ha.home_prefix[1]", "ha.node[1]", "ha.pool", "psk[1]"},
	"cn.toml": {"cn", "cn.rule[1]", "cn.node[2]", "psk[1]"},
}

// withExamples puts the tables at the end that a profile shows as examples: lines "# [table]"
// and the lines "# key = value" behind it.
func withExamples(text string) string {
	line := regexp.MustCompile(`^# ([a-z_]+ = .*|\[[a-z.\[\]]+\])$`)
	var out strings.Builder
	inside := false
	for l := range strings.Lines(text) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		inside = m != nil && (inside || m[1][0] == '[')
		if inside && !strings.Contains(m[1], "_file = ") { // a file that is not here
			out.WriteString(m[1] + "\n")
		}
	}
	return text + "\n" + out.String()
}

// TestProfilesShowEveryKey: what the loader asks for stands in the profile of the role.
func TestProfilesShowEveryKey(t *testing.T) {
	for _, name := range profiles {
		text := readProfile(t, name)
		asked := map[string][]string{}
		ld := &loader{file: name, onFinish: func(tb *table) {
			asked[tb.path] = slices.Concat(asked[tb.path], tb.known)
		}}
		if _, err := ld.parse([]byte(withExamples(text))); err != nil {
			t.Fatalf("%s with its examples: %v", name, err)
		}
		for _, table := range slices.Concat(roleTables[name], []string{"daemon", "ike", "peer[1]"}) {
			if asked[table] == nil {
				t.Errorf("%s has no table %s", name, table)
			}
		}
		n := 0
		for path, keys := range asked {
			if path == "" {
				continue
			}
			for _, key := range keys {
				n++
				if !showsKey(text, key) {
					t.Errorf("%s does not show %s.%s", name, path, key)
				}
			}
		}
		if n < 40 {
			t.Errorf("%s: only %d keys were asked for", name, n)
		}
	}
}

func showsKey(text, key string) bool {
	return regexp.MustCompile(`(?m)^#? ?(` + key + ` = |\[\[?([a-z]+\.)?` + key + `\])`).MatchString(text)
}

func TestRedacted(t *testing.T) {
	for _, name := range profiles {
		c, err := Parse(name, []byte(withExamples(readProfile(t, name))))
		if err != nil {
			t.Fatal(err)
		}
		r := c.Redacted()
		for _, k := range append(secretsOf(r), []byte(hidden)) {
			if string(k) != hidden {
				t.Errorf("%s: a key is left: %x", name, []byte(k))
			}
		}
		if len(secretsOf(c)) == 0 || string(secretsOf(c)[0]) == hidden {
			t.Errorf("%s: the original lost its keys", name)
		}
	}
}

func secretsOf(c *Config) (out []Secret) {
	for _, p := range c.Peers {
		if p.PSK != nil {
			out = append(out, p.PSK)
		}
	}
	for _, k := range c.PSKs {
		out = append(out, k.Key)
	}
	if c.MN != nil {
		for _, o := range c.MN.Optimise {
			out = append(out, o.KBM)
		}
	}
	if c.CN != nil {
		for _, n := range c.CN.Nodes {
			out = append(out, n.KBM)
		}
	}
	out = slices.DeleteFunc(out, func(s Secret) bool { return s == nil })
	return out
}
