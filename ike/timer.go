package ike

import (
	"container/heap"
	"slices"
	"time"
)

// timer is the next deadline of an IKE SA or of an orphan.
type timer struct {
	at     time.Time
	index  int // in the heap; -1: not in it
	sa     *sa
	orphan *orphan
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	t.index = -1
	return t
}

// set moves a timer to at; zero removes it.
func (m *Machine) set(t *timer, at time.Time) {
	switch {
	case at.IsZero() && t.index >= 0:
		heap.Remove(&m.timers, t.index)
	case at.IsZero():
	case t.index >= 0:
		t.at = at
		heap.Fix(&m.timers, t.index)
	default:
		t.at = at
		heap.Push(&m.timers, t)
	}
}

// earliest is the earlier of two times of which either may be zero (never).
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// due says whether a time is set and reached.
func (m *Machine) due(t time.Time) bool { return !t.IsZero() && !t.After(m.now) }

// limiter allows a number of things each second.
type limiter struct {
	second time.Time
	n      int
}

func (l *limiter) allow(now time.Time, perSecond int) bool {
	if now.Sub(l.second) >= time.Second || now.Before(l.second) {
		l.second, l.n = now, 0
	}
	l.n++
	return l.n <= perSecond
}

// schedule moves the timer of an IKE SA to its next deadline.
func (m *Machine) schedule(s *sa) {
	if m.sas[s.id] != s {
		m.set(&s.timer, time.Time{})
		return
	}
	at := s.dieAt
	if s.req != nil && s.req.data != nil && !s.req.answered {
		at = earliest(at, s.req.at)
	}
	at = earliest(at, s.stale())
	if s.series != nil && s.inb == nil {
		at = earliest(at, s.series.until)
	}
	if s.state == stateUp {
		at = earliest(earliest(earliest(at, s.rekeyAt), s.hardAt), s.reauthAt)
		at = earliest(at, m.keepaliveAt(s))
		if s.req == nil && len(s.queue) == 0 && s.conn.DPD > 0 {
			at = earliest(at, s.heard.Add(s.conn.DPD))
		}
		for _, j := range s.queue {
			if s.req == nil {
				at = earliest(at, j.at)
			}
		}
	}
	for _, c := range s.children {
		at = earliest(earliest(at, c.rekeyAt), c.hardAt)
	}
	m.set(&s.timer, at)
}

// tickSA does what is due for one IKE SA.
func (m *Machine) tickSA(s *sa) {
	defer m.schedule(s)
	m.dropStale(s)
	m.overdue(s)
	if m.due(s.dieAt) {
		m.died(s)
		return
	}
	if m.due(s.hardAt) && s.state == stateUp {
		why := ReasonExpired
		if s.outdated {
			why = ReasonReplaced
		}
		m.finishWith(s, why)
		return
	}
	if r := s.req; r != nil && r.data != nil && !r.answered && m.due(r.at) {
		m.retransmit(s)
		if m.sas[s.id] != s {
			return
		}
	}
	for _, c := range slices.Clone(s.children) {
		if m.due(c.hardAt) {
			c.hardAt = time.Time{}
			m.closeChild(s, c, ReasonExpired)
		} else if m.due(c.rekeyAt) && c.state == childReplaced {
			m.deleteChild(s, c)
		} else if m.due(c.rekeyAt) {
			m.rekeyChild(s, c)
		}
	}
	if s.state != stateUp {
		return
	}
	if m.due(m.keepaliveAt(s)) {
		m.keepalive(s)
	}
	if m.due(s.rekeyAt) {
		s.rekeyAt = time.Time{}
		if s.reauth != nil { // there is a new one soon, or there must be one soon
			s.rekeyAt = m.now.Add(temporaryWait)
		} else {
			m.enqueue(s, job{kind: jobRekeySA})
		}
	}
	if m.due(s.reauthAt) {
		m.reauthenticate(s)
	}
	if d := s.conn.DPD; d > 0 && s.req == nil && len(s.queue) == 0 && m.due(s.heard.Add(d)) {
		m.probe(s)
	}
	m.pump(s)
}
