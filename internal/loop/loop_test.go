package loop

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// echo is a machine that answers every number, and once more when it is due.
type echo struct {
	got []int
	due time.Time
}

func (m *echo) Step(now time.Time, ev int, out []int) []int {
	m.got = append(m.got, ev)
	m.due = now.Add(time.Millisecond)
	return append(out, ev)
}
func (m *echo) Tick(_ time.Time, out []int) []int {
	m.due = time.Time{}
	return append(out, -1)
}
func (m *echo) Deadline() time.Time { return m.due }

func start(t *testing.T, m *echo, do func([]int)) *Loop[int, int] {
	t.Helper()
	l := New[int, int](m, do)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return l
}

func TestEventsKeepTheirOrderAndTimersFire(t *testing.T) {
	acts := make(chan int, 100)
	m := &echo{}
	l := start(t, m, func(a []int) {
		for _, x := range a {
			acts <- x
		}
	})
	for i := range 10 {
		l.Post(i)
	}
	var got []int
	for x := range acts {
		if x == -1 {
			break
		}
		got = append(got, x)
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Fatalf("actions %v, want %v", got, want)
	}
	var seen []int
	if err := l.Inspect(t.Context(), func() { seen = slices.Clone(m.got) }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 10 {
		t.Fatalf("the machine saw %v", seen)
	}
}

func TestOfferIsBoundedByClassAndPostIsNot(t *testing.T) {
	l := New[int, int](&echo{}, func([]int) {}) // not running: nothing drains it
	for range classBound {
		if !l.Offer(IKE, 1) {
			t.Fatal("refused below the bound")
		}
	}
	if l.Offer(IKE, 1) || l.Dropped() != 1 {
		t.Fatalf("an event beyond the bound was taken (dropped %d)", l.Dropped())
	}
	if !l.Offer(MobilityHeaders, 3) || !l.Offer(Others, 4) {
		t.Fatal("a flood of one class pushed the others out")
	}
	l.Post(2)
	if len(l.queue) != classBound+3 {
		t.Fatalf("Post was bounded: %d wait", len(l.queue))
	}
	l.take(nil)
	if !l.Offer(IKE, 1) {
		t.Fatal("the bound outlives what waited")
	}
}

func TestInspectEndsWithTheLoop(t *testing.T) {
	l := New[int, int](&echo{}, func([]int) {})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = l.Run(ctx)
	if err := l.Inspect(t.Context(), func() {}); !errors.Is(err, ErrStopped) {
		t.Fatalf("got %v, want ErrStopped", err)
	}
}

func TestNothingStaysQueuedWhenPostRacesTheTimer(t *testing.T) {
	done := make(chan struct{})
	n := 0
	l := start(t, &echo{}, func(a []int) {
		for _, x := range a {
			if x >= 0 {
				if n++; n == 20000 {
					close(done)
				}
			}
		}
	})
	for i := range 20000 {
		l.Post(i)
	}
	<-done
}
