package couple

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
)

// TestAssigned: what a home agent may and may not give as a home address, by its CFG_REPLY
// and the selectors of the child.
func TestAssigned(t *testing.T) {
	addr := netip.MustParseAddr
	good, agent, careOf := addr("2001:db8:1::77"), addr("2001:db8:1::1"), addr("2001:db8:2::10")
	reply := func(a netip.Addr, bits byte) []message.Attribute {
		v := a.As16()
		return []message.Attribute{{Type: message.AttrInternalIP6Address, Value: append(v[:], bits)}}
	}
	for _, c := range []struct {
		name  string
		reply []message.Attribute
		local netip.Prefix // zero: the assigned address
		want  string       // in the reason; empty: accepted
	}{
		{name: "good", reply: reply(good, 64)},
		{name: "good, with others", reply: append([]message.Attribute{{Type: message.AttrInternalIP6Address}}, reply(good, 48)...)},
		{name: "none", want: "assigned none"},
		{name: "empty", reply: []message.Attribute{{Type: message.AttrInternalIP6Address}}, want: "assigned none"},
		{name: "without length", reply: []message.Attribute{{Type: message.AttrInternalIP6Address, Value: make([]byte, 16)}}, want: "assigned none"},
		{name: "length 0", reply: reply(good, 0), want: "no prefix length"},
		{name: "length 129", reply: reply(good, 129), want: "no prefix length"},
		{name: "unspecified", reply: reply(netip.IPv6Unspecified(), 64), want: "not global unicast"},
		{name: "link-local", reply: reply(addr("fe80::1"), 64), want: "not global unicast"},
		{name: "multicast", reply: reply(addr("ff0e::1"), 64), want: "not global unicast"},
		{name: "loopback", reply: reply(netip.IPv6Loopback(), 64), want: "not global unicast"},
		{name: "mapped", reply: reply(addr("::ffff:192.0.2.1"), 64), want: "not global unicast"},
		{name: "the agent's", reply: reply(agent, 64), want: "its own"},
		{name: "the care-of address", reply: reply(careOf, 64), want: "care-of address"},
		{name: "anycast", reply: reply(addr("2001:db8:1::"), 64), want: "anycast"},
		{name: "wide selectors", reply: reply(good, 64), local: netip.MustParsePrefix("::/0"), want: "selectors"},
		{name: "selectors of another", reply: reply(good, 64), local: netip.MustParsePrefix("2001:db8:1::78/128"), want: "selectors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := New(Config{IKE: ike.New(ike.Config{}, rand.Reader), Port: 500,
				Boot: &Boot{HomeAgent: agent, Scout: mn.NewScout(mn.Config{HomeAgent: agent})}})
			n.now = time.Unix(1_800_000_000, 0)
			n.boot.begun, n.boot.careOf, n.boot.req = true, careOf, 1
			n.bootUp(ike.SAUp{SA: 7, Req: 1, CFGReply: c.reply})
			if !c.local.IsValid() {
				c.local = netip.PrefixFrom(good, 128)
			}
			out := n.bootChildUp(ike.Child{SA: 7, Local: []message.Selector{message.PrefixSelector(c.local, protoMH)}}, nil)
			b := n.boot
			switch {
			case c.want == "" && (b.reason != "" || b.home.Addr() != good || len(out) != 0):
				t.Errorf("%q, %v", b.reason, b.home)
			case c.want != "" && (!strings.Contains(b.reason, c.want) || b.home.IsValid() || len(out) != 1 || b.retryAt.Sub(n.now) != bootPause):
				t.Errorf("%q, %v, %v", b.reason, b.home, out)
			}
		})
	}
}
