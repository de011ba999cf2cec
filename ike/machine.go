package ike

import (
	"io"
	"time"
)

// Machine is one shard of IKE SAs.
type Machine struct {
	cfg   Config
	rand  io.Reader
	stats Stats

	now time.Time // of the Step or Tick under way
	out []Action
}

// New returns a Machine without any SA. rand feeds SPIs, nonces, private keys
// and jitter: crypto/rand's Reader, or a seeded one in a test. cfg should have
// passed Validate.
func New(cfg Config, rand io.Reader) *Machine {
	return &Machine{cfg: cfg, rand: rand}
}

// Step takes one event in and appends what is to be done to out.
func (m *Machine) Step(now time.Time, ev Event, out []Action) []Action {
	return out
}

// Tick does what is due at now. It is harmless when nothing is.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	return out
}

// Deadline returns when the next Tick is wanted; zero: never.
func (m *Machine) Deadline() time.Time {
	return time.Time{}
}

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

// Snapshot returns the state of all IKE SAs, ordered by handle. Orphaned
// children come last, under an SAInfo of state "orphans" for each peer.
func (m *Machine) Snapshot() []SAInfo { return nil }
