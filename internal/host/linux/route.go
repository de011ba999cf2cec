package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// defaultMetric is what Linux gives to an IPv6 route without one.
const defaultMetric = 1024

// routeHeader is struct rtmsg; with table 256 and more, RTA_TABLE has it.
func routeHeader(bits int, table int, protocol, scope, kind uint8) []byte {
	t := uint8(unix.RT_TABLE_UNSPEC)
	if table < 256 {
		t = uint8(table)
	}
	return []byte{unix.AF_INET6, uint8(bits), 0, 0, t, protocol, scope, kind, 0, 0, 0, 0}
}

func normalRoute(r host.Route) host.Route {
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Metric == 0 {
		r.Metric = defaultMetric
	}
	r.Dst = r.Dst.Masked()
	return r
}

// shortRoute is the other way round: defaults are zero.
func shortRoute(r host.Route) host.Route {
	if r.Table == unix.RT_TABLE_MAIN {
		r.Table = 0
	}
	if r.Metric == defaultMetric {
		r.Metric = 0
	}
	return r
}

// appendRoute appends what a route request says of r.
func appendRoute(b []byte, r host.Route) []byte {
	if r.Dst.Bits() > 0 {
		b = appendAttrAddr(b, unix.RTA_DST, r.Dst.Addr())
	}
	if r.Via.IsValid() {
		b = appendAttrAddr(b, unix.RTA_GATEWAY, r.Via)
	}
	if r.IfIndex != 0 {
		b = appendAttr32(b, unix.RTA_OIF, uint32(r.IfIndex))
	}
	if r.Table >= 256 {
		b = appendAttr32(b, unix.RTA_TABLE, uint32(r.Table))
	}
	return appendAttr32(b, unix.RTA_PRIORITY, uint32(r.Metric))
}

func (h *Host) addRoute(r host.Route, flags int) error {
	b := routeHeader(r.Dst.Bits(), r.Table, RouteProtocol, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST)
	b = appendRoute(b, r)
	if r.Src.IsValid() {
		b = appendAttrAddr(b, unix.RTA_PREFSRC, r.Src)
	}
	return h.reqs.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, b)
}

// putRoute adds a route, or replaces ours to the same destination with the same
// metric. Linux would replace anybody's, and so take over the default route of
// its own router discovery.
func (h *Host) putRoute(r host.Route) error {
	if err := check6(r.Dst); err != nil {
		return err
	}
	r = normalRoute(r)
	err := h.addRoute(r, unix.NLM_F_EXCL)
	if errors.Is(err, unix.EEXIST) {
		var same bool
		if same, err = h.routePlace(r); same || err != nil {
			return err
		}
		err = h.addRoute(r, unix.NLM_F_REPLACE)
	}
	return place(fmt.Sprintf("add route to %v", r.Dst), err)
}

// routePlace looks at the routes that are in the place of r: same tells that r
// is there already; the error is ErrForeign where one is not ours.
func (h *Host) routePlace(r host.Route) (same bool, err error) {
	var foreign bool
	e := h.dumps.routes(r.Table, 0, func() { same, foreign = false, false }, func(o routeState) {
		if o.Dst != r.Dst || o.Metric != r.Metric {
			return
		}
		if o.proto != RouteProtocol {
			foreign = true
			return
		}
		same = same || o.Route == r
	})
	switch {
	case e != nil:
		return false, place("list routes", e)
	case foreign:
		return false, fmt.Errorf("%w: route to %v metric %d", ErrForeign, r.Dst, r.Metric)
	}
	return same, nil
}

// delRoute removes a route of ours; the kernel compares the protocol too.
func (h *Host) delRoute(r host.Route) error {
	if err := check6(r.Dst); err != nil {
		return err
	}
	r = normalRoute(r)
	b := routeHeader(r.Dst.Bits(), r.Table, RouteProtocol, unix.RT_SCOPE_NOWHERE, 0)
	err := h.reqs.do(unix.RTM_DELROUTE, 0, appendRoute(b, r))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil // not there, or its link is not
	}
	return place(fmt.Sprintf("delete route to %v", r.Dst), err)
}

// routeState is what a route message tells.
type routeState struct {
	host.Route
	proto uint8
}

// parseRoute reads a route message without its netlink header.
func parseRoute(b []byte) (r routeState, ok bool) {
	// Family, destination length, source length, TOS, table, protocol, scope, type, flags
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET6 || b[1] > 128 || b[7] != unix.RTN_UNICAST {
		return r, false
	}
	if binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	r.Table, r.proto = int(b[4]), b[5]
	dst := netip.IPv6Unspecified()
	eachAttr(b[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_DST:
			dst = attrAddr(v)
		case unix.RTA_GATEWAY:
			r.Via = attrAddr(v)
		case unix.RTA_OIF:
			r.IfIndex = int(attr32(v))
		case unix.RTA_PREFSRC:
			r.Src = attrAddr(v)
		case unix.RTA_TABLE:
			r.Table = int(attr32(v))
		case unix.RTA_PRIORITY:
			r.Metric = int(attr32(v))
		}
	})
	r.Dst = netip.PrefixFrom(dst, int(b[1]))
	return r, r.Dst.IsValid()
}

// routes calls each for the unicast routes of a table and a protocol; 0 is any.
func (n *rtnl) routes(table int, protocol uint8, reset func(), each func(routeState)) error {
	body := routeHeader(0, table, protocol, 0, 0)
	if table >= 256 {
		body = appendAttr32(body, unix.RTA_TABLE, uint32(table))
	}
	err := n.dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, body, reset, func(b []byte) {
		r, ok := parseRoute(b)
		if ok && (table == 0 || r.Table == table) && (protocol == 0 || r.proto == protocol) {
			each(r)
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return nil // no such table yet
	}
	return err
}
