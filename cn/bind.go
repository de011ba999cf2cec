package cn

import (
	"fmt"

	"github.com/mip6/mip6/mobility"
)

// accept makes or renews a binding (RFC 6275 §9.5.2). The acknowledgement waits until the route is
// put: no packet that follows it finds a path that is not ready.
func (m *Machine) accept(u update) {
	e := m.table.obtain(u.local, u.home)
	what, change := "renewed", !e.bound || e.careOf != u.careOf
	switch {
	case !e.bound:
		what = "bound"
		e.since, e.moved, e.moves = m.now, m.now, 0
	case e.careOf != u.careOf:
		if what = "moved"; e.answer != nil {
			what = e.answer.what // the route to where it was before never stood
		}
		e.moved = m.now
		e.moves++
	case e.answer != nil: // again, before the route is put
		what = e.answer.what
	}
	m.count.Accepted++
	e.bound, e.careOf, e.flags, e.auth, e.nonces = true, u.careOf, u.flags, u.auth, u.nonces
	e.lifetime = m.cfg.lifetime(u.asked, u.auth)
	e.expires = m.now.Add(e.lifetime.Duration())
	e.unreachable = unreachable{}
	delete(m.ids, e.refresh.ask)
	e.refresh = m.planRefresh(e)
	m.learn(e, u)
	if u.auth == IPsec {
		e.saved = true
		m.emit(Save{Record{Local: e.local, Home: e.home, Seq: e.seq, CareOf: e.careOf}})
	}
	a := &answer{to: u, seq: u.seq, ack: u.flags.Has(mobility.FlagAck), what: what}
	switch {
	case change:
		e.answer = a
		m.putRoute(e)
	case e.answer != nil:
		e.answer = a
	default:
		m.acknowledged(e, a)
	}
	m.table.place(e)
}

// learn keeps the sequence number of an update.
func (m *Machine) learn(e *entry, u update) {
	e.seq, e.known, e.updated = u.seq, true, m.now
	if e.keep = u.auth == StaticKey; e.keep {
		m.emit(Save{Record{Local: e.local, Home: e.home, Seq: e.seq}})
	}
}

// acknowledged ends what an accepted update began.
func (m *Machine) acknowledged(e *entry, a *answer) {
	if a.what != "renewed" && e.auth == IPsec {
		m.emit(KeyMoved{Local: e.local, Home: e.home, CareOf: e.careOf})
	}
	if a.ack {
		m.acknowledge(a.to, mobility.BindingAck{Seq: a.seq, Lifetime: e.lifetime})
	}
	m.emit(Changed{What: a.what, Binding: m.info(e)})
}

// routeDone goes on with what waited for a route. Where another one was asked for
// meanwhile, that one counts.
func (m *Machine) routeDone(ev RouteDone) {
	delete(m.leaving, ev.ID)
	e := m.answered(ev.ID)
	if e == nil || e.route != ev.ID {
		return
	}
	e.route = 0
	if ev.Err != nil {
		m.routeFailed(e, ev.Err)
		return
	}
	e.keyed = e.protected
	waiting, a := e.waiting, e.answer
	e.waiting, e.answer = nil, nil
	for _, w := range waiting {
		m.emit(w)
	}
	if a != nil {
		m.acknowledged(e, a)
	}
	m.table.place(e)
}

// routeFailed leaves nothing that is only half there.
func (m *Machine) routeFailed(e *entry, err error) {
	m.count.RouteErrors++
	m.note(Warn, e.home, "route cannot be put", "local", e.local, "careof", e.careOf, "err", err)
	a := e.answer
	if !e.keyed {
		m.unprotect(e)
	}
	m.deny(e, fmt.Errorf("%w: policies of %v: %v", ErrDenied, e.home, err))
	if e.bound {
		m.drop(e, "its route cannot be put")
	} else {
		m.takeRoute(e)
		m.table.place(e)
	}
	if a != nil {
		m.refuse(a.to, mobility.StatusUnspecified, a.seq)
	}
}

// delete does what a valid request to delete asks for (RFC 6275 §9.5.3). Without an entry none
// is made.
func (m *Machine) delete(u update, e *entry) {
	m.count.Deleted++
	if e == nil && u.auth == StaticKey { // no binding, but its sequence number
		e = m.table.obtain(u.local, u.home)
	}
	if e == nil {
		m.acknowledgeDeletion(u)
		return
	}
	// Under SAs the answer goes by the route that stands, until it is sent (see acknowledge); a node
	// at home is not at its end any more.
	early := u.auth == IPsec && u.from.IsValid()
	if early {
		m.acknowledgeDeletion(u)
	}
	if e.known || e.bound || u.auth == StaticKey {
		m.learn(e, u)
	}
	m.drop(e, "deleted by the node")
	if u.auth == IPsec && !u.from.IsValid() {
		m.emit(KeyMoved{Local: u.local, Home: u.home, CareOf: u.home})
	}
	if !early {
		m.acknowledgeDeletion(u)
	}
}

func (m *Machine) acknowledgeDeletion(u update) {
	if u.flags.Has(mobility.FlagAck) {
		m.acknowledge(u, mobility.BindingAck{Seq: u.seq})
	}
}

// drop ends a binding, where there is one. What was done with its nonces is remembered.
func (m *Machine) drop(e *entry, reason string) {
	if e.bound {
		gone := m.info(e)
		delete(m.ids, e.refresh.ask)
		e.bound, e.answer, e.refresh = false, nil, refresh{}
		m.unsave(e)
		if len(e.waiting) > 0 {
			m.putRoute(e)
		} else {
			m.takeRoute(e)
		}
		m.emit(Changed{What: "gone", Binding: gone, Reason: reason})
	}
	e.remember(m.now)
	m.table.place(e)
	m.trim()
}

// unsave forgets the care-of address in the next run too.
func (m *Machine) unsave(e *entry) {
	if e.saved {
		e.saved = false
		m.emit(Forget{Local: e.local, Home: e.home})
	}
}

// minMemory is the least number of bindings that are gone, but remembered.
const minMemory = 1000

// trim keeps the memory of bindings that are gone bounded. What is forgotten too early cannot be
// replayed, since its nonces go with it (RFC 6275 §5.2.8).
func (m *Machine) trim() {
	for len(m.table.memory) > max(m.maxBindings(), minMemory) {
		e := m.table.memory[0]
		m.invalidate(e.updated)
		e.known = false
		m.table.place(e)
	}
}
