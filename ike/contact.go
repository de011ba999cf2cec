package ike

import (
	"bytes"
	"slices"

	"github.com/mip6/mip6/ike/message"
)

// contact names the two ends of what INITIAL_CONTACT is about (RFC 7296 §2.4):
// it says that an IKE SA is the only one between two identities, by whatever
// connection. A node may have one for its home agent and one for the
// correspondent on the same host, and begins both when it has restarted.
type contact struct{ local, peer message.Identity }

// opening is an IKE SA under way that says INITIAL_CONTACT. What is asked for
// meanwhile with the same peer waits until it is known whether it came up:
// begun at once, it could be up first, and be dropped by the peer as one of old.
type opening struct {
	sa    SAID
	queue []Initiate
}

// maxWaiting bounds the queue of an opening.
const maxWaiting = 64

// waits puts an Initiate off, where it has to wait.
func (m *Machine) waits(e Initiate, k contact) bool {
	o := m.contact[k]
	if o == nil || len(o.queue) >= maxWaiting {
		return false
	}
	o.queue = append(o.queue, e)
	return true
}

// firstContact decides whether a new IKE SA says INITIAL_CONTACT: it does where
// that is wanted and true.
func (m *Machine) firstContact(s *sa) {
	w := &s.first.want
	k := contact{s.localID.Fold(), s.peer.ID.Fold()}
	if !w.InitialContact || k.peer.IsZero() {
		return
	}
	for _, c := range m.conns {
		if c.LocalID.Fold() == k.local && len(m.peers[peerKey{c.Name, k.peer}]) > 0 {
			w.InitialContact = false
		}
	}
	if m.contact[k] != nil {
		w.InitialContact = false
	}
	if w.InitialContact {
		m.contact[k] = &opening{sa: s.id}
		s.first.contact = k
	}
}

// contacted ends the wait for an IKE SA that is up, or will not be.
func (m *Machine) contacted(s *sa) {
	if o := m.contact[s.first.contact]; o != nil && o.sa == s.id {
		delete(m.contact, s.first.contact)
		m.resume = append(m.resume, o.queue...)
	}
}

// contactBy drops what the peer of a new IKE SA, which says INITIAL_CONTACT, had
// here before: by its connection and by every other that would have taken the
// same peer by the same proof. What is authenticated otherwise may be another
// peer that has the same name.
func (m *Machine) contactBy(s *sa) {
	m.emit(InitialContact{SA: s.id, Conn: s.connName(), Peer: s.peer.ID})
	m.forgetPeer(s.key(), s.id, s)
	for _, c := range m.conns {
		k := peerKey{c.Name, s.peer.ID.Fold()}
		if c.Name == s.conn.Name || len(m.peers[k])+len(m.orphans[k]) == 0 {
			continue
		}
		if c.LocalID.Fold() == s.localID.Fold() && c.RemoteAuth == s.conn.RemoteAuth &&
			c.RemoteID.accepts(s.peer.ID) && slices.EqualFunc(c.Authority, s.conn.Authority, bytes.Equal) {
			m.emit(InitialContact{SA: s.id, Conn: c.Name, Peer: s.peer.ID})
			m.forgetPeer(k, s.id, s)
		}
	}
}

// cancelWaiting takes the Initiate with this Req out of the queue that it is in.
func (m *Machine) cancelWaiting(req uint64) {
	for _, o := range m.contact { // one at most: the order does not matter
		i := slices.IndexFunc(o.queue, func(e Initiate) bool { return e.Req == req })
		if i < 0 {
			continue
		}
		e := o.queue[i]
		o.queue = slices.Delete(o.queue, i, i+1)
		m.emit(Refused{Req: req, Conn: e.Conn, Peer: e.Peer, Local: e.Local, Remote: e.Remote, Reason: "cancelled here"})
		return
	}
}
