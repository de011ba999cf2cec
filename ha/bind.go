package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
)

var linkLocal = netip.MustParsePrefix("fe80::/64")

// addresses are what is to be tested and defended on the home link: the home
// address, and with L the link-local one that has its identifier
// (RFC 6275 §10.3.1).
func (n *node) addresses(flags mobility.UpdateFlags) []netip.Addr {
	out := []netip.Addr{n.addr()}
	if flags.Has(mobility.FlagLinkLocal) {
		out = append(out, mobility.WithPrefix(linkLocal, n.addr()))
	}
	return out
}

// probe does duplicate address detection before a first binding (RFC 6275 §10.3.1).
func (m *Machine) probe(n *node, u update) {
	n.work = &work{update: u}
	if m.cfg.NoDAD {
		m.register(n)
		return
	}
	for _, a := range n.addresses(u.flags) {
		m.lastID++
		n.work.probes = append(n.work.probes, m.lastID)
		m.pending[m.lastID] = pending{node: n, dad: a}
		m.emit(ProbeDAD{ID: m.lastID, Home: n.addr(), IfIndex: m.cfg.HomeLink.Index, Addr: a})
	}
	m.emit(Changed{At: m.now, Home: n.addr(), What: DADStarted, CareOf: u.careOf, Seq: u.seq})
}

func (m *Machine) dadDone(ev DADDone) {
	p, ok := m.pending[ev.ID]
	if !ok || !p.dad.IsValid() {
		return
	}
	delete(m.pending, ev.ID)
	n, w := p.node, p.node.work
	if w == nil || !w.forget(ev.ID) {
		return // the registration was given up meanwhile
	}
	status := mobility.StatusAccepted
	switch {
	case ev.Duplicate:
		m.note(Warn, n, "home address is in use on the home link", "addr", p.dad)
		status = mobility.StatusDADFailed
	case ev.Err != nil:
		m.note(Warn, n, "duplicate address detection could not be done", "addr", p.dad, "err", ev.Err)
		status = mobility.StatusUnspecified
	case len(w.probes) > 0:
		return
	}
	if status != mobility.StatusAccepted {
		n.work = nil
		m.refuse(n, w.update, status, w.update.seq)
		m.tidy(n)
		return
	}
	m.emit(Changed{At: m.now, Home: n.addr(), What: DADPassed, CareOf: w.update.careOf, Seq: w.update.seq})
	m.register(n)
}

// forget takes a probe off the list.
func (w *work) forget(id uint64) bool {
	for i, x := range w.probes {
		if x == id {
			w.probes = append(w.probes[:i:i], w.probes[i+1:]...)
			return true
		}
	}
	return false
}

// endProbing answers a deregistration that came during the first registration.
func (m *Machine) endProbing(n *node, u update) {
	e := binding.Entry{Home: n.addr(), CareOf: u.careOf, Seq: u.seq, Flags: u.flags, Deleted: true,
		Expires: m.now.Add(binding.DeleteTimeout), Tag: n.index}
	_ = m.cache.Put(e)
	ack := mobility.BindingAck{Seq: u.seq, Flags: m.moveKeys(n, u)}
	m.save(n)
	m.emit(Changed{At: m.now, Home: n.addr(), What: Deregistered, CareOf: u.careOf, Seq: u.seq, AtHome: !u.wire.IsValid()})
	m.acknowledge(n, u, ack, 0)
}

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

// defence is what puts the home agent in the node's place on the home link: it
// answers for its addresses and says so to all (RFC 6275 §10.4.1).
func (m *Machine) defence(n *node, flags mobility.UpdateFlags) []host.Op {
	var ops []host.Op
	for _, a := range n.addresses(flags) {
		ops = append(ops, host.PutProxy{IfIndex: m.cfg.HomeLink.Index, Addr: a})
	}
	if m.cfg.HostRoutes {
		ops = append(ops, host.PutRoute{Route: m.route(n)})
	}
	return append(ops, m.advertisements(n, flags)...)
}

// advertisements override the neighbours' entries; R is zero, the node is no router.
func (m *Machine) advertisements(n *node, flags mobility.UpdateFlags) []host.Op {
	var ops []host.Op
	for _, a := range n.addresses(flags) {
		ops = append(ops, host.AdvertiseNeighbour{IfIndex: m.cfg.HomeLink.Index, Target: a, Override: true})
	}
	return ops
}

// surrender ends it: no defence from now on (RFC 6275 §10.4.1).
func (m *Machine) surrender(n *node, flags mobility.UpdateFlags) []host.Op {
	var ops []host.Op
	for _, a := range n.addresses(flags) {
		ops = append(ops, host.DelProxy{IfIndex: m.cfg.HomeLink.Index, Addr: a})
	}
	if m.cfg.HostRoutes {
		ops = append(ops, host.DelRoute{Route: m.route(n)})
	}
	return ops
}

func (m *Machine) route(n *node) host.Route {
	return host.Route{Dst: netip.PrefixFrom(n.addr(), 128), IfIndex: m.cfg.HomeLink.Index}
}

// defend follows the L flag of a binding that is there.
func (m *Machine) defend(n *node, old, new mobility.UpdateFlags) {
	ll := mobility.WithPrefix(linkLocal, n.addr())
	switch had, has := old.Has(mobility.FlagLinkLocal), new.Has(mobility.FlagLinkLocal); {
	case has && !had:
		m.act(n, host.PutProxy{IfIndex: m.cfg.HomeLink.Index, Addr: ll},
			host.AdvertiseNeighbour{IfIndex: m.cfg.HomeLink.Index, Target: ll, Override: true})
	case had && !has:
		m.act(n, host.DelProxy{IfIndex: m.cfg.HomeLink.Index, Addr: ll})
	}
}

func (m *Machine) advertiseAgain(n *node, count int) {
	e, ok := m.cache.Lookup(n.addr())
	if !ok || e.Deleted || count <= 0 {
		return
	}
	m.act(n, m.advertisements(n, e.Flags)...)
	m.after(advertiseAfter, n, advertise, count-1)
}

func (m *Machine) changed(n *node, what What, u update, e binding.Entry, old netip.Addr, status mobility.Status) {
	m.emit(Changed{At: m.now, Home: n.addr(), What: what, CareOf: e.CareOf, Old: old, Seq: u.seq,
		Lifetime: e.Lifetime, Status: status, AtHome: !u.wire.IsValid()})
}
