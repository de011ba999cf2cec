package ha

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// node is what is known of a home address that has keys, a binding, or a lease
// from the pool. Addresses are packed, zero where there is none.
type node struct {
	home     [16]byte
	identity string
	index    uint32 // names the request ids; place in Machine.nodes
	agent    uint8  // place in Config.Agents
	assigned bool   // from the pool

	// What the databases hold once all that was emitted is carried out: the set
	// of phase at the care-of address at, and over it, where answer is set,
	// a state and a policy that lead acknowledgements to answer.
	phase  protect.Phase
	at     [16]byte // in Away and Returned
	answer [16]byte
	// tunnelAt is where the payload states end when phase is not Away;
	// movingFrom where they ended before the migration that is under way.
	tunnelAt, movingFrom [16]byte

	// When the binding came about (since this run began, for one of the ledger) and last moved, and how often.
	since, moved time.Time
	moves        uint32

	handle   uint64 // of the newest IKE SA; 0: none
	keysAt   [16]byte
	mh       xfrm.SPI // inbound SPI of the newest child of the kind; 0: none
	payload  xfrm.SPI
	restored bool      // keys of before the restart are in the databases
	tries    uint8     // of KeyUp after the restart
	asking   int       // Authorise in progress
	expected time.Time // until then keys that were authorised may come
	gone     bool      // out of the tables; timers may still point here
	idle     time.Time

	work *work // a change in progress
}

// work is a change of a binding that waits for something.
type work struct {
	update update
	next   *update  // came meanwhile, the newest
	probes []uint64 // of duplicate address detection; then State is Probing
	// Of an Xfrm that is awaited:
	xfrm     uint64
	ops      []xfrm.Op
	fallback bool // ops bring in line what a migration left
	what     What
	was      binding.Entry // the one before, with no Home where there was none
	ack      mobility.BindingAck
	advice   mobility.Units
}

// update is a Binding Update that passed the tests of RFC 6275 §9.5.1.
type update struct {
	seq      uint16
	flags    mobility.UpdateFlags
	lifetime mobility.Units
	careOf   netip.Addr
	wire     netip.Addr // source on the wire; not valid: from home
}

func pack(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

// unpack is the address, not valid for zero.
func unpack(a [16]byte) netip.Addr {
	if a == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a)
}

func (n *node) addr() netip.Addr { return netip.AddrFrom16(n.home) }

// protected tells whether a Binding Update of the node can only have come under
// ESP: its policy is in and demands it, and there are keys.
func (n *node) protected() bool {
	return n.phase != protect.Absent && (n.mh != 0 || n.restored)
}

// find is the node of a home address.
func (m *Machine) find(home netip.Addr) (*node, bool) {
	if !home.Is6() {
		return nil, false
	}
	i, ok := m.byHome[home.As16()]
	if !ok {
		return nil, false
	}
	return m.nodes[i], true
}

// add makes a node with a free index, or the one asked for.
func (m *Machine) add(home netip.Addr, identity string, agent uint8) *node {
	n := &node{home: home.As16(), identity: identity, agent: agent, idle: m.now}
	if k := len(m.freeNodes); k > 0 {
		n.index = m.freeNodes[k-1]
		m.freeNodes = m.freeNodes[:k-1]
	} else {
		n.index = uint32(len(m.nodes))
		m.nodes = append(m.nodes, nil)
	}
	m.nodes[n.index] = n
	m.byHome[n.home] = n.index
	return n
}

// place puts a node at the index of its record; the free indexes are counted later.
func (m *Machine) place(n *node) bool {
	if n.index >= protect.MaxIndex || int(n.index) < len(m.nodes) && m.nodes[n.index] != nil {
		return false
	}
	if more := int(n.index) + 1 - len(m.nodes); more > 0 {
		m.nodes = append(m.nodes, make([]*node, more)...)
	}
	m.nodes[n.index] = n
	m.byHome[n.home] = n.index
	return true
}

// countFree finds the free indexes.
func (m *Machine) countFree() {
	m.freeNodes = m.freeNodes[:0]
	for i := len(m.nodes) - 1; i >= 0; i-- { // the lowest is taken first
		if m.nodes[i] == nil {
			m.freeNodes = append(m.freeNodes, uint32(i))
		}
	}
}

// reqIDs are the node's request ids. Instances share the block.
func (m *Machine) reqIDs(n *node) protect.ReqIDs {
	shards := uint32(max(m.cfg.Shards, 1))
	return protect.ReqIDsFor(protect.Agent, n.index*shards+uint32(m.cfg.Shard))
}

// tidy takes out a node of which nothing is left: no binding, no keys, nobody
// asking. A lease from the pool stays with its identity (RFC 4877 §10).
func (m *Machine) tidy(n *node) {
	if n.gone || n.work != nil || n.asking > 0 || n.mh != 0 || n.payload != 0 || n.handle != 0 || n.restored {
		return
	}
	if _, ok := m.cache.Lookup(n.addr()); ok || n.expected.After(m.now) {
		return
	}
	if n.phase != protect.Absent {
		m.apply(n, m.change(n, protect.Absent, netip.Addr{}))
		n.idle = m.now
		if n.assigned {
			m.save(n)
		}
	}
	if !n.assigned {
		m.remove(n)
	}
}

func (m *Machine) remove(n *node) {
	n.gone = true
	delete(m.byHome, n.home)
	m.nodes[n.index] = nil
	m.freeNodes = append(m.freeNodes, n.index)
	if n.assigned {
		delete(m.leases, n.identity)
	}
	m.emit(Forget{Home: n.addr()})
}

// record is what the ledger shall hold of the node.
func (m *Machine) record(n *node) Record {
	r := Record{Home: n.addr(), Identity: n.identity, Agent: m.cfg.Agents[n.agent], Slot: n.index, ReqIDs: m.reqIDs(n),
		Assigned: n.assigned, KeysAt: unpack(n.keysAt), TunnelAt: unpack(n.tunnelAt), Phase: n.phase}
	if n.phase == protect.Away {
		r.TunnelAt = unpack(n.at)
	}
	if n.movingFrom != [16]byte{} {
		r.TunnelAt = unpack(n.movingFrom)
	}
	if e, ok := m.cache.Lookup(n.addr()); ok {
		r.State, r.CareOf, r.Seq = Bound, e.CareOf, e.Seq
		r.Flags, r.Lifetime, r.Expires = e.Flags, e.Lifetime, e.Expires
		if e.Deleted {
			r.State = Invalid
		}
	}
	return r
}

func (m *Machine) save(n *node) { m.emit(Save{Record: m.record(n)}) }
