package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Solicit sends one router solicitation with the source link-layer address (RFC
// 4861 §4.1) from a host's interface. Linux 6.1 sends none by itself when a carrier
// returns; on a node under test that is the node's duty, so this is for tests of
// the lab. It waits for the link-local address that it comes from.
func (l *Lab) Solicit(ctx context.Context, host, iface string) error {
	h := l.Host(host)
	if _, err := l.WaitAddr(ctx, host, iface, netip.MustParsePrefix("fe80::/10"), 5*time.Second); err != nil {
		return err
	}
	link, err := h.NL.LinkByName(iface)
	if err != nil {
		return err
	}
	msg := append([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1}, link.Attrs().HardwareAddr...)
	err = h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		routers := netip.MustParseAddr("ff02::2").As16()
		return unix.Sendto(fd, msg, 0, &unix.SockaddrInet6{Addr: routers, ZoneId: uint32(link.Attrs().Index)})
	})
	if err != nil {
		return fmt.Errorf("lab: %s: router solicitation on %s: %w", host, iface, err)
	}
	return nil
}
