package config

import "reflect"

// Fixed names the tables in which next differs from c and that a running daemon cannot
// take anew. It can take the rules: [[mn.optimise]] and [mn.correspondents], and all of [cn],
// as long as the role itself stays. Empty: next may take the place of c.
func (c *Config) Fixed(next *Config) []string {
	var out []string
	for _, s := range []struct {
		name     string
		now, new any
	}{
		{"[daemon]", c.Daemon, next.Daemon},
		{"[ike]", c.IKE, next.IKE},
		{"[mn]", c.MN.withoutRules(), next.MN.withoutRules()},
		{"[ha]", c.HA, next.HA},
		{"[cn]", c.CN != nil, next.CN != nil},
		{"[[peer]]", c.Peers, next.Peers},
		{"[[psk]]", c.PSKs, next.PSKs},
	} {
		if !reflect.DeepEqual(s.now, s.new) {
			out = append(out, s.name)
		}
	}
	return out
}

// withoutRules is m but for what may change while the daemon runs.
func (m *MN) withoutRules() *MN {
	if m == nil {
		return nil
	}
	out := *m
	out.Optimise, out.Correspondents = nil, Correspondents{}
	return &out
}
