package cn

import (
	"fmt"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

const (
	// sweepPage is the number of entries that one step takes down.
	sweepPage = 256
	// farewell is how long routes stay after the nodes were told: packets that are under way arrive.
	farewell = 250 * time.Millisecond
)

// stop takes the service down, a page of entries at a time.
func (m *Machine) stop() {
	if m.life > serving {
		return
	}
	started := m.life == serving
	m.life, m.sweep, m.linger = telling, 0, m.now
	for _, e := range m.table.slots {
		if e != nil {
			m.deny(e, fmt.Errorf("%w: the service ends", ErrDenied))
			e.answer = nil
		}
	}
	if !started {
		m.life = stopped
		m.emit(Stopped{})
	}
}

// drain goes on with the end of the service: Binding Errors first, so that the nodes go
// back to their tunnels while what they have sent is still taken.
func (m *Machine) drain() {
	if m.life == telling && m.page(func(e *entry) bool {
		if !e.bound {
			return false
		}
		m.tell(mobility.ErrorUnknownBinding, host.MH{Src: e.local, Dst: e.careOf}, e.home)
		m.linger = m.now.Add(farewell)
		return true
	}) {
		m.life = clearing
	}
	if m.life == clearing && !m.linger.After(m.now) && m.page(m.clear) {
		m.life = draining
	}
	if m.life == draining && len(m.leaving) == 0 {
		m.life = stopped
		m.emit(Stopped{})
	}
}

// page gives entries to do until it has done something with as many as a step may, and tells
// whether it has come to the end.
func (m *Machine) page(do func(*entry) bool) bool {
	for n := 0; m.sweep < len(m.table.slots) && n < sweepPage; m.sweep++ {
		if e := m.table.slots[m.sweep]; e != nil && do(e) {
			n++
		}
	}
	if m.sweep < len(m.table.slots) {
		return false
	}
	m.sweep = 0
	return true
}

// clear takes a route out.
func (m *Machine) clear(e *entry) bool {
	if !e.bound && !e.protected {
		return false
	}
	if e.bound {
		m.emit(Changed{What: "gone", Binding: m.info(e), Reason: "the service ends"})
	}
	e.bound, e.answer = false, nil
	m.unsave(e)
	m.unprotect(e)
	m.putRoute(e)
	m.leaving[e.route] = true
	m.table.place(e)
	return true
}

// restore takes what an earlier run saved.
func (m *Machine) restore(records []Record) {
	for _, r := range records {
		p := m.peers[r.Home]
		if m.life == fresh && r.CareOf.IsValid() && r.Local.Is6() {
			m.lost = append(m.lost, r)
			continue
		}
		if m.life != fresh || p == nil || p.Auth != StaticKey || !r.Local.Is6() {
			continue
		}
		e := m.table.obtain(r.Local, r.Home)
		e.seq, e.known, e.keep, e.auth = r.Seq, true, true, StaticKey
	}
}

// begin tells the nodes whose bindings and SAs an earlier run took with it.
func (m *Machine) begin() {
	m.life = serving
	for _, r := range m.lost {
		m.emit(Forget{Local: r.Local, Home: r.Home})
		if mobility.UnicastRoutable(r.CareOf) {
			m.tell(mobility.ErrorUnknownBinding, host.MH{Src: r.Local, Dst: r.CareOf}, r.Home)
		}
	}
	m.lost = nil
}

// setConfig replaces the configuration in the running service.
func (m *Machine) setConfig(cfg Config) {
	if err := cfg.Validate(); err != nil {
		m.emit(Note{Level: Warn, Msg: "configuration is not taken", Attrs: []any{"err", err}})
		return
	}
	cfg.FirstReqID = m.cfg.FirstReqID // what cannot change in a running machine
	was := m.peers
	m.configure(cfg)
	for _, e := range m.table.slots {
		if e != nil {
			m.review(e, was[e.home])
		}
	}
}

// review looks at an entry after the configuration changed. The node is told: nothing else
// would before its next packet.
func (m *Machine) review(e *entry, was *Peer) {
	peer := m.peers[e.home]
	same := peer == nil && was == nil || peer != nil && was != nil && *peer == *was
	served := same && m.cfg.local(e.local) && m.cfg.policy(e.home) != Deny
	e.keep = e.keep && same
	if !served && e.protected {
		m.deny(e, fmt.Errorf("%w: not served any more", ErrDenied))
		m.emit(KeyDown{Local: e.local, Home: e.home})
		m.unprotect(e)
		if !e.bound {
			m.takeRoute(e)
		}
	}
	if !served && e.bound {
		m.tell(mobility.ErrorUnknownBinding, host.MH{Src: e.local, Dst: e.careOf}, e.home)
		m.drop(e, "not served any more")
		return
	}
	if !e.bound {
		e.remember(m.now)
	}
	m.table.place(e)
}
