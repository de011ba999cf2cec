package cn

import (
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

const (
	// refreshes is how many Binding Refresh Requests a node gets for one binding, each after half of
	// the time that was left at the one before.
	refreshes = 3
	// refreshLead is how long before the end of a long binding that begins; a quarter of a short one.
	refreshLead = 40 * time.Second
	// refreshLast is the time that has to be left for an answer.
	refreshLast = 500 * time.Millisecond
	// idle is how long ago the route may have been used last.
	idle = 30 * time.Second
)

// planRefresh plans when a binding's use is asked for: before its end, and once before that, since
// what counts packets tells only whether there were any since it was asked.
func (m *Machine) planRefresh(e *entry) refresh {
	r := refresh{used: e.refresh.used}
	r.from = e.expires.Add(-min(e.lifetime.Duration()/4, refreshLead))
	if r.next = r.from.Add(-idle); !r.next.After(m.now) {
		r.next = r.from
	}
	return r
}

// askUse asks whether a binding that comes to its end is in use.
func (m *Machine) askUse(e *entry) {
	r := &e.refresh
	delete(m.ids, r.ask)
	r.ask = m.newID(e)
	r.next = time.Time{}
	if m.now.Before(r.from) {
		r.next = r.from
	} else if half := e.expires.Sub(m.now) / 2; half >= refreshLast && r.sent+1 < refreshes {
		r.next = m.now.Add(half)
	}
	m.table.place(e)
	m.emit(AskUse{ID: r.ask, Local: e.local, Home: e.home})
}

// used asks the node of a binding in use to renew it (RFC 6275 §9.5.5): by its home
// address, without a routing header (§6.1.2).
func (m *Machine) used(ev Used) {
	e := m.answered(ev.ID)
	if e == nil || e.refresh.ask != ev.ID {
		return
	}
	r := &e.refresh
	r.ask, r.used = 0, ev.Last
	if m.life != serving || m.now.Before(r.from) || ev.Last.IsZero() || m.now.Sub(ev.Last) > idle {
		return
	}
	r.sent++
	m.count.RefreshRequests++
	m.send(host.MH{Src: e.local, Dst: e.home}, mobility.Message{Body: mobility.BindingRefreshRequest{}}, e.home)
}
