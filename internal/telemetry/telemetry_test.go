package telemetry

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestNilCountsNothing(t *testing.T) {
	var s *Set
	s.Counter("x").Inc()
	if s.Counter("x").Load() != 0 || s.Snapshot() != nil {
		t.Error("a nil set counted")
	}
	Discard().Error("nobody hears this")
}

func TestCounters(t *testing.T) {
	s := New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				s.Counter("b").Inc()
			}
			s.Counter("a").Add(2)
		})
	}
	wg.Wait()
	if got, want := s.Snapshot(), []Value{{"a", 16}, {"b", 8000}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	level, err := Level("warn")
	if err != nil {
		t.Fatal(err)
	}
	log, lv := Logger(&b, level)
	log.Info("too quiet")
	log.Warn("heard", "n", 1)
	lv.Set(slog.LevelDebug)
	log.Debug("now too")
	if got := b.String(); strings.Contains(got, "too quiet") || !strings.Contains(got, "msg=heard n=1") || !strings.Contains(got, `msg="now too"`) {
		t.Error(got)
	}
	if _, err := Level("loud"); err == nil {
		t.Error("level loud was taken")
	}
}
