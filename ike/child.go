package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

const minSPI = 256 // below are reserved (RFC 4303 §2.1, RFC 4302 §2.4)

// wire is the protocol of a child as IKE numbers it (RFC 7296 §3.3.1).
func wire(proto uint8) message.Protocol {
	if proto == AH {
		return message.ProtoAH
	}
	return message.ProtoESP
}

// childProto is the protocol of a child, from IKE's number; 0 if it is none.
func childProto(p message.Protocol) uint8 {
	switch p {
	case message.ProtoESP:
		return ESP
	case message.ProtoAH:
		return AH
	}
	return 0
}

// offers of a connection for children of a protocol.
func (c *Conn) offers(proto uint8) []transform.Offer {
	if proto == AH {
		return c.AH
	}
	return c.ESP
}

// childState is what a pair of child SAs is in.
type childState uint8

const (
	childUp       childState = iota
	childRekeying            // our rekey of it is under way
	childReplaced            // the other side rekeyed it and is to delete it
	childDeleting            // our Delete of it is queued or under way
)

func (s childState) String() string {
	return [...]string{"installed", "rekeying", "replaced", "deleting"}[s]
}

// child is a pair of child SAs that is installed.
type child struct {
	Child     // without keys
	suite     transform.Suite
	state     childState
	installed time.Time
	rekeyAt   time.Time
	hardAt    time.Time
	low       []byte // lower nonce of the exchange that made it
	// The pairs that rekeyed this one: heir by the peer's exchange, own by ours.
	// The owner of the policy believes in believed (nil: in this one).
	heir, own, believed *child
	of                  *child // that this pair rekeyed
	renewed             bool   // by a pair of another IKE SA, in which the owner believes
}

// pending is a pair of child SAs in negotiation, on either side.
type pending struct {
	req       uint64
	initiator bool
	want      ChildWant
	mode      Mode   // as agreed
	old       *child // that this pair rekeys
	retries   int
	spiIn     uint32
	spiTries  int
	spiOut    uint32
	ni, nr    []byte
	ke        *transform.Private
	shared    []byte
	keIn      []byte // of the peer, where the method is a KEM
	keOut     []byte // ours for it, or for the last of a series
	more      []byte // secrets of a series
	offers    []transform.Offer
	suite     transform.Suite
	answer    message.Proposal // as responder
	child     *child           // while it is being installed
	gone      []uint32         // the peer's SPIs that it deleted meanwhile
	closed    bool             // the owner closed the pair that is rekeyed: the new one is not wanted
}

// addresses are those of the SAs: in transport mode the ones of the selectors,
// which need not be IKE's (RFC 4877 §4.4), in tunnel mode IKE's.
func addresses(s *sa, mode Mode, local, remote []message.Selector) (l, r netip.Addr, proxy bool) {
	l, r = s.local.Addr(), s.remote.Addr()
	if mode != Transport {
		return l, r, false
	}
	if len(local) > 0 && local[0].Start == local[0].End {
		l = local[0].Start
	}
	if len(remote) > 0 && remote[0].Start == remote[0].End {
		r = remote[0].Start
	}
	return l, r, l != s.local.Addr() || r != s.remote.Addr()
}

// outline is a child as far as it is known before its keys.
func (m *Machine) outline(s *sa, p *pending) Child {
	l, r, proxy := addresses(s, p.mode, p.want.Local, p.want.Remote)
	c := Child{
		SA: s.id, Conn: s.connName(), Peer: s.peer.ID, Name: p.want.Name, Initiator: p.initiator,
		Proto: p.want.Proto, Mode: p.mode, Proxy: proxy, ReqID: p.want.ReqID, SPIIn: p.spiIn, SPIOut: p.spiOut,
		LocalAddr: l, RemoteAddr: r, Local: p.want.Local, Remote: p.want.Remote,
		Encr: p.suite.Encr, Integ: p.suite.Integ, ESN: p.suite.ESN,
	}
	if m.encapsulates(s, c.Proto, proxy) {
		c.LocalPort, c.RemotePort = s.local.Port(), s.remote.Port()
	}
	return c
}

// bare is the child without keys, for every action but Install.
func (c *child) bare() Child {
	b := c.Child
	b.KeyIn, b.KeyOut, b.AuthIn, b.AuthOut = nil, nil, nil, nil
	return b
}

// install derives the keys and asks for the pair to be put in.
func (m *Machine) install(s *sa, who side, p *pending) {
	k, err := s.suite.PRF.ChildKeys(s.keys.D, p.suite, p.shared, p.ni, slices.Concat(p.nr, p.more))
	if err != nil {
		m.installed(s, who, Installed{Err: err})
		return
	}
	c := &child{Child: m.outline(s, p), suite: p.suite, low: lower(p.ni, p.nr)}
	c.KeyOut, c.AuthOut, c.KeyIn, c.AuthIn = k.EncI, k.AuthI, k.EncR, k.AuthR
	if !p.initiator {
		c.KeyOut, c.AuthOut, c.KeyIn, c.AuthIn = k.EncR, k.AuthR, k.EncI, k.AuthI
	}
	c.Soft = m.jittered(s.conn.ChildRekey, s.conn.Jitter)
	c.Hard = s.conn.ChildHard
	c.Bytes, c.Packets = m.limits(s.conn, c.ESN)
	p.child = c
	var replaces []uint32
	if p.old != nil {
		replaces = append(replaces, p.old.SPIIn)
	}
	if old := s.inPlaceOf(c); old != nil {
		replaces = append(replaces, old.SPIIn)
	}
	for _, o := range m.orphans[s.key()] {
		if o.child.sameRole(c) {
			replaces = append(replaces, o.child.SPIIn)
		}
	}
	id := m.newTask(s, who, c.bare())
	m.emit(Install{ID: id, Child: c.Child, Replaces: replaces})
	c.Child = c.bare() // the keys are not kept
}

func lower(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}

// adopt takes an installed pair into the IKE SA and tells the owner.
func (m *Machine) adopt(s *sa, p *pending, c *child) {
	c.installed = m.now
	c.rekeyAt, c.hardAt = m.now.Add(c.Soft), m.now.Add(c.Hard)
	s.children = append(s.children, c)
	m.index(s, c)
	m.stats.Children++
	m.stats.ChildrenMade++
	switch {
	case p.old == nil && m.renewed(s, c): // of a reauthentication
	case p.old != nil && p.old.renewed: // too late: it goes with the old IKE SA
		c.state, c.rekeyAt, c.renewed = childReplaced, time.Time{}, true
	case p.old == nil || p.old.heir == nil && p.old.own == nil && present(s, p.old) == nil:
		m.emit(ChildUp{Req: p.req, Child: c.bare()})
	default:
		m.stats.ChildRekeys++
		m.supersede(s, p, c)
	}
	m.dropOrphans(s.key(), c, ReasonReplaced)
	m.schedule(s)
}

// closeChild ends a pair that has no successor: out of the kernel at once, and
// the peer is told.
func (m *Machine) closeChild(s *sa, c *child, why Reason) {
	if c == nil {
		return
	}
	tell := c.state != childDeleting && s.state == stateUp
	if r := s.req; why == ReasonClosed && r != nil && r.pend != nil && r.pend.old != nil && (r.pend.old == c || r.pend.old.heir == c) {
		r.pend.closed = true
	}
	m.removeChild(s, c, why)
	if tell {
		m.enqueue(s, job{kind: jobDeleteChild, proto: c.Proto, spi: c.SPIIn})
	}
	m.schedule(s)
}

// removeChild takes a pair out. One that was rekeyed goes without ChildDown.
func (m *Machine) removeChild(s *sa, c *child, why Reason) {
	for i, x := range s.children {
		if x == c {
			s.children = append(s.children[:i:i], s.children[i+1:]...)
			break
		}
	}
	m.unindex(s, c)
	m.stats.Children--
	m.emit(Uninstall{c.bare()})
	if c.stands() {
		m.emit(ChildDown{Child: c.bare(), Reason: why})
	}
}

// without returns a list with the first occurrence of v taken out.
func without[T comparable](list []T, v T) []T {
	for i, x := range list {
		if x == v {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

// rekeyChild starts the rekey of a pair, once.
func (m *Machine) rekeyChild(s *sa, c *child) {
	if c == nil || c.state != childUp {
		return
	}
	c.rekeyAt = time.Time{}
	if s.state != stateUp {
		return
	}
	m.enqueue(s, job{kind: jobRekeyChild, spi: c.SPIIn})
}

func spiBytes(spi uint32) []byte { return binary.BigEndian.AppendUint32(nil, spi) }
