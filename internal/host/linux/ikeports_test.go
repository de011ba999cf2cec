package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (n *space) listenPorts() *IKEPorts {
	n.t.Helper()
	var p *IKEPorts
	var err error
	n.in(func() { p, err = ListenIKEPorts(0, 0) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(p.Close)
	return p
}

// cmd runs a command in the namespace, which has to succeed.
func (n *space) cmd(line string) {
	n.t.Helper()
	if out, err := n.run(line); err != nil {
		n.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// socket is the one of a port and a family.
func (p *IKEPorts) socket(t *testing.T, port uint16, v4 bool) *IKESocket {
	t.Helper()
	for _, s := range p.Sockets() {
		if s.port == port && s.ipv4 == v4 {
			return s
		}
	}
	t.Fatalf("no socket of port %d", port)
	return nil
}

var fourA, fourB = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

// Messages of both families leave by the port that their source names, and come back to it.
func TestIKEPorts(t *testing.T) {
	a, b := joined(t)
	a.cmd("ip addr add 192.0.2.1/24 dev va")
	b.cmd("ip addr add 192.0.2.2/24 dev vb")
	b.cmd("ip addr add 192.0.2.3/24 dev vb")
	pa, pb := a.listenPorts(), b.listenPorts()
	if got := strings.Join(pa.Listening(), " "); got != "[::]:500 [::]:4500 0.0.0.0:500 0.0.0.0:4500" {
		t.Errorf("listening on %s", got)
	}
	for _, x := range []struct{ from, to netip.Addr }{{addrA, addrB}, {fourA, fourB}, {fourA, netip.MustParseAddr("192.0.2.3")}} {
		for _, port := range []uint16{IKEPort, NATPort} {
			from, to := netip.AddrPortFrom(x.from, port), netip.AddrPortFrom(x.to, port)
			for range 2 { // the answer too
				if err := pa.Write([]byte("a message"), from, to); err != nil {
					t.Fatal(err)
				}
				if m := read(t, pb.socket(t, port, x.to.Is4())); m.data != "a message" || m.local != to || m.remote != from || m.ifIndex == 0 {
					t.Fatalf("%v to %v: got %+v", from, to, m)
				}
				from, to, pa, pb = to, from, pb, pa
			}
		}
	}
	four := netip.AddrPortFrom(fourB, IKEPort)
	if err := pa.Write([]byte("x"), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), IKEPort), four); err == nil {
		t.Errorf("from an address that is not here: %v", err)
	}
	if err := pa.Write([]byte("x"), netip.AddrPort{}, four); err != nil {
		t.Errorf("the kernel's choice: %v", err)
	}
}

// On the port of UDP encapsulation a message without the non-ESP marker is no IKE, and
// a keepalive is for nobody.
func TestIKEEncapPort(t *testing.T) {
	a, b := joined(t)
	a.cmd("ip addr add 192.0.2.1/24 dev va")
	b.cmd("ip addr add 192.0.2.2/24 dev vb")
	pa, pb := a.listenPorts(), b.listenPorts()
	for _, x := range []struct{ from, to netip.Addr }{{addrA, addrB}, {fourA, fourB}} {
		from, to := netip.AddrPortFrom(x.from, NATPort), netip.AddrPortFrom(x.to, NATPort)
		raw := pa.socket(t, NATPort, x.to.Is4())
		at := pb.socket(t, NATPort, x.to.Is4())
		if err := pa.Keepalive(from, to); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"\xff", "\x00", "\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x01\x00 an ESP packet of some length", "short"} {
			if err := raw.write([]byte(bad), from, to); err != nil {
				t.Fatal(err)
			}
		}
		if err := pa.Write([]byte("a message"), from, to); err != nil {
			t.Fatal(err)
		}
		if m := read(t, at); m.data != "a message" {
			t.Errorf("got %q", m.data)
		}
		// The other port has no marker.
		plain := pa.socket(t, IKEPort, x.to.Is4())
		if err := plain.write([]byte(marker), from, netip.AddrPortFrom(x.to, IKEPort)); err != nil {
			t.Fatal(err)
		}
		if m := read(t, pb.socket(t, IKEPort, x.to.Is4())); m.data != marker {
			t.Errorf("got %q", m.data)
		}
	}
}

// The kernel must have been told of ESP on the port, or it would come here.
func TestIKEEncapOption(t *testing.T) {
	a := newNetNS(t)
	p := a.listenPorts()
	for _, s := range p.Sockets() {
		rc, err := s.conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		rc.Control(func(fd uintptr) {
			v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, udpEncap)
			if errors.Is(err, unix.ENOPROTOOPT) {
				t.Skip("the kernel has no ESP in UDP")
			}
			if want := s.encap; err != nil || (v == udpEncapESPInUDP) != want {
				t.Errorf("port %d: %d %v", s.port, v, err)
			}
		})
	}
}

func TestIKEPortsInUse(t *testing.T) {
	a := newNetNS(t)
	a.listenIKE(IKEOptions{Encap: true, IPv4: true})
	a.in(func() {
		if _, err := ListenIKEPorts(0, 0); !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), "4500") {
			t.Errorf("got %v", err)
		}
		if p, err := ListenIKEPorts(4501, 4501); err != nil || len(p.Sockets()) != 2 {
			t.Errorf("one port for both: %v", err)
		} else {
			p.Close()
		}
		// What was opened before is closed again.
		if s, err := ListenIKE(IKEOptions{}); err != nil {
			t.Errorf("port 500: %v", err)
		} else {
			s.Close()
		}
	})
}

// natted is a client and a server with a masquerade between them, over IPv4 and IPv6.
func natted(t *testing.T) (client, box, server *space) {
	client, box, server = newNetNS(t), newNetNS(t), newNetNS(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft of nftables")
	}
	link := func(x *space, xd string, y *space, yd string) {
		x.ip(fmt.Sprintf("link add %s type veth peer name %s netns /proc/%d/fd/%d", xd, yd, os.Getpid(), y.f.Fd()))
		for _, e := range []struct {
			n *space
			d string
		}{{x, xd}, {y, yd}} {
			e.n.cmd("ip link set " + e.d + " up")
		}
	}
	link(client, "c0", box, "b0")
	link(box, "b1", server, "s0")
	for _, c := range []struct {
		n     *space
		lines []string
	}{
		{client, []string{"ip addr add 10.0.0.2/24 dev c0", "ip addr add fd00::2/64 dev c0 nodad", "ip route add default via 10.0.0.1", "ip -6 route add default via fd00::1"}},
		{box, []string{"ip addr add 10.0.0.1/24 dev b0", "ip addr add fd00::1/64 dev b0 nodad", "ip addr add 198.51.100.1/24 dev b1", "ip addr add 2001:db8:5::1/64 dev b1 nodad"}},
		{server, []string{"ip addr add 198.51.100.9/24 dev s0", "ip addr add 2001:db8:5::9/64 dev s0 nodad"}},
	} {
		for _, l := range c.lines {
			c.n.cmd(l)
		}
	}
	box.setSysctl("net/ipv4/ip_forward", "1")
	box.setSysctl("net/ipv6/conf/all/forwarding", "1")
	for _, l := range []string{"nft add table inet nat", "nft add chain inet nat post { type nat hook postrouting priority srcnat ; }",
		"nft add rule inet nat post oifname b1 meta l4proto udp masquerade to :20000-20999 random"} {
		if out, err := box.run(l); err != nil {
			t.Skipf("the kernel has no masquerade: %s: %s", l, out)
		}
	}
	return client, box, server
}

// Through a masquerade the server sees another address and port, and its answer comes back to the
// port that asked; when the box has another address it sees that one.
func TestIKEThroughNAT(t *testing.T) {
	client, box, server := natted(t)
	pc, ps := client.listenPorts(), server.listenPorts()
	for _, x := range []struct{ in, out, next, srv, flag string }{
		{"10.0.0.2", "198.51.100.1", "198.51.100.7", "198.51.100.9", ""},
		{"fd00::2", "2001:db8:5::1", "2001:db8:5::7", "2001:db8:5::9", " nodad"},
	} {
		srv := netip.MustParseAddr(x.srv)
		for _, port := range []uint16{IKEPort, NATPort} {
			from, to := netip.AddrPortFrom(netip.MustParseAddr(x.in), port), netip.AddrPortFrom(srv, port)
			at, back := ps.socket(t, port, srv.Is4()), pc.socket(t, port, srv.Is4())
			m := exchange(t, pc, at, from, to, x.out)
			if err := ps.Write([]byte("answer"), m.local, m.remote); err != nil {
				t.Fatal(err)
			}
			if r := read(t, back); r.data != "answer" || r.local != from || r.remote != to {
				t.Errorf("answered by %+v", r)
			}
		}
		// The masquerade forgets what went by an address that is gone (nf_nat_masquerade).
		mask := "/24"
		if !srv.Is4() {
			mask = "/64"
		}
		box.cmd("ip addr del " + x.out + mask + " dev b1")
		box.cmd("ip addr add " + x.next + mask + " dev b1" + x.flag)
		from, to := netip.AddrPortFrom(netip.MustParseAddr(x.in), NATPort), netip.AddrPortFrom(srv, NATPort)
		if err := pc.Keepalive(from, to); err != nil { // opens the new mapping, and is not read
			t.Fatal(err)
		}
		exchange(t, pc, ps.socket(t, NATPort, srv.Is4()), from, to, x.next)
	}
}

// exchange sends a message to the server, which has to see it come from the box's address
// and one of its ports.
func exchange(t *testing.T, p *IKEPorts, at *IKESocket, from, to netip.AddrPort, seen string) message {
	t.Helper()
	if err := p.Write([]byte("request"), from, to); err != nil {
		t.Fatal(err)
	}
	m := read(t, at)
	if m.data != "request" || m.local != to || m.remote.Addr().String() != seen || m.remote.Port() < 20000 || m.remote.Port() > 20999 {
		t.Fatalf("%v: got %+v", to, m)
	}
	return m
}
