package cn

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

func (m *Machine) note(l Level, home netip.Addr, msg string, attrs ...any) {
	m.emit(Note{Level: l, Home: home, Msg: msg, Attrs: attrs})
}

// send emits a message, whose Data it makes.
func (m *Machine) send(mh host.MH, msg mobility.Message, home netip.Addr) {
	data, err := msg.AppendTo(nil)
	if err != nil { // a mistake of ours
		m.note(Warn, home, "message cannot be encoded", "err", err)
		return
	}
	mh.Data = data
	m.emit(Host{Local: mh.Src, Home: home, Ops: []host.Op{host.SendMH{MH: mh}}})
}

// newID is an id for what is answered about an entry.
func (m *Machine) newID(e *entry) uint64 {
	m.lastID++
	m.ids[m.lastID] = e.index
	return m.lastID
}

// answered finds the entry that an id is of.
func (m *Machine) answered(id uint64) *entry {
	i, ok := m.ids[id]
	if !ok {
		return nil
	}
	delete(m.ids, id)
	return m.table.slots[i]
}

// putRoute says how packets go from now on, and waits for the answer.
func (m *Machine) putRoute(e *entry) {
	r := m.routeOf(e)
	r.ID = m.newID(e)
	e.route = r.ID
	m.emit(r)
}

// takeRoute says it where nobody waits for the answer; an earlier one does not count any more.
func (m *Machine) takeRoute(e *entry) {
	e.route = 0
	m.emit(m.routeOf(e))
}

// routeOf is the route that an entry asks for.
func (m *Machine) routeOf(e *entry) Route {
	r := Route{Local: e.local, Home: e.home}
	if e.bound {
		r.CareOf = e.careOf
	}
	if e.protected {
		r.Protect, r.ReqID = e.proto, m.reqID(e)
	}
	return r
}
