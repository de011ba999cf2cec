package cn

import (
	"io"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility/rr"
)

// Machine is a correspondent node. Use New; one goroutine owns it.
type Machine struct {
	lost   []Record // of an earlier run, until Start
	cfg    Config
	peers  map[netip.Addr]*Peer
	random io.Reader
	seed   uint64
	kcn    rr.Kcn
	nonces rr.Nonces

	table  table
	ids    map[uint64]uint32 // Route and AskUse that are not answered: the entry's index
	lastID uint64
	limits limits
	count  Counters

	life    life
	sweep   int       // next entry to take down, when stopping
	linger  time.Time // until when the routes stay then
	leaving map[uint64]bool

	now time.Time // of the step
	out []Action  // of the step
}

// limits are the limits for what strangers cause.
type limits struct {
	home, careOf rate    // tests, in all
	bound        rate    // those of nodes that have a binding: a flood by others is not theirs
	source       limiter // tests, for one source
	refusals     rate    // of updates that nothing shows the sender of
	signed       rate    // of the others
	refused      limiter
	updates      rate    // updates that are right, in all
	update       limiter // those of one pair
	errors       rate
	err          limiter
}

// updateRate is how many updates of one pair a second are heeded, after a burst: thrice MAX_UPDATE_RATE
// (RFC 6275 §12).
const updateRate = 10

// life is how far the service is.
type life uint8

const (
	fresh life = iota
	serving
	telling  // the nodes, that it ends
	clearing // the routes
	draining // waiting for the answers
	stopped
)

// New makes a correspondent node with a valid configuration. Its node key and its nonces come
// from random, which it keeps; seed makes the places in its limiters unpredictable.
func New(cfg Config, random io.Reader, seed uint64) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	kcn, err := rr.NewKcn(random)
	if err != nil {
		return nil, err
	}
	m := &Machine{random: random, seed: seed, kcn: kcn, ids: map[uint64]uint32{}, leaving: map[uint64]bool{},
		table: table{byPair: map[pair]uint32{}}}
	m.configure(cfg)
	return m, nil
}

func (m *Machine) configure(cfg Config) {
	m.cfg = cfg
	m.peers = map[netip.Addr]*Peer{}
	for i := range m.cfg.Peers {
		m.peers[m.cfg.Peers[i].Home] = &m.cfg.Peers[i]
	}
	tests, source := or(cfg.TestRate, defaultTestRate), or(cfg.TestRatePerSource, defaultPerSource)
	errs := or(cfg.ErrorRate, defaultErrorRate)
	m.limits = limits{
		home: perSecond(tests, tests), careOf: perSecond(tests, tests), bound: perSecond(tests, tests),
		source:   newLimiter(perSecond(source, source), m.seed),
		refusals: perSecond(errs, errs), signed: perSecond(errs, errs),
		// A node sends no more than MAX_UPDATE_RATE of 3 a second (RFC 6275 §11.8, §12).
		refused: newLimiter(perSecond(3, 10), m.seed),
		updates: perSecond(tests, tests),
		update:  newLimiter(perSecond(updateRate, 3*updateRate), m.seed),
		errors:  perSecond(errs, errs),
		err:     newLimiter(perSecond(1, 1), m.seed),
	}
}

// Step takes one event and appends the actions that follow from it to out.
func (m *Machine) Step(now time.Time, ev Event, out []Action) []Action {
	m.now, m.out = now, out
	m.step(ev)
	m.drain()
	out, m.out = m.out, nil
	return out
}

func (m *Machine) step(ev Event) {
	switch ev := ev.(type) { // these count at the end of the service too
	case RouteDone:
		m.routeDone(ev)
		return
	case Authorise:
		m.authorise(ev)
		return
	case Stop:
		m.stop()
		return
	}
	if m.life > serving {
		return
	}
	switch ev := ev.(type) {
	case Start:
		m.begin()
	case Restored:
		m.restore(ev.Records)
	case SetConfig:
		m.setConfig(ev.Config)
	case MHReceived:
		m.received(ev.MH)
	case Report:
		m.report(ev.Report)
	case ICMPError:
		m.icmpError(ev.Error)
	case Used:
		m.used(ev)
	case KeysDown:
		m.keysDown(ev)
	}
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	m.now, m.out = now, out
	if m.life == serving {
		m.due()
	}
	m.drain()
	out, m.out = m.out, nil
	return out
}

// Deadline is when the next Tick is wanted; zero: never.
func (m *Machine) Deadline() time.Time {
	switch m.life {
	case serving:
		return soonest(m.table.alive.deadline(), m.table.memory.deadline())
	case telling:
		return m.now
	case clearing:
		if m.linger.After(m.now) {
			return m.linger
		}
		return m.now
	}
	return time.Time{}
}

// due does what the entries' times have come for.
func (m *Machine) due() {
	past := func(d time.Time) bool { return !d.IsZero() && !d.After(m.now) }
	for past(m.table.memory.deadline()) {
		e := m.table.memory[0]
		e.known = false
		m.table.place(e)
	}
	for past(m.table.alive.deadline()) {
		e := m.table.alive[0]
		if e.expires.After(m.now) {
			m.askUse(e)
			continue
		}
		m.count.Expired++
		m.drop(e, "expired")
	}
}
