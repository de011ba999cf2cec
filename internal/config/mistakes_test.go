package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodMN = `[mn]
home_address = "2001:db8:1::10/64"
home_agent = "2001:db8:1::1"
[[peer]]
name = "ha"
local_id = "mn.example.org"
remote_id = "ha.example.org"
auth = "psk"
psk = "sixteen octets or more"
`

const goodHA = `[ha]
address = "2001:db8:1::1"
home_link = "eth0"
[[ha.home_prefix]]
prefix = "2001:db8:1::/64"
[[ha.node]]
identity = "mn.example.org"
home_address = "2001:db8:1::10"
[[peer]]
name = "nodes"
local_id = "ha.example.org"
remote_id = "*"
auth = "psk"
[[psk]]
id = "mn.example.org"
key = "sixteen octets or more"
`

// mistakes is the golden text: a line in the file, then what is told of it.
func TestMistakes(t *testing.T) {
	cases := []struct {
		name, base, from, to string
		want                 []string // "line: key: message", each as a prefix
	}{
		{"sound node", goodMN, "", "", nil},
		{"sound agent", goodHA, "", "", nil},
		{"unknown key", goodMN, `home_agent =`, `home_agnet =`, []string{
			`1: mn.home_agent: missing`, `3: mn.home_agnet: unknown key; did you mean "home_agent"?`}},
		{"unknown key far from all", goodMN, `auth = `, "colour = \"red\"\nauth = ", []string{
			`8: peer[1].colour: unknown key; expected one of name, local_id`}},
		{"unknown table", goodMN, `[[peer]]`, "[peers]\nname = \"x\"\n[[peer]]", []string{
			`4: peers: unknown key; did you mean "peer"?`}},
		{"one bracket", goodMN, `[[peer]]`, `[peer]`, []string{
			`4: peer: expected tables [[peer]], each with two brackets, found a table`}},
		{"no host address", goodMN, `"2001:db8:1::10/64"`, `"2001:db8:1::10"`, []string{
			`2: mn.home_address: expected an IPv6 address with the length of its prefix`}},
		{"home address from the agent", goodMN, `"2001:db8:1::10/64"`, `"agent"`, nil},
		{"agent misspelt", goodMN, `"2001:db8:1::10/64"`, `"agnet"`, []string{
			`2: mn.home_address: expected an IPv6 address with the length of its prefix such as "2001:db8:1::10/64", or "agent", found "agnet"; did you mean "agent"?`}},
		{"another word", goodMN, `"2001:db8:1::10/64"`, `"pool"`, []string{
			`2: mn.home_address: expected an IPv6 address with the length of its prefix such as "2001:db8:1::10/64", or "agent", found "pool"`}},
		{"no home address", goodMN, "home_address = \"2001:db8:1::10/64\"\n", "", []string{`1: mn.home_address: missing`}},
		{"home address as a number", goodMN, `"2001:db8:1::10/64"`, `64`, []string{
			`2: mn.home_address: expected a text in quotes, or "agent", found the number 64`}},
		{"agent's address from the agent", goodMN, `"2001:db8:1::1"`, `"agent"`, []string{`3: mn.home_agent: expected a global unicast IPv6`}},
		{"from the agent of a template", strings.Replace(goodMN, `"2001:db8:1::10/64"`, `"agent"`, 1), `remote_id = "ha.example.org"`, `remote_id = "*"`, []string{
			`1: mn.peer: expected a [[peer]] whose remote_id is the home agent's`, `9: peer[1].psk: one key for all`}},
		{"IPv4", goodMN, `"2001:db8:1::1"`, `"192.0.2.1"`, []string{`3: mn.home_agent: expected a global unicast IPv6`}},
		{"mapped", goodMN, `"2001:db8:1::1"`, `"::ffff:192.0.2.1"`, []string{`3: mn.home_agent: expected a global unicast IPv6`}},
		{"link-local", goodMN, `"2001:db8:1::1"`, `"fe80::1"`, []string{`3: mn.home_agent: expected a global unicast IPv6`}},
		{"multicast", goodMN, `"2001:db8:1::1"`, `"ff02::1"`, []string{`3: mn.home_agent: expected a global unicast IPv6`}},
		{"zone", goodMN, `"2001:db8:1::1"`, `"2001:db8:1::1%eth0"`, []string{`3: mn.home_agent: expected a global unicast IPv6`}},
		{"same address", goodMN, `home_agent = "2001:db8:1::1"`, `home_agent = "2001:db8:1::10"`, []string{
			`3: mn.home_agent: expected another address than the home address`}},
		{"router anycast", goodMN, `"2001:db8:1::10/64"`, `"2001:db8:1::/64"`, []string{`2: mn.home_address: expected the address of a host`}},
		{"reserved anycast", goodMN, `"2001:db8:1::10/64"`, `"2001:db8:1:0:fdff:ffff:ffff:fffe/64"`, []string{
			`2: mn.home_address: expected the address of a host; 2001:db8:1:0:fdff:ffff:ffff:fffe is a reserved`}},
		{"no type", goodMN, `"2001:db8:1::1"`, `7`, []string{`3: mn.home_agent: expected a text in quotes, found the number 7`}},
		{"bare number", goodMN, "[mn]\n", "[mn]\nlifetime = 600\n", []string{
			`2: mn.lifetime: expected a duration such as "500ms", "30s", "10m" or "1h30m", found the number 600`}},
		{"too long", goodMN, "[mn]\n", "[mn]\nlifetime = \"4d\"\n", []string{`2: mn.lifetime: expected a duration from 4s to 72h49m, found "4d"`}},
		{"kernel's table", goodMN, "[mn]\n", "[mn]\ntable = 254\n", []string{`2: mn.table: expected a routing table of its own`}},
		{"interfaces", goodMN, "[mn]\n", "[mn]\ninterfaces = [\n  \"eth0\", # a comment, \"here\"\n  \"eth 1\",\n  5, \"eth0\" ]\n", []string{
			`4: mn.interfaces[2]: expected the name of an interface, found "eth 1"`,
			`5: mn.interfaces[3]: expected a text in quotes, found the number 5`,
			`5: mn.interfaces[4]: expected each interface once`}},
		{"userspace", goodMN, "[mn]\n", "[daemon]\ndataplane = \"userspace\"\n[mn]\n", []string{
			`2: daemon.dataplane: the userspace data plane is not built yet; expected "auto" or "kernel"`}},
		{"cn", goodMN, "[mn]\n", "[cn]\nroute_optimization = true\n[mn]\n", []string{`2: cn.route_optimization: unknown key; expected one of addresses, default`}},
		{"relative path", goodMN, "[mn]\n", "daemon = { control = \"here\", state_dir = \"/x\" }\n[mn]\n", []string{
			`1: daemon.control: expected a path that begins with /, found "here"`}},
		{"spd hash", goodMN, "[mn]\n", "[daemon]\nspd_hash = \"0/129\"\n[mn]\n", []string{`2: daemon.spd_hash: expected "auto", "off" or two`}},
		{"number as text", goodMN, "[mn]\n", "[ike]\nreplay_window = \"512\"\n[mn]\n", []string{
			`2: ike.replay_window: expected a whole number from 32 to 4096, found "512"`}},
		{"proposals", goodMN, "[mn]\n", "[ike]\nike_proposals = [\"aes128gcm16-x25519\", \"rot13\"]\nesp_proposals = []\n[mn]\n", []string{
			`2: ike.ike_proposals[1]: expected a proposal such as "aes128gcm16-prfsha256-x25519" (invalid value: proposal "aes128gcm16-x25519" names no prf`,
			`2: ike.ike_proposals[2]: expected a proposal such as "aes128gcm16-prfsha256-x25519" (unsupported algorithm: "rot13"`,
			`3: ike.esp_proposals: expected at least one proposal`}},
		{"rekey after the end", goodMN, "[mn]\n", "[ike]\nchild_rekey = \"1h\"\nchild_hard = \"30m\"\n[mn]\n", []string{
			`3: ike.child_hard: expected more than child_rekey, which is 1h`}},
		{"volumes", goodMN, "[mn]\n", "[ike]\nchild_rekey_bytes = \"10GiB\"\nchild_hard_bytes = \"1GiB\"\nchild_rekey_packets = \"1KiB\"\nchild_hard_packets = 7\n[mn]\n", []string{
			`3: ike.child_hard_bytes: expected more than child_rekey_bytes, which is 10737418240`,
			`4: ike.child_rekey_packets: expected 0 or a whole number from 100 on, found "1KiB"`,
			`5: ike.child_hard_packets: expected 0 or a whole number from 100 on, found the number 7`}},
		{"volume of another unit", goodMN, "[mn]\n", "[ike]\nchild_rekey_bytes = \"10GB\"\nchild_hard_bytes = -1\n[mn]\n", []string{
			`2: ike.child_rekey_bytes: expected 0 or a whole number from 1024 on, or with a unit such as "64MiB" or "10GiB", found "10GB"`,
			`3: ike.child_hard_bytes: expected 0 or a whole number from 1024 on, or with a unit`}},
		{"volume that is too much", goodMN, "[mn]\n", "[ike]\nchild_rekey_bytes = \"99999999999TiB\"\n[mn]\n", []string{
			`2: ike.child_rekey_bytes: expected 0 or a whole number`}},
		{"reauth and unique", goodMN, "[mn]\n", "[ike]\nreauth = \"2s\"\nunique = \"yes\"\n[mn]\n", []string{
			`2: ike.reauth: expected "0s" (never) or a duration from 10s on, found "2s"`,
			`3: ike.unique: expected "contact" or "replace" or "keep" or "never", found "yes"`}},
		{"padding", goodMN, `auth = "psk"`, "auth = \"psk\"\nrsa_padding = \"oaep\"", []string{`9: peer[1].rsa_padding: expected "pss" or "pkcs1", found "oaep"`}},
		{"distinguished name", goodMN, `remote_id = "ha.example.org"`, `remote_id = "C=DE, XN=ha"`, []string{`7: peer[1].remote_id: expected an identity`}},
		{"ports", goodMN, "[mn]\n", "[ike]\nport = 70000\ncookie_threshold = 0\n[mn]\n", []string{
			`2: ike.port: expected a whole number from 1 to 65535, found the number 70000`,
			`3: ike.cookie_threshold: expected -1 (always) or a number from 1 on`}},
		{"no auth", goodMN, "auth = \"psk\"\n", "", []string{`4: peer[1].auth: missing`}},
		{"auth word", goodMN, `auth = "psk"`, `auth = "key"`, []string{`8: peer[1].auth: expected "psk" or "cert", found "key"`}},
		{"no certificate", goodMN, `auth = "psk"`, `auth = "cert"`, []string{`4: peer[1]: expected certificate and private_key`}},
		{"no key", goodMN, "psk = \"sixteen octets or more\"\n", "", []string{
			`4: peer[1]: expected psk, psk_file, or a table [[psk]] for "ha.example.org"`}},
		{"odd hex", goodMN, `"sixteen octets or more"`, `"0x123"`, []string{`9: peer[1].psk: expected an even number of hexadecimal digits`}},
		{"peer's name", goodMN, "[mn]\n", "[mn]\npeer = \"haa\"\n", []string{
			`2: mn.peer: expected the name of a [[peer]], found "haa"; did you mean "ha"?`}},
		{"template for a node", goodMN, `remote_id = "ha.example.org"`, `remote_id = "*"`, []string{
			`1: mn.peer: expected a [[peer]] whose remote_id is the home agent's`, `9: peer[1].psk: one key for all`}},
		{"outside the home prefix", goodHA, `home_address = "2001:db8:1::10"`, `home_address = "2001:db8:2::10"`, []string{
			`8: ha.node[1].home_address: expected an address in a home prefix, found 2001:db8:2::10`}},
		{"agent's own", goodHA, `home_address = "2001:db8:1::10"`, `home_address = "2001:db8:1::1"`, []string{
			`8: ha.node[1].home_address: expected another address than the home agent's own`}},
		{"twice", goodHA, "[[peer]]", "[[ha.node]]\nidentity = \"b\"\nhome_address = \"2001:db8:1::10\"\n[[peer]]", []string{
			`11: ha.node[2].home_address: expected each home address once, found that of node[1]`}},
		{"host bits", goodHA, `prefix = "2001:db8:1::/64"`, `prefix = "2001:db8:1::1/64"`, []string{
			`5: ha.home_prefix[1].prefix: expected a prefix without host bits, found "2001:db8:1::1/64"; did you mean "2001:db8:1::/64"?`}},
		{"pool", goodHA, "[ha]\n", "[ha]\nhome_address_from = \"pool\"\n", []string{`1: ha: expected [ha.pool] with a prefix`}},
		{"certificate", goodHA, "[ha]\n", "[ha]\nhome_address_from = \"certificate\"\n", []string{
			`2: ha.home_address_from: "certificate" wants peers with certificates, and "nodes" proves itself by a key`}},
		{"same key twice in TOML", goodHA, "home_link = \"eth0\"\n", "home_link = \"eth0\"\nhome_link = \"eth1\"\nmax_lifetim = \"1h\"\n", []string{
			`4: ha.home_link: not TOML: Key 'ha.home_link' has already been defined`,
			`5: ha.max_lifetim: unknown key; did you mean "max_lifetime"?`}},
		{"two slips", goodHA, "[ha]\n", "[ha]\nmax_bindings = \nrefresh_advice = 10 minutes\n", []string{
			`2: ha.max_bindings: not TOML: `, `3: ha: not TOML: `}},
		{"open table", goodMN, "[[peer]]", "[[peer]\n\n[ha\nmax_bindings = \n[[peer]]", []string{
			`4: mn: not TOML: `, `6: mn: not TOML: `, `7: mn.max_bindings: not TOML: `}},
		{"nothing", "", "", "", []string{`0: : expected a role: a table [mn] for a mobile node, [ha] for a home agent or [cn] for a correspondent node`}},
		{"several", goodHA, "address = \"2001:db8:1::1\"\n", "addres = 1\ndad = \"maybe\"\nmax_lifetime = \"3s\"\n", []string{
			`1: ha.address: missing`, `2: ha.addres: unknown key; did you mean "address"?`,
			`3: ha.dad: expected "probe" or "off", found "maybe"`, `4: ha.max_lifetime: expected a duration from 4s`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(c.base, c.from, c.to, 1)
			if c.from != "" && text == c.base {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse("f", []byte(text))
			compareMistakes(t, text, err, c.want)
		})
	}
}

func compareMistakes(t *testing.T, text string, err error, want []string) {
	t.Helper()
	var got Errors
	if err != nil && !errors.As(err, &got) {
		t.Fatalf("the error is no Errors: %v", err)
	}
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		line := strings.TrimPrefix(Mistake{Line: got[i].Line, Key: got[i].Key, Message: got[i].Message}.Error(), ":")
		if got[i].Line == 0 {
			line = "0: : " + got[i].Message
		}
		ok = ok && strings.HasPrefix(line, want[i])
	}
	if !ok {
		t.Errorf("%s\ngot:\n%v\nwant:\n%s", text, got, strings.Join(want, "\n"))
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	text := strings.Replace(goodMN, `psk = "sixteen octets or more"`, `psk_file = "`+path+`"`, 1)
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want, key     string
	}{
		{name: "absent", want: "cannot be read: no such file"},
		{name: "open to others", content: "secret secret secret\n", mode: 0o640, want: "has mode 0640; expected 0600"},
		{name: "empty", content: "\n", mode: 0o600, want: "is empty"},
		{name: "text", content: "secret secret secret\n", mode: 0o600, key: "secret secret secret"},
		{name: "hex", content: "0x00ff\n", mode: 0o400, key: "\x00\xff"},
	} {
		os.Remove(path)
		if c.content != "" {
			if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
		}
		conf, err := Parse("f", []byte(text))
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), "f:9: peer[1].psk_file: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case string(conf.Peers[0].PSK) != c.key:
			t.Errorf("%s: key %x", c.name, []byte(conf.Peers[0].PSK))
		}
	}
}

// TestMessagesHideKeys: no mistake and no warning has a key in it.
func TestMessagesHideKeys(t *testing.T) {
	text := strings.Replace(goodMN, `"sixteen octets or more"`, `"0xSECRET"`, 1)
	if _, err := Parse("f", []byte(text)); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
	conf, err := Parse("f", []byte(strings.Replace(goodMN, "sixteen octets or more", "SECRET", 1)))
	if err != nil || len(conf.Warnings) != 1 || strings.Contains(conf.Warnings[0], "SECRET") {
		t.Errorf("%v, %v", conf, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodMN))
	f.Add([]byte(goodHA))
	f.Add([]byte(goodCN))
	f.Add([]byte(goodRO))
	f.Add([]byte("[a]\nb = [\n\"\"\"\nx\"\"\"\", 'y' ]\nc.\"d.e\" = { f = 1 }\n[[a.g]]\n[a.g.h]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "/") && strings.Contains(string(data), "file") {
			return // would read files of this machine
		}
		c, err := Parse("f", data)
		var mistakes Errors
		if (c == nil) == (err == nil) || err != nil && !errors.As(err, &mistakes) {
			t.Fatalf("%v, %v", c, err)
		}
		for _, m := range mistakes {
			if m.Line < 0 || m.Line > strings.Count(string(data), "\n")+1 {
				t.Errorf("line %d of %d", m.Line, strings.Count(string(data), "\n")+1)
			}
		}
	})
}
