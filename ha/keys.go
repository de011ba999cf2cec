package ha

import (
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
)

// moveKeys decides on K and does what belongs to it (RFC 6275 §10.3.1): K = 1
// moves the end of IKE to the new care-of address, K = 0 discards what went to the
// old one, without a Delete, which would close the children too. The caller saves.
func (m *Machine) moveKeys(n *node, u update) mobility.AckFlags {
	k := u.flags.Has(mobility.FlagKey) && !m.cfg.RefuseK
	if line := m.byName[n.identity]; line != nil && line.RefuseK {
		k = false
	}
	end := u.careOf
	if u.lifetime == 0 {
		// At home the home address is the new end (§10.3.2). A node that
		// deregisters abroad cannot be reached there: its end is where it spoke from.
		end = n.addr()
		if u.wire.IsValid() {
			end = u.wire
		}
	}
	if n.keysAt != pack(end) && (n.handle != 0 || n.keysAt != [16]byte{}) {
		if k {
			n.keysAt = pack(end)
			m.emit(KeyMoved{Home: n.addr(), HomeAgent: m.cfg.Agents[n.agent], CareOf: end})
		} else {
			n.handle, n.keysAt = 0, [16]byte{}
			m.emit(KeyDown{Home: n.addr(), Silent: true, Reason: "moved without key management mobility"})
		}
	}
	if k {
		return mobility.AckKey
	}
	return 0
}

func (m *Machine) keysUp(ev KeysUp) {
	n, ok := m.find(ev.Home)
	if !ok {
		m.stats.UnknownHome++
		return
	}
	n.handle, n.keysAt, n.tries = ev.Handle, pack(ev.CareOf), 0
	m.save(n)
}

func (m *Machine) keysDown(ev KeysDown) {
	n, ok := m.find(ev.Home)
	if !ok || n.handle != ev.Handle {
		return
	}
	m.note(Info, n, "ike sa is gone", "reason", ev.Reason)
	n.handle = 0
	if e, ok := m.cache.Lookup(n.addr()); ok && !e.Deleted {
		return // the binding stays till it expires; the node comes back with new keys
	}
	n.keysAt = [16]byte{}
	m.tidy(n)
}

func (m *Machine) keysRefused(ev KeysRefused) {
	n, ok := m.find(ev.Home)
	if !ok || n.handle != 0 {
		return
	}
	m.note(Info, n, "the node did not take new keys", "reason", ev.Reason)
	m.rekeyLater(n)
}

func (m *Machine) childUp(ev ChildUp) {
	n, ok := m.find(ev.Home)
	if !ok {
		m.stats.UnknownHome++
		return
	}
	switch ev.Kind {
	case MH:
		n.mh = ev.InSPI
		n.restored, n.expected = false, time.Time{}
	case Payload:
		n.payload = ev.InSPI
		switch {
		case !ev.CareOf.IsValid():
		case n.phase != protect.Away:
			n.tunnelAt = pack(ev.CareOf)
		case pack(ev.CareOf) != n.at:
			m.note(Warn, n, "payload keys were made for another care-of address", "careof", ev.CareOf)
		}
	}
	m.save(n)
}

func (m *Machine) childRekeyed(ev ChildRekeyed) {
	n, ok := m.find(ev.Home)
	if !ok {
		return
	}
	switch {
	case ev.Kind == MH && (n.mh == ev.OldInSPI || n.mh == 0):
		n.mh = ev.InSPI
	case ev.Kind == Payload && (n.payload == ev.OldInSPI || n.payload == 0):
		n.payload = ev.InSPI
	}
}

func (m *Machine) childDown(ev ChildDown) {
	n, ok := m.find(ev.Home)
	if !ok {
		return
	}
	switch {
	case ev.Kind == MH && n.mh == ev.InSPI:
		n.mh = 0
	case ev.Kind == Payload && n.payload == ev.InSPI:
		n.payload = 0
		if n.phase != protect.Away && n.phase != protect.Returned {
			n.tunnelAt = [16]byte{}
		}
	}
	m.tidy(n)
}
