// Package loop runs a pure machine: one goroutine feeds it events and due timers
// and hands its actions on. The machine never sees a clock, a lock or another
// goroutine; whoever else wants its state asks the loop.
package loop

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Machine decides. It appends its actions to out in the order in which they must
// take effect, and keeps no reference to out.
type Machine[E, A any] interface {
	// Step takes one event.
	Step(now time.Time, ev E, out []A) []A
	// Tick does what is due at now.
	Tick(now time.Time, out []A) []A
	// Deadline says when the next Tick is wanted; zero: never.
	Deadline() time.Time
}

// ErrStopped is what Inspect returns when the loop has ended.
var ErrStopped = errors.New("loop: stopped")

// Class is a kind of events that the network causes. Each has a bound of its own, so that a flood
// of one does not push the others out.
type Class uint8

// The classes.
const (
	IKE             Class = iota // datagrams of key management
	MobilityHeaders              // Mobility Headers and the ICMPv6 errors about them
	Others                       // router advertisements, acquires, reports
	classes
)

// classBound is how many events of a class may wait. What comes beyond is dropped
// and counted: a flood must not become memory.
const classBound = 1024

// Loop owns one machine. Its methods may be called from any goroutine.
type Loop[E, A any] struct {
	m    Machine[E, A]
	do   func([]A)
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	queue   []item[E]
	offered [classes]int // of the queue, those that Offer brought

	dropped [classes]atomic.Uint64
}

// item is an event or a function to run on the loop.
type item[E any] struct {
	ev      E
	run     func()
	offered bool
	class   Class // of those offered
}

// New makes a loop. do gets the actions of each step, on the loop's goroutine,
// and must not block; the slice is reused after it returns.
func New[E, A any](m Machine[E, A], do func([]A)) *Loop[E, A] {
	return &Loop[E, A]{m: m, do: do, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Post enqueues an event and never blocks. It is for results of our own actions
// and of other machines, whose number is bounded by what was asked for.
func (l *Loop[E, A]) Post(ev E) { l.put(item[E]{ev: ev}) }

// Offer enqueues an event that the network caused. It reports false, and counts,
// where too many of its class wait.
func (l *Loop[E, A]) Offer(c Class, ev E) bool {
	c = min(c, Others)
	if l.put(item[E]{ev: ev, offered: true, class: c}) {
		return true
	}
	l.dropped[c].Add(1)
	return false
}

// Dropped is the number of events that Offer refused.
func (l *Loop[E, A]) Dropped() uint64 {
	var n uint64
	for i := range l.dropped {
		n += l.dropped[i].Load()
	}
	return n
}

// Inspect runs f on the loop's goroutine, where it may read the machine's state.
func (l *Loop[E, A]) Inspect(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	l.put(item[E]{run: func() { f(); close(ran) }})
	select {
	case <-ran:
		return nil
	case <-l.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Loop[E, A]) put(it item[E]) bool {
	l.mu.Lock()
	if it.offered {
		if l.offered[it.class] >= classBound {
			l.mu.Unlock()
			return false
		}
		l.offered[it.class]++
	}
	l.queue = append(l.queue, it)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// Run feeds the machine until ctx ends. It returns ctx's error.
func (l *Loop[E, A]) Run(ctx context.Context) error {
	defer close(l.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []item[E]
	var acts []A
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch = l.take(batch[:0])
		for i := range batch {
			acts = l.feed(batch[i], acts[:0])
		}
		clear(batch)
		acts = l.tick(acts[:0])
		if !l.idle() {
			continue
		}
		var due <-chan time.Time
		if d := l.m.Deadline(); !d.IsZero() {
			timer.Reset(max(0, time.Until(d)))
			due = timer.C
		}
		select {
		case <-l.wake:
		case <-due:
		case <-ctx.Done():
		}
	}
}

func (l *Loop[E, A]) take(into []item[E]) []item[E] {
	l.mu.Lock()
	defer l.mu.Unlock()
	into = append(into, l.queue...)
	clear(l.queue)
	l.queue = l.queue[:0]
	l.offered = [classes]int{}
	return into
}

func (l *Loop[E, A]) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0
}

func (l *Loop[E, A]) feed(it item[E], acts []A) []A {
	if it.run != nil {
		it.run()
		return acts
	}
	acts = l.m.Step(time.Now(), it.ev, acts)
	if len(acts) > 0 {
		l.do(acts)
	}
	return acts
}

func (l *Loop[E, A]) tick(acts []A) []A {
	d := l.m.Deadline()
	if d.IsZero() {
		return acts
	}
	now := time.Now()
	if now.Before(d) {
		return acts
	}
	acts = l.m.Tick(now, acts)
	if len(acts) > 0 {
		l.do(acts)
	}
	return acts
}
