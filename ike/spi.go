package ike

import "errors"

// allocate asks for our inbound SPI of a child to be.
func (m *Machine) allocate(s *sa, who side, p *pending) {
	c := m.outline(s, p)
	id := m.newTask(s, who, c)
	m.emit(AllocSPI{
		ID: id, SA: s.id, Protocol: c.Proto, Src: c.RemoteAddr, Dst: c.LocalAddr,
		Mode: c.Mode, ReqID: c.ReqID,
	})
}

// maxSPITries bounds how often an inbound SPI is asked for until it is one that
// the IKE SA does not have yet.
const maxSPITries = 8

var errSPITaken = errors.New("it is another child's")

// taken says whether our SPI is that of another child of the IKE SA: of the
// other protocol, say, whose SPIs are apart. It is the child's handle here.
func (s *sa) taken(spi uint32, who side) bool {
	if s.bySPIIn(spi) != nil {
		return true
	}
	if who == ours {
		return s.inb != nil && s.inb.pend != nil && s.inb.pend.spiIn == spi
	}
	return s.req != nil && s.req.pend != nil && s.req.pend.spiIn == spi
}

// allocateAgain asks for another SPI in place of one that is taken, unless it
// has done so too often, and gives that one back then.
func (m *Machine) allocateAgain(s *sa, who side, spi uint32) bool {
	p := s.pendingOf(who)
	p.spiTries++
	again := p.spiTries < maxSPITries
	if again {
		m.allocate(s, who, p)
	}
	c := m.outline(s, p)
	c.SPIIn, c.SPIOut = spi, 0
	if twin := s.bySPIIn(spi); twin == nil || twin.Proto != c.Proto || twin.ReqID != c.ReqID {
		m.emit(Uninstall{c})
	}
	return again
}

// abandon gives back the SPI of a child that will not be. One that is being
// installed is given back when the answer comes.
func (m *Machine) abandon(s *sa, p *pending) {
	if p == nil || p.spiIn == 0 || p.child != nil {
		return
	}
	c := m.outline(s, p)
	c.SPIIn = p.spiIn
	p.spiIn = 0
	m.emit(Uninstall{c})
}
