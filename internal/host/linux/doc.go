// Package linux acts on the network of a Linux host: it implements host.Host
// with rtnetlink, raw ICMPv6 and Mobility Header sockets and /proc/sys.
//
// A Host belongs to the network namespace of the thread that called Open; its
// methods may be called from any goroutine.
//
// What it puts into the host carries a mark, so that it is found again after a
// crash: routes, rules, proxies and addresses have the protocol number
// RouteProtocol (Host.Owned lists them); sysctls are told to Options.OnSysctl
// before they are changed. A home agent answers for a proxied address only with
// net/ipv6/conf/IF/forwarding and net/ipv6/conf/IF/proxy_ndp at 1, and up to
// 0.8 s late unless net/ipv6/neigh/IF/proxy_delay is 0; setting them is the
// role's duty, by host.SetSysctl.
//
// Packets are counted by nf_tables (host.PutCounter), in a table ip6 mip6-count that belongs to
// the Host's socket and goes with it. That takes CONFIG_NF_TABLES_IPV6 and nft_objref.
package linux

import (
	"errors"
	"fmt"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// RouteProtocol marks our routes, rules, proxies and addresses (rtm_protocol,
// FRA_PROTOCOL, NDA_PROTOCOL, IFA_PROTO). 135 is the number of the Mobility
// Header; nothing in iproute2's rt_protos has it.
const RouteProtocol = 135

// Errors of this package; those of package host come from it as well.
var (
	ErrClosed   = errors.New("linux: host is closed")
	ErrWatching = errors.New("linux: already watching")
	// ErrFeature: the kernel lacks something; the error that wraps it names it.
	ErrFeature = errors.New("linux: the kernel lacks a feature")
	// ErrForeign: what is in the place is not ours and was left alone.
	ErrForeign = errors.New("linux: somebody else's object is in the place")
	// ErrBlocked: a policy or a packet filter forbids to send this.
	ErrBlocked = errors.New("linux: sending is blocked by a policy or a packet filter")
	// ErrSource: the source address is missing here, or still tentative.
	ErrSource = errors.New("linux: source address is not usable on this host")
	// ErrBusy: the socket's buffer is full; nothing was sent.
	ErrBusy = errors.New("linux: send buffer is full")
	// ErrPortInUse: another program has the UDP port.
	ErrPortInUse = errors.New("linux: UDP port is in use by another program")
)

// place makes an error of the kernel about a change or a socket one of ours.
func place(what string, err error) error {
	var e unix.Errno
	if !errors.As(err, &e) {
		if err == nil {
			return nil
		}
		return fmt.Errorf("linux: %s: %w", what, err)
	}
	switch e {
	case unix.EPERM, unix.EACCES:
		return fmt.Errorf("%w: %s", host.ErrPermission, what)
	case unix.ENODEV, unix.ENXIO:
		return fmt.Errorf("%w: %s", host.ErrNoLink, what)
	case unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ENOPROTOOPT:
		return fmt.Errorf("%w: %s: %w", ErrFeature, what, err)
	}
	return fmt.Errorf("linux: %s: %w", what, err)
}

// sending makes an error of a send call one of ours. Here EPERM is not about
// our privileges: it is what a blocking policy gives.
func sending(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %s", ErrBlocked, what)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		return fmt.Errorf("%w: %s", ErrBusy, what)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: %s: %w", ErrSource, what, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %s", host.ErrNoLink, what)
	}
	return fmt.Errorf("linux: %s: %w", what, err)
}
