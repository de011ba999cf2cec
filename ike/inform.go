package ike

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ike/message"
)

// informRequest answers an INFORMATIONAL request: every one gets an answer (§1.4).
func (m *Machine) informRequest(s *sa) {
	p := s.inb.p
	for _, d := range p.Deletes {
		if d.Protocol == message.ProtoIKE {
			m.reply(s, nil)
			if s.successor != nil { // the peer's rekey stands, it saw nothing of ours
				m.inherit(s, s.successor)
			}
			m.end(s, ReasonDeleted, false)
			return
		}
	}
	if p.Notify(message.AuthenticationFailed) != nil {
		// The initiator does not accept our proof; for it there is no IKE SA (§2.21.2).
		m.stats.AuthFailures++
		m.reply(s, nil)
		m.emit(Refused{
			SA: s.id, Conn: s.connName(), Peer: s.peer.ID, Local: s.local, Remote: s.remote, ByPeer: true,
			Notify: message.AuthenticationFailed, Reason: "the peer does not accept our authentication",
		})
		m.end(s, ReasonRefused, false)
		return
	}
	answers := []message.Delete{{Protocol: message.ProtoESP}, {Protocol: message.ProtoAH}}
	for _, d := range p.Deletes {
		proto := childProto(d.Protocol)
		if proto == 0 {
			continue
		}
		for _, spi := range d.SPIs {
			c := s.bySPIOut(proto, spi)
			if c == nil {
				// It may be the one whose making we have not heard the answer of.
				if p := s.makingChild(); p != nil && p.want.Proto == proto && len(p.gone) < 64 {
					p.gone = append(p.gone, spi)
				}
				continue
			}
			// §1.4.1: where both sides delete at once, the answer names nothing.
			if c.state != childDeleting {
				a := &answers[0]
				if proto == AH {
					a = &answers[1]
				}
				a.SPIs = append(a.SPIs, c.SPIIn)
			}
			m.fallBack(s, c)
			m.removeChild(s, c, ReasonDeleted)
		}
	}
	var ps []message.Body
	for _, a := range answers { // one payload for each protocol (§3.11)
		if len(a.SPIs) > 0 {
			ps = append(ps, a.Body())
		}
	}
	m.reply(s, ps)
	m.pump(s)
}

// close ends an IKE SA by the owner's wish.
func (m *Machine) close(e Close) {
	s := m.sas[e.SA]
	if s == nil || s.state == stateGone {
		return
	}
	if e.Silent {
		why := ReasonDiscarded
		if s.first != nil {
			m.refuse(s, false, 0, string(why))
			return
		}
		m.end(s, why, e.KeepChildren)
		return
	}
	if s.state != stateUp {
		if s.first != nil {
			m.refuse(s, false, 0, string(ReasonClosed))
		}
		return
	}
	m.finishWith(s, ReasonClosed)
}

// cancel gives up what Initiate with this Req began, if it is not up yet.
func (m *Machine) cancel(e Cancel) {
	for _, s := range m.sas { // one at most: the order does not matter
		if s.first != nil && s.initiator && s.first.want.Req == e.Req {
			m.refuse(s, false, 0, "cancelled here")
			return
		}
	}
	m.cancelWaiting(e.Req)
}

// finishWith takes the children and the IKE SA down here, and tells the peer by
// a Delete of the IKE SA, which closes all of it over there (§1.4.1).
func (m *Machine) finishWith(s *sa, why Reason) {
	m.endOld(s, why, false)
	m.dropWork(s, string(why))
	for _, c := range slices.Clone(s.children) {
		m.removeChild(s, c, why)
	}
	m.leave(s)
	if !s.handedOver() {
		m.emit(SADown{SA: s.id, Conn: s.connName(), Peer: s.peer.ID, Reason: why})
	}
	s.unlink()
	s.state = stateClosing
	if s.req != nil && s.req.data != nil && !s.req.answered {
		// The window is one: the Delete follows the answer to what is under way.
		s.req.pend = nil
		m.schedule(s)
		return
	}
	m.start(s, job{kind: jobDeleteSA})
	m.schedule(s)
}

// moved gives the IKE SA new endpoints (the K bit, RFC 6275 §10.3.1).
func (m *Machine) moved(e Moved) {
	s := m.sas[e.SA]
	if s == nil || s.state == stateGone {
		return
	}
	m.movedAlong(s, e)
	local, remote := s.local, s.remote
	if e.Local.IsValid() {
		local = e.Local
	}
	if e.Remote.IsValid() {
		remote = e.Remote
	}
	if m.floated(s) { // it stays on the port that it has changed to
		local = netip.AddrPortFrom(local.Addr(), s.local.Port())
		remote = netip.AddrPortFrom(remote.Addr(), s.remote.Port())
	}
	if local == s.local && remote == s.remote {
		return
	}
	m.stats.Moves++
	s.moves++
	for _, c := range s.children {
		if c.Mode != Tunnel { // its addresses are those of its selectors
			c.Proxy = c.LocalAddr != local.Addr() || c.RemoteAddr != remote.Addr()
			continue
		}
		if c.LocalAddr == s.local.Addr() {
			c.LocalAddr = local.Addr()
		}
		if c.RemoteAddr == s.remote.Addr() {
			c.RemoteAddr = remote.Addr()
		}
	}
	// An answer that is still being worked on leaves from and to the new addresses.
	if s.inb != nil {
		if s.inb.local == s.local {
			s.inb.local = local
		}
		if s.inb.remote == s.remote {
			s.inb.remote = remote
		}
	}
	s.local, s.remote = local, remote
	if s.successor != nil {
		s.successor.local, s.successor.remote = local, remote
	}
}
