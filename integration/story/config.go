package story

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The identities of the story.
const (
	mnID    = "mn.example.org"
	haID    = "ha.example.org"
	otherID = "carol@example.org"
)

// conf says what of a configuration differs from the usual one.
type conf struct {
	psk    string // of the node; empty: the right one
	home   string // of the node; empty: the right one
	auth   string // "psk" or "cert"; empty: "psk"
	cert   [2]string
	ca     string
	noKMob bool
}

// head is the part of a configuration that both roles share. Liveness checks are
// far apart, so that an IKE message in a move can only come from the move.
func (s *story) head(host string) string {
	dir := filepath.Join(s.run, host)
	return fmt.Sprintf(`[daemon]
control = %q
state_dir = %q
log_level = "debug"
ike_keylog = %q
esp_keylog = %q

[ike]
dpd = "15m"

`, filepath.Join(dir, "control"), dir, filepath.Join(s.run, host+"-ike.keys"), filepath.Join(s.run, host+"-esp.keys"))
}

// authLines are the keys of a peer block that say who proves what how.
func authLines(c conf, psk string) string {
	if c.auth != "cert" {
		return fmt.Sprintf("auth = \"psk\"\npsk = %q\n", psk)
	}
	return fmt.Sprintf("auth = \"cert\"\ncertificate = %q\nprivate_key = %q\nca = [%q]\n", c.cert[0], c.cert[1], c.ca)
}

func (s *story) mnConfig(c conf) string {
	psk, home := s.psk, s.plan.HoA.String()
	if c.psk != "" {
		psk = c.psk
	}
	if c.home != "" {
		home = c.home
	}
	return s.head("mn") + fmt.Sprintf(`[mn]
home_address = "%s/64"
home_agent = "%s"
interfaces = ["eth0"]
key_mobility = %v

[[peer]]
name = "home-agent"
local_id = "%s"
remote_id = "%s"
`, home, s.plan.HA, !c.noKMob, mnID, haID) + authLines(c, psk)
}

func (s *story) haConfig(c conf) string {
	var b strings.Builder
	b.WriteString(s.head("ha"))
	fmt.Fprintf(&b, `[ha]
address = "%s"
home_link = "home0"
key_mobility = %v

[[ha.home_prefix]]
prefix = "%s"

[[ha.node]]
identity = "%s"
home_address = "%s"

[[ha.node]]
identity = "%s"
home_address = "%s"

[[peer]]
name = "nodes"
local_id = "%s"
remote_id = "*"
`, s.plan.HA, !c.noKMob, s.plan.HomePrefix, mnID, s.plan.HoA, otherID, otherHome(s.plan), haID)
	if c.auth == "cert" {
		b.WriteString(authLines(c, ""))
		return b.String()
	}
	fmt.Fprintf(&b, "auth = \"psk\"\n\n[[psk]]\nid = %q\nkey = %q\n", mnID, s.psk)
	return b.String()
}

// writeConfig writes a daemon's file where only root reads it.
func (s *story) writeConfig(host, text string) (string, error) {
	path := filepath.Join(s.run, host+".toml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}
