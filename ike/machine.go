package ike

import (
	"container/heap"
	"encoding/binary"
	"io"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// Machine is one shard of IKE SAs. It is not safe for concurrent use: one
// goroutine owns it.
type Machine struct {
	cfg   Config
	conns []*Conn // of cfg; IKE SAs point at them
	rand  io.Reader
	stats Stats

	sas     map[SAID]*sa
	inits   map[[32]byte]SAID    // half-open IKE SAs by their first message
	peers   map[peerKey][]SAID   // established IKE SAs of a peer, oldest first
	spis    map[uint32][]SAID    // IKE SAs that have a child with this SPI, either way
	contact map[contact]*opening // IKE SAs under way that say INITIAL_CONTACT
	resume  []Initiate           // that need not wait any more
	orphans map[peerKey][]*orphan
	tasks   map[TaskID]task
	timers  timerHeap

	lastTask  TaskID
	halfOpen  int
	perSource map[[8]byte]int
	cookies   cookieJar
	answers   limiter // unprotected answers to unknown IKE SPIs

	now time.Time // of the Step or Tick under way
	out []Action
}

// peerKey names a peer of a connection.
type peerKey struct {
	conn string
	id   message.Identity
}

// New returns a Machine without any SA. rand feeds SPIs, nonces, private keys
// and jitter: crypto/rand's Reader, or a seeded one in a test. cfg should have
// passed Validate.
func New(cfg Config, rand io.Reader) *Machine {
	m := &Machine{
		rand: rand, sas: map[SAID]*sa{}, inits: map[[32]byte]SAID{}, peers: map[peerKey][]SAID{},
		spis: map[uint32][]SAID{}, contact: map[contact]*opening{}, orphans: map[peerKey][]*orphan{}, tasks: map[TaskID]task{},
		perSource: map[[8]byte]int{},
	}
	m.configure(cfg)
	return m
}

// configure takes a new configuration; IKE SAs follow to the connection of
// their name, if it is still there.
func (m *Machine) configure(cfg Config) {
	m.cfg = cfg.withDefaults()
	m.conns = m.conns[:0:0]
	for i := range m.cfg.Conns {
		m.conns = append(m.conns, &m.cfg.Conns[i])
	}
	for _, s := range m.sas { // the order does not matter: nothing is emitted
		if s.conn == nil {
			continue
		}
		if c := m.conn(s.conn.Name); c != nil {
			s.conn = c
		}
	}
}

func (m *Machine) conn(name string) *Conn {
	for _, c := range m.conns {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Step takes one event in and appends what is to be done to out.
func (m *Machine) Step(now time.Time, ev Event, out []Action) []Action {
	m.now, m.out = now, out
	switch e := ev.(type) {
	case Datagram:
		m.datagram(e)
	case Initiate:
		m.initiate(e)
	case Cancel:
		m.cancel(e)
	case CreateChild:
		m.createChild(e)
	case RekeyChild:
		if s := m.up(e.SA); s != nil {
			m.rekeyChild(s, s.bySPIIn(e.SPIIn))
		}
	case RekeySA:
		if s := m.up(e.SA); s != nil {
			m.enqueue(s, job{kind: jobRekeySA})
		}
	case CloseChild:
		if s := m.up(e.SA); s != nil {
			m.closeChild(s, s.bySPIIn(e.SPIIn), ReasonClosed)
		}
	case Close:
		m.close(e)
	case DropOrphans:
		m.dropOrphans(peerKey{e.Conn, e.Peer.Fold()}, nil, ReasonClosed)
	case Moved:
		m.moved(e)
	case Mapped:
		m.mapped(e)
	case Probe:
		if s := m.up(e.SA); s != nil {
			m.probe(s)
		}
	case Expire:
		m.expire(e)
	case ForgetPeer:
		m.forgetPeer(peerKey{e.Conn, e.Peer.Fold()}, e.Except, nil)
	case SetConfig:
		m.configure(e.Config)
	case Proved, PeerVerified, Authorised, SPIAllocated, Installed, Encapsulated:
		m.answer(ev)
	}
	return m.done()
}

// Tick does what is due at now. It is harmless when nothing is.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	m.now, m.out = now, out
	for len(m.timers) > 0 && !m.timers[0].at.After(now) {
		t := heap.Pop(&m.timers).(*timer)
		t.index = -1
		if t.sa != nil {
			m.tickSA(t.sa)
		} else {
			m.removeOrphan(t.orphan, ReasonExpired)
		}
	}
	return m.done()
}

func (m *Machine) done() []Action {
	for len(m.resume) > 0 {
		e := m.resume[0]
		m.resume = m.resume[1:]
		m.initiate(e)
	}
	out := m.out
	m.out = nil
	return out
}

// Deadline returns when the next Tick is wanted; zero: never.
func (m *Machine) Deadline() time.Time {
	if len(m.timers) == 0 {
		return time.Time{}
	}
	return m.timers[0].at
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

// random fills b. A source that fails is counted; the caller gives up.
func (m *Machine) random(b []byte) bool {
	if _, err := io.ReadFull(m.rand, b); err != nil {
		m.stats.RandomFailures++
		return false
	}
	return true
}

// newSPI draws an unused IKE SPI of this shard.
func (m *Machine) newSPI() (SAID, bool) {
	for range 16 {
		var b [8]byte
		if !m.random(b[:]) {
			return 0, false
		}
		v := binary.BigEndian.Uint64(b[:])
		if n := m.cfg.ShardBits; n > 0 {
			v = v<<n>>n | m.cfg.Shard<<(64-n)
		}
		if v != 0 && m.sas[SAID(v)] == nil {
			return SAID(v), true
		}
	}
	return 0, false
}

// jittered takes a random part off d, so that the two ends rarely act together.
func (m *Machine) jittered(d time.Duration, part float64) time.Duration {
	var b [4]byte
	if part <= 0 || !m.random(b[:]) {
		return d
	}
	r := float64(binary.BigEndian.Uint32(b[:])) / (1 << 32)
	return d - time.Duration(float64(d)*part*r)
}
