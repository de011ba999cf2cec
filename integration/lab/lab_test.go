package lab

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/integration/vm"
	"github.com/mip6/mip6/internal/pcap"
)

// needKernel skips a test that builds a lab where it is not in a guest of package vm.
func needKernel(t *testing.T) {
	t.Helper()
	if os.Getenv(vm.EnvKernel) == "" {
		t.Skipf("needs namespaces of a kernel of its own: go run ./integration/cmd/vmtest ./integration/lab")
	}
}

// start builds the plan's lab, to be closed at the test's end.
func start(t *testing.T, p Plan) (context.Context, *Lab) {
	t.Helper()
	needKernel(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	l, err := Start(ctx, p, Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, l
}

// forgetRouters deletes the mobile node's default routes. Without it Linux goes on
// with the old link's router until neighbour unreachability detection finds out,
// 3-6 s after a move; on a node under test that is the node's duty.
func forgetRouters(t *testing.T, l *Lab) {
	t.Helper()
	nl := l.Host(MN).NL
	routes, err := whole(func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if err := nl.RouteDel(&r); err != nil {
			t.Fatal(err)
		}
	}
}

// echoesIn counts the ICMPv6 echo messages of a type between two addresses in a
// capture file.
func echoesIn(t *testing.T, file string, typ byte, src, dst netip.Addr) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packets, err := pcap.ReadAll(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	n := 0
	for _, p := range packets {
		b, ok := p.IPv6()
		if !ok || len(b) < 48 || b[6] != unix.IPPROTO_ICMPV6 || b[40] != typ {
			continue
		}
		if netip.AddrFrom16([16]byte(b[8:])) == src && netip.AddrFrom16([16]byte(b[24:])) == dst {
			n++
		}
	}
	return n
}

// checkPing pings the correspondent from an address of the mobile node, until
// answers come, and checks the round trip.
func checkPing(t *testing.T, l *Lab, from netip.Addr) {
	t.Helper()
	begin := time.Now()
	ping, err := l.Ping(MN, from, l.Plan.CN, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	err = ping.WaitAnswer(t.Context(), begin, 10*time.Second)
	first := time.Since(begin)
	echoes := ping.Stop(100 * time.Millisecond)
	if err != nil {
		out, _ := l.Host(MN).Output(context.Background(), "ip", "-6", "route")
		t.Fatalf("%v\n%s", err, out)
	}
	best := time.Hour
	for _, e := range echoes {
		if e.RTT != 0 {
			best = min(best, e.RTT)
		}
	}
	if want := l.Plan.RTT(); l.Link() != Home && (best < want || best > want+want/2) {
		t.Errorf("round trip %v, want a little over %v", best, want)
	}
	outage, _, _ := echoes.Outage()
	if first > time.Second {
		t.Errorf("first answer after %v", first)
	}
	t.Logf("ping from %v: first answer after %v, %d of %d lost, outage %v, at best %v", from, first, echoes.Lost(), len(echoes), outage, best)
}

// TestMove takes the mobile node around all links and checks what the captures saw.
func TestMove(t *testing.T) {
	ctx, l := start(t, DefaultPlan())
	p := l.Plan
	caps, err := l.Capture(l.path("pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []Link{Foreign1, Foreign2, Home, Foreign1} {
		down, up, err := l.Move(ctx, to)
		if err != nil {
			t.Fatal(err)
		}
		forgetRouters(t, l)
		if err := l.Solicit(ctx, MN, MNIface); err != nil {
			t.Fatal(err)
		}
		got, err := l.WaitAddr(ctx, MN, MNIface, p.Prefix(to), 10*time.Second)
		if err != nil {
			out, _ := l.Host(MN).Output(ctx, "ip", "addr")
			t.Fatalf("%v\n%s", err, out)
		}
		if got != p.SLAAC(to) || l.Link() != to {
			t.Errorf("on %s the address is %v, want %v", l.Link(), got, p.SLAAC(to))
		}
		t.Logf("moved to %s: %v without carrier; address after %v", to, up.Sub(down), time.Since(up))
		checkPing(t, l, got)
	}
	if err := caps.Stop(); err != nil {
		t.Error(err)
	}
	// Every capture on the path from foreign link 2 holds the requests, the others none.
	const echoRequest = 128
	want := echoesIn(t, l.path("pcap/cn-eth0.pcapng"), echoRequest, p.SLAAC(Foreign2), p.CN)
	if want < 10 {
		t.Errorf("%d echo requests at the correspondent", want)
	}
	for name, on := range map[string]bool{
		"mn-eth0": true, "links-f2": true, "router-f2": true, "router-core0": true, "core-router0": true, "core-cn0": true,
		"links-f1": false, "links-home": false, "ha-core0": false, "ha-home0": false, "router-f1": false, "core-ha0": false,
	} {
		n := echoesIn(t, l.path("pcap/"+name+".pcapng"), echoRequest, p.SLAAC(Foreign2), p.CN)
		if on && n < want || !on && n != 0 {
			t.Errorf("%s holds %d echo requests of %d", name, n, want)
		}
	}
	if n := len(caps.Files()); n != 13 {
		t.Errorf("%d capture files", n)
	}
}
