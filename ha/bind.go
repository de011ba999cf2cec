package ha

import (
	"net/netip"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
)

// register makes the first binding of a home address; n.work is there.
func (m *Machine) register(n *node) {
	w := n.work
	// A second look: the prefix, the access list and the room may have changed
	// during the detection.
	status := m.judge(n, w.update)
	old, _ := m.cache.Lookup(n.addr())
	p, _ := m.cfg.prefix(m.now, n.addr())
	if status == mobility.StatusAccepted {
		e := m.entry(n, w.update, p)
		if m.cache.Put(e) != nil {
			status = mobility.StatusNoResources
		}
	}
	if status != mobility.StatusAccepted {
		n.work = nil
		m.refuse(n, w.update, status, w.update.seq)
		m.tidy(n)
		return
	}
	w.what, w.was = Registered, binding.Entry{}
	if old.Deleted {
		w.was = old
	}
	m.move(n, w.update, p)
}

// renew takes an update for a binding that is there: the node moved, or not.
// There is no duplicate address detection then (RFC 6275 §10.3.1).
func (m *Machine) renew(n *node, u update, old binding.Entry) {
	p, _ := m.cfg.prefix(m.now, n.addr())
	e := m.entry(n, u, p)
	_ = m.cache.Put(e) // it replaces a valid one, for which there is room
	if u.careOf != old.CareOf {
		n.work = &work{update: u, what: Moved, was: old}
		m.defend(n, old.Flags, u.flags)
		m.move(n, u, p)
		return
	}
	ack, advice := m.accept(n, u, e, p)
	m.save(n)
	m.defend(n, old.Flags, u.flags)
	m.changed(n, Refreshed, u, e, netip.Addr{}, ack.Status)
	m.acknowledge(n, u, ack, advice)
}

func (m *Machine) entry(n *node, u update, p HomePrefix) binding.Entry {
	granted := m.lifetime(u.lifetime, p)
	return binding.Entry{Home: n.addr(), CareOf: u.careOf, Seq: u.seq, Flags: u.flags, Lifetime: granted,
		Expires: m.now.Add(granted.Duration()), Tag: n.index}
}

// move brings the databases to the new care-of address, and the keys' end with
// them; the acknowledgement waits for it. Only updates under ESP come here
// (RFC 4877 §4.3). n.work is there, and the new entry in the cache.
func (m *Machine) move(n *node, u update, p HomePrefix) {
	w := n.work
	e, _ := m.cache.Lookup(n.addr())
	if from := n.tunnelEnd(); from.IsValid() && from != u.careOf {
		n.movingFrom = pack(from)
	}
	m.save(n) // before anything changes
	w.ops = m.change(n, protect.Away, u.careOf)
	w.xfrm = m.apply(n, w.ops)
	w.ack, w.advice = m.accept(n, u, e, p)
}

// applied goes on when the databases were changed for n.work.
func (m *Machine) applied(n *node, errs []error) {
	w := n.work
	bad := failure(w.ops, errs)
	if w.what == Deregistered {
		bad = failedNothing // it is over in any case
	}
	switch bad {
	case failedMove:
		if !w.fallback { // policies in line at least; the keys are made anew
			w.fallback = true
			w.ops = m.put(n)
			w.xfrm = m.apply(n, w.ops)
			return
		}
		m.failed(n, w)
		return
	case failedAll:
		m.failed(n, w)
		return
	}
	n.movingFrom = [16]byte{}
	n.work = nil
	e, found := m.cache.Lookup(n.addr())
	if w.what == Deregistered {
		m.deregistered(n, w)
	} else if found && !e.Deleted {
		m.serve(n, w, e)
	}
	m.following(n, w)
}

// serve starts or goes on with the service, and acknowledges.
func (m *Machine) serve(n *node, w *work, e binding.Entry) {
	m.emit(Changed{At: m.now, Home: n.addr(), What: Migrated, CareOf: e.CareOf, Old: w.was.CareOf, Seq: e.Seq})
	if w.what == Registered {
		m.act(n, m.defence(n, e.Flags)...)
		m.after(advertiseAfter, n, advertise, advertiseAgain)
	}
	m.changed(n, w.what, w.update, e, w.was.CareOf, w.ack.Status)
	m.acknowledge(n, w.update, w.ack, w.advice)
	if w.fallback {
		n.handle, n.keysAt = 0, [16]byte{}
		m.emit(KeyDown{Home: n.addr(), Reason: "migration failed: new keys are needed"})
	}
	m.save(n) // the payload states are where the binding is; nobody waits for this
}

// failed takes a change back that the databases refused.
func (m *Machine) failed(n *node, w *work) {
	m.note(Warn, n, "the binding is refused: its policies cannot be put in place")
	n.work, n.movingFrom = nil, [16]byte{}
	status := mobility.StatusNoResources
	if w.was.Home.IsValid() && !w.was.Deleted {
		w.was.Seq = w.update.seq // it was received and is answered
		_ = m.cache.Put(w.was)
		m.apply(n, m.change(n, protect.Away, w.was.CareOf))
		status = mobility.StatusUnspecified
	} else {
		m.cache.Remove(n.addr())
		m.apply(n, m.change(n, protect.Home, netip.Addr{}))
	}
	m.save(n)
	m.refuse(n, w.update, status, w.update.seq)
	m.following(n, w)
}

// following takes the update that came while w was worked on.
func (m *Machine) following(n *node, w *work) {
	if w.next != nil {
		m.sequenced(n, *w.next)
	}
	m.tidy(n)
}

func (m *Machine) changed(n *node, what What, u update, e binding.Entry, old netip.Addr, status mobility.Status) {
	switch {
	case what == Registered || n.since.IsZero():
		n.since, n.moved, n.moves = m.now, m.now, 0
	case what == Moved:
		n.moved = m.now
		n.moves++
	}
	m.emit(Changed{At: m.now, Home: n.addr(), What: what, CareOf: e.CareOf, Old: old, Seq: u.seq,
		Lifetime: e.Lifetime, Status: status, AtHome: !u.wire.IsValid()})
}
