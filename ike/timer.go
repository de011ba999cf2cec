package ike

import (
	"container/heap"
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
