package optimise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// world is a network in miniature: nodes that move and nodes that do not, each a correspondent of the
// others, a home agent for each that moves, ways with delay and loss, hosts that take their time to put a path,
// and somebody who forges.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	loss   float64
	fail   float64 // of the host
	direct time.Duration
	home   time.Duration // one way between a node and its agent
	still  bool          // no jitter, and hosts take no time
	copies bool
	nodes  []*node
	queue  []event
	order  int
	log    []string
}

type event struct {
	at    time.Time
	order int
	do    func()
}

// node is a host; with a machine it is mobile.
type node struct {
	w    *world
	name string
	home netip.Addr
	as   map[netip.Addr]*correspondent // its correspondent's role, for each mobile node

	m       *Machine
	cfg     Config
	random  io.Reader
	loc     netip.Addr // where it is; home, a care-of address, or nowhere
	agent   netip.Addr // where its home agent takes it to be; zero: at home
	placing int
	busy    time.Time
	life    int
	routes  map[netip.Addr]Route     // in effect
	traffic map[netip.Addr]time.Time // with whom it speaks, when last
	speaks  map[netip.Addr]bool
	records map[netip.Addr]Record
	ordered map[netip.Addr]Route // the last ones
	counts  map[netip.Addr]int
	sent    map[string][]time.Time
	all     []time.Time
	lastSeq map[netip.Addr]uint16
	told    map[netip.Addr]time.Time // Binding Errors
	stopped bool
	lost    int // packets
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, rng: rand.New(rand.NewPCG(seed, 3)), now: epoch, direct: 10 * time.Millisecond, home: 15 * time.Millisecond}
}

func (w *world) fixed(name string, home netip.Addr) *node {
	n := &node{w: w, name: name, home: home, loc: home, as: map[netip.Addr]*correspondent{}, told: map[netip.Addr]time.Time{}}
	w.nodes = append(w.nodes, n)
	return n
}

func (w *world) mobile(name string, home netip.Addr, cfg Config) *node {
	n := w.fixed(name, home)
	cfg.Home, cfg.HomeAgent = home, home.Prev()
	n.cfg, n.random = cfg, chance(w.rng.Uint64())
	n.speaks, n.records = map[netip.Addr]bool{}, map[netip.Addr]Record{}
	n.start()
	return n
}

// start starts the program, perhaps once more.
func (n *node) start() {
	n.life++
	n.routes, n.ordered, n.traffic = map[netip.Addr]Route{}, map[netip.Addr]Route{}, map[netip.Addr]time.Time{}
	n.counts, n.sent, n.all, n.lastSeq = map[netip.Addr]int{}, map[string][]time.Time{}, nil, map[netip.Addr]uint16{}
	n.busy = n.w.now
	var err error
	if n.m, err = New(n.cfg, n.random); err != nil {
		n.w.t.Fatal(err)
	}
	var recs []Record
	for _, o := range n.w.nodes {
		if r, ok := n.records[o.home]; ok {
			b, _ := json.Marshal(r)
			var back Record
			if err := json.Unmarshal(b, &back); err != nil {
				n.w.t.Fatal(err)
			}
			recs = append(recs, back)
			n.lastSeq[o.home] = r.Seq
		}
	}
	n.step(Restored{recs})
}

func (w *world) bad(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s %s\n%s", stamp(w.now), fmt.Sprintf(format, args...), strings.Join(w.log[max(0, len(w.log)-80):], "\n"))
}

func (w *world) say(format string, args ...any) {
	w.log = append(w.log, stamp(w.now)+" "+fmt.Sprintf(format, args...))
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	w.queue = append(w.queue, event{w.now.Add(d), w.order, do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for k := 0; ; k++ {
		if k > 500000 {
			w.bad("no progress")
		}
		sort.SliceStable(w.queue, func(i, j int) bool { return w.queue[i].at.Before(w.queue[j].at) })
		var next *node
		var dl time.Time
		for _, n := range w.nodes {
			if n.m == nil {
				continue
			}
			if t := n.m.Deadline(); !t.IsZero() && (dl.IsZero() || t.Before(dl)) {
				next, dl = n, t
			}
		}
		if len(w.queue) > 0 && !w.queue[0].at.After(end) && (dl.IsZero() || !dl.Before(w.queue[0].at)) {
			e := w.queue[0]
			w.queue = w.queue[1:]
			w.now = latest(w.now, e.at)
			e.do()
			continue
		}
		if dl.IsZero() || dl.After(end) {
			break
		}
		w.now = latest(w.now, dl)
		if w.copies {
			next.m = copyMachine(w.t, next.m)
		}
		next.do(next.m.Tick(w.now, nil))
		if dl := next.m.Deadline(); !dl.IsZero() && !dl.After(w.now) {
			w.bad("%s: after Tick the deadline is %s", next.name, stamp(dl))
		}
	}
	w.now = end
}

func (n *node) step(ev Event) {
	if n.m == nil || n.stopped {
		return
	}
	if n.w.copies {
		n.m = copyMachine(n.w.t, n.m)
	}
	n.do(n.m.Step(n.w.now, ev, nil))
}

// do has the actions carried out in their order, each in its time.
func (n *node) do(actions []Action) {
	w := n.w
	for _, a := range actions {
		w.say("%s %s", n.name, strings.TrimSpace(actionText(a)))
		var done func()
		switch x := a.(type) {
		case Host:
			n.check(x.Ops[0].(host.SendMH).MH)
			done = func() { w.carry(n, x.Ops[0].(host.SendMH).MH) }
		case Route:
			n.checkRoute(x)
			n.ordered[x.Remote] = x
			done = func() { n.put(x) }
		case AskUse:
			n.after(time.Millisecond, func() {
				n.step(Used{ID: x.ID, Last: n.traffic[x.Remote], Packets: uint64(n.counts[x.Remote])})
			})
		case Save:
			n.records[x.Record.Remote] = x.Record
		case Forget:
			delete(n.records, x.Remote)
		case Changed:
			if x.What == "gone" { // met again, it starts at another number
				delete(n.lastSeq, x.Info.Remote)
			}
		case Stopped:
			n.stopped = true
		}
		if done != nil {
			n.busy = latest(n.busy, w.now).Add(w.jitter(2 * time.Millisecond))
			n.after(n.busy.Sub(w.now), done)
		}
	}
}

// after is for what ends with the program.
func (n *node) after(d time.Duration, do func()) {
	life := n.life
	n.w.after(d, func() {
		if life == n.life {
			do()
		}
	})
}

func (n *node) put(r Route) {
	var err error
	if r.Accept && n.w.rng.Float64() < n.w.fail {
		err = errors.New("no memory")
	} else {
		n.routes[r.Remote] = r
	}
	if r.ID != 0 {
		n.step(RouteDone{ID: r.ID, Err: err})
	}
}

// checkRoute: packets never go directly but from a care-of address that the correspondent has agreed to.
func (n *node) checkRoute(r Route) {
	if !r.Direct {
		return
	}
	c := n.w.at(r.Remote).as[n.home]
	switch {
	case c == nil || c.agreed != r.CareOf:
		n.w.bad("%s: directly to %s from %s, which it has not agreed to", n.name, name(r.Remote), name(r.CareOf))
	case n.m.s.At.Place != Abroad || n.m.s.At.CareOf != r.CareOf:
		n.w.bad("%s: directly from an address that is not the care-of address", n.name)
	case !r.Accept:
		n.w.bad("%s: directly, one way only", n.name)
	}
}

// check holds every message against the rules.
func (n *node) check(mh host.MH) {
	w := n.w
	var m mobility.Message
	if err := m.Decode(mh.Data); err != nil {
		w.bad("%v", err)
	}
	key := m.Type().String() + name(mh.Dst)
	n.sent[key] = append(n.sent[key], w.now)
	if s := n.sent[key]; len(s) > 3 && w.now.Sub(s[len(s)-4]) < time.Second {
		w.bad("%s: more than three %v to %s in a second", n.name, m.Type(), name(mh.Dst))
	}
	n.all = append(n.all, w.now)
	if k := len(n.all); k > 1200 && w.now.Sub(n.all[k-1200]) < time.Second {
		w.bad("%s: more than 1200 messages in a second", n.name)
	}
	b, ok := m.Body.(mobility.BindingUpdate)
	if !ok {
		return
	}
	if last, ok := n.lastSeq[mh.Dst]; ok && !mobility.SequenceAfter(last, b.Seq) {
		w.bad("%s: sequence number %d after %d", n.name, b.Seq, last)
	}
	n.lastSeq[mh.Dst] = b.Seq
	r := n.routes[mh.Dst]
	if b.Lifetime != 0 && (!r.Accept || !r.Ack || n.ordered[mh.Dst] != r) {
		w.bad("%s: a binding update before its path was there", n.name)
	}
	if rec, ok := n.records[mh.Dst]; !ok || rec.Seq != b.Seq {
		w.bad("%s: a binding update that was not saved", n.name)
	}
}

// at is the node with a home address.
func (w *world) at(home netip.Addr) *node {
	for _, n := range w.nodes {
		if n.home == home {
			return n
		}
	}
	w.bad("nobody has %v", home)
	return nil
}

func (w *world) jitter(most time.Duration) time.Duration {
	if w.still {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(most)))
}

func (w *world) dropped() bool { return w.rng.Float64() < w.loss }

// carry brings a message of a mobile node to a correspondent's role, and the answer back.
func (w *world) carry(n *node, mh host.MH) {
	to := w.at(mh.Dst)
	d, ok := w.way(n, mh.CareOf, mh.Src, to, netip.Addr{})
	if !ok || w.dropped() {
		return
	}
	w.after(d, func() {
		if !to.reached(netip.Addr{}) {
			return
		}
		var m mobility.Message
		_ = m.Decode(mh.Data)
		c := to.correspondent(n, &m)
		was := c.careOf
		answer, ok := c.take(w.now, mh)
		w.say("%s takes %s, bound %s to %s", to.name, mhText(mh), name(was), name(c.careOf))
		if bu, isUpdate := m.Body.(mobility.BindingUpdate); isUpdate && bu.Lifetime != 0 && c.careOf != was && !n.ordered[to.home].Accept {
			w.bad("%s will send directly, and %s would not take it", to.name, n.name)
		}
		if ok {
			w.reply(to, n, mh, answer)
		}
	})
}

func (n *node) correspondent(of *node, m *mobility.Message) *correspondent {
	c := n.as[of.home]
	if c == nil {
		c = newCorrespondent(n.home, n.w.rng.Uint64())
		n.as[of.home] = c
	}
	return c
}

// way is how long a packet takes: from a care-of address directly, from a home address through the
// agent, if that takes the node to be where it is; to a home address through its agent as well.
func (w *world) way(from *node, careOf, src netip.Addr, to *node, dst netip.Addr) (time.Duration, bool) {
	d := w.direct
	wire := src
	if careOf.IsValid() {
		wire = careOf
	}
	switch {
	case from.m == nil:
	case wire != from.home && wire != from.loc || !from.loc.IsValid():
		return 0, false
	case wire == from.home && from.loc != from.home:
		if from.agent != from.loc {
			return 0, false
		}
		d += w.home
	}
	if to.m != nil && !dst.IsValid() {
		d += w.home
	}
	return d + w.jitter(time.Millisecond), true
}

// reached tells whether a packet to a care-of address, or through the agent, finds the node.
func (n *node) reached(dst netip.Addr) bool {
	switch {
	case n.m == nil:
		return true
	case dst.IsValid():
		return n.loc == dst
	case n.agent.IsValid():
		return n.loc == n.agent
	}
	return n.loc == n.home
}

// reply carries an answer to a mobile node, whose policies let pass only what they should.
func (w *world) reply(from, n *node, asked, mh host.MH) {
	var dst netip.Addr // on the wire, if not the home address
	switch {
	case mh.RouteHeader:
		dst = asked.CareOf
	case mh.Dst != n.home:
		dst = mh.Dst
	}
	var m mobility.Message
	_ = m.Decode(mh.Data)
	agreed := from.as[n.home].careOf
	d, ok := w.way(from, netip.Addr{}, from.home, n, dst)
	if !ok || w.dropped() {
		return
	}
	w.after(d, func() {
		if !n.reached(dst) {
			return
		}
		ack := n.routes[from.home].Ack
		if mh.Dst == n.home && n.loc != n.home && (mh.RouteHeader && !ack || !mh.RouteHeader && ack) {
			w.say("%s's policies drop %s", n.name, mhText(mh))
			return
		}
		if b, ok := m.Body.(mobility.BindingAck); ok && b.Status.Accepted() {
			from.as[n.home].agreed = agreed
		}
		if b, ok := m.Body.(mobility.BindingAck); ok && b.Status == mobility.StatusSequence {
			delete(n.lastSeq, from.home)
		}
		w.say("%s takes %s", n.name, mhText(mh))
		n.step(MHReceived{mh})
	})
}

// move takes a node to an address: its home address, a care-of address, or none.
func (n *node) move(to netip.Addr) {
	w := n.w
	n.placing++
	mine := n.placing
	then := func(d time.Duration, do func()) {
		w.after(d, func() {
			if mine == n.placing {
				do()
			}
		})
	}
	w.say("%s moves to %s", n.name, name(to))
	n.loc = to
	n.step(Placed{})
	if !to.IsValid() {
		return
	}
	if to == n.home {
		then(5*time.Millisecond, func() {
			n.agent = netip.Addr{}
			n.step(Placed{Place: AtHome})
		})
		return
	}
	then(5*time.Millisecond, func() { n.register(to, then) })
}

func (n *node) register(to netip.Addr, then func(time.Duration, func())) {
	w := n.w
	p := Placed{Place: Abroad, CareOf: to}
	n.step(p)
	p.Sent = true
	then(time.Millisecond, func() { n.step(p) })
	then(time.Millisecond+w.home, func() { n.agent = to })
	then(time.Millisecond+2*w.home, func() {
		p.Bound, p.Until = true, w.now.Add(time.Hour)
		n.step(p)
	})
}

// speak sends a packet to each that the node speaks with, the way that the host has it.
func (n *node) speak() {
	w := n.w
	for _, o := range w.nodes {
		if !n.speaks[o.home] || !n.loc.IsValid() || n.loc == n.home {
			continue
		}
		n.traffic[o.home] = w.now
		n.counts[o.home]++
		r := n.routes[o.home]
		c := o.as[n.home]
		switch {
		case !r.Accept && !r.Ack:
			n.step(Met{Remote: o.home, Proto: 6, Port: 443})
		case r.Direct && (c == nil || !c.bound(w.now) || c.careOf != r.CareOf):
			n.lost++
			if w.now.Sub(o.told[n.home]) >= time.Second && r.CareOf == n.loc && !w.dropped() {
				o.told[n.home] = w.now
				data := encode(mobility.BindingError{Status: 1, HomeAddr: n.home})
				w.after(2*w.direct, func() {
					if n.loc == r.CareOf {
						n.step(MHReceived{host.MH{Src: o.home, Dst: r.CareOf, Data: data}})
					}
				})
			}
		}
		// What the correspondent sends directly has to be taken.
		if c != nil && c.bound(w.now) && c.careOf == n.loc && n.m.s.At.CareOf == n.loc && !r.Accept {
			if o := n.ordered[o.home]; !o.Accept && c.since.Add(time.Second).Before(w.now) && n.m.s.At.Place == Abroad && !n.stopped {
				w.bad("%s does not take what %s sends directly", n.name, name(c.addr))
			}
		}
	}
}

// forge is what somebody off the path sends, who knows the addresses.
func (w *world) forge(n *node) {
	o := w.nodes[w.rng.IntN(len(w.nodes))]
	if o == n || n.m == nil {
		return
	}
	var b mobility.Body
	var opts []mobility.Option
	mh := host.MH{Src: o.home, Dst: n.home}
	before := n.m.Counters()
	switch w.rng.IntN(5) {
	case 0:
		b = mobility.HomeTest{NonceIndex: 1, Cookie: mobility.Cookie{byte(w.rng.Uint32())}, Token: mobility.Token{1}}
	case 1:
		mh.Dst = n.m.s.At.CareOf
		b = mobility.CareOfTest{NonceIndex: 1, Cookie: mobility.Cookie{byte(w.rng.Uint32())}, Token: mobility.Token{1}}
	case 2, 3:
		mh.RouteHeader = w.rng.IntN(2) == 0
		b = mobility.BindingAck{Status: mobility.Status(w.rng.IntN(130)), Seq: n.lastSeq[o.home], Lifetime: 100}
		if w.rng.IntN(2) == 0 {
			opts = []mobility.Option{mobility.Authorization{Authenticator: make([]byte, 12)}}
		}
	case 4:
		b = mobility.BindingRefreshRequest{}
	}
	n.step(MHReceived{host.MH{Src: mh.Src, Dst: mh.Dst, RouteHeader: mh.RouteHeader, Data: encode(b, opts...)}})
	after := n.m.Counters()
	if after.HomeTests != before.HomeTests || after.CareOfTests != before.CareOfTests || after.AcksAccepted != before.AcksAccepted || after.AcksRefused != before.AcksRefused {
		w.bad("%s believed a forged %v", n.name, b.Type())
	}
}

func (n *node) restart() { // of the correspondent's role
	n.w.say("%s loses its bindings", n.name)
	for _, o := range n.w.nodes {
		if c := n.as[o.home]; c != nil {
			c.restart()
		}
	}
}

// optimised tells whether a node has what it wants with all it speaks with.
func (n *node) optimised() error {
	for _, o := range n.w.nodes {
		if !n.speaks[o.home] {
			continue
		}
		c := o.as[n.home]
		i := slices.IndexFunc(n.m.Info(), func(i Info) bool { return i.Remote == o.home })
		switch {
		case i < 0 || c == nil:
			return fmt.Errorf("%s: %s is not known", n.name, o.name)
		case n.m.Info()[i].State != Optimised || !n.routes[o.home].Direct:
			return fmt.Errorf("%s: %s is %v: %s", n.name, o.name, n.m.Info()[i].State, n.m.Info()[i].Why)
		case c.careOf != n.loc || n.routes[o.home].CareOf != n.loc:
			return fmt.Errorf("%s: %s knows %v", n.name, o.name, c.careOf)
		}
	}
	return nil
}
