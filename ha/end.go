package ha

import (
	"net/netip"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
)

// deregister ends a binding at the node's wish (RFC 6275 §10.3.2): interception
// stops first, then the tunnel, then comes the acknowledgement.
// The security associations are kept, unused (RFC 4877 §4.2).
func (m *Machine) deregister(n *node, u update, e binding.Entry) {
	old := e.CareOf
	m.cache.Delete(n.addr(), u.seq, m.now.Add(binding.DeleteTimeout))
	n.work = &work{update: u, what: Deregistered, was: e}
	n.work.ack = mobility.BindingAck{Seq: u.seq, Flags: m.moveKeys(n, u)}
	m.save(n)
	m.act(n, m.surrender(n, e.Flags)...)
	phase, at := protect.Home, netip.Addr{}
	if !u.wire.IsValid() { // what the node sends by the tunnel until it hears from us is still good
		phase, at = protect.Returned, old
		m.after(settleAfter, n, settle, 0)
	}
	n.work.ops = m.change(n, phase, at)
	if n.work.xfrm = m.apply(n, n.work.ops); n.work.xfrm == 0 {
		w := n.work
		n.work = nil
		m.deregistered(n, w)
	}
}

func (m *Machine) deregistered(n *node, w *work) {
	m.emit(Changed{At: m.now, Home: n.addr(), What: Deregistered, CareOf: w.update.careOf, Old: w.was.CareOf,
		Seq: w.update.seq, AtHome: !w.update.wire.IsValid()})
	m.acknowledge(n, w.update, w.ack, 0)
}

// expire takes out the bindings whose lifetime has ended, and the entries that
// were kept after a deregistration.
func (m *Machine) expire() {
	for {
		e, ok := m.cache.Expire(m.now)
		if !ok {
			return
		}
		n, ok := m.find(e.Home)
		if !ok {
			continue
		}
		if e.Deleted {
			m.save(n)
			m.tidy(n)
			continue
		}
		m.unbind(n, e, Expired)
	}
}

// unbind takes down what a binding had; it is out of the cache already.
func (m *Machine) unbind(n *node, e binding.Entry, what What) {
	n.work, n.movingFrom = nil, [16]byte{}
	m.save(n)
	m.act(n, m.surrender(n, e.Flags)...)
	m.apply(n, m.change(n, protect.Home, netip.Addr{}))
	m.emit(Changed{At: m.now, Home: n.addr(), What: what, Old: e.CareOf, CareOf: e.CareOf, Seq: e.Seq})
	if n.handle == 0 {
		n.restored = false // nobody came back for the old keys
	}
	m.tidy(n)
}

// settle ends what stays for packets under way.
func (m *Machine) settle(n *node) {
	if n.work != nil {
		m.after(settleAfter, n, settle, 0)
		return
	}
	switch n.phase {
	case protect.Returned:
		m.apply(n, m.change(n, protect.Home, netip.Addr{}))
	case protect.Home:
		m.apply(n, m.unanswer(n))
	}
}
