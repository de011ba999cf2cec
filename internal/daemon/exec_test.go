package daemon

import (
	"slices"
	"sync"
	"testing"
)

func TestJobsOfOneKeyKeepTheirOrder(t *testing.T) {
	s := newSerial[int](4)
	var mu sync.Mutex
	got := map[int][]int{}
	for i := range 1000 {
		s.do(i%7, func() {
			mu.Lock()
			got[i%7] = append(got[i%7], i)
			mu.Unlock()
		})
	}
	s.wait()
	for k, v := range got {
		if !slices.IsSorted(v) {
			t.Errorf("key %d ran out of order: %v", k, v)
		}
	}
	if len(s.queues) != 0 {
		t.Errorf("%d keys were left behind", len(s.queues))
	}
}

func TestASlowKeyHoldsUpNoOther(t *testing.T) {
	s := newSerial[string](2)
	gate, passed := make(chan struct{}), make(chan struct{})
	s.do("slow", func() { <-gate })
	s.do("fast", func() { close(passed) })
	<-passed
	close(gate)
	s.wait()
}
