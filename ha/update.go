package ha

import (
	"errors"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
)

// received takes a Mobility Header (RFC 6275 §9.2). The kernel has verified its
// checksum, and has answered a short one or a bad payload proto itself.
func (m *Machine) received(mh host.MH) {
	var msg mobility.Message
	err := msg.Decode(mh.Data)
	switch {
	case errors.Is(err, mobility.ErrUnknownType):
		m.stats.UnknownType++
		m.unknownType(mh)
		return
	case err != nil:
		m.stats.Malformed++
		return
	}
	bu, ok := msg.Body.(mobility.BindingUpdate)
	if !ok { // of a correspondent, or of a node that mistakes us
		m.stats.OtherTypes++
		return
	}
	m.bindingUpdate(mh, bu, msg.Options)
}

// bindingUpdate does the tests of RFC 6275 §9.5.1. What fails one of them without
// an answer is counted.
func (m *Machine) bindingUpdate(mh host.MH, bu mobility.BindingUpdate, opts mobility.Options) {
	m.stats.Updates++
	if m.life != serving {
		m.stats.NotServing++
		return
	}
	// A unicast routable home address, from a unicast source.
	if !mobility.UnicastRoutable(mh.Src) || mh.CareOf.IsValid() && !mobility.UnicastRoutable(mh.CareOf) {
		m.stats.BadAddress++
		return
	}
	n, known := m.find(mh.Src)
	if !known || !n.protected() || m.cfg.Agents[n.agent] != mh.Dst {
		if bu.Flags.Has(mobility.FlagHome) {
			m.stats.Unprotected++
		} else {
			m.stats.NotHome++
		}
		return
	}
	u := update{seq: bu.Seq, flags: bu.Flags, lifetime: bu.Lifetime, wire: mh.CareOf, careOf: mh.Src}
	if u.wire == mh.Src {
		u.wire = netip.Addr{} // a home address option that says nothing: it came from home
	}
	if u.wire.IsValid() {
		u.careOf = u.wire
	}
	if alt, ok := opts.AlternateCareOf(); ok {
		u.careOf = alt
	}
	if !mobility.UnicastRoutable(u.careOf) { // RFC 6275 §6.1.7: silently
		m.stats.BadAddress++
		return
	}
	home := u.flags.Has(mobility.FlagHome)
	if _, nonces := opts.NonceIndices(); home && nonces {
		m.stats.NonceIndices++
		return
	}
	// A registration from away needs the home address option (RFC 6275 §10.3.1).
	if home && u.lifetime != 0 && !u.wire.IsValid() {
		m.stats.NoHomeAddress++
		return
	}
	m.emit(Changed{At: m.now, Home: n.addr(), What: UpdateReceived, CareOf: u.careOf, Seq: u.seq,
		Lifetime: u.lifetime, AtHome: !u.wire.IsValid()})
	m.sequenced(n, u)
}

// sequenced goes on with the sequence number and the type of registration.
func (m *Machine) sequenced(n *node, u update) {
	e, found := m.cache.Lookup(n.addr())
	if found && !mobility.SequenceAfter(e.Seq, u.seq) {
		m.refuse(n, u, mobility.StatusSequence, e.Seq)
		return
	}
	if !u.flags.Has(mobility.FlagHome) {
		// Only what is under the node's ESP came here, so the refusal can be believed.
		if found && !e.Deleted {
			m.refuse(n, u, mobility.StatusTypeChange, u.seq)
		} else {
			m.stats.NotHome++
		}
		return
	}
	if w := n.work; w != nil {
		m.meanwhile(n, w, u)
		return
	}
	m.process(n, u, e, found)
}

// meanwhile takes an update that came while another one is being worked on.
func (m *Machine) meanwhile(n *node, w *work, u update) {
	last := w.update.seq
	if w.next != nil {
		last = w.next.seq
	}
	switch {
	case !mobility.SequenceAfter(last, u.seq):
		m.stats.Repeated++
	case len(w.probes) == 0:
		w.next = &u
	case u.lifetime == 0: // deregistered before it was registered
		n.work = nil
		m.endProbing(n, u)
	default: // no second detection; the answer carries the last sequence number
		m.stats.Repeated++
		if status := m.judge(n, u); status != mobility.StatusAccepted {
			n.work = nil
			m.refuse(n, u, status, u.seq)
			m.tidy(n)
			return
		}
		w.update = u
	}
}

// process decides on an update that is valid and authorized (RFC 6275 §10.3.1, §10.3.2).
func (m *Machine) process(n *node, u update, e binding.Entry, found bool) {
	valid := found && !e.Deleted
	switch {
	case u.lifetime == 0 && !found:
		m.refuse(n, u, mobility.StatusNotHomeAgent, u.seq)
	case u.lifetime == 0 && !valid: // again: our acknowledgement was lost
		e.Seq = u.seq
		_ = m.cache.Put(e)
		ack := mobility.BindingAck{Seq: u.seq, Flags: m.moveKeys(n, u)}
		m.save(n)
		m.acknowledge(n, u, ack, 0)
	case u.lifetime == 0:
		m.deregister(n, u, e)
	default:
		status := m.judge(n, u)
		if status == mobility.StatusAccepted && !valid && !m.cache.Room() {
			status = mobility.StatusNoResources
		}
		switch {
		case status != mobility.StatusAccepted:
			m.refuse(n, u, status, u.seq)
		case valid:
			m.renew(n, u, e)
		default:
			m.probe(n, u)
		}
	}
}
