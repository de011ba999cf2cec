package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// Attributes and flags of a neighbour (uapi linux/neighbour.h).
const (
	ndaDst      = 1
	ndaProtocol = 12 // Linux 5.2
	ntfProxy    = 0x08
	ndmsgLen    = 12
)

// neighHeader is struct ndmsg of a proxy: family, padding, index, state, flags, type.
func neighHeader(ifIndex int) []byte {
	b := binary.NativeEndian.AppendUint32([]byte{unix.AF_INET6, 0, 0, 0}, uint32(ifIndex))
	return append(b, 0, 0, ntfProxy, 0)
}

func (h *Host) putProxy(o host.PutProxy) error {
	b := appendAttrAddr(neighHeader(o.IfIndex), ndaDst, o.Addr)
	b = appendAttr(b, ndaProtocol, []byte{RouteProtocol})
	err := h.reqs.do(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
	return place(fmt.Sprintf("add proxy for %v", o.Addr), err)
}

func (h *Host) delProxy(o host.DelProxy) error {
	err := h.reqs.do(unix.RTM_DELNEIGH, 0, appendAttrAddr(neighHeader(o.IfIndex), ndaDst, o.Addr))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil // not there, or its link is not
	}
	return place(fmt.Sprintf("delete proxy for %v", o.Addr), err)
}

// proxies lists our proxies.
func (n *rtnl) proxies() ([]host.PutProxy, error) {
	var out []host.PutProxy
	err := n.dump(unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, neighHeader(0), func() { out = out[:0] }, func(b []byte) {
		if len(b) < ndmsgLen || b[0] != unix.AF_INET6 || b[10]&ntfProxy == 0 {
			return
		}
		p := host.PutProxy{IfIndex: int(binary.NativeEndian.Uint32(b[4:]))}
		var proto uint8
		eachAttr(b[ndmsgLen:], func(typ uint16, v []byte) {
			switch typ {
			case ndaDst:
				p.Addr = attrAddr(v)
			case ndaProtocol:
				if len(v) > 0 {
					proto = v[0]
				}
			}
		})
		if proto == RouteProtocol && p.Addr != (netip.Addr{}) {
			out = append(out, p)
		}
	})
	return out, place("list proxies", err)
}

// Owned implements host.Host. Besides routes, rules and proxies it lists
// addresses, where the kernel keeps their mark (Linux 5.18). Their NoDAD, which
// no kernel tells, is set. Defaults are told as zero: the loopback interface,
// the main table, the kernel's metric 1024.
func (h *Host) Owned(ctx context.Context) ([]host.Op, error) {
	var out []host.Op
	addrs, err := h.dumps.addrs(0)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if a.proto == RouteProtocol {
			if a.IfIndex == loopback {
				a.IfIndex = 0
			}
			out = append(out, host.PutAddr{IfIndex: a.IfIndex, Prefix: a.Prefix, Home: a.Home, NoDAD: true})
		}
	}
	n := len(out)
	err = h.dumps.routes(0, RouteProtocol, func() { out = out[:n] }, func(r routeState) {
		out = append(out, host.PutRoute{Route: shortRoute(r.Route)})
	})
	if err != nil {
		return nil, place("list routes", err)
	}
	rules, err := h.dumps.rules()
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		out = append(out, host.PutRule{Rule: r})
	}
	proxies, err := h.dumps.proxies()
	if err != nil {
		return nil, err
	}
	for _, p := range proxies {
		out = append(out, p)
	}
	return out, ctx.Err()
}
