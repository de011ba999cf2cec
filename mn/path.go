package mn

import (
	"net/netip"
	"slices"
	"time"
)

// attachKind is what an attachment is.
type attachKind uint8

const (
	nowhere attachKind = iota
	abroad
	atHome
)

// attachment is a place where the node can be: a care-of address with its link and router.
type attachment struct {
	Kind    attachKind
	IfIndex int
	Name    string
	CareOf  netip.Addr // at home the home address
	Router  netip.Addr // zero: none seen; the main table routes
	OnLink  []netip.Prefix

	LinkUp, RouterAt, CareOfAt time.Time
}

// candidate is an address that could be the care-of address.
type candidate struct {
	link *link
	addr *addr
}

// choose finds the best place of those that there are now.
func (m *Machine) choose(now time.Time) attachment {
	var home *link
	var best candidate
	for i := range m.s.Links {
		l := &m.s.Links[i]
		if l.Pref < 0 || l.UpSince.IsZero() {
			continue
		}
		// Home link detection (RFC 6275 §11.5.2).
		if !l.advertisedBy(m.cfg.Home.Addr()).IsZero() && (home == nil || l.Pref < home.Pref) {
			home = l
		}
		for j := range l.Addrs {
			c := candidate{l, &l.Addrs[j]}
			if m.usable(c) && !c.addr.waits(l).After(now) && (best.link == nil || m.better(c, best)) {
				best = c
			}
		}
	}
	switch {
	case home != nil:
		return m.place(atHome, home, m.cfg.Home.Addr(), time.Time{})
	case best.link != nil:
		return m.place(abroad, best.link, best.addr.Addr.Prefix.Addr(), best.addr.UsableAt)
	}
	return attachment{}
}

func (m *Machine) place(kind attachKind, l *link, a netip.Addr, usable time.Time) attachment {
	var inUse netip.Addr
	if m.s.Cur.IfIndex == l.Link.Index {
		inUse = m.s.Cur.Router
	}
	at := attachment{Kind: kind, IfIndex: l.Link.Index, Name: l.Link.Name, CareOf: a,
		Router: l.nextHop(a, inUse), OnLink: l.onLink(a),
		LinkUp: l.UpSince, RouterAt: l.advertisedBy(a), CareOfAt: usable}
	// After a restart the router of before is believed until one has spoken.
	if old := m.s.Before; len(l.Routers) == 0 && !l.SawUp && old.IfIndex == at.IfIndex && old.CareOf == a {
		at.Router, at.OnLink = old.Router, old.OnLink
	}
	return at
}

// usable tells whether an address can be a care-of address now. Who put it there
// does not matter. It must not be tentative unless optimistic, since what a home
// agent answers to a tentative address is lost.
func (m *Machine) usable(c candidate) bool {
	a := c.addr.Addr
	ip := a.Prefix.Addr()
	switch {
	case !ip.Is6() || ip.Is4In6() || !ip.IsGlobalUnicast():
		return false
	case a.Home || m.cfg.Home.Masked().Contains(ip):
		return false // of the home link, or left over from it
	case !a.Usable():
		return false
	}
	return c.link.current(c.addr)
}

// reachable tells whether packets to the address can arrive: it could still be the care-of address.
func (m *Machine) reachable(a netip.Addr) bool {
	for i := range m.s.Links {
		l := &m.s.Links[i]
		if x := l.addr(a); x != nil && !l.UpSince.IsZero() && m.usable(candidate{l, x}) {
			return true
		}
	}
	return false
}

// current tells whether the address belongs to the present attachment of the link: one with a
// lifetime that is older than the last carrier-up was made from the
// advertisements of a link which need not be this one, until a router here
// advertises its prefix. Of a link that was up before we looked nothing is known,
// until a router speaks: then an address of a prefix that it does not advertise is
// a left-over too, unless it is a single one, as DHCPv6 gives them.
func (l *link) current(a *addr) bool {
	switch {
	case a.Addr.Permanent, !l.advertisedBy(a.Addr.Prefix.Addr()).IsZero():
		return true
	case l.SawUp:
		return a.Appeared > l.UpOrder
	}
	return a.Addr.Prefix.IsSingleIP() || !l.advertisesAny()
}

// advertisesAny tells whether a router of the link has told a prefix to make addresses of.
func (l *link) advertisesAny() bool {
	for _, r := range l.Routers {
		for _, p := range r.Router.Prefixes {
			if p.Auto && p.Valid > 0 {
				return true
			}
		}
	}
	return false
}

// fresh is how long a new address waits for the advertisement that it was made from. Both are told
// at about the same time, in no particular order, and without the router the first Binding Update could
// leave by a default route of the link before.
const fresh = 100 * time.Millisecond

// waits is the time until which the address waits for its router; zero: it does not.
func (a *addr) waits(l *link) time.Time {
	if a.Addr.Permanent || a.Newness == 0 || !l.advertisedBy(a.Addr.Prefix.Addr()).IsZero() {
		return time.Time{}
	}
	return a.Since.Add(fresh)
}

// better tells whether a is to be preferred to b.
func (m *Machine) better(a, b candidate) bool {
	if a.link.Pref != b.link.Pref {
		return a.link.Pref < b.link.Pref
	}
	for _, cmp := range []func(candidate) bool{
		// A unique local address reaches no global home agent, nor the reverse.
		func(c candidate) bool { return c.addr.Addr.Prefix.Addr().IsPrivate() == m.cfg.HomeAgent.IsPrivate() },
		func(c candidate) bool { return !c.addr.Addr.Deprecated },
		func(c candidate) bool { return !c.addr.Addr.Temporary },
	} {
		if x, y := cmp(a), cmp(b); x != y {
			return x
		}
	}
	if a.addr.Newness != b.addr.Newness {
		return a.addr.Newness > b.addr.Newness
	}
	cur := m.s.Bind.CareOf
	if x, y := a.addr.Addr.Prefix.Addr() == cur, b.addr.Addr.Prefix.Addr() == cur; x != y {
		return x
	}
	return a.addr.Appeared > b.addr.Appeared
}

// same tells whether two attachments need the same routes.
func (a attachment) same(b attachment) bool {
	return a.Kind == b.Kind && a.IfIndex == b.IfIndex && a.CareOf == b.CareOf &&
		a.Router == b.Router && slices.Equal(a.OnLink, b.OnLink)
}
