package ha

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/binding"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// Machine is a home agent, or a shard of one. Use New; one goroutine owns it.
type Machine struct {
	cfg    Config
	plan   protect.Plan
	byName map[string]*Node      // the access list
	byLine map[netip.Addr]string // identity by the home addresses of the list

	cache     *binding.Cache
	nodes     []*node // by index, nil where free
	freeNodes []uint32
	byHome    map[[16]byte]uint32
	leases    map[string]uint32 // index by identity, of addresses from the pool
	poolNext  poolCursor

	lastID  uint64
	pending map[uint64]pending
	timers  timers
	restart restart
	errors  bucket
	stats   Stats
	life    life
	sweep   int // next node to take down, when stopping

	now time.Time // of the step
	out []Action  // of the step
}

// life is how far the service is.
type life uint8

const (
	fresh life = iota
	serving
	stopping // emitting what takes all down
	draining // waiting for the answers
	stopped
)

// pending says what an answer with an ID is for.
type pending struct {
	node *node // nil: of the whole agent
	ask  *Authorised
	host []host.Op // for the words of an error
	xfrm []xfrm.Op
	dad  netip.Addr
}

// New makes a home agent with a valid configuration. seed makes the places of
// bindings in the cache unpredictable.
func New(cfg Config, seed uint64) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Machine{byHome: map[[16]byte]uint32{}, leases: map[string]uint32{}, pending: map[uint64]pending{},
		cache: binding.New(cfg.MaxBindings, seed)}
	m.configure(cfg)
	return m, nil
}

func (m *Machine) configure(cfg Config) {
	m.cfg = cfg
	m.plan = protect.Plan{Role: protect.Agent, Protection: cfg.Protection, Caps: cfg.Caps}
	m.byName, m.byLine = map[string]*Node{}, map[netip.Addr]string{}
	for i := range m.cfg.Nodes {
		n := &m.cfg.Nodes[i]
		m.byName[n.Identity] = n
		if n.Home.IsValid() && !n.Deny {
			m.byLine[n.Home] = n.Identity
		}
	}
	m.cache.SetMax(cfg.MaxBindings)
	m.errors.rate = cfg.ErrorRate
	if m.errors.rate <= 0 {
		m.errors.rate = defaultErrorRate
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
	switch ev := ev.(type) { // answers count at the end of the service too
	case HostDone:
		m.hostDone(ev)
		return
	case XfrmDone:
		m.xfrmDone(ev)
		return
	case Authorise:
		m.authorise(ev)
		return
	case Stop:
		m.stop(ev)
		return
	}
	if m.life > serving {
		return
	}
	switch ev := ev.(type) {
	case Start:
		m.start()
	case SetConfig:
		m.setConfig(ev.Config)
	case Restored:
		m.restore(ev.Records)
	case MHReceived:
		m.received(ev.MH)
	case Report:
		m.report(ev.Report)
	case DADDone:
		m.dadDone(ev)
	case KeysUp:
		m.keysUp(ev)
	case KeysDown:
		m.keysDown(ev)
	case KeysRefused:
		m.keysRefused(ev)
	case ChildUp:
		m.childUp(ev)
	case ChildRekeyed:
		m.childRekeyed(ev)
	case ChildDown:
		m.childDown(ev)
	}
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	m.now, m.out = now, out
	if m.life == serving {
		m.expire()
		m.fire()
		m.restartSome()
	}
	m.drain()
	out, m.out = m.out, nil
	return out
}

// Deadline is when the next Tick is wanted; zero: never.
func (m *Machine) Deadline() time.Time {
	switch {
	case m.life == stopping:
		return m.now
	case m.life != serving:
		return time.Time{}
	}
	return soonest(m.cache.Deadline(), soonest(m.timers.deadline(), m.restart.deadline()))
}

// soonest is the earlier one; the zero time is never.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
