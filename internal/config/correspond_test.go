package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const goodCN = `[cn]
default = "deny"
[[cn.rule]]
home = "2001:db8:1::/64"
policy = "allow"
[[cn.node]]
home_address = "2001:db8:1::10"
auth = "static"
kbm = "0x000102030405060708090a0b0c0d0e0f10111213"
[[cn.node]]
home_address = "2001:db8:1::11"
auth = "ipsec"
identity = "mn.example.org"
protocol = "ah"
[[peer]]
name = "nodes"
local_id = "cn.example.org"
remote_id = "mn.example.org"
auth = "psk"
psk = "sixteen octets or more"
`

// goodRO is a mobile node with rules and two peers.
const goodRO = `[mn]
home_address = "2001:db8:1::10/64"
home_agent = "2001:db8:1::1"
[[mn.optimise]]
protocol = "udp"
port = 53
way = "tunnel"
[[mn.optimise]]
to = "2001:db8:c::1"
protect = "esp"
peer = "cn"
[[mn.optimise]]
to = "2001:db8:c::2"
auth = "static"
kbm = "0x000102030405060708090a0b0c0d0e0f10111213"
[[mn.optimise]]
packets = 3
[[peer]]
name = "cn"
local_id = "mn.example.org"
remote_id = "cn.example.org"
auth = "psk"
psk = "sixteen octets or more"
[[peer]]
name = "ha"
local_id = "mn.example.org"
remote_id = "ha.example.org"
auth = "psk"
psk = "sixteen octets or more"
`

// mistake is a change to a sound file and what is told of it: "line: key: message", each as a prefix.
type mistake struct {
	name, base, from, to string
	want                 []string
}

func (c mistake) check(t *testing.T) {
	t.Run(c.name, func(t *testing.T) {
		if c.from != "" && !strings.Contains(c.base, c.from) {
			t.Fatalf("%q is not in the text", c.from)
		}
		text := strings.Replace(c.base, c.from, c.to, 1)
		_, err := Parse("f", []byte(text))
		compareMistakes(t, text, err, c.want)
	})
}

const wantKBM = `: expected 20 octets: "0x" and 40 hexadecimal digits, found `

func TestCNMistakes(t *testing.T) {
	for _, c := range []mistake{
		{"sound", goodCN, "", "", nil},
		{"the shortest", "[cn]\n", "", "", nil},
		{"no IKE", goodCN[:strings.Index(goodCN, "[[cn.node]]")], "", "", nil},
		{"a list for a table", goodCN, "[cn]\n", "[[cn]]\n", []string{`1: cn: expected a table [cn], found a list`}},
		{"a word", "cn = true\n", "", "", []string{`1: cn: expected a table [cn], found true`}},
		{"default", goodCN, `"deny"`, `"allowed"`, []string{`2: cn.default: expected "allow" or "deny", found "allowed"`}},
		{"addresses", goodCN, "[cn]\n", "[cn]\naddresses = [\"2001:db8:c::1\",\n \"::/0\", \"2001:db8::1/64\", \"fe80::1\", 7]\n", []string{
			`3: cn.addresses[3]: expected an IPv6 address or a prefix without host bits`, `3: cn.addresses[4]: expected an IPv6 address or a prefix`,
			`3: cn.addresses[5]: expected a text in quotes`}},
		{"rule without policy", goodCN, "policy = \"allow\"\n", "", []string{`3: cn.rule[1].policy: missing`}},
		{"rule with host bits", goodCN, `"2001:db8:1::/64"`, `"2001:db8:1::1/64"`, []string{
			`4: cn.rule[1].home: expected an IPv6 address or a prefix without host bits such as "2001:db8:1::/64", found "2001:db8:1::1/64"; did you mean "2001:db8:1::/64"?`}},
		{"rule policy", goodCN, `policy = "allow"`, `policy = "optimise"`, []string{`5: cn.rule[1].policy: expected "allow" or "deny", found "optimise"`}},
		{"one bracket", goodCN, "[[cn.rule]]", "[cn.rule]", []string{`3: cn.rule: expected tables [[cn.rule]], each with two brackets, found a table`}},
		{"short key", goodCN, "0x0001", "0x", []string{`9: cn.node[1].kbm` + wantKBM + `18 octets`}},
		{"key as text", goodCN, "0x000102030405060708090a0b0c0d0e0f10111213", "twenty octets of text", []string{
			`9: cn.node[1].kbm: expected "0x" and 40 hexadecimal digits`}},
		{"odd key", goodCN, "0x0001", "0x001", []string{`9: cn.node[1].kbm: expected an even number of hexadecimal digits`}},
		{"no key", goodCN, "kbm = \"0x000102030405060708090a0b0c0d0e0f10111213\"\n", "", []string{`6: cn.node[1].kbm: missing`}},
		{"two keys", goodCN, "kbm = ", "kbm_file = \"/nowhere\"\nkbm = ", []string{`9: cn.node[1].kbm_file: expected either kbm or kbm_file, found both`}},
		{"no key at all", goodCN, "000102030405060708090a0b0c0d0e0f10111213", strings.Repeat("00", 20), []string{
			`9: cn.node[1].kbm: expected a key of random octets; these are all zero`}},
		{"a key for two", goodCN, "auth = \"ipsec\"\nidentity = \"mn.example.org\"\nprotocol = \"ah\"", "auth = \"static\"\nkbm = \"0x000102030405060708090a0b0c0d0e0f10111213\"",
			[]string{`10: cn.node[2]: expected a key of its own, found that of cn.node[1]`}},
		{"key with ipsec", goodCN, "protocol = \"ah\"\n", "kbm_file = \"/nowhere\"\n", []string{`14: cn.node[2].kbm_file: expected only with auth = "static"`}},
		{"identity with a key", goodCN, "kbm = ", "identity = \"x\"\nkbm = ", []string{`9: cn.node[1].identity: expected only with auth = "ipsec"`}},
		{"no identity", goodCN, "identity = \"mn.example.org\"\n", "", []string{`10: cn.node[2].identity: missing`}},
		{"protocol", goodCN, `"ah"`, `"none"`, []string{`14: cn.node[2].protocol: expected "esp" or "ah", found "none"`}},
		{"by return routability", goodCN, `"static"`, `"return-routability"`, []string{
			`8: cn.node[1].auth: expected "static" or "ipsec"`, `9: cn.node[1].kbm: expected only with`}},
		{"no auth", goodCN, "auth = \"ipsec\"\n", "", []string{`10: cn.node[2].auth: missing`}},
		{"twice", goodCN, "2001:db8:1::11", "2001:db8:1::10", []string{`11: cn.node[2].home_address: expected each home address once, found that of node[1]`}},
		{"prefix for a node", goodCN, `"2001:db8:1::11"`, `"2001:db8:1::/64"`, []string{`11: cn.node[2].home_address: expected a global unicast`}},
		{"nobody proves it", goodCN, `identity = "mn`, `identity = "carol`, []string{
			`13: cn.node[2].identity: expected a [[peer]] of cn.peers with this remote_id or "*", found none`}},
		{"no peer", goodCN[:strings.Index(goodCN, "[[peer]]")], "", "", []string{`13: cn.node[2].identity: expected a [[peer]] of cn.peers`}},
		{"peer's name", goodCN, "[cn]\n", "[cn]\npeers = [\"node\"]\n", []string{
			`2: cn.peers[1]: expected the name of a [[peer]], found "node"; did you mean "nodes"?`}},
		{"peers for nobody", "[cn]\npeers = [\"x\"]\n", "", "", []string{`2: cn.peers[1]: expected the name of a [[peer]], found "x"; there is none`,
			`2: cn.peers: expected a [[cn.node]] with auth = "ipsec", which alone may use them`}},
		{"limits", goodCN, "[cn]\n", "[cn]\nmax_bindings = 0\nmax_lifetime = \"1s\"\ntest_rate = -1\ntest_rate_per_source = \"1\"\nerror_rate = 1.5\n", []string{
			`2: cn.max_bindings: expected a whole number from 1`, `3: cn.max_lifetime: expected a duration from 4s to`, `4: cn.test_rate: expected`,
			`5: cn.test_rate_per_source: expected`, `6: cn.error_rate: expected`}},
		{"unknown", goodCN, "[cn]\n", "[cn]\nmax_binding = 3\n", []string{`2: cn.max_binding: unknown key; did you mean "max_bindings"?`}},
		{"AH proposals", goodCN, "[[peer]]\n", "[ike]\nah_proposals = [\"aes128gcm16\", \"sha1\"]\n[[peer]]\nah_proposals = []\n", []string{
			`16: ike.ah_proposals[1]: expected a proposal such as "sha256-esn-noesn"`, `16: ike.ah_proposals[2]: expected a proposal such as "sha256-esn-noesn"`,
			`18: peer[1].ah_proposals: expected at least one proposal`}},
	} {
		c.check(t)
	}
}

func TestOptimiseMistakes(t *testing.T) {
	for _, c := range []mistake{
		{"sound", goodRO, "", "", nil},
		{"everybody", goodMN + "[[mn.optimise]]\n", "", "", nil},
		{"a flag", goodMN, "[mn]\n", "[mn]\noptimise = true\n", []string{`2: mn.optimise: expected tables [[mn.optimise]], each with two brackets`}},
		{"to", goodRO, `"2001:db8:c::1"`, `"2001:db8:c::/40"`, []string{`9: mn.optimise[2].to: expected an IPv6 address or a prefix without host bits`}},
		{"IPv4", goodRO, `"2001:db8:c::1"`, `"192.0.2.1"`, []string{`9: mn.optimise[2].to: expected an IPv6 address`}},
		{"protocol", goodRO, `"udp"`, `"dns"`, []string{
			`5: mn.optimise[1].protocol: expected "tcp", "udp", "icmpv6" or a number from 1 to 255, found "dns"`, `6: mn.optimise[1].port: expected only with`}},
		{"protocol 0", goodRO, `"udp"`, `0`, []string{`5: mn.optimise[1].protocol: expected`, `6: mn.optimise[1].port: expected only with`}},
		{"number", goodRO, `"udp"`, `17`, nil},
		{"port without", goodRO, `protocol = "udp"`, `protocol = "icmpv6"`, []string{`6: mn.optimise[1].port: expected only with protocol = "tcp" or "udp"`}},
		{"port", goodRO, "53", "70000", []string{`6: mn.optimise[1].port: expected a whole number from 1 to 65535`}},
		{"way", goodRO, `way = "tunnel"`, `way = "never"`, []string{`7: mn.optimise[1].way: expected "direct" or "tunnel", found "never"`}},
		{"tunnel with more", goodRO, `way = "tunnel"`, "way = \"tunnel\"\npackets = 2\nauth = \"static\"\nkbm = \"0x00\"", []string{
			`8: mn.optimise[1].packets: expected only with way = "direct"`, `9: mn.optimise[1].auth: expected only`,
			`10: mn.optimise[1].kbm`}},
		{"packets", goodRO, "packets = 3", "packets = 0", []string{`17: mn.optimise[4].packets: expected a whole number from 1 to 1000000`}},
		{"auth", goodRO, `"static"`, `"key"`, []string{`14: mn.optimise[3].auth: expected "return-routability" or "static" or "ipsec", found "key"`,
			`15: mn.optimise[3].kbm: expected only with auth = "static"`}},
		{"a key for many", goodRO, `"2001:db8:c::2"`, `"2001:db8:c::/64"`, []string{`14: mn.optimise[3].auth: "static" wants one address in to`}},
		{"ipsec without SAs", goodRO, "packets = 3", "auth = \"ipsec\"", []string{`17: mn.optimise[4].auth: "ipsec" wants SAs with the correspondent`}},
		{"SAs with many", goodRO, `"2001:db8:c::1"`, `"2001:db8:c::/64"`, []string{
			`10: mn.optimise[2].protect: expected one address in to, the correspondent with which IKE is spoken, found 2001:db8:c::/64`}},
		{"another proof than the SA", goodRO, `protect = "esp"`, "protect = \"esp\"\nauth = \"return-routability\"", []string{
			`11: mn.optimise[2].auth: expected "ipsec" or nothing with protect`}},
		{"the SA is the proof", goodRO, `protect = "esp"`, "protect = \"esp\"\nauth = \"ipsec\"", nil},
		{"a key for two", goodRO, "packets = 3", "to = \"2001:db8:c::3\"\nauth = \"static\"\nkbm = \"0x000102030405060708090a0b0c0d0e0f10111213\"", []string{
			`16: mn.optimise[4]: expected a key of its own, found that of mn.optimise[3]`}},
		{"one pair, two ways", goodRO, "way = \"tunnel\"", "", []string{
			`8: mn.optimise[2]: expected the auth, protect and peer of optimise[1]: a packet that it fits would have all others to 2001:db8:c::1 go in its way`,
			`12: mn.optimise[3]: expected the auth`}},
		{"one key, two rules of a pair", goodRO, "[[mn.optimise]]\npackets = 3", "protocol = \"tcp\"\n[[mn.optimise]]\nto = \"2001:db8:c::2\"\nauth = \"static\"\nkbm = \"0x000102030405060708090a0b0c0d0e0f10111213\"", nil},
		{"too many", goodRO, "packets = 3\n", strings.Repeat("[[mn.optimise]]\nto = \"2001:db8:e::/48\"\n", 253), []string{
			`4: mn.optimise: expected at most 256 rules, found 257`}},
		{"SAs for a protocol", goodRO, `protect = "esp"`, "protect = \"ah\"\nprotocol = \"tcp\"", []string{`11: mn.optimise[2].protocol: expected none with protect`}},
		{"SAs with nobody", goodRO, "peer = \"cn\"\n", "", []string{`1: mn: expected peer, the name of the [[peer]] that is the home agent: it could be any of ["cn" "ha"]`,
			`8: mn.optimise[2].peer: missing`}},
		{"peer for nothing", goodRO, "packets = 3", "peer = \"cn\"", []string{`17: mn.optimise[4].peer: expected only with protect = "esp" or "ah"`}},
		{"peer's name", goodRO, `peer = "cn"`, `peer = "cc"`, []string{`1: mn: expected peer, the name of the`,
			`11: mn.optimise[2].peer: expected the name of a [[peer]], found "cc"; did you mean "cn"?`}},
		{"the agent as correspondent", goodRO, "[mn]\n", "[mn]\npeer = \"cn\"\n", []string{`12: mn.optimise[2].peer: expected a [[peer]] of its own; "cn" is the home agent`}},
		{"a template", goodRO, `remote_id = "cn.example.org"`, `remote_id = "*"`, []string{
			`11: mn.optimise[2].peer: expected a [[peer]] whose remote_id is the correspondent's; that of "cn" is "*"`, `23: peer[1].psk: one key for all`}},
		{"to the agent", goodRO, `"2001:db8:c::1"`, `"2001:db8:1::1"`, []string{`9: mn.optimise[2].to: expected a correspondent; 2001:db8:1::1 is the home agent's`}},
		{"to itself", goodRO, `"2001:db8:c::1"`, `"2001:db8:1::10"`, []string{`9: mn.optimise[2].to: expected a correspondent`}},
		{"times", goodMN, "[[peer]]", "[mn.correspondents]\nmax = 0\nlifetime = \"1s\"\nidle = \"0s\"\nremember = 3\nmaximum = 1\n[[peer]]", []string{
			`5: mn.correspondents.max: expected`, `6: mn.correspondents.lifetime: expected a duration from 8s`, `7: mn.correspondents.idle: expected a duration from 1s`,
			`8: mn.correspondents.remember: expected a duration such as`, `9: mn.correspondents.maximum: unknown key`}},
	} {
		c.check(t)
	}
}

// TestCorrespondValues: what the sound files say, and where peers come from that are not named.
func TestCorrespondValues(t *testing.T) {
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		return c
	}
	c := parse(goodRO)
	key := Secret("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13")
	want := []Optimise{
		{To: everywhere, Protocol: 17, Port: 53, Way: Tunnel, Packets: 1, Auth: ReturnRoutability, Protect: ProtectNone},
		{To: netip.MustParsePrefix("2001:db8:c::1/128"), Way: Direct, Packets: 1, Auth: IPsec, Protect: ProtectESP, Peer: "cn"},
		{To: netip.MustParsePrefix("2001:db8:c::2/128"), Way: Direct, Packets: 1, Auth: StaticKey, KBM: key, Protect: ProtectNone},
		{To: everywhere, Way: Direct, Packets: 3, Auth: ReturnRoutability, Protect: ProtectNone},
	}
	if !reflect.DeepEqual(c.MN.Optimise, want) || c.MN.Peer != "ha" ||
		len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "what optimise[1] fits is no exception here") {
		t.Errorf("%+v, home agent %q, %q", c.MN.Optimise, c.MN.Peer, c.Warnings)
	}
	if len(parse(goodMN).MN.Optimise) != 0 {
		t.Error("route optimization is on though nobody asked for it")
	}
	n := parse(goodCN).CN
	if n.Default != Deny || len(n.Rules) != 1 || n.Rules[0].Policy != Allow || len(n.Nodes) != 2 || n.Nodes[0].Protocol != ProtectNone ||
		n.Nodes[1].Protocol != ProtectAH || !slices.Equal(n.Peers, []string{"nodes"}) || n.MaxLifetime != 420*time.Second {
		t.Errorf("%+v", n)
	}
}

// TestRolesTogether: which peers are whose when one host has several roles.
func TestRolesTogether(t *testing.T) {
	nodes := strings.Replace(goodCN[strings.Index(goodCN, "[[peer]]"):], "mn.example.org", "*", 1)
	nodes = strings.Replace(nodes, "psk = \"sixteen octets or more\"\n", "[[psk]]\nid = \"mn.example.org\"\nkey = \"sixteen octets or more\"\n", 1)
	agent := goodHA[:strings.Index(goodHA, "[[peer]]")]
	correspondent := goodCN[:strings.Index(goodCN, "[[peer]]")]
	c, err := Parse("f", []byte(strings.Replace(goodRO, "[mn]\n", "[mn]\npeer = \"ha\"\n", 1)+agent+correspondent+nodes))
	if err != nil {
		t.Fatal(err)
	}
	if c.MN.Peer != "ha" || !slices.Equal(c.HA.Peers, []string{"nodes"}) || !slices.Equal(c.CN.Peers, []string{"cn", "nodes"}) {
		t.Errorf("%q %q %q", c.MN.Peer, c.HA.Peers, c.CN.Peers)
	}
	named := strings.Replace(correspondent, "[cn]\n", "[cn]\npeers = [\"nodes\"]\n", 1)
	if c, err = Parse("f", []byte(goodRO+named+nodes)); err != nil || c.MN.Peer != "ha" || !slices.Equal(c.CN.Peers, []string{"nodes"}) {
		t.Errorf("a peer that [cn] names is not the home agent: %v", err)
	}
	if c, err = Parse("f", []byte(goodMN+"[cn]\n")); err != nil || c.MN.Peer != "ha" || len(c.CN.Peers) != 0 {
		t.Errorf("%v", err)
	}
}

func TestSPDHashFollowsRoles(t *testing.T) {
	for text, want := range map[string]SPDHash{
		goodMN: {true, 128, 0}, goodHA: {true, 0, 128}, "[cn]\n": {true, 0, 128}, goodMN + "[cn]\n": {true, 128, 0},
	} {
		if c, err := Parse("f", []byte(text)); err != nil || c.Daemon.SPDHash != want {
			t.Errorf("%s\n%v: %+v, want %+v", text, err, c, want)
		}
	}
}

func TestRulesNeverReached(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{goodMN + "[[mn.optimise]]\n[[mn.optimise]]\nto = \"2001:db8:c::/48\"\n", "f:11: mn.optimise[2]: this rule is never reached: all that it fits, optimise[1] fits before"},
		{goodMN + "[[mn.optimise]]\nprotocol = \"tcp\"\n[[mn.optimise]]\nprotocol = 6\nport = 22\n", "f:12: mn.optimise[2]: this rule is never reached"},
		{goodMN + "[[mn.optimise]]\nprotocol = \"tcp\"\n[[mn.optimise]]\n", ""},
		{"[cn]\n[[cn.rule]]\nhome = \"::/0\"\npolicy = \"deny\"\n[[cn.rule]]\nhome = \"2001:db8::1\"\npolicy = \"allow\"\n",
			"f:5: cn.rule[2]: this rule is never reached: rule[1] fits before"},
		{"[cn]\n[[cn.rule]]\nhome = \"2001:db8::1\"\npolicy = \"allow\"\n[[cn.rule]]\nhome = \"::/0\"\npolicy = \"deny\"\n", ""},
	} {
		conf, err := Parse("f", []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(conf.Warnings, "\n"); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s\n%s\nwant:\n%s", c.text, got, c.want)
		}
	}
}

// TestKBMFiles: mode and content, and that no message has a key in it.
func TestKBMFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kbm")
	text := strings.Replace(goodCN, `kbm = "0x000102030405060708090a0b0c0d0e0f10111213"`, `kbm_file = "`+path+`"`, 1)
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"absent", "", 0, "cannot be read: no such file"},
		{"open to others", "0x000102030405060708090a0b0c0d0e0f10111213\n", 0o644, "has mode 0644; expected 0600"},
		{"empty", "\n", 0o600, "is empty"},
		{"too long", "0x" + strings.Repeat("5e", 21), 0o600, "found 21 octets"},
		{"good", "0x000102030405060708090a0b0c0d0e0f10111213\n", 0o600, ""},
	} {
		os.Remove(path)
		if c.content != "" {
			if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
		}
		conf, err := Parse("f", []byte(text))
		switch {
		case c.want == "" && (err != nil || len(conf.CN.Nodes[0].KBM) != 20):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), "f:9: cn.node[1].kbm_file: ") || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.name, err)
		case err != nil && strings.Contains(err.Error(), "5e5e"):
			t.Errorf("%s: the key is told: %v", c.name, err)
		}
	}
}
