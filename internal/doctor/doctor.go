// Package doctor finds out whether this host has what mip6 needs, by trying, and
// says what to do about what it lacks. Both the daemon and mip6ctl ask it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/kernel"
)

// Options say what to look at.
type Options struct {
	// Ports are UDP ports that must be free; nil where the daemon holds them itself.
	Ports []uint16
	// Correspondent: this host has no other role and no IKE, so that it needs the headers
	// of Mobile IPv6 and nothing more.
	Correspondent bool
}

// Ports are those that mip6d listens on unless configured otherwise: IKE's (RFC 7296
// §2), and that of NAT traversal.
var Ports = []uint16{500, 4500}

// protoMH is the Mobility Header (RFC 6275 §6.1.1).
const protoMH = 135

// features are the capabilities of a kernel in the order in which they are told.
// ESP, the headers of Mobile IPv6 and migration are what the main job is made of; route
// optimization needs the headers alone, and AH where a profile asks for it.
var features = []struct {
	name, what string
	needed     bool
	has        func(xfrm.Caps) bool
}{
	{"ESP6", "IPsec ESP over IPv6 with AES-GCM", true, func(c xfrm.Caps) bool { return c.ESP6 }},
	{"MIP6", "home address option and type 2 routing header, by which optimised routes go too", true, func(c xfrm.Caps) bool { return c.MIP6 }},
	{"Migrate", "moving policies and SAs to a new address (MIGRATE)", true, func(c xfrm.Caps) bool { return c.Migrate }},
	{"SubPolicy", "policies of type SUB", false, func(c xfrm.Caps) bool { return c.SubPolicy }},
	{"AH6", "IPsec AH over IPv6, for protect = \"ah\" between node and correspondent", false, func(c xfrm.Caps) bool { return c.AH6 }},
}

// Check tries everything. It changes nothing that lasts.
func Check(ctx context.Context, o Options) []control.Finding {
	out := []control.Finding{kernelRelease(), ipv6(), rawSocket()}
	out = append(out, xfrmFindings(ctx)...)
	for _, p := range o.Ports {
		if ctx.Err() != nil {
			break
		}
		out = append(out, port(p))
	}
	out = append(out, optimisticDAD(), nftables())
	if o.Correspondent {
		for i := range out {
			out[i].Needed = out[i].Needed && !secures[out[i].Feature]
		}
	}
	return out
}

// secures are the features that serve IPsec, which a correspondent may do without.
var secures = map[string]bool{"ESP6": true, "Migrate": true}

// Healthy says whether everything that is needed is there.
func Healthy(findings []control.Finding) bool {
	for _, f := range findings {
		if f.Needed && !f.OK {
			return false
		}
	}
	return true
}

func kernelRelease() control.Finding {
	f := control.Finding{Feature: "kernel", Needed: true, OK: true}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.OK, f.Detail = false, err.Error()
		return f
	}
	f.Detail = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	return f
}

func ipv6() control.Finding {
	f := control.Finding{Feature: "IPv6", Needed: true}
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	switch {
	case err != nil:
		f.Detail, f.Remedy = "this kernel has no IPv6", "Boot without ipv6.disable=1, or load the module ipv6."
	case strings.TrimSpace(string(b)) != "0":
		f.Detail, f.Remedy = "switched off", "sysctl -w net.ipv6.conf.all.disable_ipv6=0"
	default:
		f.OK = true
	}
	return f
}

// rawSocket tries the socket by which Mobility Headers come and go.
func rawSocket() control.Finding {
	f := control.Finding{Feature: "raw Mobility Header socket", Needed: true}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protoMH)
	if err == nil {
		unix.Close(fd)
		f.OK = true
		return f
	}
	f.Detail = err.Error()
	f.Remedy = "Use a kernel with raw IPv6 sockets."
	if errors.Is(err, os.ErrPermission) {
		f.Remedy = "Run as root, or with CAP_NET_RAW and CAP_NET_ADMIN."
	}
	return f
}

func xfrmFindings(ctx context.Context) []control.Finding {
	b, err := kernel.Open(kernel.Options{Sockets: 1})
	if err != nil {
		f := control.Finding{Feature: "XFRM", Needed: true, Detail: err.Error(), Remedy: kernel.Remedies["XFRM"]}
		if errors.Is(err, xfrm.ErrPermission) {
			f.Remedy = "Run as root, or with CAP_NET_ADMIN."
		}
		return []control.Finding{f}
	}
	defer b.Close()
	return append(fromCaps(b.Caps()), thresholds(ctx, b))
}

// fromCaps turns what a backend can do into findings.
func fromCaps(c xfrm.Caps) []control.Finding {
	var out []control.Finding
	for _, ft := range features {
		f := control.Finding{Feature: ft.name, Needed: ft.needed, OK: ft.has(c), Detail: ft.what}
		for _, m := range c.Missing {
			if m.Feature == ft.name && !f.OK {
				f.Remedy = m.Remedy
				if m.Err != nil {
					f.Detail += ": " + m.Err.Error()
				}
			}
		}
		out = append(out, f)
	}
	types := control.Finding{Feature: "InboundTypes", OK: c.InboundTypes, Detail: "inbound policies tell Mobility Header types apart"}
	if !types.OK {
		types.Detail = "inbound policies do not tell Mobility Header types apart (Linux 6.7 and later); mip6 does without"
	}
	return append(out, types)
}

func thresholds(ctx context.Context, b *kernel.Backend) control.Finding {
	f := control.Finding{Feature: "SPD hash thresholds"}
	t, err := b.Thresholds(ctx)
	if err != nil {
		f.Detail = err.Error()
		f.Remedy = "Nothing must be done; with thousands of nodes a newer kernel is quicker."
		return f
	}
	f.OK = true
	f.Detail = fmt.Sprintf("local %d, remote %d", t.Local, t.Remote)
	return f
}

// port sees whether anybody holds a UDP port: another IKE daemon, most likely.
func port(p uint16) control.Finding {
	f := control.Finding{Feature: fmt.Sprintf("UDP port %d", p), Needed: true}
	conn, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Unspecified(), p)))
	if err == nil {
		conn.Close()
		f.OK, f.Detail = true, "free"
		return f
	}
	f.Detail = err.Error()
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		f.Detail = "in use"
		f.Remedy = fmt.Sprintf("Stop the other IKE daemon (ss -ulpn 'sport = :%d' names it).", p)
	case errors.Is(err, os.ErrPermission):
		f.Remedy = "Run as root, or with CAP_NET_BIND_SERVICE."
	}
	return f
}

func optimisticDAD() control.Finding {
	f := control.Finding{Feature: "optimistic DAD", OK: true, Detail: "for dad = \"optimistic\" (RFC 4429)"}
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/all/optimistic_dad"); err != nil {
		f.OK = false
		f.Remedy = "Use a kernel built with CONFIG_IPV6_OPTIMISTIC_DAD; else dad = \"kernel\" or \"off\"."
	}
	return f
}
