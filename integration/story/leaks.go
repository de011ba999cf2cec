package story

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/mip6/mip6/integration/lab"
)

// between are the captures of the routers and links between a node that is away and
// its agent. (On the node itself Linux shows packets after decapsulation, and
// behind the agent the correspondent's packets are in the clear.)
var between = []string{"links-f1", "links-f2", "router-f1", "router-f2", "router-core0", "core-router0"}

// leaks checks that nothing of the node was seen outside ESP while it was away.
func (s *story) leaks() {
	if len(s.rec.Away) == 0 {
		return
	}
	hoa := s.plan.HoA
	var found []string
	esp := 0
	for _, name := range between {
		for _, w := range s.rec.Away {
			all, err := s.seen(name, w, every)
			if err != nil {
				found = append(found, err.Error())
				continue
			}
			for _, p := range all {
				if p.Bare(hoa) {
					found = append(found, fmt.Sprintf("%s at %s: %v → %v protocol %d", name, s.at(p.Time), p.Src, p.Dst, p.Proto))
				}
				if p.Proto == protoESP {
					esp++
				}
			}
		}
	}
	detail := fmt.Sprintf("%d ESP packets in %d captures; after home, away begins with the first binding update", esp, len(between))
	if len(found) > 0 {
		detail = fmt.Sprintf("%d packets:\n%s", len(found), firstLines(found))
	}
	s.check("while away: no Mobility Header and no packet of the home address outside ESP", len(found) == 0 && esp > 0, "%s", detail)
	// Beyond, where the correspondent's packets are in the clear: no signalling.
	found, esp = nil, 0
	for _, name := range []string{"core-ha0", "ha-core0"} {
		for _, w := range s.rec.Away {
			all, err := s.seen(name, w, every)
			if err != nil {
				found = append(found, err.Error())
			}
			for _, p := range all {
				if p.Proto == protoESP {
					esp++
				}
				if s.forged(p) || !signalling(p, hoa) {
					continue
				}
				found = append(found, fmt.Sprintf("%s at %s: %v → %v protocol %d", name, s.at(p.Time), p.Src, p.Dst, p.Proto))
			}
		}
	}
	s.check("while away: no signalling outside ESP at the agent", len(found) == 0 && esp > 0,
		"%d packets beside %d of ESP\n%s", len(found), esp, firstLines(found))
}

func every(lab.Seen) bool { return true }

// signalling is a Mobility Header (errors excepted), home address option or type 2
// routing header outside ESP.
func signalling(p lab.Seen, hoa netip.Addr) bool {
	if p.Proto == protoMH {
		return p.Type != 7
	}
	return p.Proto != protoESP && (p.HomeAddr == hoa || p.Type2 == hoa)
}

// forged tells whether the story itself forged the packet.
func (s *story) forged(p lab.Seen) bool {
	for _, w := range s.rec.Attacks {
		if !p.Time.Before(w.From) && p.Time.Before(w.To) {
			return true
		}
	}
	return false
}

// keyFiles brings the key logs of both daemons together beside the captures, each
// key once, as Wireshark's tables.
func (s *story) keyFiles() error {
	if _, err := lab.NewKeys(s.o.Dir); err != nil {
		return err
	}
	for suffix, table := range map[string]string{"ike": "ikev2_decryption_table", "esp": "esp_sa"} {
		lines := map[string]bool{}
		for _, host := range []string{lab.MN, lab.HA, lab.CN, lab.MN2} {
			b, err := os.ReadFile(filepath.Join(s.run, host+"-"+suffix+".keys"))
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			for _, l := range strings.Split(string(b), "\n") {
				if l != "" {
					lines[l] = true
				}
			}
		}
		var all []string
		for l := range lines {
			all = append(all, l)
		}
		sort.Strings(all)
		text := strings.Join(all, "\n")
		if text != "" {
			text += "\n"
		}
		if err := os.WriteFile(filepath.Join(s.o.Dir, table), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
