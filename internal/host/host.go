// Package host is the vocabulary for what surrounds the Mobile IPv6 machines on
// one computer: links, addresses, routers, neighbours, and messages of the
// Mobility Header. It touches no operating system; internal/host/linux does.
package host

import (
	"context"
	"net/netip"
	"time"
)

// Link is a network interface.
type Link struct {
	Index     int
	Name      string
	Up        bool   // administratively up and with carrier
	HardAddr  []byte // link-layer address
	MTU       int
	LinkLocal netip.Addr // one that is usable, or the zero Addr
	// Tunnel tells that its packets travel inside others: ip6tnl, sit, tun, WireGuard and their
	// like. A modem's PPP or raw IP interface is none.
	Tunnel bool
}

// Addr is an address on an interface.
type Addr struct {
	IfIndex    int
	Prefix     netip.Prefix // the address itself with its prefix length
	Tentative  bool         // duplicate address detection has not finished
	Optimistic bool         // usable while tentative (RFC 4429)
	DADFailed  bool
	Deprecated bool
	Temporary  bool          // RFC 8981
	Permanent  bool          // no lifetime: put there by hand or by a manager
	Home       bool          // carries the home flag (IFA_F_HOMEADDRESS)
	Valid      time.Duration // remaining; 0 with Permanent
	Preferred  time.Duration
}

// Usable says whether packets may be sent from the address now.
func (a Addr) Usable() bool {
	return !a.DADFailed && (!a.Tentative || a.Optimistic)
}

// Router is what a router advertisement told (RFC 4861 §4.2, RFC 6275 §7).
type Router struct {
	IfIndex   int
	Addr      netip.Addr    // link-local source of the advertisement
	HardAddr  []byte        // source link-layer option, or empty
	Lifetime  time.Duration // 0: no default router
	HomeAgent bool
	Managed   bool
	Prefixes  []RouterPrefix
	// HomeAgentPreference and HomeAgentLifetime are of the Home Agent Information option.
	HomeAgentPreference int16
	HomeAgentLifetime   time.Duration
	Interval            time.Duration // of the Advertisement Interval option, 0 without
}

// RouterPrefix is a Prefix Information option.
type RouterPrefix struct {
	Prefix           netip.Prefix
	OnLink, Auto     bool
	RouterAddr       netip.Addr // with the R bit: the router's own global address
	Valid, Preferred time.Duration
}

// MH is a message of the Mobility Header as the host received or shall send it.
type MH struct {
	Src, Dst netip.Addr // as the upper layer sees them: the home address in place of the care-of address
	// CareOf is the care-of address that stood on the wire: source of a packet with a
	// home address option, zero without one.
	CareOf netip.Addr
	// RouteHeader tells that the packet carried a type 2 routing header.
	RouteHeader bool
	IfIndex     int    // received on; to send: 0 lets routing choose
	Data        []byte // from the Payload Proto octet on; the checksum is the host's work
}

// Event is something that the host tells.
type Event interface{ event() }

// LinkChanged tells the present state of a link; Gone when it was removed.
type LinkChanged struct {
	Link Link
	Gone bool
}

// AddrChanged tells the present state of an address; Gone when it was removed.
type AddrChanged struct {
	Addr Addr
	Gone bool
}

// RouterSeen tells of a router advertisement.
type RouterSeen struct{ Router Router }

// MHReceived tells of a Mobility Header.
type MHReceived struct{ MH MH }

// ICMPError tells of an ICMPv6 error (types 1 to 4) about a packet of this host, an
// application's as well, that had a Mobility Header, a home address option or a type 2 routing
// header. Anybody may have forged it: the packet in error shows only that its sender knew the
// addresses in it.
type ICMPError struct {
	Type, Code uint8
	Pointer    uint32     // of a Parameter Problem: the offset in the packet in error; else 0
	From       netip.Addr // who sent the error
	Src, Dst   netip.Addr // of the packet in error, as they stood on the wire
	Home       netip.Addr // in its home address option; zero without one
	// Final is its last destination, the home address of a type 2 routing header; zero without
	// such a header.
	Final netip.Addr
	MH    bool // it carried a Mobility Header; one behind ESP is not seen
	// Refuses tells of a Parameter Problem at just what is Mobile IPv6's: at the Next Header field of the
	// Mobility Header (code 1), the home address option (code 2) or the type of the type 2 routing
	// header (code 0). Who says so does not know it (RFC 6275 §11.3.5, RFC 8200 §4).
	Refuses bool
	Data    []byte // as much of the packet as came back, at most 1232 octets
}

// Lost tells that events were missed; the present state follows as events.
type Lost struct{ Err error }

func (LinkChanged) event() {}
func (AddrChanged) event() {}
func (RouterSeen) event()  {}
func (MHReceived) event()  {}
func (ICMPError) event()   {}
func (Lost) event()        {}

// Op is one change of the host, or one thing to send. Changes are idempotent:
// putting what is there and deleting what is not there are no errors.
type Op interface{ op() }

// PutAddr adds an address; NoDAD and Home set its flags.
type PutAddr struct {
	IfIndex     int // 0: the loopback interface
	Prefix      netip.Prefix
	Home, NoDAD bool
}

// DelAddr removes an address.
type DelAddr struct {
	IfIndex int // 0: the loopback interface
	Prefix  netip.Prefix
}

// Route is a route of ours; it carries the program's route protocol number.
type Route struct {
	Dst     netip.Prefix // ::/0 is the default
	Via     netip.Addr   // zero: on link
	IfIndex int
	Src     netip.Addr // preferred source, or zero
	Table   int        // 0: main
	Metric  int
}

// PutRoute adds or replaces a route; DelRoute removes one.
type PutRoute struct{ Route Route }
type DelRoute struct{ Route Route }

// Rule is a policy routing rule of ours: packets from Src use Table.
type Rule struct {
	Src      netip.Prefix
	Table    int
	Priority int
}

// PutRule adds a rule; DelRule removes one.
type PutRule struct{ Rule Rule }
type DelRule struct{ Rule Rule }

// PutProxy makes the host answer neighbour solicitations for Addr on a link;
// DelProxy ends it.
type PutProxy struct {
	IfIndex int
	Addr    netip.Addr
}
type DelProxy struct {
	IfIndex int
	Addr    netip.Addr
}

// DropUnresolved forgets the neighbours on a link whose link-layer address is being asked for,
// Keep excepted, and the packets that wait for it. After a move they wait for a
// router of the link before, and TCP repeats nothing that still waits on its own host.
type DropUnresolved struct {
	IfIndex int
	Keep    netip.Addr
}

// PutNeighbour records a router's link-layer address on a link as confirmed just now
// (REACHABLE, RFC 4861 §7.3.2): for a while nothing is asked for it. From then on it is an
// entry like any other.
type PutNeighbour struct {
	IfIndex  int
	Addr     netip.Addr
	HardAddr []byte
}

// SetSysctl sets one value below /proc/sys, such as "net/ipv6/conf/eth0/accept_dad". The host
// notes the value found, and restores it at its orderly end.
type SetSysctl struct{ Key, Value string }

// SolicitRouter sends a router solicitation (RFC 4861 §4.1) at once.
type SolicitRouter struct{ IfIndex int }

// AdvertiseNeighbour sends an unsolicited neighbour advertisement to ff02::1
// (RFC 4861 §7.2.6) for Target with this host's link-layer address.
type AdvertiseNeighbour struct {
	IfIndex  int
	Target   netip.Addr
	Override bool
	Router   bool
}

// SendMH sends a Mobility Header. Without a care-of address in it, which extension
// headers and SAs it travels with is the business of the policies. With one, its header is
// written as it says, and the policies see the care-of address: with RouteHeader it goes
// from Src to CareOf with a type 2 routing header for Dst; else from CareOf to Dst with a home address
// option for Src. Its checksum is over Src and Dst either way (RFC 6275 §6.1.1), and all of
// Src, Dst and CareOf are needed. The source on the wire has to be an address of this host, on
// whichever interface, and not tentative.
type SendMH struct{ MH MH }

// PutCounter begins to count the packets that this host sends from Src to Dst, as the
// upper layers see the two; a large one that is cut later is one. Mobility Headers do not count, nor
// does what has extension headers for the way from the beginning.
// One that is there counts on. DelCounter ends it. The host forgets all counters at
// its end. The error wraps ErrNoCounter where the host cannot count.
type PutCounter struct{ Src, Dst netip.Addr }
type DelCounter struct{ Src, Dst netip.Addr }

func (PutAddr) op()            {}
func (DelAddr) op()            {}
func (PutRoute) op()           {}
func (DelRoute) op()           {}
func (PutRule) op()            {}
func (DelRule) op()            {}
func (PutProxy) op()           {}
func (DelProxy) op()           {}
func (SetSysctl) op()          {}
func (DropUnresolved) op()     {}
func (PutNeighbour) op()       {}
func (SolicitRouter) op()      {}
func (AdvertiseNeighbour) op() {}
func (SendMH) op()             {}
func (PutCounter) op()         {}
func (DelCounter) op()         {}

// Host acts on a computer.
type Host interface {
	// Apply carries the operations out in order, goes on after an error, and
	// returns one result for each.
	Apply(ctx context.Context, ops []Op) []error
	// ProbeDAD does duplicate address detection for an address that this host does not
	// have (RFC 4862 §5.4, for a home agent RFC 6275 §10.3.1). It returns ErrDuplicate where another node
	// answers or probes for it too.
	ProbeDAD(ctx context.Context, ifIndex int, addr netip.Addr) error
	// Watch first tells the present links and addresses, then every change, router
	// advertisement and Mobility Header, until ctx ends.
	Watch(ctx context.Context, sink func(Event)) error
	// Owned lists what carries this program's mark in the host (routes, rules,
	// proxies), as operations that would make it: for reconciling after a crash.
	Owned(ctx context.Context) ([]Op, error)
	// Count tells how many packets a counter has counted since PutCounter. The error wraps
	// ErrNoCounter where there is none for the two addresses, or none at all.
	Count(ctx context.Context, src, dst netip.Addr) (packets uint64, err error)
	Close() error
}
