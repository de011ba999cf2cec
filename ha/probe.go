package ha

import (
	"net/netip"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
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
