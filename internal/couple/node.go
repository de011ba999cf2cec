// Package couple joins the machines of one host: what one decides becomes what
// another is told. A Node holds the role machines (mn, ha) and the IKE machine,
// and is a machine itself: events from outside in, actions for outside out. It is
// pure, so that the simulator uses the very same coupling as the daemon.
//
// Machines never call each other. Their actions go into one queue, in the order
// in which they were emitted, and are translated one by one; so an IKE SA's
// endpoint has moved before the next event is looked at, and what is done for one
// home address takes effect in the order in which it was decided.
package couple

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/xfrm"
)

// Config says which machines a Node has and how they find each other.
type Config struct {
	MNs []MN
	// Boot is a mobile node whose home address is not known yet; nil: none.
	Boot *Boot
	HA   *HA
	CN   *CN
	IKE  *ike.Machine
	Caps xfrm.Caps
	// Port is IKE's UDP port, ours and the peers'.
	Port uint16
	// ReplayWindow of every SA, in packets.
	ReplayWindow uint32
}

// MN is a mobile node's machine for one home address and the IKE connection that keys it.
type MN struct {
	Machine   *mn.Machine
	Optimise  *optimise.Machine // nil: everything goes by the home agent
	Home      netip.Addr
	HomeAgent netip.Addr
	Children  []mn.Child // with the reqids, for children that the home agent asks for
	Conn      string

	optimiseStopped bool
}

// reqID is the request id of one of its children.
func (m *MN) reqID(k mn.ChildKind) xfrm.ReqID {
	for _, c := range m.Children {
		if c.Kind == k {
			return c.ReqID
		}
	}
	return 0
}

// HA is the home agent's machine.
type HA struct {
	Machine *ha.Machine
	Agents  []netip.Addr
	// Conn finds the IKE connection for a node's identity; ok is false for none.
	Conn func(message.Identity) (name string, ok bool)
	// Conns are the connections that nodes may come in by.
	Conns []string
}

// machine is what every machine of a Node is.
type machine[E, A any] interface {
	Step(now time.Time, ev E, out []A) []A
	Tick(now time.Time, out []A) []A
	Deadline() time.Time
}

var (
	_ machine[mn.Event, mn.Action]             = (*mn.Machine)(nil)
	_ machine[ha.Event, ha.Action]             = (*ha.Machine)(nil)
	_ machine[cn.Event, cn.Action]             = (*cn.Machine)(nil)
	_ machine[ike.Event, ike.Action]           = (*ike.Machine)(nil)
	_ machine[optimise.Event, optimise.Action] = (*optimise.Machine)(nil)
	_ machine[Event, Action]                   = (*Node)(nil)
)

// Node is the machines of one host, coupled.
type Node struct {
	cfg   Config
	homes map[netip.Addr]*home
	// order lists the homes by the time they were first seen: maps are never ranged
	// over where actions follow.
	order []*home
	sas   map[ike.SAID]*keySA
	// pairs are the entries for keys between two addresses, paths what is wanted between two.
	pairs     map[pair]*home
	paths     map[pair]*path
	pathOrder []*path
	// reqs are the Initiates under way.
	reqs map[uint64]*home
	// asks are ike.Authorise tasks that a role is thinking about.
	asks    map[uint64]ike.Authorise
	lastReq uint64
	echoes  []echo
	queue   []any // actions of the machines, waiting for translation
	boot    *boot // nil: every home address is configured
	stop    stopping
	reapAt  time.Time // when a replaced inbound SA goes
	quiet   quiet
	now     time.Time
}

// New couples the machines.
func New(cfg Config) *Node {
	n := &Node{
		cfg:   cfg,
		homes: make(map[netip.Addr]*home),
		sas:   make(map[ike.SAID]*keySA),
		pairs: make(map[pair]*home),
		paths: make(map[pair]*path),
		reqs:  make(map[uint64]*home),
		asks:  make(map[uint64]ike.Authorise),
	}
	if cfg.Boot != nil {
		n.boot = &boot{Boot: *cfg.Boot}
		n.cfg.MNs = append(make([]MN, 0, len(cfg.MNs)+1), cfg.MNs...)
	}
	for i := range n.cfg.MNs {
		n.know(&n.cfg.MNs[i])
	}
	return n
}

// Deadline is the earliest that a machine wants to be called.
func (n *Node) Deadline() time.Time {
	d := n.cfg.IKE.Deadline()
	for i := range n.cfg.MNs {
		d = earlier(d, n.cfg.MNs[i].Machine.Deadline())
		if o := n.cfg.MNs[i].Optimise; o != nil {
			d = earlier(d, o.Deadline())
		}
	}
	if n.cfg.CN != nil {
		d = earlier(d, n.cfg.CN.Machine.Deadline())
	}
	if n.cfg.HA != nil {
		d = earlier(d, n.cfg.HA.Machine.Deadline())
	}
	if n.bootWants() {
		d = earlier(d, n.boot.deadline())
	}
	return earlier(earlier(d, n.reapAt), earlier(n.stop.deadline, n.quiet.hiddenAt()))
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Tick lets every machine do what is due.
func (n *Node) Tick(now time.Time, out []Action) []Action {
	n.now = now
	for i := range n.cfg.MNs {
		m := &n.cfg.MNs[i]
		n.stepMN(m, m.Machine.Tick(now, nil))
		if m.Optimise != nil {
			n.fromOptimise(m, m.Optimise.Tick(now, nil))
		}
	}
	if n.cfg.CN != nil {
		n.fromCN(n.cfg.CN.Machine.Tick(now, nil))
	}
	if n.cfg.HA != nil {
		n.fromHA(n.cfg.HA.Machine.Tick(now, nil))
	}
	n.fromIKE(n.cfg.IKE.Tick(now, nil))
	if n.bootWants() {
		n.fromMN(n.boot.Scout.Tick(now, nil))
	}
	out = n.pump(n.followBoot(n.pump(out)))
	if !n.reapAt.IsZero() && !n.reapAt.After(now) {
		out = n.reap(out)
	}
	if at := n.quiet.hiddenAt(); !at.IsZero() && !at.After(now) {
		out = n.tellHidden(out)
	}
	return n.stopTick(out)
}

// Step takes one event from outside and runs the machines until none has
// anything left to tell another.
func (n *Node) Step(now time.Time, ev Event, out []Action) []Action {
	n.now = now
	out = n.dispatch(ev, out)
	out = n.pump(n.followBoot(n.pump(out)))
	return n.stopTick(out)
}

// pump translates what the machines want until the queue is empty.
func (n *Node) pump(out []Action) []Action {
	for i := 0; i < len(n.queue); i++ {
		switch a := n.queue[i].(type) {
		case mnAction:
			out = n.doMN(a.a, out)
		case haAction:
			out = n.doHA(a.a, out)
		case ikeAction:
			out = n.doIKE(a.a, out)
		case optimiseAction:
			out = n.doOptimise(a.m, a.a, out)
		case cnAction:
			out = n.doCN(a.a, out)
		case lookAt:
			out = n.checkPlace(a.h, a.early, out)
		case leave:
			// Correspondents first: the address may be another node's soon.
			if m := a.h.mn; m.Optimise != nil && !m.optimiseStopped {
				n.tellOptimise(m, optimise.Stop{})
			} else {
				n.tellMN(m, mn.Stop{})
			}
		}
	}
	clear(n.queue)
	n.queue = n.queue[:0]
	return out
}

// The queue tells whose an action is by wrapping it: the closed sums of the
// machines are alike in their methods' names only.
type (
	mnAction  struct{ a mn.Action }
	haAction  struct{ a ha.Action }
	ikeAction struct{ a ike.Action }
	cnAction  struct{ a cn.Action }

	optimiseAction struct {
		m *MN
		a optimise.Action
	}
	// lookAt has the place of a mobile node looked at: before its actions, and behind them.
	lookAt struct {
		h     *home
		early bool
	}
)

// stepMN queues what a mobile node's machine has answered.
func (n *Node) stepMN(m *MN, acts []mn.Action) {
	h := n.home(m.Home)
	n.queue = append(n.queue, lookAt{h, true})
	n.fromMN(acts)
	n.queue = append(n.queue, lookAt{h, false})
}

func (n *Node) fromMN(acts []mn.Action) {
	for _, a := range acts {
		n.queue = append(n.queue, mnAction{a})
	}
}

func (n *Node) fromHA(acts []ha.Action) {
	for _, a := range acts {
		n.queue = append(n.queue, haAction{a})
	}
}

func (n *Node) fromIKE(acts []ike.Action) {
	for _, a := range acts {
		n.queue = append(n.queue, ikeAction{a})
	}
}

// tellMN, tellHA and tellIKE give a machine an event and queue what it answers.
func (n *Node) tellMN(m *MN, ev mn.Event) { n.stepMN(m, m.Machine.Step(n.now, ev, nil)) }
func (n *Node) tellIKE(ev ike.Event)      { n.fromIKE(n.cfg.IKE.Step(n.now, ev, nil)) }
func (n *Node) tellHA(ev ha.Event) {
	if n.cfg.HA != nil {
		n.fromHA(n.cfg.HA.Machine.Step(n.now, ev, nil))
	}
}

func (n *Node) port(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, n.cfg.Port) }
