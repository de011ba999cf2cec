package mn

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// TestStrayHomeAddress: a home address that an earlier run left on a link is taken
// off, and nothing else is, whatever stands behind it in the list of addresses.
func TestStrayHomeAddress(t *testing.T) {
	m, err := New(Config{Home: netip.MustParsePrefix("2001:db8:1::10/64"), HomeAgent: netip.MustParseAddr("2001:db8:1::1"),
		ReqIDs: protect.ReqIDs{MH: 1, Payload: 2}}, xfrm.Caps{}, bytes.NewReader([]byte{1, 2}))
	if err != nil {
		t.Fatal(err)
	}
	home := m.cfg.Home
	other := netip.MustParsePrefix("2001:db8:77::1/64")
	m.s.Links = []link{{Link: host.Link{Index: 2, Name: "eth0", Up: true}, Addrs: []addr{
		{Addr: host.Addr{IfIndex: 2, Prefix: home, Home: true}},
		{Addr: host.Addr{IfIndex: 2, Prefix: other}},
	}}}
	var deleted []netip.Prefix
	for _, a := range m.strays(time.Unix(0, 0), nil) {
		if h, ok := a.(Host); ok {
			for _, op := range h.Ops {
				if d, ok := op.(host.DelAddr); ok {
					deleted = append(deleted, d.Prefix)
				}
			}
		}
	}
	if len(deleted) != 1 || deleted[0] != home {
		t.Errorf("deleted %v, want %v alone", deleted, home)
	}
}
