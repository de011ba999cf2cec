// Package telemetry holds counters and sets up the log. Both are optional: a nil
// *Set, a nil *Counter and the logger of Discard take everything and do nothing.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Counter only goes up. It is safe for many goroutines.
type Counter struct{ v atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	if c != nil {
		c.v.Add(n)
	}
}

// Load returns the count.
func (c *Counter) Load() uint64 {
	if c == nil {
		return 0
	}
	return c.v.Load()
}

// Set is a group of counters by name. Names are lower case with dots, from the
// room to the reason: "mh.dropped.checksum".
type Set struct {
	mu sync.RWMutex
	by map[string]*Counter
}

// New returns an empty Set.
func New() *Set { return &Set{by: map[string]*Counter{}} }

// Counter returns the counter of that name, which it makes at the first call. Who
// counts often keeps it.
func (s *Set) Counter(name string) *Counter {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	c := s.by[name]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.by[name]; c == nil {
		c = new(Counter)
		s.by[name] = c
	}
	return c
}

// Value is a counter's name and what it showed.
type Value struct {
	Name  string
	Value uint64
}

// Snapshot returns all counters, sorted by name.
func (s *Set) Snapshot() []Value {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	out := make([]Value, 0, len(s.by))
	for name, c := range s.by {
		out = append(out, Value{name, c.Load()})
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b Value) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Level reads a level of the configuration: debug, info, warn or error.
func Level(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("telemetry: no log level %q", name)
}

// Logger writes lines of text to w. The level may be changed later through the
// LevelVar.
func Logger(w io.Writer, level slog.Level) (*slog.Logger, *slog.LevelVar) {
	lv := new(slog.LevelVar)
	lv.Set(level)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: lv})), lv
}

// Discard is a logger that says nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
