package ike

import (
	"bytes"
	"time"
)

// sameRole says whether one pair takes the place of the other: the owner's name
// and number of both are equal.
func (c *child) sameRole(o *child) bool { return c.Name == o.Name && c.ReqID == o.ReqID }

// supersede decides who deletes what after a rekey. When both sides rekeyed at
// once there are two new pairs: the one of the exchange with the lowest nonce
// is deleted by its maker, the old pair by the maker of the other (§2.8.1). The
// two may be installed here in either order.
func (m *Machine) supersede(s *sa, p *pending, c *child) {
	old := p.old
	c.of = old
	if p.initiator {
		old.own = c
	} else {
		old.heir = c
	}
	own, heir := old.own, old.heir
	winner := c
	if own != nil && heir != nil {
		if bytes.Compare(own.low, heir.low) < 0 {
			winner = heir // perhaps gone already, to end the matter: the owner knows then
			m.deleteChild(s, own)
		} else {
			winner = own
			if present(s, heir) != nil {
				m.replaced(heir)
			}
		}
	}
	if old.state != childDeleting && present(s, old) != nil {
		if winner == own {
			m.deleteChild(s, old)
		} else if old.state == childUp || own != nil {
			m.replaced(old)
		}
	}
	if present(s, winner) != nil {
		m.believe(old, winner)
	}
}

// believe tells the owner which pair stands for old now.
func (m *Machine) believe(old, winner *child) {
	if old.believed == nil {
		old.believed = old
	}
	if old.believed != winner {
		m.emit(ChildRekeyed{OldSPIIn: old.believed.SPIIn, Child: winner.bare()})
		old.believed = winner
	}
}

// fallBack has the owner believe in the old pair again, when the peer deletes
// its own new one while our rekey is under way: it has seen that ours wins, whose
// answer is still to come (§2.8.1).
func (m *Machine) fallBack(s *sa, c *child) {
	if old := c.of; c.state == childUp && old != nil && old.heir == c && old.state == childRekeying && present(s, old) != nil {
		m.believe(old, old)
		c.state = childReplaced // it goes without a word
	}
}

// stands says whether the owner believes in this pair, so that its end is news.
func (c *child) stands() bool {
	return c.state == childUp || c.state == childRekeying && (c.believed == nil || c.believed == c)
}

// replacedTime is how long the peer may take to delete a pair that it replaced.
const replacedTime = time.Minute

// replaced leaves a pair to the peer to delete; if it does not, we do.
func (m *Machine) replaced(c *child) {
	c.state, c.rekeyAt = childReplaced, m.now.Add(replacedTime)
}

// present returns a pair if the IKE SA still has it.
func present(s *sa, c *child) *child {
	if c == nil || s.bySPIIn(c.SPIIn) != c {
		return nil
	}
	return c
}

// deleteChild queues the Delete of a pair that has a successor.
func (m *Machine) deleteChild(s *sa, c *child) {
	c.state, c.rekeyAt = childDeleting, time.Time{}
	m.enqueue(s, job{kind: jobDeleteChild, proto: c.Proto, spi: c.SPIIn})
}
