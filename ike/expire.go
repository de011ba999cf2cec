package ike

import "slices"

func (m *Machine) index(s *sa, c *child) {
	for _, spi := range []uint32{c.SPIIn, c.SPIOut} {
		m.spis[spi] = append(m.spis[spi], s.id)
	}
}

func (m *Machine) unindex(s *sa, c *child) {
	for _, spi := range []uint32{c.SPIIn, c.SPIOut} {
		if list := without(m.spis[spi], s.id); len(list) > 0 {
			m.spis[spi] = list
		} else {
			delete(m.spis, spi)
		}
	}
}

// expire follows the kernel's alarm about one of our SAs. Our inbound SPIs are
// unique here, so that one whose address is not what we believe (an unused SA of
// a node at home keeps its old one) is found all the same.
func (m *Machine) expire(e Expire) {
	var inbound *child
	var owner *sa
	for _, id := range slices.Clone(m.spis[e.SPI]) {
		s := m.sas[id]
		if s == nil {
			continue
		}
		c := s.bySPIIn(e.SPI)
		if c != nil && e.Proto != 0 && e.Proto != c.Proto {
			c = nil
		}
		if c != nil && c.LocalAddr != e.Dst {
			inbound, owner, c = c, s, nil
		}
		if c == nil {
			if c = s.bySPIOut(e.Proto, e.SPI); c != nil && c.RemoteAddr != e.Dst {
				c = nil
			}
		}
		if c != nil {
			m.alarm(s, c, e.Hard)
			return
		}
	}
	if inbound != nil && inbound.RemoteAddr != e.Dst {
		m.alarm(owner, inbound, e.Hard)
	}
}

func (m *Machine) alarm(s *sa, c *child, hard bool) {
	if hard {
		m.closeChild(s, c, ReasonExpired)
	} else {
		m.rekeyChild(s, c)
	}
	m.schedule(s)
}
