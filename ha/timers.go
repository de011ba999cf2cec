package ha

import (
	"container/heap"
	"time"
)

// timerKind is what a timer is for.
type timerKind uint8

const (
	settle    timerKind = iota // the answer's state, and the tunnel after a return home, go
	advertise                  // repeat the unsolicited neighbour advertisement
	rekey                      // try KeyUp again, after our restart
	look                       // is anything left of the node?
)

const (
	// settleAfter is how long what an acknowledgement travelled by, and the tunnel of
	// a node that came home, stay for packets that are under way.
	settleAfter = time.Second
	// Neighbour advertisements are repeated MAX_NEIGHBOR_ADVERTISEMENT - 1 times,
	// RetransTimer apart (RFC 6275 §10.4.1, RFC 4861 §10).
	advertiseAgain = 2
	advertiseAfter = time.Second
	// lookAfter is how long policies wait for the keys that were authorised.
	lookAfter = 30 * time.Second
)

type timer struct {
	at   time.Time
	seq  uint64 // keeps equal times in order
	node *node
	kind timerKind
	n    int
}

// timers is a heap; timers are never taken out before they are due, they look
// whether there is still something to do.
type timers struct {
	list []timer
	last uint64
}

func (t *timers) Len() int      { return len(t.list) }
func (t *timers) Swap(i, j int) { t.list[i], t.list[j] = t.list[j], t.list[i] }
func (t *timers) Push(x any)    { t.list = append(t.list, x.(timer)) }
func (t *timers) Pop() any {
	x := t.list[len(t.list)-1]
	t.list = t.list[:len(t.list)-1]
	return x
}
func (t *timers) Less(i, j int) bool {
	a, b := &t.list[i], &t.list[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.seq < b.seq
}

func (t *timers) deadline() time.Time {
	if len(t.list) == 0 {
		return time.Time{}
	}
	return t.list[0].at
}

func (m *Machine) after(d time.Duration, n *node, k timerKind, count int) {
	m.timers.last++
	heap.Push(&m.timers, timer{at: m.now.Add(d), seq: m.timers.last, node: n, kind: k, n: count})
}

// fire does what timers are due for.
func (m *Machine) fire() {
	for len(m.timers.list) > 0 && !m.timers.list[0].at.After(m.now) {
		t := heap.Pop(&m.timers).(timer)
		if t.node.gone {
			continue
		}
		switch t.kind {
		case settle:
			m.settle(t.node)
		case advertise:
			m.advertiseAgain(t.node, t.n)
		case rekey:
			m.rekey(t.node)
		case look:
			m.tidy(t.node)
		}
	}
}

// bucket limits a rate: rate tokens a second, as many at once.
type bucket struct {
	rate   int
	tokens int
	filled time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.filled.IsZero() || now.Sub(b.filled) >= time.Second {
		b.tokens, b.filled = b.rate, now
	}
	// A token each rate-th part of a second.
	step := time.Second / time.Duration(b.rate)
	for b.tokens < b.rate && now.Sub(b.filled) >= step {
		b.tokens++
		b.filled = b.filled.Add(step)
	}
	if b.tokens >= b.rate {
		b.filled = now
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
