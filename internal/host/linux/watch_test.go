package linux

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

func linkIs(name string, up bool) func(host.LinkChanged) bool {
	return func(e host.LinkChanged) bool { return e.Link.Name == name && e.Link.Up == up && !e.Gone }
}

func TestWatchCarrier(t *testing.T) {
	a, b := pair(t)
	h := a.open(Options{})
	l := watch(t, h)
	wait(l, "loopback", linkIs("lo", true))
	wait(l, "a is down", linkIs("va", false))
	up(t, a, b)
	e := wait(l, "a is up", linkIs("va", true))
	if e.Link.MTU != 1500 || len(e.Link.HardAddr) != 6 || e.Link.Index != a.index("va") {
		t.Errorf("link %+v", e.Link)
	}
	e = wait(l, "a has a link-local address", func(e host.LinkChanged) bool {
		return e.Link.Name == "va" && e.Link.LinkLocal.IsValid()
	})
	if !e.Link.LinkLocal.IsLinkLocalUnicast() {
		t.Errorf("link-local %v", e.Link.LinkLocal)
	}
	for range 3 {
		b.ip("link set vb down")
		wait(l, "carrier drops", linkIs("va", false))
		b.ip("link set vb up")
		wait(l, "carrier rises", linkIs("va", true))
	}
	// Both in one breath: the kernel may tell it in one message.
	b.in(func() { flap(t, b) })
	wait(l, "carrier drops", linkIs("va", false))
	wait(l, "carrier rises", linkIs("va", true))
	a.ip("link del va")
	wait(l, "a is gone", func(e host.LinkChanged) bool { return e.Gone && e.Link.Name == "va" })
}

// TestTunnels tells tunnels from other links. A kernel may lack a kind; those that it has are told right.
func TestTunnels(t *testing.T) {
	a, _ := pair(t)
	want := map[string]bool{"lo": false, "va": false}
	for _, c := range []struct {
		name, add string
		tunnel    bool
	}{
		{"d0", "link add d0 type dummy", false},
		{"t0", "tuntap add t0 mode tun", true},
		{"t1", "tuntap add t1 mode tap", false},
		{"w0", "link add w0 type wireguard", true},
		{"i0", "link add i0 type ip6tnl local 2001:db8::1 remote 2001:db8::2", true},
		{"s0", "link add s0 type sit local 192.0.2.1 remote 192.0.2.2", true},
		{"x0", "link add x0 type xfrm if_id 1", true},
		{"b0", "link add b0 type bridge", false},
	} {
		if out, err := a.run("ip " + c.add); err != nil {
			t.Logf("not here: %s: %s", c.add, strings.TrimSpace(out))
			continue
		}
		want[c.name] = c.tunnel
	}
	l := watch(t, a.open(Options{}))
	for len(want) > 0 {
		e := wait(l, "each link", func(e host.LinkChanged) bool { _, ok := want[e.Link.Name]; return ok })
		if e.Link.Tunnel != want[e.Link.Name] {
			t.Errorf("%s: tunnel %v", e.Link.Name, e.Link.Tunnel)
		}
		delete(want, e.Link.Name)
	}
}

// TestIsTunnel is for kinds of links that few kernels of tests have.
func TestIsTunnel(t *testing.T) {
	for _, c := range []struct {
		arp    uint16
		kind   string
		tunnel bool
	}{
		{unix.ARPHRD_ETHER, "", false},
		{unix.ARPHRD_ETHER, "tun", false}, // a tap
		{unix.ARPHRD_PPP, "ppp", false},
		{unix.ARPHRD_NONE, "", false}, // a modem that gives raw IP
		{unix.ARPHRD_NONE, "wwan", false},
		{unix.ARPHRD_NONE, "wireguard", true},
		{unix.ARPHRD_NONE, "xfrm", true},
		{unix.ARPHRD_TUNNEL6, "ip6tnl", true},
		{unix.ARPHRD_TUNNEL6, "vti6", true},
		{unix.ARPHRD_SIT, "sit", true},
		{unix.ARPHRD_IP6GRE, "ip6gre", true},
	} {
		if got := isTunnel(c.arp, c.kind); got != c.tunnel {
			t.Errorf("hardware type %d, kind %q: tunnel %v", c.arp, c.kind, got)
		}
	}
}

// flap drops and raises b by ioctl, without a fork in between. It runs in the namespace.
func flap(t *testing.T, n *space) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	for _, flags := range []uint16{0, unix.IFF_UP} {
		r, _ := unix.NewIfreq("vb")
		r.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			t.Error(err)
		}
	}
}

// A bridge port that leaves its bridge is told as deleted, in the bridge family.
func TestWatchBridgePort(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	if out, err := a.run("ip link add bridge0 type bridge"); err != nil {
		t.Skipf("the kernel has no bridges: %s", out)
	}
	l := watch(t, a.open(Options{}))
	wait(l, "a is up", linkIs("va", true))
	a.ip("link set va master bridge0")
	a.ip("link set va nomaster")
	a.ip("link set va mtu 1400")
	wait(l, "the MTU", func(e host.LinkChanged) bool {
		if e.Gone {
			t.Error("a port that left its bridge was told as gone")
		}
		return e.Link.Name == "va" && e.Link.MTU == 1400
	})
}

func TestWatchAddr(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	a.ip("addr add 2001:db8::1/64 dev va nodad valid_lft 1000 preferred_lft 500")
	l := watch(t, a.open(Options{}))
	is := func(addr string, gone bool) func(host.AddrChanged) bool {
		return func(e host.AddrChanged) bool {
			return e.Addr.Prefix == netip.MustParsePrefix(addr) && e.Gone == gone
		}
	}
	e := wait(l, "the present address", is("2001:db8::1/64", false))
	if e.Addr.Permanent || e.Addr.Preferred > 500*time.Second || e.Addr.Preferred < 490*time.Second ||
		e.Addr.Valid > 1000*time.Second || e.Addr.Valid < 990*time.Second || !e.Addr.Usable() {
		t.Errorf("address %+v", e.Addr)
	}
	a.ip("addr add 2001:db8::2/128 dev va home nodad")
	if e := wait(l, "a home address", is("2001:db8::2/128", false)); !e.Addr.Home || !e.Addr.Permanent || e.Addr.Valid != 0 {
		t.Errorf("address %+v", e.Addr)
	}
	a.ip("addr del 2001:db8::2/128 dev va")
	wait(l, "it goes", is("2001:db8::2/128", true))

	// With detection: usable only once that is over.
	a.setSysctl("net/ipv6/conf/all/accept_dad", "1")
	a.setSysctl("net/ipv6/conf/va/accept_dad", "1")
	a.ip("addr add 2001:db8::3/64 dev va")
	if e := wait(l, "a detected address", func(e host.AddrChanged) bool {
		return e.Addr.Prefix.Addr() == netip.MustParseAddr("2001:db8::3") && e.Addr.Usable()
	}); e.Addr.Tentative || e.Addr.Optimistic {
		t.Errorf("address %+v", e.Addr)
	}
	b.ip("addr add 2001:db8::4/64 dev vb nodad")
	a.ip("addr add 2001:db8::4/64 dev va")
	dup := is("2001:db8::4/64", false)
	wait(l, "a duplicate", func(e host.AddrChanged) bool {
		if dup(e) && e.Addr.Usable() {
			t.Errorf("address %+v", e.Addr)
		}
		return dup(e) && e.Addr.DADFailed
	})
}

func TestWatchOptimistic(t *testing.T) {
	a, b := pair(t)
	key := "net/ipv6/conf/va/optimistic_dad"
	if out, err := a.run("test -e /proc/sys/" + key); err != nil {
		t.Skipf("the kernel has no optimistic DAD %s", out)
	}
	for _, conf := range []string{"all", "va"} {
		a.setSysctl("net/ipv6/conf/"+conf+"/optimistic_dad", "1")
		a.setSysctl("net/ipv6/conf/"+conf+"/use_optimistic", "1")
	}
	l := watch(t, a.open(Options{}))
	b.ip("link set vb up")
	a.ip("link set va up")
	e := wait(l, "an optimistic link-local address", func(e host.AddrChanged) bool {
		return e.Addr.Prefix.Addr().IsLinkLocalUnicast()
	})
	if !e.Addr.Tentative || !e.Addr.Optimistic || !e.Addr.Usable() {
		t.Errorf("address %+v", e.Addr)
	}
	wait(l, "the end of detection", func(e host.AddrChanged) bool {
		return e.Addr.Prefix.Addr().IsLinkLocalUnicast() && !e.Addr.Tentative
	})
}

// An overrun is told, and after it the whole state, with what went meanwhile.
func TestWatchLost(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h := a.open(Options{})
	err := h.events.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	if err != nil {
		t.Fatal(err)
	}
	l := &log{t: t, more: make(chan struct{}, 1)}
	hold := make(chan struct{})
	seen := make(chan struct{})
	first := true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	gone := netip.MustParsePrefix("2001:db8::1/128")
	a.ip("addr add 2001:db8::1/128 dev va nodad")
	go func() {
		done <- h.Watch(ctx, func(e host.Event) {
			l.add(e)
			if c, ok := e.(host.AddrChanged); ok && first && c.Addr.Prefix == netip.MustParsePrefix("2001:db8::2/128") {
				first = false
				close(seen)
				<-hold // a slow sink: the buffer fills
			}
		})
	}()
	a.ip("addr add 2001:db8::2/128 dev va nodad")
	<-seen
	a.ip("addr del 2001:db8::1/128 dev va")
	for range 50 {
		a.ip("addr add 2001:db8::3/128 dev va nodad")
		a.ip("addr del 2001:db8::3/128 dev va")
	}
	a.ip("addr add 2001:db8::4/128 dev va nodad")
	close(hold)
	wait(l, "lost", func(e host.Lost) bool { return errors.Is(e.Err, unix.ENOBUFS) })
	wait(l, "what went", func(e host.AddrChanged) bool { return e.Gone && e.Addr.Prefix == gone })
	wait(l, "what came", func(e host.AddrChanged) bool {
		return !e.Gone && e.Addr.Prefix == netip.MustParsePrefix("2001:db8::4/128")
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if h.Stats().Overruns.Load() == 0 {
		t.Error("not counted")
	}
}

func TestWatchTwiceAndAgain(t *testing.T) {
	a := newNetNS(t)
	h := a.open(Options{})
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		l := &log{t: t, more: make(chan struct{}, 1)}
		done := make(chan error, 1)
		go func() { done <- h.Watch(ctx, l.add) }()
		wait(l, "loopback", linkIs("lo", true))
		if err := h.Watch(ctx, l.add); !errors.Is(err, ErrWatching) {
			t.Errorf("a second Watch: %v", err)
		}
		a.ip("link set lo down")
		wait(l, "loopback down", linkIs("lo", false))
		a.ip("link set lo up")
		wait(l, "loopback up", linkIs("lo", true))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	done := make(chan error, 1)
	l := &log{t: t, more: make(chan struct{}, 1)}
	go func() { done <- h.Watch(context.Background(), l.add) }()
	wait(l, "loopback", linkIs("lo", true))
	h.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Watch after Close: %v", err)
	}
	if err := h.Apply(context.Background(), []host.Op{host.SolicitRouter{IfIndex: 1}})[0]; !errors.Is(err, ErrClosed) {
		t.Errorf("Apply after Close: %v", err)
	}
	noGoroutines(t)
}

// noGoroutines fails while goroutines of this package's Host are left.
func noGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		buf := make([]byte, 1<<20)
		s := string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(s, "linux.(*Host)") && !strings.Contains(s, "linux.(*prober)") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines are left:\n%s", s)
		}
		runtime.Gosched()
	}
}
