package cn

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// report answers a home address option without a binding by a Binding Error (RFC 6275 §9.3.1). There
// is none for a node whose binding has just come: its packets were faster than the route.
func (m *Machine) report(r xfrm.Report) {
	if m.life != serving || r.Proto != xfrm.HAO || !r.CareOf.IsValid() {
		return
	}
	local, home := r.Sel.Dst.Addr(), r.Sel.Src.Addr()
	if !m.cfg.local(local) || !mobility.UnicastRoutable(home) { // §9.3.1: dropped, without a word
		m.count.ErrorsLimited++
		return
	}
	if e := m.table.find(local, home); e != nil && e.bound && e.careOf == r.CareOf {
		// Where SAs are asked for, the packet may only have come without one. Else the databases have
		// lost the route; it is made anew with the next update.
		if e.route != 0 || e.protected || m.now.Sub(e.moved) <= settle {
			return
		}
		m.drop(e, "the databases have no route")
	}
	m.bindingError(mobility.ErrorUnknownBinding, host.MH{Src: local, Dst: r.CareOf}, home)
}

// settle is how long after a move packets from before it may be reported.
const settle = time.Second

// unknownType answers a message type that is not known (RFC 6275 §9.2).
func (m *Machine) unknownType(mh host.MH) {
	to, home := mh.Src, netip.IPv6Unspecified()
	if mh.CareOf.IsValid() { // there was a home address option
		to, home = mh.CareOf, mh.Src
	}
	answer := host.MH{Src: mh.Dst, Dst: to}
	if to.IsLinkLocalUnicast() { // only the link tells where it is
		answer.IfIndex = mh.IfIndex
	} else if !m.cfg.local(mh.Dst) {
		m.count.ErrorsLimited++
		return
	}
	m.bindingError(mobility.ErrorUnrecognizedType, answer, home)
}

const (
	icmpUnreachable     = 1
	icmpPortUnreachable = 4 // the packet has arrived

	// Errors are persistent when there are so many of them, over such a time, without
	// such a pause (RFC 6275 §9.3.4 leaves it open). One alone may be of a router that is learning.
	persistentCount = 3
	persistentFor   = 2 * time.Second
	persistentPause = 30 * time.Second
)

// icmpError drops the binding of a node whose care-of address cannot be reached, persistently
// (RFC 6275 §9.3.4). Errors about other packets say nothing of it.
func (m *Machine) icmpError(err host.ICMPError) {
	unreachable := err.Type == icmpUnreachable && err.Code != icmpPortUnreachable
	if !unreachable && !err.Refuses || !err.Final.Is6() || !err.Src.Is6() {
		return
	}
	e := m.table.find(err.Src, err.Final)
	if e == nil || !e.bound || e.careOf != err.Dst {
		return
	}
	u := &e.unreachable
	if u.count == 0 || m.now.Sub(u.last) > persistentPause {
		u.count, u.first = 0, m.now
	}
	u.count++
	u.last = m.now
	if u.count >= persistentCount && m.now.Sub(u.first) >= persistentFor {
		m.drop(e, "care-of address unreachable")
	}
}
