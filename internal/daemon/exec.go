package daemon

import (
	"sync"
)

// serial runs jobs: those of one key strictly in the order they came, those of
// different keys beside each other, so that one node's slow migration never
// holds up another's.
type serial[K comparable] struct {
	mu     sync.Mutex
	queues map[K]*[]func()
	wg     sync.WaitGroup
	slots  chan struct{} // bounds the goroutines that work at once
}

func newSerial[K comparable](workers int) *serial[K] {
	return &serial[K]{queues: make(map[K]*[]func()), slots: make(chan struct{}, workers)}
}

// do enqueues a job and never blocks.
func (s *serial[K]) do(key K, job func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[key]; q != nil {
		*q = append(*q, job)
		return
	}
	q := &[]func(){job}
	s.queues[key] = q
	s.wg.Add(1)
	go s.drain(key, q)
}

// drain runs one key's jobs until none is left.
func (s *serial[K]) drain(key K, q *[]func()) {
	defer s.wg.Done()
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	for {
		s.mu.Lock()
		jobs := *q
		if len(jobs) == 0 {
			delete(s.queues, key)
			s.mu.Unlock()
			return
		}
		*q = nil
		s.mu.Unlock()
		for _, job := range jobs {
			job()
		}
	}
}

// wait returns when every job that was enqueued has run.
func (s *serial[K]) wait() { s.wg.Wait() }
