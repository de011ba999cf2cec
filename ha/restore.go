package ha

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
)

// restart is the work after our own restart: put is the nodes whose policies and
// defence are to be put again, at once, queue those that IKE is to be
// started with, so many a second.
type restart struct {
	put, queue []*node
	next       time.Time
	since      time.Time
}

func (r *restart) deadline() time.Time {
	switch {
	case len(r.put) > 0:
		return r.since
	case len(r.queue) > 0:
		return r.next
	}
	return time.Time{}
}

const (
	// rekeyFirst to rekeyMost is how long after a failure KeyUp is tried again.
	rekeyFirst = 2 * time.Second
	rekeyMost  = time.Minute
	// rekeyTries is how often it is tried for a home address without a binding.
	rekeyTries = 5
)

// restore takes the ledger's records over. Bindings live at once: their policies and
// states, and the keys of before, are in the databases still.
func (m *Machine) restore(records []Record) {
	if m.life != fresh {
		return
	}
	for _, r := range records {
		if err := m.restoreOne(r); err != "" {
			m.emit(Note{Level: Warn, Home: r.Home, Msg: "record is not restored", Attrs: []any{"reason", err}})
			m.emit(Forget{Home: r.Home})
		}
	}
	m.countFree()
}

func (m *Machine) restoreOne(r Record) (reason string) {
	k, ok := m.agentIndex(r.Agent)
	switch {
	case !r.Home.Is6():
		return "no home address"
	case !ok:
		return "the home agent has another address now"
	}
	if _, twice := m.find(r.Home); twice {
		return "home address twice"
	}
	n := &node{home: r.Home.As16(), identity: r.Identity, index: r.Slot, agent: k, assigned: r.Assigned,
		phase: r.Phase, keysAt: pack(r.KeysAt), restored: r.Phase != protect.Absent, idle: m.now}
	if m.reqIDs(n) != r.ReqIDs {
		return "its request ids are not of this instance"
	}
	if !m.place(n) {
		return "its request ids are in use"
	}
	if n.assigned {
		m.leases[n.identity] = n.index
	}
	// The phase is what the databases were to hold; a return home that was
	// under way counts as over.
	if n.phase == protect.Away {
		n.at = pack(r.TunnelAt)
	} else if n.phase != protect.Absent {
		n.phase, n.tunnelAt = protect.Home, pack(r.TunnelAt)
	}
	if r.State == Bound || r.State == Invalid {
		e := binding.Entry{Home: r.Home, CareOf: r.CareOf, Seq: r.Seq, Flags: r.Flags, Lifetime: r.Lifetime,
			Expires: r.Expires, Deleted: r.State == Invalid, Tag: n.index}
		if err := m.cache.Put(e); err != nil {
			m.note(Warn, n, "binding is not restored", "err", err)
		}
	}
	return ""
}

// resume continues what was restored, and queues the nodes for new keys.
func (m *Machine) resume() {
	for _, n := range m.nodes {
		if n != nil && n.phase != protect.Absent {
			m.restart.queue = append(m.restart.queue, n)
		}
	}
	m.restart.put = m.restart.queue
	m.restart.next, m.restart.since = m.now, m.now
	m.expire() // what ended while we were away
	for _, n := range m.restart.queue {
		if n.gone {
			continue
		}
		e, ok := m.cache.Lookup(n.addr())
		bound := ok && !e.Deleted
		switch {
		case bound && (n.phase != protect.Away || n.at != pack(e.CareOf)):
			m.resumeMove(n, e)
		case !bound && n.phase == protect.Away:
			m.apply(n, m.change(n, protect.Home, netip.Addr{}))
			m.save(n)
		}
	}
	if m.cfg.Shard == 0 && len(m.restart.queue) > 0 {
		m.note(Info, nil, "bindings restored", "bindings", m.cache.Len(), "nodes", len(m.restart.queue))
	}
	m.restartSome()
}

// resumeMove carries out a move that the crash may have cut short.
func (m *Machine) resumeMove(n *node, e binding.Entry) {
	n.movingFrom = pack(n.tunnelEnd())
	m.apply(n, m.change(n, protect.Away, e.CareOf))
	n.movingFrom = [16]byte{}
	m.save(n)
}

// restartSome takes over a page of nodes, and starts IKE with those whose turn it is.
func (m *Machine) restartSome() {
	rate := m.cfg.RestartRate
	if rate <= 0 {
		rate = defaultRestartRate
	}
	r := &m.restart
	for range min(sweepPage, len(r.put)) {
		n := r.put[0]
		if r.put = r.put[1:]; n.gone {
			continue
		}
		m.apply(n, m.put(n))
		if e, ok := m.cache.Lookup(n.addr()); ok && !e.Deleted {
			m.act(n, m.defence(n, e.Flags)...)
		}
	}
	for len(r.queue) > 0 && !r.next.After(m.now) {
		n := r.queue[0]
		r.queue = r.queue[1:]
		if n.gone {
			continue
		}
		r.next = r.next.Add(time.Second / time.Duration(rate))
		m.rekey(n)
	}
}

// rekey starts IKE with a node that has keys of before our restart only.
func (m *Machine) rekey(n *node) {
	if n.handle != 0 || !n.restored {
		return // it has come by itself
	}
	to := unpack(n.keysAt)
	if e, ok := m.cache.Lookup(n.addr()); ok && !e.Deleted {
		to = e.CareOf
	}
	if !to.IsValid() {
		n.restored = false
		m.tidy(n)
		return
	}
	n.keysAt = pack(to)
	// Without INITIAL_CONTACT: the node would drop its old children before the new
	// ones are in, and payload would stop. It retires them when it has both.
	m.emit(KeyUp{Home: n.addr(), Identity: n.identity, HomeAgent: m.cfg.Agents[n.agent], CareOf: to,
		Children: m.children(n)})
}

func (m *Machine) children(n *node) []Child {
	agent, ids := m.cfg.Agents[n.agent], m.reqIDs(n)
	one := func(a netip.Addr, proto uint8) Selector {
		return Selector{Proto: proto, EndPort: anyPort, Start: a, End: a}
	}
	out := []Child{{Kind: MH, Mode: MH.mode(), ReqID: ids.MH, Local: one(agent, 135), Remote: one(n.addr(), 135)}}
	if m.cfg.Protection == protect.MHAndPayload {
		out = append(out, Child{Kind: Payload, Mode: Payload.mode(), ReqID: ids.Payload,
			Local: Selector{EndPort: anyPort, Start: firstAddr, End: lastAddr}, Remote: one(n.addr(), 0)})
	}
	return out
}

// rekeyLater tries again, more and more slowly; without a binding not for ever.
func (m *Machine) rekeyLater(n *node) {
	if !n.restored || n.handle != 0 {
		return
	}
	e, ok := m.cache.Lookup(n.addr())
	if n.tries++; n.tries > rekeyTries && (!ok || e.Deleted) {
		n.restored = false
		m.tidy(n)
		return
	}
	wait := rekeyMost
	if n.tries < 6 {
		wait = min(rekeyMost, rekeyFirst<<(n.tries-1))
	}
	n.tries = min(n.tries, 100)
	m.after(wait, n, rekey, 0)
}
