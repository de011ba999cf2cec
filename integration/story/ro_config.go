package story

import (
	"fmt"
	"strings"

	"github.com/mip6/mip6/integration/lab"
)

// The identities of the steps of route optimization.
const (
	cnID  = "cn.example.org"
	mn2ID = "mn2.example.org"
)

// roConf says what of the configurations differs from the usual ones of the steps of route optimization.
type roConf struct {
	off     bool   // the node optimises nothing
	packets int    // from so many packets on; 0: from the first
	protect string // "esp" or "ah": SAs between home address and correspondent
	auth    string // of binding updates: "static"; "": return routability, or with protect the SA
	noCN    bool   // the correspondent runs no mip6d
	mn2     bool   // mn2 is the correspondent, and both are mobile
}

// staticKbm is the key of auth "static".
const staticKbm = "0x5555aaaa5555aaaa5555aaaa5555aaaa5555aaaa"

// peerBlock is a [[peer]] with a key.
func peerBlock(name, local, remote, psk, more string) string {
	return fmt.Sprintf("\n[[peer]]\nname = %q\nlocal_id = %q\nremote_id = %q\nauth = \"psk\"\npsk = %q\n%s", name, local, remote, psk, more)
}

// mnRO is the node's configuration.
func (s *story) mnRO(c roConf) string {
	text := s.mnConfig(conf{})
	if c.off {
		return text
	}
	to := s.plan.CN
	if c.mn2 {
		to = s.plan.HoA2
	}
	rule := fmt.Sprintf("[[mn.optimise]]\nto = \"%s\"\n", to)
	if c.packets > 0 {
		rule += fmt.Sprintf("packets = %d\n", c.packets)
	}
	if c.auth == "static" {
		rule += fmt.Sprintf("auth = \"static\"\nkbm = %q\n", staticKbm)
	}
	peer := ""
	if c.protect != "" {
		rule += fmt.Sprintf("protect = %q\npeer = \"correspondent\"\n", c.protect)
		peer = peerBlock("correspondent", mnID, cnID, s.psk, "")
	}
	mn, rest, _ := strings.Cut(text, "[[peer]]")
	if peer != "" {
		mn = strings.Replace(mn, "[mn]\n", "[mn]\npeer = \"home-agent\"\n", 1)
	}
	if c.mn2 {
		mn += s.cnSection(c)
	}
	return mn + rule + "\n[[peer]]" + rest + peer
}

// mn2RO is that of the second node.
func (s *story) mn2RO(c roConf) string {
	return s.head(lab.MN2) + fmt.Sprintf(`[mn]
home_address = "%s/64"
home_agent = "%s"
interfaces = ["eth0"]

[[mn.optimise]]
to = "%s"

`, s.plan.HoA2, s.plan.HA, s.plan.HoA) + s.cnSection(c) + peerBlock("home-agent", mn2ID, haID, s.psk2(), "")
}

// psk2 is the key of the second node.
func (s *story) psk2() string { return s.psk[:len(s.psk)-2] + "77" }

// haRO is the agent's: it knows the second node too.
func (s *story) haRO() string {
	text := s.haConfig(conf{})
	text = strings.Replace(text, "\n[[peer]]", fmt.Sprintf("\n[[ha.node]]\nidentity = %q\nhome_address = \"%s\"\n\n[[peer]]", mn2ID, s.plan.HoA2), 1)
	return text + fmt.Sprintf("\n[[psk]]\nid = %q\nkey = %q\n", mn2ID, s.psk2())
}

// cnSection is the correspondent's part.
func (s *story) cnSection(c roConf) string {
	text := "[cn]\n"
	switch {
	case c.protect != "":
		text += fmt.Sprintf("\n[[cn.node]]\nhome_address = \"%s\"\nauth = \"ipsec\"\nidentity = %q\nprotocol = %q\n", s.plan.HoA, mnID, c.protect)
	case c.auth == "static":
		text += fmt.Sprintf("\n[[cn.node]]\nhome_address = \"%s\"\nauth = \"static\"\nkbm = %q\n", s.plan.HoA, staticKbm)
	}
	return text + "\n"
}

// cnRO is the correspondent's configuration.
func (s *story) cnRO(c roConf) string {
	text := s.head(lab.CN) + s.cnSection(c)
	if c.protect != "" {
		text += peerBlock("node", cnID, mnID, s.psk, "")
	}
	return text
}
