package ike

import (
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// Reauthentication makes a new IKE SA with all children before the old one goes
// (RFC 7296 §2.8.3): who began the IKE SA does it, and its owner sees nothing but
// a rekey: SARekeyed when the new one is up, ChildRekeyed for each child.

// reauthenticate begins a new IKE SA in place of s.
func (m *Machine) reauthenticate(s *sa) {
	s.reauthAt = time.Time{}
	if s.conn.Reauth <= 0 || s.reauth != nil {
		return
	}
	var wants []ChildWant
	for _, c := range s.children {
		if w := c.asWant(); c.stands() && !slices.ContainsFunc(wants, w.sameRole) {
			wants = append(wants, w)
		}
	}
	if len(wants) == 0 || m.conn(s.connName()) == nil {
		s.reauthAt = m.now.Add(m.jittered(refusedWait, 0.5))
		return
	}
	m.initiate(Initiate{
		Conn: s.connName(), Local: s.local, Remote: s.remote, Peer: s.peer.ID, Children: wants, replaces: s,
	})
	if s.reauth == nil {
		s.reauthAt = m.now.Add(m.jittered(refusedWait, 0.5))
	} else {
		s.reauth.renewing = wants
	}
}

// startReauth sets when an IKE SA is authenticated anew.
func (m *Machine) startReauth(s *sa) {
	if s.conn.Reauth > 0 && s.began {
		s.reauthAt = m.now.Add(m.jittered(s.conn.Reauth, s.conn.Jitter))
	}
}

// link has n replace s once it is up; nil s: nothing is replaced.
func (s *sa) link(n *sa) {
	if s != nil {
		s.reauth, n.replaces = n, s
	}
}

// unlink ends what s has to do with another IKE SA by a reauthentication.
func (s *sa) unlink() {
	if s.reauth != nil {
		s.reauth.replaces, s.reauth = nil, nil
	}
	if s.replaces != nil {
		s.replaces.reauth, s.replaces = nil, nil
	}
}

// relink has n, which rekeyed s, take its place in a reauthentication.
func (s *sa) relink(n *sa) {
	old, fresh := s.replaces, s.reauth
	s.unlink()
	old.link(n)
	if fresh != nil {
		n.link(fresh)
	}
	n.renewing = s.renewing
	n.began, n.reauthAt = s.began, s.reauthAt
}

// reauthFailed has the old IKE SA try again later: it goes on as it is.
func (m *Machine) reauthFailed(s *sa) {
	if old := s.replaces; old != nil {
		s.unlink()
		old.reauthAt = m.now.Add(m.jittered(refusedWait, 0.5))
		m.schedule(old)
	}
}

// handedOver says whether the owner believes in another IKE SA in place of s.
func (s *sa) handedOver() bool { return s.reauth != nil && s.reauth.state == stateUp }

// inPlaceOf is the child of the old IKE SA that c renews.
func (s *sa) inPlaceOf(c *child) *child {
	if s.replaces == nil {
		return nil
	}
	i := slices.IndexFunc(s.replaces.children, func(o *child) bool { return o.stands() && o.sameRole(c) })
	if i < 0 {
		return nil
	}
	return s.replaces.children[i]
}

// renewed tells the owner that a pair of the old IKE SA has a successor here. It
// says whether that is so.
func (m *Machine) renewed(s *sa, c *child) bool {
	old := s.inPlaceOf(c)
	if old == nil {
		return false
	}
	m.stats.ChildRekeys++
	m.emit(ChildRekeyed{OldSPIIn: old.SPIIn, Child: c.bare()})
	old.state, old.rekeyAt, old.renewed = childReplaced, time.Time{}, true
	return true
}

// reauthDone closes the old IKE SA when the new one has all that the old one has.
func (m *Machine) reauthDone(s *sa) {
	old := s.replaces
	if old == nil && s.reauth != nil {
		s, old = s.reauth, s
	}
	if old == nil || s.state != stateUp || s.req != nil || slices.ContainsFunc(s.queue, func(j job) bool { return j.kind == jobChild }) ||
		old.state == stateUp && old.req != nil && old.req.job.kind != jobProbe {
		return
	}
	if old.state == stateUp && m.renewMore(s, old) {
		return
	}
	s.unlink()
	if old.state == stateUp {
		s.trail = old.id
		m.finishQuietly(old, ReasonReplaced)
	}
}

// renewMore has the new IKE SA make what came to the old one meanwhile. It says
// whether there is something.
func (m *Machine) renewMore(s, old *sa) bool {
	before := len(s.queue)
	for i := 0; i < len(old.queue); i++ {
		if j := old.queue[i]; j.kind == jobChild {
			old.queue = append(old.queue[:i:i], old.queue[i+1:]...)
			s.queue = append(s.queue, j)
			i--
		}
	}
	for _, c := range old.children {
		w := c.asWant()
		if c.stands() && !slices.ContainsFunc(s.renewing, w.sameRole) {
			s.renewing = append(s.renewing, w)
			s.queue = append(s.queue, job{kind: jobChild, want: w})
		}
	}
	more := len(s.queue) > before
	if more {
		m.pump(s)
	}
	return more
}

func (w ChildWant) sameRole(o ChildWant) bool { return w.Name == o.Name && w.ReqID == o.ReqID }

// movedAlong has the other IKE SA of a reauthentication follow a move.
func (m *Machine) movedAlong(s *sa, e Moved) {
	fresh, old := s.reauth, s.replaces
	if fresh != nil && fresh.state == stateInit { // its messages name the old addresses (§2.23)
		s.unlink()
		m.vanish(fresh)
		s.reauthAt = m.now.Add(time.Second)
		m.schedule(s)
		return
	}
	s.reauth, s.replaces = nil, nil // not back again
	for _, o := range []*sa{fresh, old, m.sas[s.trail]} {
		if o != nil {
			back, forth := o.reauth, o.replaces
			o.reauth, o.replaces = nil, nil
			e.SA = o.id
			m.moved(e)
			o.reauth, o.replaces = back, forth
		}
	}
	s.reauth, s.replaces = fresh, old
}

// endOld ends the old IKE SA with the new one, in which the owner believes, when
// that ends before the other is closed.
func (m *Machine) endOld(s *sa, why Reason, keep bool) {
	old := s.replaces
	if s.state != stateUp || old == nil || old.state != stateUp {
		return
	}
	if keep {
		m.end(old, why, true)
		return
	}
	s.unlink()
	m.finishQuietly(old, why)
}

// finishQuietly ends an IKE SA, telling the peer, of which the owner knows that
// there is another in its place.
func (m *Machine) finishQuietly(s *sa, why Reason) {
	m.dropWork(s, string(why))
	for _, c := range slices.Clone(s.children) {
		m.removeChild(s, c, why)
	}
	m.leave(s)
	s.state = stateClosing
	if s.req != nil && s.req.data != nil && !s.req.answered {
		s.req.pend = nil // the window is one: the Delete follows the answer to what is under way
	} else {
		m.start(s, job{kind: jobDeleteSA})
	}
	m.schedule(s)
}

// Unique says what a new IKE SA of a peer means for those that the same peer
// began before.
type Unique uint8

// Policies for duplicates.
const (
	UniqueContact Unique = 0 // they end where the peer says INITIAL_CONTACT (RFC 7296 §2.4)
	UniqueReplace Unique = 1 // they end, after a time in which the peer may take its children over
	UniqueKeep    Unique = 2 // the new one is refused, unless it says INITIAL_CONTACT; the old one is asked whether it lives
	UniqueNever   Unique = 3 // INITIAL_CONTACT is not heard
)

// replaceGrace is how long an IKE SA lives on that another of its peer replaced.
const replaceGrace = 15 * time.Second

// greet follows the policy for duplicates when an IKE SA of the peer's is up,
// and the INITIAL_CONTACT of its messages.
func (m *Machine) greet(s *sa, p *message.Payloads) {
	if p.Notify(message.InitialContact) != nil && s.conn.Unique != UniqueNever {
		m.contactBy(s)
	}
	if s.conn.Unique != UniqueReplace || s.began {
		return
	}
	for _, id := range m.peers[s.key()] {
		if o := m.sas[id]; o != nil && o != s && !o.began && !o.created.After(s.created) {
			o.hardAt, o.outdated = earliest(o.hardAt, m.now.Add(replaceGrace)), true
			m.schedule(o)
		}
	}
}

// keepsOld refuses a new IKE SA of a peer that has one, where that is the
// policy. It may be dead: it is asked, so that the peer's next try succeeds.
func (m *Machine) keepsOld(s *sa, p *message.Payloads) bool {
	if s.conn.Unique != UniqueKeep || p.Notify(message.InitialContact) != nil {
		return false
	}
	found := false
	for _, id := range slices.Clone(m.peers[s.key()]) {
		if o := m.up(id); o != nil && !o.began {
			found = true
			m.probe(o)
		}
	}
	return found
}
