package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"net/netip"
)

// TestDeny: the access list knows an identity however it is spelt.
func TestDeny(t *testing.T) {
	for _, spelt := range []func(string) string{strings.ToLower, strings.ToUpper} {
		o := Options{Seed: 77, Nodes: 1, Ask: true, HA: func(c *ha.Config) {
			c.Nodes, c.Pool = []ha.Node{{Identity: "mn0.example.org", Deny: true}}, []netip.Prefix{pool}
		}, Conn: func(c *ike.Conn) {
			if strings.HasPrefix(c.LocalID.Data, "mn0") {
				c.LocalID.Data = spelt(c.LocalID.Data)
			}
		}}
		w := world(t, o)
		w.Run(10 * time.Second)
		if h := w.Hosts[1]; h.Home.IsValid() && w.Registered(h) {
			t.Errorf("%s is registered at %v though it is denied", spelt("mn0.example.org"), h.Home)
		}
	}
}
