package linux

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/netns"
	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// Options of a Host; the zero value is good.
type Options struct {
	// OnSysctl is told each value before it is changed for the first time, so that it can be
	// stored. Its error keeps the value from being changed.
	OnSysctl func(Sysctl) error
	// Sysctls are values found by an earlier run that did not end orderly: they are the ones to
	// restore, and OnSysctl is not told of them again.
	Sysctls []Sysctl
	// KeepSysctls leaves the values as they are at Close.
	KeepSysctls bool
	// DADTransmits is how often an address is solicited, 0: 1 (RFC 4862 §5.1).
	DADTransmits int
	// DADInterval is the time to wait after each, 0: RetransTimer, 1 s (RFC 4861 §10).
	DADInterval time.Duration
}

// Stats count what was dropped.
type Stats struct {
	Overruns    atomic.Uint64 // of the netlink socket, each told as host.Lost
	BadAdverts  atomic.Uint64 // router advertisements that RFC 4861 §6.1.2 tells to discard
	BadMH       atomic.Uint64 // Mobility Headers whose control messages were cut or malformed
	OtherErrors atomic.Uint64 // ICMPv6 errors that are not about Mobile IPv6
}

// Host is this computer's network.
type Host struct {
	opts   Options
	ns     *netns.Namespace
	reqs   *rtnl   // changes
	dumps  *rtnl   // lists, so that a long one holds up no change
	events *socket // rtnetlink groups
	icmp   *socket // router advertisements and errors, to receive
	nd     *socket // neighbour discovery, to send
	mh     *socket
	// explicit sends Mobility Headers whose other headers are told.
	explicit *socket
	counters counters
	sysctls  sysctls
	prober   prober
	stats    Stats

	watching  atomic.Bool
	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error
}

var _ host.Host = (*Host)(nil)

// Open opens the sockets in the network namespace of the calling thread. The
// error wraps host.ErrPermission where root's capabilities are missing.
func Open(o Options) (*Host, error) {
	if o.DADTransmits == 0 {
		o.DADTransmits = 1
	}
	if o.DADInterval == 0 {
		o.DADInterval = time.Second
	}
	h := &Host{
		opts:    o,
		sysctls: sysctls{found: append([]Sysctl(nil), o.Sysctls...), note: o.OnSysctl},
		prober:  prober{probes: map[probeKey][]*probe{}, groups: map[probeKey]int{}},
		closed:  make(chan struct{}),
	}
	if err := h.openSockets(); err != nil {
		h.release()
		return nil, err
	}
	return h, nil
}

func (h *Host) openSockets() (err error) {
	if h.ns, err = netns.Current(); err != nil {
		return place("open the network namespace", err)
	}
	if h.mh, err = openMH(); err != nil { // first, as it tells best that privileges are missing
		return err
	}
	if h.explicit, err = openExplicit(); err != nil {
		return err
	}
	if h.nd, err = openND(); err != nil {
		return err
	}
	h.icmp, err = openICMP("router advertisements", mobility.ICMPRouterAdv,
		mobility.ICMPUnreachable, mobility.ICMPTooBig, mobility.ICMPTimeExceeded, mobility.ICMPParamProblem)
	if err != nil {
		return err
	}
	if h.events, err = openEvents(); err != nil {
		return err
	}
	if h.reqs, err = openRTNL(); err != nil {
		return err
	}
	if h.dumps, err = openRTNL(); err != nil {
		return err
	}
	h.counters.open()
	return nil
}

// openEvents subscribes to links and IPv6 addresses.
func openEvents() (*socket, error) {
	s, err := newSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, "rtnetlink events")
	if err != nil {
		return nil, err
	}
	err = s.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrNetlink{
			Family: unix.AF_NETLINK,
			Groups: 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1),
		})
	})
	if err == nil {
		err = s.set("enlarge the netlink buffer", receiveBuffer(4<<20)...)
	}
	if err != nil {
		s.close()
		return nil, place("subscribe to link and address changes", err)
	}
	return s, nil
}

// Stats are the counters, which go on counting.
func (h *Host) Stats() *Stats { return &h.stats }

// Close restores the sysctls, unless told not to, and ends Watch and all probes.
// Addresses, routes, rules and proxies stay: their owner deletes them.
func (h *Host) Close() error {
	h.closeOnce.Do(func() {
		h.prober.mu.Lock()
		close(h.closed)
		h.prober.mu.Unlock()
		if !h.opts.KeepSysctls {
			h.closeErr = h.restoreSysctls()
		}
		h.release()
	})
	return h.closeErr
}

func (h *Host) release() {
	for _, s := range []*socket{h.events, h.icmp, h.nd, h.mh, h.explicit} {
		if s != nil {
			s.close()
		}
	}
	for _, r := range []*rtnl{h.reqs, h.dumps} {
		if r != nil {
			r.close()
		}
	}
	h.counters.close()
	if h.ns != nil {
		h.ns.Close()
	}
}

// Apply implements host.Host. Errors of sending are ErrBlocked, ErrSource or
// ErrBusy where the kernel said so.
func (h *Host) Apply(ctx context.Context, ops []host.Op) []error {
	errs := make([]error, len(ops))
	for i, op := range ops {
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		if errs[i] = h.open(); errs[i] == nil {
			errs[i] = h.apply(op)
		}
	}
	return errs
}

// open is ErrClosed once Close was called.
func (h *Host) open() error {
	select {
	case <-h.closed:
		return ErrClosed
	default:
		return nil
	}
}

func (h *Host) apply(op host.Op) error {
	switch o := op.(type) {
	case host.PutAddr:
		return h.putAddr(o)
	case host.DelAddr:
		return h.delAddr(o)
	case host.PutRoute:
		return h.putRoute(o.Route)
	case host.DelRoute:
		return h.delRoute(o.Route)
	case host.PutRule:
		return h.putRule(o.Rule)
	case host.DelRule:
		return h.delRule(o.Rule)
	case host.PutProxy:
		return h.putProxy(o)
	case host.DelProxy:
		return h.delProxy(o)
	case host.DropUnresolved:
		return h.dropUnresolved(o)
	case host.PutNeighbour:
		return h.putNeighbour(o)
	case host.SetSysctl:
		return h.setSysctl(o)
	case host.SolicitRouter:
		return h.solicitRouter(o)
	case host.AdvertiseNeighbour:
		return h.advertiseNeighbour(o)
	case host.SendMH:
		return h.sendMH(o.MH)
	case host.PutCounter:
		return h.putCounter(o)
	case host.DelCounter:
		return h.delCounter(o)
	}
	return fmt.Errorf("linux: unknown operation %T", op)
}
