package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

func (m *Machine) note(l Level, n *node, msg string, attrs ...any) {
	x := Note{Level: l, Msg: msg, Attrs: attrs}
	if n != nil {
		x.Home = n.addr()
	}
	m.emit(x)
}

// apply asks for operations on the databases; their errors are noted unless
// somebody waits for the id.
func (m *Machine) apply(n *node, ops []xfrm.Op) uint64 {
	if len(ops) == 0 {
		return 0
	}
	m.lastID++
	m.pending[m.lastID] = pending{node: n, xfrm: ops}
	m.emit(Xfrm{ID: m.lastID, Home: homeOf(n), Ops: ops})
	return m.lastID
}

// act asks for operations on the host.
func (m *Machine) act(n *node, ops ...host.Op) {
	if len(ops) == 0 {
		return
	}
	m.lastID++
	m.pending[m.lastID] = pending{node: n, host: ops}
	m.emit(Host{ID: m.lastID, Home: homeOf(n), Ops: ops})
}

func homeOf(n *node) netip.Addr {
	if n == nil {
		return netip.Addr{}
	}
	return n.addr()
}

func (m *Machine) hostDone(ev HostDone) {
	p, ok := m.pending[ev.ID]
	if !ok || p.host == nil {
		return
	}
	delete(m.pending, ev.ID)
	for i, err := range ev.Errs {
		if err != nil && i < len(p.host) {
			m.stats.HostErrors++
			m.note(Warn, p.node, "host operation failed", "op", opName(p.host[i]), "err", err)
		}
	}
}

func (m *Machine) xfrmDone(ev XfrmDone) {
	p, ok := m.pending[ev.ID]
	if !ok || p.xfrm == nil {
		return
	}
	delete(m.pending, ev.ID)
	for i, err := range ev.Errs {
		if err != nil && i < len(p.xfrm) {
			m.stats.XfrmErrors++
			m.note(Warn, p.node, "ipsec database operation failed", "op", opName(p.xfrm[i]), "err", err)
		}
	}
	switch {
	case p.ask != nil:
		m.authorised(p.node, *p.ask, ev.Errs)
	case p.node != nil && p.node.work != nil && p.node.work.xfrm == ev.ID && m.life == serving:
		m.applied(p.node, ev.Errs)
	}
}
