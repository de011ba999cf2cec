package ike

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// mappingPause is the least time between two changes of a peer's mapping that are
// followed: who can have true messages arrive from elsewhere cannot make us
// rewrite SAs at will.
const mappingPause = 2 * time.Second

// keepaliveDefault is how long a NAT's mapping may be left unused (RFC 3948 §4).
const keepaliveDefault = 20 * time.Second

// mayFollow says whether an IKE SA takes the peer's address from its packets: only of a
// peer that is behind a NAT, and not where we are behind one ourselves (§2.23). Mobile
// IPv6's ends change by binding updates only (RFC 4877 §4.3, the K bit).
func (s *sa) mayFollow() bool {
	return s.state == stateUp && !s.mobile() && s.nat.traverse() && s.nat.remote && !s.nat.local
}

// fresh says whether an authenticated message was not seen before: a repeated one may
// have been sent again by anybody (§2.23).
func (s *sa) fresh(h message.Header) bool {
	if !h.Response() {
		return h.ID == s.recvID && s.inb == nil
	}
	r := s.req
	return r != nil && r.data != nil && !r.answered && h.ID == r.id && h.Exchange == r.exchange
}

// follow takes the source of an authenticated message as the peer's new address,
// where its NAT has given it one.
func (m *Machine) follow(s *sa, e Datagram, h message.Header) {
	if e.Remote != s.remote && s.mayFollow() && s.fresh(h) {
		m.remap(s, e.Remote)
	}
}

// mapped follows what the databases saw of a child: its packet was authenticated, and
// new by the anti-replay window. Unknown ones are ignored, so that it may be given to
// every shard.
func (m *Machine) mapped(e Mapped) {
	if !e.Remote.IsValid() || e.Remote.Port() == 0 {
		return
	}
	for _, id := range slices.Clone(m.spis[e.SPI]) {
		s := m.sas[id]
		if s == nil {
			continue
		}
		c := s.bySPIIn(e.SPI)
		if c == nil || c.Proto != ESP || c.RemotePort == 0 || c.LocalAddr != e.Dst.Unmap() {
			continue
		}
		if to := netip.AddrPortFrom(e.Remote.Addr().Unmap(), e.Remote.Port()); to != s.remote && s.mayFollow() {
			m.remap(s, to)
			m.schedule(s)
		}
		return
	}
}

// remap gives the peer's end of an IKE SA and of its encapsulated children another
// address. What is under way goes on from there.
func (m *Machine) remap(s *sa, to netip.AddrPort) {
	if to.Addr().Is4() != s.remote.Addr().Is4() {
		return // another family is no mapping of the same flow
	}
	if !s.mappedAt.IsZero() && m.now.Sub(s.mappedAt) < mappingPause {
		m.stats.MappingsHeld++
		return
	}
	m.stats.Mappings++
	s.mappedAt = m.now
	old := s.remote
	s.remote = to
	if s.successor != nil {
		s.successor.remote = to
	}
	for _, p := range []*pending{pendingOfRequest(s.req), pendingOfInbound(s.inb)} {
		if p != nil && p.mode == Transport {
			p.want.Remote = readdressed(p.want.Remote, old.Addr(), to.Addr())
		}
	}
	a := Remapped{SA: s.id, Conn: s.connName(), Peer: s.peer.ID, Old: old, New: to}
	for _, c := range s.children {
		if c.RemotePort == 0 {
			continue
		}
		if c.RemoteAddr == old.Addr() {
			c.RemoteAddr = to.Addr()
		}
		c.RemotePort = to.Port()
		if c.Mode == Transport {
			c.Remote = readdressed(c.Remote, old.Addr(), to.Addr())
		}
		a.Children = append(a.Children, c.bare())
	}
	m.emit(a)
}

func pendingOfRequest(r *request) *pending {
	if r == nil {
		return nil
	}
	return r.pend
}

func pendingOfInbound(in *inbound) *pending {
	if in == nil {
		return nil
	}
	return in.pend
}

// displaced says whether a pair that was just installed has other ends than it should by
// now: the IKE SA moved meanwhile.
func (s *sa) displaced(c *child) bool {
	if c.Mode == Tunnel && (c.LocalAddr != s.local.Addr() || c.RemoteAddr != s.remote.Addr()) {
		return true
	}
	return c.RemotePort != 0 && (c.RemotePort != s.remote.Port() || c.LocalPort != s.local.Port())
}

// keepaliveAt is when a NAT before us needs a sign to keep its mapping (RFC 3948 §4);
// zero: it does not.
func (m *Machine) keepaliveAt(s *sa) time.Time {
	if s.state != stateUp || !s.nat.local || !s.nat.traverse() || !m.floated(s) || s.conn == nil || s.conn.Keepalive < 0 {
		return time.Time{}
	}
	return s.sentAt.Add(s.conn.Keepalive)
}

// keepalive sends one.
func (m *Machine) keepalive(s *sa) {
	m.stats.Keepalives++
	s.sentAt = m.now
	m.emit(Keepalive{SA: s.id, Local: s.local, Remote: s.remote})
}
