package cn

import "github.com/mip6/mip6/mobility"

// sequenced goes on with an update that is its sender's: with the sequence number (RFC 6275 §9.5.1),
// and then the policy and the room for it.
func (m *Machine) sequenced(u update) {
	e := m.table.find(u.local, u.home)
	if e != nil && e.outdated(&u) {
		m.count.Sequence++
		m.refuse(u, mobility.StatusSequence, e.seq)
		return
	}
	switch {
	case m.cfg.policy(u.home) == Deny:
		m.count.Prohibited++
		m.refuse(u, mobility.StatusProhibited, u.seq)
	case !m.heeded(u):
		m.count.UpdatesLimited++
	case u.delete:
		m.delete(u, e)
	case (e == nil || !e.bound) && len(m.table.alive) >= m.maxBindings():
		m.count.NoRoom++
		m.refuse(u, mobility.StatusNoResources, u.seq)
	default:
		m.accept(u)
	}
}

// heeded keeps to a rate. Each update that is taken changes the databases or the ledger, and anybody with
// an address can prove as many as there are sequence numbers. The node sends again what is not answered.
func (m *Machine) heeded(u update) bool {
	return m.limits.update.take(m.now, address(u.home)^mix(address(u.local))) && m.limits.updates.take(m.now)
}

func (m *Machine) maxBindings() int { return or(m.cfg.MaxBindings, defaultBindings) }

// outdated tells that an update's sequence number is not greater than the last one. Where the binding is
// gone any number is good, except in an update that may be from before: whose nonces were given out
// then (RFC 6275 §5.2.8), or that has none.
func (e *entry) outdated(u *update) bool {
	if !e.known || mobility.SequenceAfter(e.seq, u.seq) {
		return false
	}
	return e.bound || u.auth != ReturnRoutability || !u.fresh.After(e.updated)
}
