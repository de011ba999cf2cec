package sim

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// World is a network with its hosts. Delay, Jitter, Loss and Dup are of each packet on its
// way; packets overtake each other by Jitter. Drop, when set, may take out any packet.
type World struct {
	Now           time.Time
	Delay, Jitter time.Duration
	Loss, Dup     float64
	Drop          func(Packet) bool
	Log           func(string) // nil: silence

	Links []*Link
	Hosts []*Host
	Count Counts

	random *rand.Rand
	seed   uint64
	queue  events
	seq    uint64
	meters []*Meter
	spin   int
	faults []string
}

// Counts count packets since the start.
type Counts struct {
	Packets, Lost     int // on the way; Lost are those that Drop and Loss took
	IKE, MH, ND       int
	Undeliverable     int // nobody has the destination address, or the source is not of the link
	OutRefused        int // the sender's databases held a Mobility Header back
	InRefused         int // the receiver's did
	RefusedWhy        map[string]int
	PlainMH           int // Mobility Headers without ESP
	HomeAddressReport int
	Delivered         int // packets of payload
	LostData          int
}

// Kind is what a packet carries.
type Kind uint8

// The kinds.
const (
	Discovery Kind = iota // router solicitation or advertisement
	IKE
	MobilityHeader
	Payload
)

func (k Kind) String() string { return [...]string{"nd", "ike", "mh", "data"}[k] }

// Packet is a packet on its way. N counts from 1.
type Packet struct {
	N        int
	Kind     Kind
	From     *Host // nil: a router
	Src, Dst netip.Addr
	What     string
}

// start is when every simulation begins.
var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(seed uint64) *World {
	w := &World{Now: start, Delay: 10 * time.Millisecond, seed: seed}
	w.Count.RefusedWhy = map[string]int{}
	w.random = rand.New(w.Source("world"))
	return w
}

// Source is a random source of its own, for the seed and a name.
func (w *World) Source(name string) *rand.ChaCha8 {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], w.seed)
	copy(key[8:], name)
	return rand.NewChaCha8(key)
}

// event is something that happens at a time.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// After lets something happen in a while.
func (w *World) After(d time.Duration, do func()) { w.at(w.Now.Add(d), do) }

func (w *World) at(t time.Time, do func()) {
	w.seq++
	heap.Push(&w.queue, event{t, w.seq, do})
}

// spinLimit is how many events may happen at one instant: more is a machine whose
// deadline never moves on.
const spinLimit = 100_000

// step lets the next event happen, if it is not after end.
func (w *World) step(end time.Time) bool {
	if len(w.queue) == 0 || w.queue[0].at.After(end) || len(w.faults) > 0 {
		return false
	}
	e := heap.Pop(&w.queue).(event)
	if e.at.After(w.Now) {
		w.Now, w.spin = e.at, 0
	} else if w.spin++; w.spin > spinLimit {
		w.fault("%d events at one instant", spinLimit)
		return false
	}
	e.do()
	for _, m := range w.meters {
		m.look()
	}
	return true
}

// Run lets time pass.
func (w *World) Run(d time.Duration) {
	end := w.Now.Add(d)
	for w.step(end) {
	}
	w.Now = end
}

// RunUntil lets time pass until cond holds, and says when that was; ok is false if it did
// not within the limit.
func (w *World) RunUntil(limit time.Duration, cond func() bool) (took time.Duration, ok bool) {
	begin := w.Now
	end := begin.Add(limit)
	for !cond() {
		if !w.step(end) {
			w.Now = end
			return limit, cond()
		}
	}
	return w.Now.Sub(begin), true
}

// fault notes something that must never happen; the world stands still then.
func (w *World) fault(format string, a ...any) {
	w.faults = append(w.faults, fmt.Sprintf("%v: ", w.Now.Sub(start))+fmt.Sprintf(format, a...))
}

// Faults are things that happened and must never happen.
func (w *World) Faults() []string { return w.faults }

func (w *World) logf(format string, a ...any) {
	if w.Log != nil {
		w.Log(fmt.Sprintf("%12v ", w.Now.Sub(start)) + fmt.Sprintf(format, a...))
	}
}

// jitter is a random time below d.
func (w *World) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.random.Int64N(int64(d)))
}

// transit carries a packet: it may be lost, come twice or be overtaken.
func (w *World) transit(p Packet, deliver func()) {
	w.Count.Packets++
	p.N = w.Count.Packets
	switch p.Kind {
	case IKE:
		w.Count.IKE++
	case MobilityHeader:
		w.Count.MH++
	case Payload:
	default:
		w.Count.ND++
	}
	lost := w.Drop != nil && w.Drop(p) || w.Loss > 0 && w.random.Float64() < w.Loss
	if lost {
		w.Count.Lost++
		w.logf("packet %d %v %s %v -> %v LOST", p.N, p.Kind, p.What, p.Src, p.Dst)
		return
	}
	w.logf("packet %d %v %s %v -> %v", p.N, p.Kind, p.What, p.Src, p.Dst)
	w.After(w.Delay+w.jitter(w.Jitter), deliver)
	if w.Dup > 0 && w.random.Float64() < w.Dup {
		w.After(w.Delay+w.jitter(w.Jitter+w.Delay), deliver)
	}
}
