package ha

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// authorise decides whether a peer may have a child SA, and puts the node's
// Mobility Header policies in before it says so: the first Binding Update never
// meets a missing policy (RFC 4877 §7.2.1).
func (m *Machine) authorise(ev Authorise) {
	if m.life != serving {
		m.emit(Authorised{ID: ev.ID, Err: ErrNotServing})
		return
	}
	home, assigned, err := m.resolve(ev)
	if err != nil {
		m.unauthorised(ev, home, err)
		return
	}
	ans, err := m.narrow(ev, home)
	if err != nil {
		m.unauthorised(ev, home, err)
		return
	}
	n, err := m.admit(ev, home, assigned, ans.Local, ans.Kind)
	if err != nil {
		m.unauthorised(ev, home, err)
		return
	}
	ans.ID, ans.Home = ev.ID, home
	ans.ReqID = m.reqIDs(n).MH
	if ans.Kind == Payload {
		ans.ReqID = m.reqIDs(n).Payload
	}
	if ev.WantAddress {
		p, _ := m.cfg.prefix(m.now, home)
		ans.Assigned, ans.PrefixLen = home, p.Prefix.Bits()
	}
	n.asking++
	if n.phase != protect.Absent {
		m.authorised(n, ans, nil)
		return
	}
	ops := m.change(n, protect.Home, netip.Addr{})
	m.save(n)
	m.lastID++
	m.pending[m.lastID] = pending{node: n, xfrm: ops, ask: &ans}
	m.emit(Xfrm{ID: m.lastID, Home: home, Ops: ops})
}

// authorised answers when the policies are in.
func (m *Machine) authorised(n *node, ans Authorised, errs []error) {
	n.asking--
	for _, err := range errs {
		if err != nil {
			m.apply(n, m.change(n, protect.Absent, netip.Addr{}))
			m.emit(Authorised{ID: ans.ID, Home: ans.Home, Err: fmt.Errorf("%w: policies of %v: %v", ErrDenied, ans.Home, err)})
			m.tidy(n)
			return
		}
	}
	m.stats.Authorised++
	m.emit(ans)
	// The end of older keys, such as those from before the node's restart, must not
	// take the policies away while the new ones are on their way.
	n.expected = m.now.Add(lookAfter)
	m.after(lookAfter, n, look, 0)
}

func (m *Machine) unauthorised(ev Authorise, home netip.Addr, err error) {
	m.stats.Unauthorised++
	m.emit(Note{Level: Warn, Home: home, Msg: "child refused",
		Attrs: []any{"identity", ev.Identity, "careof", ev.CareOf, "err", err}})
	m.emit(Authorised{ID: ev.ID, Home: home, Err: err})
}

// resolve finds the home address that an identity has: by the access list, by its
// certificate, or from the pool.
func (m *Machine) resolve(ev Authorise) (home netip.Addr, assigned bool, err error) {
	line, listed := m.byName[ev.Identity]
	if listed && line.Deny {
		return home, false, fmt.Errorf("%w: %s is denied by the access list", ErrDenied, ev.Identity)
	}
	if listed && line.Home.IsValid() {
		return line.Home, false, nil
	}
	if m.cfg.AnyCertificate || listed {
		for _, a := range ev.Addresses { // the one that is asked for, else the first that we serve
			if _, ok := m.cfg.prefix(m.now, a); !ok {
				continue
			}
			if !home.IsValid() || covers(ev.Remote, a) && !covers(ev.Remote, home) {
				home = a
			}
		}
		if home.IsValid() {
			if owner, ok := m.byLine[home]; ok && owner != ev.Identity {
				return home, false, fmt.Errorf("%w: %v belongs to another identity than %s", ErrTSUnacceptable, home, ev.Identity)
			}
			return home, false, nil
		}
	}
	if i, ok := m.leases[ev.Identity]; ok {
		return m.nodes[i].addr(), true, nil
	}
	if len(m.cfg.Pool) > 0 && (listed || ev.WantAddress) {
		home, err = m.assign(ev)
		return home, err == nil, err
	}
	if ev.WantAddress {
		return home, false, fmt.Errorf("%w: %s has none and there is no pool", ErrAddressFailure, ev.Identity)
	}
	return home, false, fmt.Errorf("%w: no home address for %s", ErrDenied, ev.Identity)
}

// admit finds or makes the node. A home address belongs to one identity
// (RFC 4877 §4.2); another one may have it when nothing of the first is left.
func (m *Machine) admit(ev Authorise, home netip.Addr, assigned bool, local []Selector, kind Kind) (*node, error) {
	n, known := m.find(home)
	agent := ev.Agent
	switch {
	case kind == MH:
		agent = local[0].Start
	case agent.IsValid():
	case known:
		agent = m.cfg.Agents[n.agent]
	default:
		agent = m.cfg.Agents[0]
	}
	k, ok := m.agentIndex(agent)
	if !ok {
		return nil, fmt.Errorf("%w: %v is not an address of this home agent", ErrTSUnacceptable, agent)
	}
	if _, ok := m.cfg.prefix(m.now, home); !ok {
		return nil, fmt.Errorf("%w: home address %v is not on a home link", ErrTSUnacceptable, home)
	}
	if m.cfg.isAgent(home) || !mobility.UnicastRoutable(home) {
		return nil, fmt.Errorf("%w: %v cannot be a home address", ErrTSUnacceptable, home)
	}
	if !known {
		if len(m.freeNodes) == 0 && len(m.nodes) >= protect.MaxIndex/max(m.cfg.Shards, 1) {
			return nil, fmt.Errorf("%w: no request ids are left", ErrDenied)
		}
		n = m.add(home, ev.Identity, k)
		if n.assigned = assigned; assigned {
			m.leases[ev.Identity] = n.index
		}
		return n, nil
	}
	if n.identity != ev.Identity {
		if n.assigned || n.phase != protect.Absent && !m.abandoned(n) {
			return nil, fmt.Errorf("%w: %v is in use by %s", ErrTSUnacceptable, home, n.identity)
		}
		n.identity = ev.Identity
	}
	if n.agent != k {
		if _, bound := m.cache.Lookup(home); bound || n.work != nil || n.asking > 0 {
			return nil, fmt.Errorf("%w: %v is registered with %v", ErrTSUnacceptable, home, m.cfg.Agents[n.agent])
		}
		m.apply(n, m.change(n, protect.Absent, netip.Addr{}))
		n.agent = k
	}
	return n, nil
}

// abandoned tells that a node has policies only.
func (m *Machine) abandoned(n *node) bool {
	_, bound := m.cache.Lookup(n.addr())
	return !bound && n.work == nil && n.asking == 0 && !n.expected.After(m.now) && n.handle == 0 && n.mh == 0 && n.payload == 0 && !n.restored
}

func (m *Machine) agentIndex(a netip.Addr) (uint8, bool) {
	for i, x := range m.cfg.Agents {
		if x == a {
			return uint8(i), true
		}
	}
	return 0, false
}

// mode is the mode of a child of this kind.
func (k Kind) mode() xfrm.Mode {
	if k == Payload {
		return xfrm.Tunnel
	}
	return xfrm.Transport
}
