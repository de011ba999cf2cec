package cn

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// clone copies all of a machine's state.
func (m *Machine) clone() *Machine {
	c := *m
	random := *m.random.(*counter)
	c.random, c.out = &random, nil
	t := &c.table
	t.slots, t.free, t.reqs = slices.Clone(t.slots), slices.Clone(t.free), slices.Clone(t.reqs)
	t.byPair, c.ids, c.leaving = maps.Clone(t.byPair), maps.Clone(c.ids), maps.Clone(c.leaving)
	t.alive, t.memory = slices.Clone(t.alive), slices.Clone(t.memory)
	for i, e := range t.slots {
		if e == nil {
			continue
		}
		x := *e
		x.waiting = slices.Clone(e.waiting)
		if e.answer != nil {
			a := *e.answer
			x.answer = &a
		}
		switch e.queue {
		case &m.table.alive:
			x.queue = &t.alive
			t.alive[x.pos] = &x
		case &m.table.memory:
			x.queue = &t.memory
			t.memory[x.pos] = &x
		}
		t.slots[i] = &x
	}
	c.limits.source.slots = slices.Clone(m.limits.source.slots)
	c.limits.refused.slots = slices.Clone(m.limits.refused.slots)
	c.limits.err.slots = slices.Clone(m.limits.err.slots)
	return &c
}

// size is how much a machine keeps.
func (m *Machine) size() int {
	n := len(m.table.slots) + len(m.table.byPair) + len(m.ids) + len(m.leaving) + len(m.table.reqs)
	return n + len(m.limits.source.slots) + len(m.limits.refused.slots) + len(m.limits.err.slots)
}

// world plays nodes, attackers and the host at random, with a model of the routes.
type world struct {
	*rig
	r       *rand.Rand
	seqs    map[pair]uint16
	routes  map[pair]Route
	open    map[pair]uint64 // the last Route of a pair, not answered
	past    []MHReceived    // updates that were accepted
	heard   []host.MH       // what the machine sent
	stopped int
}

var (
	homes  = []string{"hoa", "hoa2", "hoas", "hoai"}
	places = []string{"coa1", "coa2", "coa3"}
	locals = []string{"cn", "cn2"}
)

func newWorld(t testing.TB, seed uint64) *world {
	cfg := testConfig()
	r := rand.New(rand.NewPCG(seed, 11))
	cfg.MaxBindings = r.IntN(5)
	w := &world{rig: newRig(t, cfg), r: r, seqs: map[pair]uint16{}, routes: map[pair]Route{}, open: map[pair]uint64{}}
	w.do(Start{}, nil)
	return w
}

func (w *world) pick(list []string) string { return list[w.r.IntN(len(list))] }

// do gives an event to the machine, and to a copy, which has to do the same. by is the valid update that
// it is, if it is one.
func (w *world) do(ev Event, by *MHReceived) {
	w.t.Helper()
	var twin *Machine
	if w.r.IntN(8) == 0 {
		twin = w.m.clone()
	}
	before := w.m.Counters()
	acts := w.m.Step(w.now, ev, nil)
	if twin != nil {
		if other := twin.Step(w.now, ev, nil); !reflect.DeepEqual(other, acts) || !twin.Deadline().Equal(w.m.Deadline()) {
			w.t.Fatalf("a copy does otherwise\n got %v\nwant %v", other, acts)
		}
	}
	w.rig.took(acts)
	w.look(acts, by)
	if by == nil && w.m.Counters().Accepted != before.Accepted {
		w.t.Fatalf("accepted %+v", ev)
	}
	w.tick()
}

// look carries the actions out in the model, and checks them.
func (w *world) look(acts []Action, by *MHReceived) {
	w.t.Helper()
	for _, a := range acts {
		switch a := a.(type) {
		case Route:
			w.route(a, by)
		case Host:
			w.sees(a)
		case Authorised:
			p := pairOf(cast["cn"], cast["hoai"])
			if a.Err == nil && (w.open[p] != 0 || w.routes[p].Protect == 0 || w.routes[p].ReqID != a.ReqID) {
				w.t.Fatalf("authorised with %+v", w.routes[p])
			}
		case Stopped:
			w.stopped++
		}
	}
}

// route checks that packets are led elsewhere only by a valid update, and only to where it says.
func (w *world) route(a Route, by *MHReceived) {
	w.t.Helper()
	p := pairOf(a.Local, a.Home)
	if a.CareOf.IsValid() && a.CareOf != w.routes[p].CareOf {
		if by == nil || by.MH.CareOf != a.CareOf || by.MH.Src != a.Home || by.MH.Dst != a.Local {
			w.t.Fatalf("%s without an update for it", render(a))
		}
	}
	if a.CareOf.IsValid() && a.Home == cast["hoai"] && a.Protect == 0 {
		w.t.Fatalf("%s without SAs", render(a))
	}
	w.routes[p] = a
	delete(w.open, p)
	if a.ID != 0 {
		w.open[p] = a.ID
	}
}

// sees checks what is sent.
func (w *world) sees(h Host) {
	w.t.Helper()
	mh := h.Ops[0].(host.SendMH).MH
	w.heard = append(w.heard, mh)
	to := mh.Dst
	if mh.RouteHeader {
		to = mh.CareOf
	}
	if !mobility.UnicastRoutable(to) && !to.IsLinkLocalUnicast() || !mobility.UnicastRoutable(mh.Src) && !mh.Src.IsLinkLocalUnicast() {
		w.t.Fatalf("sent to %v from %v", to, mh.Src)
	}
	msg := sent(w.t, []Action{h})
	if mh.RouteHeader && msg.Type() != mobility.TypeBA { // MH-6.1-1
		w.t.Fatalf("%v with a routing header", msg.Type())
	}
	ack, ok := msg.Body.(mobility.BindingAck)
	p := pairOf(mh.Src, mh.Dst)
	if ok && ack.Status.Accepted() && ack.Lifetime > 0 && (w.open[p] != 0 || !w.routes[p].CareOf.IsValid()) {
		w.t.Fatalf("acknowledged before its route: %s", sentText(mh))
	}
}

// tick does what is due now, and checks that it ends.
func (w *world) tick() {
	w.t.Helper()
	for n := 0; ; n++ {
		at := w.m.Deadline()
		if at.IsZero() || at.After(w.now) {
			break
		}
		if n > 100 {
			w.t.Fatalf("deadline %v at %v", at, w.now)
		}
		acts := w.m.Tick(w.now, nil)
		w.rig.took(acts)
		w.look(acts, nil)
	}
	w.check()
}

// check compares the routes with the bindings.
func (w *world) check() {
	w.t.Helper()
	if w.m.life != serving {
		return
	}
	bound := map[pair]bool{}
	w.m.Bindings(0, 1000, func(b BindingInfo) {
		p := pairOf(b.Local, b.Home)
		bound[p] = true
		if w.routes[p].CareOf != b.CareOf {
			w.t.Fatalf("bound to %v, the route is by %v", b.CareOf, w.routes[p].CareOf)
		}
		if !b.Expires.After(w.now) || b.Lifetime > maxRRLifetime {
			w.t.Fatalf("%+v", b)
		}
		if b.Pending != (w.open[p] != 0) && b.Auth != IPsec {
			w.t.Fatalf("pending %v, open %d", b.Pending, w.open[p])
		}
	})
	for p, r := range w.routes {
		if r.CareOf.IsValid() && !bound[p] {
			w.t.Fatalf("%s without a binding", render(r))
		}
	}
	if limit := or(w.cfg.MaxBindings, defaultBindings); len(bound) > limit {
		w.t.Fatalf("%d bindings", len(bound))
	}
	if len(w.m.ids) > len(w.rig.routes)+len(w.asks) {
		w.t.Fatalf("%d ids for %d routes and %d asks", len(w.m.ids), len(w.rig.routes), len(w.asks))
	}
}

// answer answers the oldest route.
func (w *world) answer() {
	if len(w.rig.routes) == 0 {
		return
	}
	a := w.rig.routes[0]
	w.rig.routes = w.rig.routes[1:]
	if p := pairOf(a.Local, a.Home); w.open[p] == a.ID {
		delete(w.open, p)
	}
	var err error
	if w.r.IntN(10) == 0 {
		err = errors.New("no")
	}
	w.do(RouteDone{ID: a.ID, Err: err}, nil)
}

func (w *world) random() {
	home, place, local := w.pick(homes), w.pick(places), w.pick(locals)
	switch n := w.r.IntN(60); {
	case n < 10:
		w.do(hoti(words{"src": home, "to": local}), nil)
		w.do(coti(words{"src": place, "to": local}), nil)
	case n < 22:
		w.update(home, place, local)
	case n < 32:
		w.answer()
	case n < 36:
		w.pass(time.Duration(w.r.IntN(20000)) * time.Millisecond)
	case n == 36:
		w.pass(time.Duration(w.r.IntN(400)) * time.Second)
	case n < 40:
		if len(w.asks) > 0 {
			ev := Used{ID: w.asks[0].ID, Last: w.now.Add(-time.Duration(w.r.IntN(40)) * time.Second)}
			w.asks = w.asks[1:]
			w.do(ev, nil)
		}
	case n < 42:
		w.do(ask(words{"id": fmt.Sprint(w.r.IntN(100))}), nil)
	case n == 42:
		w.do(KeysDown{Local: cast["cn"], Home: cast["hoai"]}, nil)
	case n == 43:
		w.do(ICMPError{Error: host.ICMPError{Type: 1, Code: uint8(w.r.IntN(7)), Src: cast[local], Dst: cast[place], Final: cast[home]}}, nil)
	default:
		w.attack(home, place, local)
	}
}

// pass lets time pass, from one deadline to the next.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for {
		at := w.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		w.now = at
		w.tick()
	}
	w.now = end
	w.tick()
}

// update sends what a node sends: valid where it has tokens that are.
func (w *world) update(home, place, local string) {
	p := pairOf(cast[local], cast[home])
	w.seqs[p] += uint16(w.r.IntN(3))
	args := words{"home": home, "to": local, "from": place, "alt": place, "seq": fmt.Sprint(w.seqs[p]),
		"life": fmt.Sprint(1 + w.r.IntN(200)), "flags": []string{"", "A"}[w.r.IntN(2)]}
	switch w.r.IntN(6) {
	case 0:
		args["life"] = "0"
	case 1:
		args["life"] = "0"
		delete(args, "from")
		delete(args, "alt")
	}
	ev := w.bu(args)
	before := w.m.Counters()
	w.do(ev, &ev)
	if after := w.m.Counters(); home != "hoai" && (after.Accepted != before.Accepted || after.Deleted != before.Deleted) {
		w.past = append(w.past, ev)
	}
}

// attack sends what none but an attacker would; nothing may be accepted.
func (w *world) attack(home, place, local string) {
	// An attacker knows all but the keys.
	seq := w.seqs[pairOf(cast[local], cast[home])] + uint16(w.r.IntN(5))
	args := words{"home": home, "to": local, "from": place, "seq": fmt.Sprint(seq), "life": fmt.Sprint(w.r.IntN(3))}
	switch w.r.IntN(8) {
	case 0, 1:
		if home == "hoai" { // where nothing is signed the policies keep him out
			return
		}
		args["auth"] = []string{"bad", "none"}[w.r.IntN(2)]
		w.do(w.bu(args), nil)
	case 2, 3:
		if len(w.past) > 0 {
			w.do(w.past[w.r.IntN(len(w.past))], nil)
		}
	case 4:
		if len(w.heard) > 0 { // what we sent, back
			mh := w.heard[w.r.IntN(len(w.heard))]
			mh.RouteHeader = false
			if w.r.IntN(2) == 0 {
				mh.Src, mh.Dst = mh.Dst, mh.Src
			}
			w.do(MHReceived{MH: mh}, nil)
		}
	case 5:
		from := netip.AddrFrom16([16]byte{0x20, 1, 15: byte(w.r.IntN(256)), 7: byte(w.r.IntN(256))})
		w.do(coti(words{"src": from.String(), "to": local}), nil)
	case 6:
		args["flags"], args["nonces"], args["auth"] = "AH", "none", "none"
		w.do(w.bu(args), nil)
	case 7:
		data := make([]byte, w.r.IntN(64))
		for i := range data {
			data[i] = byte(w.r.Uint32())
		}
		w.do(MHReceived{MH: host.MH{Src: cast[home], CareOf: cast[place], Dst: cast[local], Data: data}}, nil)
	}
}

func TestRandomEvents(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			for range 800 {
				w.random()
			}
			w.do(Stop{}, nil)
			for n := 0; w.stopped == 0 && n < 10_000; n++ {
				w.answer()
				w.pass(time.Second)
			}
			if w.stopped != 1 || !w.m.Deadline().IsZero() {
				t.Fatalf("stopped %d times, %d routes wait", w.stopped, len(w.m.leaving))
			}
			for _, r := range w.routes {
				if r.CareOf.IsValid() || r.Protect != 0 {
					t.Fatalf("after the end: %s", render(r))
				}
			}
		})
	}
}
