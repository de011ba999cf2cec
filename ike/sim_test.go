package ike

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// world drives machines by virtual time: packets and task answers are events of
// one heap, and chance comes from a seed. Nothing sleeps.
type world struct {
	t     testing.TB
	now   time.Time
	seq   int
	queue eventHeap
	nodes []*node
	chance
	loss, dup float64
	delay     time.Duration
	jitter    time.Duration
	taskDelay time.Duration
	sent      []Send                        // every datagram, in order
	drop      func(from *node, s Send) bool // extra: true drops
	nat       *natBox                       // between the nodes; nil: none
}

type chance struct{ r *rand.Rand }

type node struct {
	w       *world
	name    string
	m       *Machine
	addrs   []netip.Addr
	keys    *pki.Keyring
	kernel  map[uint32]Child // by inbound SPI, installed
	larval  map[larvalSA]int // how many
	nextSPI uint32
	give    []uint32 // SPIs to give out first
	twins   bool     // sometimes gives the SPI of a child of the other protocol
	log     []Action // all but Send and tasks
	deny    func(Authorise) error
	narrow  func(Authorise) Authorised
	failSPI bool
	failIn  bool
	hold    bool // tasks are not answered
	held    []Event
	back    uint32 // just uninstalled: it may be put in again at once, at other ends
}

type simEvent struct {
	at  time.Time
	seq int
	to  *node
	ev  Event
}

type eventHeap []simEvent

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// seeded is a deterministic random source.
func seeded(seed uint64) io.Reader {
	var k [32]byte
	k[0], k[1], k[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	return rand.NewChaCha8(k)
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{
		t: t, now: time.Unix(1_800_000_000, 0), chance: chance{rand.New(rand.NewPCG(seed, 1))},
		delay: 10 * time.Millisecond, taskDelay: time.Millisecond,
	}
}

func (w *world) post(at time.Time, to *node, ev Event) {
	w.seq++
	heap.Push(&w.queue, simEvent{at, w.seq, to, ev})
}

func (w *world) node(name string, cfg Config, keys *pki.Keyring, addrs ...string) *node {
	n := &node{w: w, name: name, keys: keys, kernel: map[uint32]Child{}, larval: map[larvalSA]int{}}
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
	if err := cfg.Validate(); err != nil {
		w.t.Fatal(err)
	}
	n.nextSPI = uint32(len(w.nodes)+1) << 24
	n.m = New(cfg, seeded(uint64(len(w.nodes)+1)*1000+w.r.Uint64N(1000)))
	w.nodes = append(w.nodes, n)
	return n
}

// step gives a node one event and carries its actions out.
func (n *node) step(ev Event) { n.do(n.m.Step(n.w.now, ev, nil)) }

func (n *node) do(actions []Action) {
	w := n.w
	n.back = 0
	for _, a := range actions {
		if ev := n.task(a); ev != nil {
			if n.hold {
				n.held = append(n.held, ev)
			} else {
				w.post(w.now.Add(w.taskDelay), n, ev)
			}
			continue
		}
		switch a := a.(type) {
		case Send:
			w.send(n, a)
		case Keepalive:
			n.log = append(n.log, a)
			if w.nat != nil {
				w.nat.pass(w.now, Send{Local: a.Local, Remote: a.Remote}) // nobody reads it
			}
		case Remapped:
			n.log = append(n.log, a)
			n.remapped(a)
		case Uninstall:
			if n.larval[larvalSA{a.Child.Proto, a.Child.SPIIn}] == 0 && n.kernel[a.Child.SPIIn].SPIIn == 0 {
				w.t.Errorf("%s: uninstall of SPI %#x that is not there", n.name, a.Child.SPIIn)
			}
			n.log = append(n.log, a)
			if n.larval[larvalSA{a.Child.Proto, a.Child.SPIIn}] > 0 {
				n.used(a.Child)
				continue
			}
			if c, ok := n.kernel[a.Child.SPIIn]; ok && (c.SPIOut != a.Child.SPIOut || c.Proto != a.Child.Proto) {
				w.t.Errorf("%s: uninstall of %#x/%#x (%d), installed is %#x (%d)", n.name, a.Child.SPIIn, a.Child.SPIOut,
					a.Child.Proto, c.SPIOut, c.Proto)
			}
			delete(n.kernel, a.Child.SPIIn)
			n.back = a.Child.SPIIn
		default:
			n.log = append(n.log, a)
		}
	}
}

// task does what an executor would do for a waiting task.
func (n *node) task(a Action) Event {
	switch a := a.(type) {
	case Prove:
		p, err := n.keys.Prove(a.Request)
		return Proved{a.ID, p, err}
	case VerifyPeer:
		p, err := n.keys.Verify(a.Request)
		return PeerVerified{a.ID, p, err}
	case Authorise:
		n.log = append(n.log, a)
		if n.deny != nil {
			if err := n.deny(a); err != nil {
				return Authorised{ID: a.ID, Err: err}
			}
		}
		if n.narrow != nil {
			r := n.narrow(a)
			r.ID = a.ID
			return r
		}
		name := "payload"
		if a.Transport {
			name = "mh"
		}
		return Authorised{ID: a.ID, Name: name, ReqID: 7, Local: a.Local, Remote: a.Remote}
	case AllocSPI:
		if n.failSPI {
			return SPIAllocated{ID: a.ID, Err: errors.New("no memory")}
		}
		if spi := n.twin(a.Protocol); n.twins && spi != 0 && n.w.r.IntN(3) == 0 {
			n.larval[larvalSA{a.Protocol, spi}]++
			return SPIAllocated{ID: a.ID, SPI: spi}
		}
		if len(n.give) > 0 {
			spi := n.give[0]
			n.give = n.give[1:]
			n.larval[larvalSA{a.Protocol, spi}]++
			return SPIAllocated{ID: a.ID, SPI: spi}
		}
		n.nextSPI++
		n.larval[larvalSA{a.Protocol, n.nextSPI}]++
		return SPIAllocated{ID: a.ID, SPI: n.nextSPI}
	case Encapsulate:
		ct, shared, err := n.encapsulate(a)
		return Encapsulated{ID: a.ID, Ciphertext: ct, Shared: shared, Err: err}
	case Install:
		if n.failIn {
			return Installed{ID: a.ID, Err: errors.New("no such algorithm")}
		}
		if n.larval[larvalSA{a.Child.Proto, a.Child.SPIIn}] == 0 && n.kernel[a.Child.SPIIn].SPIIn == 0 && n.back != a.Child.SPIIn {
			n.w.t.Errorf("%s: install of SPI %#x that was not allocated", n.name, a.Child.SPIIn)
		}
		n.used(a.Child)
		n.kernel[a.Child.SPIIn] = a.Child
		return Installed{ID: a.ID}
	}
	return nil
}

// twin is the lowest SPI of a child of the other protocol; 0: there is none.
func (n *node) twin(proto uint8) (spi uint32) {
	for x, c := range n.kernel {
		if c.Proto != proto && (spi == 0 || x < spi) {
			spi = x
		}
	}
	return spi
}

// used takes one larval SA off.
func (n *node) used(c Child) {
	k := larvalSA{c.Proto, c.SPIIn}
	if n.larval[k]--; n.larval[k] <= 0 {
		delete(n.larval, k)
	}
}

// larvalSA is an inbound SA that was allocated only.
type larvalSA struct {
	proto uint8
	spi   uint32
}

func (w *world) send(from *node, s Send) {
	w.sent = append(w.sent, s)
	if w.drop != nil && w.drop(from, s) {
		return
	}
	if w.r.Float64() < w.loss {
		return
	}
	if w.nat != nil {
		var ok bool
		if s, ok = w.nat.pass(w.now, s); !ok {
			return
		}
	}
	copies := 1
	if w.r.Float64() < w.dup {
		copies = 2
	}
	for range copies {
		d := w.delay
		if w.jitter > 0 {
			d += time.Duration(w.r.Int64N(int64(w.jitter)))
		}
		for _, to := range w.nodes {
			if slices.Contains(to.addrs, s.Remote.Addr()) {
				w.post(w.now.Add(d), to, Datagram{Local: s.Remote, Remote: s.Local, Data: slices.Clone(s.Data)})
			}
		}
	}
}

// run lets time pass until nothing is due before the end, or until is true.
func (w *world) run(d time.Duration, until func() bool) bool {
	end := w.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 200000 {
			w.t.Fatal("the world does not come to rest")
		}
		if until != nil && until() {
			return true
		}
		var next time.Time
		var who *node
		for _, n := range w.nodes {
			if at := n.m.Deadline(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next, who = at, n
			}
		}
		if len(w.queue) > 0 && (next.IsZero() || !w.queue[0].at.After(next)) {
			if w.queue[0].at.After(end) {
				break
			}
			e := heap.Pop(&w.queue).(simEvent)
			if e.at.After(w.now) {
				w.now = e.at
			}
			e.to.step(e.ev)
			continue
		}
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(w.now) {
			w.now = next
		}
		before := next
		who.do(who.m.Tick(w.now, nil))
		if at := who.m.Deadline(); at.Equal(before) && at.Before(w.now) {
			w.t.Fatalf("%s: a deadline in the past stays", who.name)
		}
	}
	w.now = end
	return until == nil || until()
}

// find returns the actions of one kind that a node has logged.
func find[T Action](n *node) []T {
	var out []T
	for _, a := range n.log {
		if v, ok := a.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

// one returns the only action of its kind.
func one[T Action](n *node) T {
	n.w.t.Helper()
	list := find[T](n)
	if len(list) != 1 {
		var zero T
		n.w.t.Fatalf("%s: %d times %T, want 1; log %s", n.name, len(list), zero, n.dump())
	}
	return list[0]
}

func (n *node) dump() string {
	var s string
	for i, a := range n.log {
		if i >= 25 && i < len(n.log)-25 {
			continue
		}
		line := fmt.Sprintf("%T", a)
		switch a := a.(type) {
		case ChildUp:
			line += fmt.Sprintf(" %s %x/%x", a.Child.Name, a.Child.SPIIn, a.Child.SPIOut)
		case ChildDown:
			line += fmt.Sprintf(" %s %x/%x %s", a.Child.Name, a.Child.SPIIn, a.Child.SPIOut, a.Reason)
		case Uninstall:
			line += fmt.Sprintf(" %s %x/%x", a.Child.Name, a.Child.SPIIn, a.Child.SPIOut)
		case ChildRekeyed:
			line += fmt.Sprintf(" %s %x → %x/%x", a.Child.Name, a.OldSPIIn, a.Child.SPIIn, a.Child.SPIOut)
		default:
			line += fmt.Sprintf(" %+v", a)
		}
		s += "\n  " + line
	}
	return s
}

// agree checks that both kernels hold mirrored pairs, count of them.
func agree(t testing.TB, a, b *node, count int) {
	t.Helper()
	if len(a.kernel) != count || len(b.kernel) != count {
		t.Fatalf("children: %s has %d, %s has %d, want %d%s%s", a.name, len(a.kernel), b.name, len(b.kernel), count, a.dump(), b.dump())
	}
	if len(a.larval)+len(b.larval) != 0 {
		t.Fatalf("larval SAs left: %v %v", a.larval, b.larval)
	}
	for spi, c := range a.kernel {
		d, ok := b.kernel[c.SPIOut]
		if !ok {
			t.Fatalf("%#x: no pair %#x at %s", spi, c.SPIOut, b.name)
		}
		if c.Proto == AH && (c.Encr != transform.Encr{} || c.Integ == 0 || len(c.KeyIn)+len(c.KeyOut) != 0 ||
			len(c.AuthIn) != c.Integ.KeyLen() || len(c.AuthOut) != len(c.AuthIn) || bytes.Equal(c.AuthIn, c.AuthOut)) ||
			c.Proto == ESP && (len(c.KeyIn) == 0 || len(c.KeyIn) != c.Encr.KeyLen() || c.Encr.Combined() != (c.Integ == 0) ||
				len(c.AuthIn) != c.Integ.KeyLen() || len(c.AuthOut) != len(c.AuthIn)) {
			t.Fatalf("keys of protocol %d: %+v", c.Proto, c)
		}
		if d.SPIOut != c.SPIIn || !reflect.DeepEqual(c.KeyIn, d.KeyOut) || !reflect.DeepEqual(c.KeyOut, d.KeyIn) ||
			!bytes.Equal(c.AuthIn, d.AuthOut) || !bytes.Equal(c.AuthOut, d.AuthIn) || c.Integ != d.Integ || c.ESN != d.ESN ||
			c.Proto != d.Proto || c.Proto != ESP && c.Proto != AH || c.Mode != d.Mode || c.LocalAddr != d.RemoteAddr || c.RemoteAddr != d.LocalAddr ||
			!reflect.DeepEqual(c.Local, d.Remote) || !reflect.DeepEqual(c.Remote, d.Local) || c.Encr != d.Encr {
			t.Fatalf("pairs differ:\n%+v\n%+v", c, d)
		}
	}
}

const (
	coa1 = "2001:db8:1::10"
	coa2 = "2001:db8:2::10"
	haA  = "2001:db8::1"
	hoaA = "2001:db8::100"
)

func ap(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 500) }

func pfx(s string, proto uint8) []message.Selector {
	return []message.Selector{message.PrefixSelector(netip.MustParsePrefix(s), proto)}
}

func mhWant() ChildWant {
	return ChildWant{Name: "mh", Mode: Transport, ReqID: 1, Local: pfx(hoaA+"/128", 135), Remote: pfx(haA+"/128", 135)}
}

func payloadWant() ChildWant {
	return ChildWant{Name: "payload", Mode: Tunnel, ReqID: 2, Local: pfx(hoaA+"/128", 0), Remote: pfx("::/0", 0)}
}

var mnID, haID = message.FQDN("mn.example.org"), message.FQDN("ha.example.org")

func pskRing(t testing.TB, local, peer message.Identity, key string) *pki.Keyring {
	t.Helper()
	k, err := pki.NewKeyring([]pki.Credentials{{Conn: "mip6", Secrets: []pki.Secret{{Local: local, Peer: peer, Key: []byte(key)}}}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mnConn() Conn {
	return Conn{Name: "mip6", LocalID: mnID, RemoteID: IDMatch{Exact: []message.Identity{haID}}, LocalAuth: pki.PSK, RemoteAuth: pki.PSK}
}

func haConn() Conn {
	return Conn{Name: "mip6", LocalID: haID, RemoteID: IDMatch{Any: true}, LocalAuth: pki.PSK, RemoteAuth: pki.PSK}
}

type setup struct {
	mnCfg, haCfg Config
	mnKey, haKey *pki.Keyring
}

// pair is a mobile node and a home agent that share a key.
func pair(t testing.TB, seed uint64, change func(*setup)) (*world, *node, *node) {
	w := newWorld(t, seed)
	s := setup{mnCfg: Config{Conns: []Conn{mnConn()}}, haCfg: Config{Conns: []Conn{haConn()}}}
	s.mnKey, s.haKey = pskRing(t, mnID, haID, "a secret of both"), pskRing(t, haID, mnID, "a secret of both")
	if change != nil {
		change(&s)
	}
	mn := w.node("mn", s.mnCfg, s.mnKey, coa1, coa2)
	ha := w.node("ha", s.haCfg, s.haKey, haA)
	return w, mn, ha
}

func (n *node) initiate(wants ...ChildWant) {
	n.step(Initiate{Req: 42, Conn: "mip6", Local: ap(coa1), Remote: ap(haA), Children: wants})
}
