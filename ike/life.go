package ike

import (
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// closeHandshake forgets what only the handshake needed and takes the IKE SA
// off the half-open count.
func (m *Machine) closeHandshake(s *sa) {
	f := s.first
	if f == nil {
		return
	}
	if m.inits[f.initKey] == s.id {
		delete(m.inits, f.initKey)
	}
	m.contacted(s)
	if f.counted {
		m.halfOpen--
		if m.perSource[f.source]--; m.perSource[f.source] <= 0 {
			delete(m.perSource, f.source)
		}
	}
	s.first = nil
}

// refuse ends an IKE SA that has not come up.
func (m *Machine) refuse(s *sa, byPeer bool, t message.NotifyType, why string) {
	m.reauthFailed(s)
	m.emit(Refused{
		SA: s.id, Req: s.wantReq(), Conn: s.connName(), Peer: s.peer.ID, Local: s.local, Remote: s.remote,
		ByPeer: byPeer, Notify: t, Reason: why,
	})
	m.vanish(s)
}

func (s *sa) wantReq() uint64 {
	if s.first == nil {
		return 0
	}
	return s.first.want.Req
}

// end takes an IKE SA down here, with its children unless they are kept.
func (m *Machine) end(s *sa, why Reason, keep bool) {
	m.endOld(s, why, keep)
	if s.state == stateUp {
		handed := s.handedOver() // then what is not renewed yet carries until it is
		keep = keep || handed
		m.dropWork(s, string(why))
		m.leave(s)
		for _, c := range slices.Clone(s.children) {
			if keep && c.stands() {
				m.orphan(s, c)
				continue
			}
			m.removeChild(s, c, why)
		}
		for _, o := range m.orphans[s.key()] {
			if handed {
				m.set(&o.timer, earliest(o.timer.at, m.now.Add(orphanGrace)))
			}
		}
		if !handed {
			m.emit(SADown{SA: s.id, Conn: s.connName(), Peer: s.peer.ID, Reason: why, Kept: keep})
		}
	}
	for _, c := range slices.Clone(s.children) {
		m.removeChild(s, c, why)
	}
	m.vanish(s)
}

// dropWork gives up the exchanges under way and the jobs that wait.
func (m *Machine) dropWork(s *sa, why string) {
	m.dropSeries(s)
	if s.inb != nil {
		m.abandon(s, s.inb.pend)
		s.inb = nil
	}
	if r := s.req; r != nil && r.pend != nil {
		m.abandon(s, r.pend)
		if r.pend.old == nil {
			m.childRefused(s, r.pend.req, r.pend.want, false, 0, why)
		}
	}
	for _, j := range s.queue {
		if j.kind == jobChild {
			m.childRefused(s, j.req, j.want, false, 0, why)
		}
	}
	s.queue = nil
}

// leave takes an established IKE SA off the list of its peer's.
func (m *Machine) leave(s *sa) {
	k := s.key()
	if list := without(m.peers[k], s.id); len(list) > 0 {
		m.peers[k] = list
	} else {
		delete(m.peers, k)
	}
	m.stats.Established--
}

// vanish removes an IKE SA. If it has answered the peer last, that answer is
// kept for a while, should it get lost.
func (m *Machine) vanish(s *sa) {
	if s.state != stateUp { // else dropWork has done it
		if s.req != nil {
			m.abandon(s, s.req.pend)
		}
		if s.inb != nil {
			m.abandon(s, s.inb.pend)
		}
	}
	m.dropSeries(s)
	m.closeHandshake(s)
	s.unlink()
	if p := s.predecessor; p != nil && p.successor == s {
		p.successor = nil // the peer gave its own rekey up for ours
	}
	if n := s.successor; n != nil {
		s.successor = nil
		m.vanish(n)
	}
	s.req, s.inb, s.queue, s.children, s.parts = nil, nil, nil, nil, nil
	if s.lastResp != nil && s.state != stateGone {
		s.state = stateGone
		s.in, s.outP = nil, nil
		s.dieAt = m.now.Add(goneTime)
		m.schedule(s)
		return
	}
	m.remove(s)
}

func (m *Machine) remove(s *sa) {
	delete(m.sas, s.id)
	m.set(&s.timer, time.Time{})
}

// died follows the deadline of an IKE SA that is not up.
func (m *Machine) died(s *sa) {
	s.dieAt = time.Time{}
	switch s.state {
	case stateGone:
		m.remove(s)
	case stateInit:
		m.timedOut(s)
	case stateHalfOpen:
		s.lastResp = nil
		if s.inb != nil {
			m.refuse(s, false, 0, "not authenticated in time")
			return
		}
		m.vanish(s)
	default:
		m.end(s, ReasonClosed, false)
	}
}

// orphanGrace is how long the children of a peer that restarted may outlive
// their IKE SA, so that each carries until the one that takes its place is in.
const orphanGrace = 15 * time.Second

// forgetPeer drops the IKE SAs of a peer that restarted (§2.4). Their children
// go when they are replaced by name and number, or after a grace time. With
// fresh, the IKE SA that says so, only what was begun before it: the peer may
// have begun another since, whose messages were quicker.
func (m *Machine) forgetPeer(k peerKey, except SAID, fresh *sa) {
	for _, id := range slices.Clone(m.peers[k]) {
		if s := m.sas[id]; s != nil && id != except && (fresh == nil || !s.created.After(fresh.created)) {
			s.lastResp = nil // nobody is there to ask for it again
			m.end(s, ReasonReplaced, true)
		}
	}
	for _, o := range m.orphans[k] {
		m.set(&o.timer, earliest(o.timer.at, m.now.Add(orphanGrace)))
	}
}

// orphan is a pair of child SAs that outlives its IKE SA.
type orphan struct {
	key   peerKey
	child *child
	timer timer
}

// orphan keeps a child that outlives its IKE SA: of several IKE SAs that go, the newest of each name.
func (m *Machine) orphan(s *sa, c *child) {
	for _, o := range slices.Clone(m.orphans[s.key()]) {
		if !o.child.sameRole(c) {
			continue
		}
		if o.child.installed.After(c.installed) {
			m.removeChild(s, c, ReasonReplaced)
			return
		}
		m.removeOrphan(o, ReasonReplaced)
	}
	for i, x := range s.children {
		if x == c {
			s.children = append(s.children[:i:i], s.children[i+1:]...)
			break
		}
	}
	m.unindex(s, c)
	o := &orphan{key: s.key(), child: c}
	o.timer = timer{index: -1, orphan: o}
	m.orphans[o.key] = append(m.orphans[o.key], o)
	m.set(&o.timer, c.hardAt)
}

// dropOrphans uninstalls the orphans of a peer: those whose place c takes, or all.
func (m *Machine) dropOrphans(k peerKey, c *child, why Reason) {
	for _, o := range slices.Clone(m.orphans[k]) {
		if c == nil || o.child.sameRole(c) {
			m.removeOrphan(o, why)
		}
	}
}

func (m *Machine) removeOrphan(o *orphan, why Reason) {
	if list := without(m.orphans[o.key], o); len(list) > 0 {
		m.orphans[o.key] = list
	} else {
		delete(m.orphans, o.key)
	}
	m.set(&o.timer, time.Time{})
	m.stats.Children--
	m.emit(Uninstall{o.child.bare()})
	m.emit(ChildDown{Child: o.child.bare(), Reason: why})
}

func clone(as []message.Attribute) []message.Attribute {
	out := slices.Clone(as)
	for i := range out {
		out[i].Value = slices.Clone(out[i].Value)
	}
	return out
}
