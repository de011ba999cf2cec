package conformance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name.
type space struct {
	ns netns.NsHandle
	nl *netlink.Handle
}

func newSpace() (s space, err error) {
	runtime.LockOSThread()
	was, err := netns.Get()
	if err != nil {
		return s, err
	}
	defer was.Close()
	if s.ns, err = netns.New(); err != nil {
		return s, fmt.Errorf("conformance: network namespace: %w (is this root?)", err)
	}
	if err := netns.Set(was); err != nil {
		return s, err // the thread stays locked, and dies with its goroutine
	}
	runtime.UnlockOSThread()
	if s.nl, err = netlink.NewHandleAt(s.ns); err != nil {
		return s, err
	}
	lo, err := s.nl.LinkByName("lo")
	if err != nil {
		return s, err
	}
	return s, s.nl.LinkSetUp(lo)
}

// do runs f on a thread in the namespace: sockets and processes of f stay there.
func (s space) do(f func() error) error {
	runtime.LockOSThread()
	was, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer was.Close()
	if err := netns.Set(s.ns); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := netns.Set(was); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// sysctls writes "name=value" each, below net/ipv6/conf.
func (s space) sysctls(settings ...string) error {
	return s.do(func() error {
		for _, set := range settings {
			name, value, _ := strings.Cut(set, "=")
			if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name), []byte(value), 0); err != nil {
				return fmt.Errorf("conformance: sysctl %s: %w", set, err)
			}
		}
		return nil
	})
}

func (s space) close() {
	if s.nl != nil {
		s.nl.Close()
	}
	if s.ns != 0 {
		s.ns.Close()
	}
}

// link is a veth pair: one end in the node's namespace, the other the Tester's, held
// by a packet socket alone (the kernel there has no IPv6).
type link struct {
	tester, node space
	fd           int
	packets      chan []byte
	overrun      atomic.Bool
	stopped      atomic.Bool
	done         chan struct{}
	adverts      []netip.Prefix  // what R0 advertises
	alive        chan netip.Addr // addresses that answered a solicitation
}

// iface is the node's interface, and the Tester's.
const iface = "eth0"

func newLink(adverts ...netip.Prefix) (l *link, err error) {
	l = &link{fd: -1, packets: make(chan []byte, 4096), done: make(chan struct{}), adverts: adverts, alive: make(chan netip.Addr, 64)}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.tester, err = newSpace(); err != nil {
		return l, err
	}
	if l.node, err = newSpace(); err != nil {
		return l, err
	}
	if err = l.tester.sysctls("all/disable_ipv6=1", "default/disable_ipv6=1"); err != nil {
		return l, err
	}
	// The node's address is foretold from its MAC, and there at once.
	if err = l.node.sysctls("all/accept_dad=0", "default/accept_dad=0", "default/addr_gen_mode=0", "default/use_tempaddr=0",
		"default/accept_ra=1", "default/router_solicitations=0"); err != nil {
		return l, err
	}
	a := netlink.NewLinkAttrs()
	a.Name, a.HardwareAddr, a.Namespace = iface, net.HardwareAddr(testerMAC[:]), netlink.NsFd(l.tester.ns)
	v := &netlink.Veth{LinkAttrs: a, PeerName: iface, PeerHardwareAddr: net.HardwareAddr(nodeMAC[:]), PeerNamespace: netlink.NsFd(l.node.ns)}
	if err = netlink.LinkAdd(v); err != nil {
		return l, fmt.Errorf("conformance: veth: %w", err)
	}
	for _, s := range []space{l.tester, l.node} {
		dev, err := s.nl.LinkByName(iface)
		if err != nil {
			return l, err
		}
		if err := s.nl.LinkSetUp(dev); err != nil {
			return l, err
		}
	}
	if err = l.tester.do(l.open); err != nil {
		return l, fmt.Errorf("conformance: packet socket: %w", err)
	}
	go l.receive()
	return l, nil
}

// open opens the packet socket on the Tester's end.
func (l *link) open() error {
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	const ipv6 = unix.ETH_P_IPV6<<8&0xff00 | unix.ETH_P_IPV6>>8
	if l.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(l.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		return err
	}
	all := &unix.PacketMreq{Ifindex: int32(dev.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(l.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, all); err != nil {
		return err
	}
	return unix.Bind(l.fd, &unix.SockaddrLinklayer{Protocol: ipv6, Ifindex: dev.Index})
}

// receive sorts what the node sends until the link is closed: neighbour discovery is
// answered here, the rest waits for Next.
func (l *link) receive() {
	defer close(l.done)
	buf := make([]byte, 64<<10)
	for !l.stopped.Load() {
		n, from, err := unix.Recvfrom(l.fd, buf, 0)
		if err != nil || n < 14+40 {
			continue // the time-out, with which stopped is looked at
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		packet := append([]byte(nil), buf[14:n]...)
		if l.discovery(packet, buf[6:12]) {
			continue
		}
		select {
		case l.packets <- packet:
		default:
			l.overrun.Store(true)
		}
	}
}

// transmit sends an IPv6 packet from R0 to a MAC address.
func (l *link) transmit(mac []byte, packet []byte) error {
	frame := append(append(append([]byte(nil), mac...), testerMAC[:]...), 0x86, 0xdd)
	_, err := unix.Write(l.fd, append(frame, packet...))
	return err
}

// close ends the link. A namespace ends with the last process in it.
func (l *link) close() {
	l.stopped.Store(true)
	if l.fd >= 0 {
		<-l.done
		unix.Close(l.fd)
	}
	l.tester.close()
	l.node.close()
}

// next is Wire.Next.
func (l *link) next(limit time.Duration) ([]byte, bool) {
	select {
	case p := <-l.packets:
		return p, true
	default:
	}
	if limit <= 0 {
		return nil, false
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case p := <-l.packets:
		return p, true
	case <-t.C:
		return nil, false
	}
}
