package daemon

import (
	"testing"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/config"
)

// Peers of a role of Mobile IPv6 are marked: no NAT moves what theirs is.
func TestNATOfPeers(t *testing.T) {
	for word, want := range map[config.NAT]ike.NAT{config.NATAuto: ike.NATAuto, config.NATForce: ike.NATForce, config.NATOff: ike.NATOff} {
		cfg := &config.Config{Peers: []config.Peer{{Name: "a", NAT: word}}}
		keys, err := keyring(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if c := ikeConfig(cfg, keys).Conns[0]; c.NAT != want || c.Mobile {
			t.Errorf("%s: %+v", word, c)
		}
		cfg.HA = &config.HA{}
		if c := ikeConfig(cfg, keys).Conns[0]; c.NAT != want || !c.Mobile {
			t.Errorf("%s at a home agent: %+v", word, c)
		}
	}
}
