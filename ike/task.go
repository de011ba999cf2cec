package ike

import (
	"slices"
)

// side says whose request a task belongs to: ours or the peer's. An IKE SA has
// at most one of each under way.
type side uint8

const (
	ours side = iota
	theirs
)

// task is a question that was asked and not answered yet.
type task struct {
	sa    SAID
	side  side
	child Child // what AllocSPI or Install was about, to be given back
}

// newTask registers a question about the exchange of one side.
func (m *Machine) newTask(s *sa, who side, c Child) TaskID {
	m.lastTask++
	m.tasks[m.lastTask] = task{s.id, who, c}
	if who == ours {
		s.req.task = m.lastTask
	} else {
		s.inb.task = m.lastTask
	}
	return m.lastTask
}

// awaits takes the task off the exchange that waits for it, if one does.
func (s *sa) awaits(who side, id TaskID) bool {
	switch {
	case who == ours && s.req != nil && s.req.task == id:
		s.req.task = 0
	case who == theirs && s.inb != nil && s.inb.task == id:
		s.inb.task = 0
	default:
		return false
	}
	return true
}

// answer brings the answer to a waiting task to its exchange.
func (m *Machine) answer(ev Event) {
	var id TaskID
	switch e := ev.(type) {
	case Proved:
		id = e.ID
	case PeerVerified:
		id = e.ID
	case Authorised:
		id = e.ID
	case SPIAllocated:
		id = e.ID
	case Installed:
		id = e.ID
	case Encapsulated:
		id = e.ID
	}
	t, ok := m.tasks[id]
	if !ok {
		m.stats.StaleTaskAnswer++
		return
	}
	delete(m.tasks, id)
	s := m.sas[t.sa]
	if s == nil || !s.awaits(t.side, id) {
		m.stats.StaleTaskAnswer++
		m.giveBack(t, ev)
		return
	}
	defer m.schedule(s)
	switch e := ev.(type) {
	case Proved:
		m.proved(s, t.side, e)
	case PeerVerified:
		m.verified(s, t.side, e)
	case Authorised:
		m.authorised(s, e)
	case SPIAllocated:
		m.allocated(s, t.side, e)
	case Installed:
		m.installed(s, t.side, e)
	case Encapsulated:
		m.keAnswered(s, e.Ciphertext, e.Shared, e.Err)
	}
}

// giveBack undoes what was done for an exchange that is gone.
func (m *Machine) giveBack(t task, ev Event) {
	switch e := ev.(type) {
	case SPIAllocated:
		if e.Err == nil && e.SPI != 0 {
			t.child.SPIIn = e.SPI
			m.emit(Uninstall{t.child})
		}
	case Installed:
		if e.Err == nil {
			m.emit(Uninstall{t.child})
		}
	}
}

// allocated goes on with the SPI: to prove, to send, or to install.
func (m *Machine) allocated(s *sa, who side, e SPIAllocated) {
	if e.Err == nil && s.taken(e.SPI, who) {
		if m.allocateAgain(s, who, e.SPI) {
			return
		}
		e.Err = errSPITaken
	}
	if who == ours {
		r := s.req
		switch {
		case e.Err != nil && r.job.kind == jobAuth:
			m.refuse(s, false, 0, "no SPI: "+e.Err.Error())
		case e.Err != nil:
			m.childFailed(s, 0, "no SPI: "+e.Err.Error())
		case r.job.kind == jobAuth:
			r.pend.spiIn = e.SPI
			m.prove(s, ours)
		default:
			r.pend.spiIn = e.SPI
			m.sendChild(s)
		}
		return
	}
	in := s.inb
	if e.Err != nil {
		m.refuseChild(s, noAdditional, "no SPI: "+e.Err.Error())
		return
	}
	in.pend.spiIn = e.SPI
	if in.exchange == authExchange {
		m.prove(s, theirs)
		return
	}
	m.answerChild(s)
}

// installed goes on when the SAs are in the kernel.
func (m *Machine) installed(s *sa, who side, e Installed) {
	p := s.pendingOf(who)
	c := p.child
	p.child = nil
	if e.Err != nil {
		m.emit(Uninstall{c.bare()})
		spi := p.spiIn
		p.spiIn = 0
		if who == ours { // the peer believes the pair to be up
			m.localFailure(s, p, "installation: "+e.Err.Error())
			m.enqueue(s, job{kind: jobDeleteChild, proto: c.Proto, spi: spi})
		} else {
			m.refuseChild(s, noAdditional, "installation: "+e.Err.Error())
		}
		return
	}
	if who == ours && slices.Contains(p.gone, c.SPIOut) {
		m.emit(Uninstall{c.bare()})
		p.spiIn = 0
		m.goneAlready(s, p)
		return
	}
	if s.displaced(c) {
		// The IKE SA moved meanwhile, the pair went in with the old addresses.
		m.emit(Uninstall{c.bare()})
		m.install(s, who, p)
		return
	}
	if who == ours {
		m.adopt(s, p, c)
		m.finish(s)
		return
	}
	if s.inb.exchange == authExchange {
		m.authReply(s, c)
		return
	}
	m.childReply(s, p, c)
}

func (s *sa) pendingOf(who side) *pending {
	if who == ours {
		return s.req.pend
	}
	return s.inb.pend
}
