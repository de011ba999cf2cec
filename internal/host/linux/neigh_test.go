package linux

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/host"
)

// TestDropUnresolved lets packets wait for two neighbours that do not answer, and
// drops one of them.
func TestDropUnresolved(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h, i := a.open(Options{}), a.index("va")
	a.ip("addr add 2001:db8:99::1/64 dev va nodad")
	for _, dst := range []string{"2001:db8:99::2", "2001:db8:99::3"} {
		a.in(func() {
			c, err := net.Dial("udp6", net.JoinHostPort(dst, "9"))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Write([]byte("waits")); err != nil {
				t.Error(err)
			}
		})
	}
	before := a.ip("neigh show dev va")
	if strings.Count(before, "INCOMPLETE") != 2 {
		t.Fatalf("the neighbours are not being asked for:\n%s", before)
	}
	op := host.DropUnresolved{IfIndex: i, Keep: netip.MustParseAddr("2001:db8:99::3")}
	if err := h.Apply(context.Background(), []host.Op{op})[0]; err != nil {
		t.Fatal(err)
	}
	after := a.ip("neigh show dev va")
	if strings.Contains(after, "2001:db8:99::2 INCOMPLETE") || !strings.Contains(after, "2001:db8:99::3") {
		t.Errorf("afterwards:\n%s", after)
	}
}

// TestPutNeighbour records a neighbour that nobody has asked for, and another address over it.
func TestPutNeighbour(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h, i := a.open(Options{}), a.index("va")
	op := host.PutNeighbour{IfIndex: i, Addr: netip.MustParseAddr("2001:db8:99::2"), HardAddr: []byte{2, 0, 0, 0, 0, 7}}
	must(t, h, op, op)
	if got := a.ip("neigh show 2001:db8:99::2 dev va"); !strings.Contains(got, "lladdr 02:00:00:00:00:07 router") || !strings.Contains(got, "REACHABLE") {
		t.Errorf("recorded: %s", got)
	}
	op.HardAddr = []byte{2, 0, 0, 0, 0, 8}
	must(t, h, op)
	if got := a.ip("neigh show 2001:db8:99::2 dev va"); !strings.Contains(got, "02:00:00:00:00:08") {
		t.Errorf("recorded anew: %s", got)
	}
	// Back home: the first that leaves from the home address is what was to be sent, no solicitation.
	home := netip.MustParsePrefix("2001:db8:99::10/64")
	c := b.capture("vb")
	must(t, h, op, host.PutAddr{IfIndex: i, Prefix: home, Home: true, NoDAD: true})
	a.in(func() {
		conn, err := net.Dial("udp6", net.JoinHostPort(op.Addr.String(), "9"))
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("at once")); err != nil {
			t.Error(err)
		}
	})
	f := c.wait("a packet from the home address", func(f []byte) bool { return netip.AddrFrom16([16]byte(f[22:38])) == home.Addr() })
	if f[14+6] != 17 || !bytes.Equal(f[:6], op.HardAddr) {
		t.Errorf("first from the home address: % x", f)
	}
	op.HardAddr = []byte{1} // as no Ethernet has it
	if err := one(h, op); err == nil {
		t.Error("a link-layer address of one octet was taken")
	}
}
