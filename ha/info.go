package ha

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// Stats are counters since the start.
type Stats struct {
	Updates      uint64 // Binding Updates received
	Acks         uint64 // Binding Acknowledgements sent
	Malformed    uint64 // Mobility Headers that cannot be read
	UnknownType  uint64 // of a type that is not known
	OtherTypes   uint64 // of a known type that is not a home agent's
	Unprotected  uint64 // home registrations of nobody who has keys here
	NotHome      uint64 // updates without H
	NonceIndices uint64 // home registrations with nonce indices (RFC 6275 §9.5.1)
	NoHomeAddress, BadAddress,
	Repeated, // during duplicate address detection, or older than one in work
	NotServing uint64

	Refused        [256]uint64 // by status
	UnknownBinding uint64      // home address options without a binding
	ErrorsSent     uint64      // Binding Errors
	ErrorsWithheld uint64      // by the rate limit, or for want of a unicast address
	Authorised     uint64
	Unauthorised   uint64
	UnknownHome    uint64 // events of keys for home addresses that are gone
	XfrmErrors     uint64
	HostErrors     uint64
}

func (s *Stats) refused(status mobility.Status) { s.Refused[status]++ }

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

// Summary is the state of the service in numbers.
type Summary struct {
	Serving                  bool
	Nodes, Bindings, Deleted int
	Waiting                  int // nodes to take over after a restart
}

// Summary tells the state in numbers.
func (m *Machine) Summary() Summary {
	return Summary{Serving: m.life == serving, Nodes: len(m.byHome), Bindings: m.cache.Len(),
		Deleted: m.cache.Deleted(), Waiting: len(m.restart.queue)}
}

// NodeInfo is what there is to know of a home address.
type NodeInfo struct {
	Home, HomeAgent netip.Addr
	Identity        string
	State           State
	CareOf          netip.Addr
	AtHome          bool // deregistered and with keys
	Seq             uint16
	Flags           mobility.UpdateFlags
	Lifetime        mobility.Units
	Expires         time.Time
	Assigned        bool
	Phase           protect.Phase
	ReqIDs          protect.ReqIDs
	Handle          uint64     // of the IKE SA; 0: none
	KeysAt          netip.Addr // its remote address
	Tunnel          netip.Addr // where the payload states end; zero: there are none
	MHIn, PayloadIn xfrm.SPI   // inbound SPIs of the newest children; 0: none
	Restored        bool       // with keys of before the restart
	// Since is when the binding came about, as far as this run knows; LastMove and Moves are of its care-of address.
	Since, LastMove time.Time
	Moves           uint32
}

// Page gives up to max home addresses to each, from the cursor on, 0 for the
// first page, and returns the cursor of the next page, 0 at the end.
func (m *Machine) Page(cursor, max int, each func(NodeInfo)) (next int) {
	for i := cursor; i < len(m.nodes); i++ {
		if m.nodes[i] == nil {
			continue
		}
		if max--; max < 0 {
			return i
		}
		each(m.info(m.nodes[i]))
	}
	return 0
}

// Lookup tells about one home address.
func (m *Machine) Lookup(home netip.Addr) (NodeInfo, bool) {
	n, ok := m.find(home)
	if !ok {
		return NodeInfo{}, false
	}
	return m.info(n), true
}

func (m *Machine) info(n *node) NodeInfo {
	r := m.record(n)
	i := NodeInfo{Home: r.Home, HomeAgent: r.Agent, Identity: r.Identity, State: r.State, CareOf: r.CareOf, Seq: r.Seq,
		Flags: r.Flags, Lifetime: r.Lifetime, Expires: r.Expires, Assigned: r.Assigned, Phase: r.Phase,
		ReqIDs: m.reqIDs(n), Handle: n.handle, KeysAt: r.KeysAt, Tunnel: n.tunnelEnd(), MHIn: n.mh, PayloadIn: n.payload, Restored: n.restored,
		Since: n.since, LastMove: n.moved, Moves: n.moves}
	if n.work != nil && len(n.work.probes) > 0 {
		i.State, i.CareOf, i.Seq = Probing, n.work.update.careOf, n.work.update.seq
	}
	i.AtHome = i.State != Bound && i.KeysAt == i.Home
	return i
}

// opName is the name of an operation for the log.
func opName(op any) string {
	name := fmt.Sprintf("%T", op)
	return name[strings.LastIndexByte(name, '.')+1:]
}
