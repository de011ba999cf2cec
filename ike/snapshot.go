package ike

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// SAInfo is what an operator may know of an IKE SA. It holds no keys.
type SAInfo struct {
	SA            SAID
	Conn          string
	SPIi, SPIr    uint64
	Initiator     bool
	State         string // "connecting", "half-open", "established", "closing"
	LocalID       message.Identity
	PeerID        message.Identity
	Local, Remote netip.AddrPort
	Suite         transform.Suite
	NATDetected   bool
	NextSend      uint32 // message ID of our next request
	NextReceive   uint32 // message ID of the peer's next request
	Outstanding   string // what we wait for; empty: nothing
	Retries       int    // repetitions of the outstanding request
	Created       time.Time
	Established   time.Time // zero until then
	LastHeard     time.Time // last authenticated message of the peer
	RekeyAt       time.Time
	Moves         uint64 // changes of Local or Remote since it came up; a rekey counts on
	Children      []ChildInfo
}

// ChildInfo is what an operator may know of a child SA. Its Child holds no keys.
type ChildInfo struct {
	Child     Child
	State     string // "installed", "rekeying", "replaced", "deleting", "orphan"
	Installed time.Time
	RekeyAt   time.Time
	HardAt    time.Time
}

// Stats counts what a Machine has seen and done since New.
type Stats struct {
	Received        uint64 // datagrams
	Sent            uint64 // datagrams, retransmissions included
	Retransmits     uint64
	Duplicates      uint64 // repeated requests, answered from the cache or absorbed
	HalfOpen        int    // now
	Established     int    // now
	Children        int    // now
	Handshakes      uint64 // IKE SAs that came up
	ChildrenMade    uint64
	ChildRekeys     uint64
	SARekeys        uint64
	AuthFailures    uint64
	CookiesSent     uint64
	CookiesWrong    uint64
	InvalidKE       uint64
	Timeouts        uint64 // IKE SAs given up because the peer did not answer
	Moves           uint64
	DropMalformed   uint64 // header or unprotected payloads not IKE
	DropVersion     uint64
	DropUnknownSPI  uint64
	DropIntegrity   uint64 // integrity check failed
	DropMessageID   uint64 // outside the window
	DropUnexpected  uint64 // not of this state or exchange
	DropHalfOpen    uint64 // over the half-open limits
	DropNoConn      uint64 // no connection for these addresses
	BadRequests     uint64 // authenticated requests answered with an error of syntax
	Hints           uint64 // unprotected notifies for our SAs, taken as a hint at most
	RandomFailures  uint64
	StaleTaskAnswer uint64
	Fragments       uint64 // of messages that came in parts
	Reassembled     uint64 // messages that were put together
	DropFragments   uint64 // that came twice, too late, too early, or were too many
	Keepalives      uint64 // that were sent for a NAT before us
	Mappings        uint64 // changes of a peer's mapping that were followed
	MappingsHeld    uint64 // that came too soon after another
}

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	s := m.stats
	s.HalfOpen = m.halfOpen
	return s
}

// Snapshot returns the state of all IKE SAs, ordered by handle. Orphaned
// children come last, under an SAInfo of state "orphans" for each peer.
func (m *Machine) Snapshot() []SAInfo {
	var out []SAInfo
	for _, s := range m.sas {
		if s.state != stateGone {
			out = append(out, s.info())
		}
	}
	slices.SortFunc(out, func(a, b SAInfo) int { return cmp.Compare(a.SA, b.SA) })
	n := len(out)
	for k, list := range m.orphans {
		i := SAInfo{Conn: k.conn, PeerID: k.id, State: "orphans"}
		for _, o := range list {
			c := o.child.info()
			c.State = "orphan"
			i.Children = append(i.Children, c)
		}
		out = append(out, i)
	}
	slices.SortFunc(out[n:], func(a, b SAInfo) int {
		return cmp.Or(cmp.Compare(a.Conn, b.Conn), cmp.Compare(a.PeerID.String(), b.PeerID.String()))
	})
	return out
}

func (s *sa) info() SAInfo {
	i := SAInfo{
		SA: s.id, Conn: s.connName(), SPIi: s.spiI, SPIr: s.spiR, Initiator: s.initiator,
		State: s.state.String(), LocalID: s.localID, PeerID: s.peer.ID, Local: s.local, Remote: s.remote,
		Suite: s.suite, NATDetected: s.nat.found(), NextSend: s.sendID, NextReceive: s.recvID,
		Created: s.created, Established: s.established, LastHeard: s.heard, RekeyAt: s.rekeyAt, Moves: s.moves,
	}
	if s.req != nil {
		i.Outstanding, i.Retries = s.req.job.kind.String(), s.req.tries
	}
	for _, c := range s.children {
		i.Children = append(i.Children, c.info())
	}
	return i
}

func (c *child) info() ChildInfo {
	return ChildInfo{
		Child: c.bare(), State: c.state.String(), Installed: c.installed, RekeyAt: c.rekeyAt, HardAt: c.hardAt,
	}
}
