package optimise

import (
	"net/netip"
	"time"
)

// placed notes where the node is. What follows for each correspondent is in settle.
func (m *Machine) placed(now time.Time, e Placed) {
	s := &m.s
	old := s.At
	if e.Place != Abroad {
		e.CareOf = netip.Addr{}
	}
	s.At = e
	switch {
	case e.Bound:
		s.HomeUntil = e.Until
	case e.Place == AtHome:
		s.HomeUntil = time.Time{} // deregistered
	}
	if e.Place != old.Place || e.CareOf != old.CareOf {
		for i := range s.Peers {
			m.moved(now, &s.Peers[i])
		}
		return
	}
	if e.Bound && !old.Bound {
		// A Home Test Init that left behind the Binding Update may have been too early for the agent, or
		// for its answer's way.
		for i := range s.Peers {
			s.Peers[i].HomeTry.kick(now)
		}
	}
}

// moved begins anew for another place: at once, with short timeouts.
func (m *Machine) moved(now time.Time, p *peer) {
	p.HomeTry.again()
	p.CareTry.again()
	p.UpdateTry.again()
	p.Sent, p.CareSent = nil, nil
	p.Fixes = 0
	if m.s.At.Place != Abroad {
		return
	}
	elsewhere := p.NotHere.IsValid() && p.NotHere != m.s.At.CareOf
	if !p.RetryAt.IsZero() && (p.Silent || elsewhere || p.mayBeBound(now)) {
		// What did not answer on that way, or did not like that address, may do so on this one. And one that
		// may still have a binding sends to the address before until it is told: a refusal can be forged.
		p.tryAgain()
		if !p.mayBeBound(now) && !m.inUse(now, p) {
			p.Unused = true
		}
	}
	if p.CareOf.IsValid() && p.CareOf != m.s.At.CareOf && p.mayBeBound(now) {
		p.Moves++
	}
}
