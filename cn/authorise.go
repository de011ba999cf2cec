package cn

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

const anyPort = 65535

// authorise decides whether a node may have SAs with an address of ours, and puts the policies that
// ask for them in before it says so.
func (m *Machine) authorise(ev Authorise) {
	peer, local, err := m.resolve(ev)
	if err != nil {
		m.note(Warn, ev.CareOf, "child refused", "identity", ev.Identity, "err", err)
		m.emit(Authorised{ID: ev.ID, Err: err})
		return
	}
	e := m.table.obtain(local, peer.Home)
	asked := e.protected && e.proto == ev.Proto
	e.protected, e.proto = true, ev.Proto
	m.reserve(e)
	ans := Authorised{ID: ev.ID, Local: local, Home: peer.Home, ReqID: m.reqID(e),
		LocalSel: []Selector{whole(local)}, RemoteSel: []Selector{whole(peer.Home)}}
	if asked && e.keyed && e.route == 0 {
		m.emit(ans)
		return
	}
	e.waiting = append(e.waiting, ans)
	m.putRoute(e)
	m.table.place(e)
}

func whole(a netip.Addr) Selector { return Selector{EndPort: anyPort, Start: a, End: a} }

// resolve finds the peer and our address: the SAs are for every packet between its home
// address and that one, in transport mode.
func (m *Machine) resolve(ev Authorise) (*Peer, netip.Addr, error) {
	var none netip.Addr
	if m.life != serving {
		return nil, none, fmt.Errorf("%w: not serving", ErrDenied)
	}
	var peer *Peer
	for i := range m.cfg.Peers {
		p := &m.cfg.Peers[i]
		if p.Auth == IPsec && p.Identity == ev.Identity && (peer == nil || covers(ev.Remote, p.Home) && !covers(ev.Remote, peer.Home)) {
			peer = p
		}
	}
	if peer == nil || ev.Identity == "" {
		return nil, none, fmt.Errorf("%w: no peer is %q", ErrDenied, ev.Identity)
	}
	if m.cfg.policy(peer.Home) == Deny {
		return nil, none, fmt.Errorf("%w: %v by policy", ErrDenied, peer.Home)
	}
	if !ev.Transport {
		return nil, none, fmt.Errorf("%w: only transport mode", ErrTSUnacceptable)
	}
	if peer.Proto != 0 && peer.Proto != ev.Proto || ev.Proto != xfrm.ESP && ev.Proto != xfrm.AH {
		return nil, none, fmt.Errorf("%w: %v is not what %v is to use", ErrDenied, ev.Proto, peer.Home)
	}
	if !covers(ev.Remote, peer.Home) {
		return nil, none, fmt.Errorf("%w: all of %v has to be in them", ErrTSUnacceptable, peer.Home)
	}
	local, ok := m.ours(ev.Local)
	if !ok || local == peer.Home {
		return nil, none, fmt.Errorf("%w: no address of ours is in them", ErrTSUnacceptable)
	}
	return peer, local, nil
}

// ours is the address of ours that selectors are for.
func (m *Machine) ours(list []Selector) (netip.Addr, bool) {
	for _, s := range list {
		if s.Start == s.End && m.cfg.local(s.Start) && s.all() {
			return s.Start, true
		}
	}
	for _, p := range m.cfg.Locals {
		if p.IsSingleIP() && covers(list, p.Addr()) {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

func (s Selector) all() bool { return s.Proto == 0 && s.StartPort == 0 && s.EndPort == anyPort }

func covers(list []Selector, a netip.Addr) bool {
	for _, s := range list {
		if s.all() && s.Start.Is6() && s.End.Is6() && s.Start.Compare(a) <= 0 && a.Compare(s.End) <= 0 {
			return true
		}
	}
	return false
}

// keysDown ends what needed the SAs that are gone, unless new ones are on their way.
func (m *Machine) keysDown(ev KeysDown) {
	if !ev.Local.Is6() || !ev.Home.Is6() {
		return
	}
	e := m.table.find(ev.Local, ev.Home)
	if e == nil || !e.protected || len(e.waiting) > 0 {
		return
	}
	m.unprotect(e)
	if e.bound {
		m.drop(e, "no SAs any more")
		return
	}
	m.takeRoute(e)
	m.table.place(e)
}

// deny answers what waits for a route by an error.
func (m *Machine) deny(e *entry, err error) {
	for _, w := range e.waiting {
		m.emit(Authorised{ID: w.ID, Local: w.Local, Home: w.Home, Err: err})
	}
	e.waiting = nil
}

// reserve gives an entry a request id: the first that is free.
func (m *Machine) reserve(e *entry) {
	if e.reqSlot >= 0 {
		return
	}
	for i, used := range m.table.reqs {
		if !used {
			e.reqSlot = i
			m.table.reqs[i] = true
			return
		}
	}
	e.reqSlot = len(m.table.reqs)
	m.table.reqs = append(m.table.reqs, true)
}

func (m *Machine) reqID(e *entry) xfrm.ReqID {
	return m.cfg.FirstReqID + xfrm.ReqID(max(e.reqSlot, 0))
}

// unprotect lets packets go without SAs.
func (m *Machine) unprotect(e *entry) {
	if e.reqSlot >= 0 {
		m.table.reqs[e.reqSlot] = false
	}
	e.protected, e.keyed, e.proto, e.reqSlot = false, false, 0, -1
}
