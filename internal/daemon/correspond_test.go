package daemon

import (
	"net/netip"
	"testing"

	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// The SAs of a correspondent keep their request id whatever other rules come and go.
func TestPathReqIDsAreStable(t *testing.T) {
	rule := func(to string, p config.Protect) config.Optimise {
		return config.Optimise{To: netip.MustParsePrefix(to), Protect: p, Auth: config.IPsec, Peer: "p"}
	}
	a, b := rule("2001:db8:c::10/128", config.ProtectESP), rule("2001:db8:c::11/128", config.ProtectAH)
	other := config.Optimise{To: netip.MustParsePrefix("2001:db8::/32")}
	one := optimiseConfig(&config.MN{Optimise: []config.Optimise{a, b}})
	two := optimiseConfig(&config.MN{Optimise: []config.Optimise{other, b, a}})
	if one.Rules[0].ReqID != two.Rules[2].ReqID || one.Rules[1].ReqID != two.Rules[1].ReqID {
		t.Errorf("request ids %v and %v", one.Rules, two.Rules)
	}
	if one.Rules[0].ReqID == one.Rules[1].ReqID || !protect.Owned(one.Rules[0].ReqID) {
		t.Errorf("request ids %#x and %#x", one.Rules[0].ReqID, one.Rules[1].ReqID)
	}
	if two.Rules[0].ReqID != 0 || one.Rules[1].Protect != xfrm.AH {
		t.Errorf("%+v", two.Rules[0])
	}
	taken := map[uint32]bool{}
	if x, y := pathIndex(a.To.Addr(), taken), pathIndex(a.To.Addr(), taken); x == y {
		t.Error("one index for two")
	}
}

func TestPlaces(t *testing.T) {
	for _, bad := range []string{"x", "mn", "mn -1", "xx 3", "ha 99999999999999999999"} {
		if _, _, err := place(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if table, n, err := place("cn 7"); table != "cn" || n != 7 || err != nil {
		t.Errorf("%s %d %v", table, n, err)
	}
}
