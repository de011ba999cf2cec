package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/sockbypass"
	"golang.org/x/sys/unix"
)

func (n *space) listenIKE(o IKEOptions) *IKESocket {
	n.t.Helper()
	var s *IKESocket
	var err error
	n.in(func() { s, err = ListenIKE(o) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { s.Close() })
	return s
}

type message struct {
	data          string
	local, remote netip.AddrPort
	ifIndex       int
}

func read(t *testing.T, s *IKESocket) message {
	t.Helper()
	s.conn.SetReadDeadline(deadline())
	buf := make([]byte, 2048)
	n, local, remote, ifIndex, err := s.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return message{string(buf[:n]), local, remote, ifIndex}
}

// Replies leave from the address that was asked, whatever routing would choose.
func TestIKEAddresses(t *testing.T) {
	a, b := joined(t)
	b.ip("addr add 2001:db8::99/64 dev vb nodad")
	sa, sb := a.listenIKE(IKEOptions{}), b.listenIKE(IKEOptions{})
	from := netip.AddrPortFrom(addrA, IKEPort)
	for _, to := range []netip.Addr{addrB, netip.MustParseAddr("2001:db8::99")} {
		at := netip.AddrPortFrom(to, IKEPort)
		if err := sa.Write([]byte("request"), from, at); err != nil {
			t.Fatal(err)
		}
		if m, want := read(t, sb), (message{"request", at, from, b.index("vb")}); m != want {
			t.Fatalf("got %+v, want %+v", m, want)
		}
		if err := sb.Write([]byte("response"), at, from); err != nil {
			t.Fatal(err)
		}
		if m, want := read(t, sa), (message{"response", from, at, a.index("va")}); m != want {
			t.Fatalf("got %+v, want %+v", m, want)
		}
	}
	if err := sa.Write([]byte("x"), netip.AddrPortFrom(homeA, IKEPort), netip.AddrPortFrom(addrB, IKEPort)); !errors.Is(err, ErrSource) {
		t.Errorf("from an address that is not here: %v", err)
	}
	// What is too long for the reader is passed over.
	sa.Write(bytes.Repeat([]byte("x"), 3000), from, netip.AddrPortFrom(addrB, IKEPort))
	sa.Write([]byte("short"), from, netip.AddrPortFrom(addrB, IKEPort))
	if m := read(t, sb); m.data != "short" {
		t.Errorf("got %q", m.data)
	}
}

func TestIKEPortInUse(t *testing.T) {
	a := newNetNS(t)
	s := a.listenIKE(IKEOptions{})
	a.in(func() {
		_, err := ListenIKE(IKEOptions{})
		if !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), "port 500") || strings.Count(err.Error(), "\n") != 0 {
			t.Errorf("the port is in use: %v", err)
		}
		if s, err := ListenIKE(IKEOptions{Port: 4500}); err != nil || s.Port() != 4500 {
			t.Errorf("another port: %v", err)
		} else {
			s.Close()
		}
	})
	s.Close()
	if _, _, _, _, err := s.Read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// IKE passes where a policy blocks everything else between the two, and only IKE.
func TestIKEBypass(t *testing.T) {
	a, b := joined(t)
	for _, n := range []*space{a, b} {
		for _, dir := range []string{"in", "out"} {
			if out, err := n.run("ip xfrm policy add src ::/0 dst ::/0 dir " + dir + " action block"); err != nil {
				t.Skipf("the kernel has no IPsec policies: %s", out)
			}
		}
		// Neighbour discovery has no bypass here, so the neighbours are told.
	}
	mac := func(n *space, dev string) string {
		out := n.ip("link show dev " + dev)
		_, rest, _ := strings.Cut(out, "link/ether ")
		return strings.Fields(rest)[0]
	}
	a.ip(fmt.Sprintf("neigh replace %v lladdr %s dev va nud permanent", addrB, mac(b, "vb")))
	b.ip(fmt.Sprintf("neigh replace %v lladdr %s dev vb nud permanent", addrA, mac(a, "va")))
	sa, sb := a.listenIKE(IKEOptions{}), b.listenIKE(IKEOptions{})
	from, to := netip.AddrPortFrom(addrA, IKEPort), netip.AddrPortFrom(addrB, IKEPort)
	if err := sa.Write([]byte("request"), from, to); err != nil {
		t.Fatal(err)
	}
	if m := read(t, sb); m.data != "request" {
		t.Errorf("got %+v", m)
	}
	a.in(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		sa := &unix.SockaddrInet6{Port: 500, Addr: addrB.As16()}
		if err := unix.Sendto(fd, []byte("plain"), 0, sa); err != unix.EPERM {
			t.Errorf("a plain socket: %v", err)
		}
		if err := sockbypass.Set(fd, unix.AF_INET6); err != nil {
			t.Errorf("bypass: %v", err)
		}
		if err := unix.Sendto(fd, []byte("bypassed"), 0, sa); err != nil {
			t.Errorf("a bypassed socket: %v", err)
		}
		v4, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(v4)
		if err := sockbypass.Set(v4, unix.AF_INET); err != nil {
			t.Errorf("bypass of an IPv4 socket: %v", err)
		}
		if err := sockbypass.Set(-1, unix.AF_INET6); !errors.Is(err, unix.EBADF) {
			t.Errorf("no socket: %v", err)
		}
	})
}

func TestIKENoAllocation(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	a := newNetNS(t)
	s := a.listenIKE(IKEOptions{})
	at := netip.AddrPortFrom(netip.IPv6Loopback(), IKEPort)
	data, buf := []byte("request"), make([]byte, 2048)
	s.conn.SetReadDeadline(deadline())
	n := testing.AllocsPerRun(100, func() {
		if err := s.Write(data, at, at); err != nil {
			t.Fatal(err)
		}
		if _, _, _, _, err := s.Read(buf); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a message sent and received", n)
	}
}
