package mn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// world is a node's surroundings in miniature: links to three networks, the host's and
// the databases' content, a home agent, and key management that fails at times.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	now  time.Time
	cfg  Config
	m    *Machine
	fail float64 // how often things fail
	log  []string

	queue []later2
	order int
	busy  time.Time // the executor works until then
	life  int       // of the program: what a killed one ordered is not answered

	up    [3]bool // links by index-1; lo is 0
	net   [3]int  // the network that a link is attached to
	addrs map[string]host.Addr

	homeOn   map[int]bool // where the home address is
	rules    map[host.Rule]bool
	policies map[xfrm.PolicyID]xfrm.Policy
	states   map[xfrm.ID]xfrm.SA
	record   *Record
	pendingX int // databases' batches that were not answered
	attempt  int // of IKE
	handle   uint64
	bound    netip.Addr // the agent's binding
	boundSeq uint16
	knows    bool
	sent     []time.Time
	lastSeq  int
}

// later2 is something that happens at its time.
type later2 struct {
	at    time.Time
	order int
	do    func()
}

var nets = [3]netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("2001:db8:2::/64"), netip.MustParsePrefix("2001:db8:3::/64")}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, fail: 0.2, lastSeq: -1,
		addrs: map[string]host.Addr{}, homeOn: map[int]bool{}, rules: map[host.Rule]bool{},
		policies: map[xfrm.PolicyID]xfrm.Policy{}, states: map[xfrm.ID]xfrm.SA{}}
	w.cfg = Config{Home: netip.PrefixFrom(hoa, 64), HomeAgent: ha, ReqIDs: protect.ReqIDsFor(protect.Node, 3), Lifetime: 60 * time.Second}
	if w.rng.IntN(4) == 0 {
		w.cfg.NoKeyMobility = true
	}
	return w
}

func (w *world) boot(recs []Record) {
	w.life++
	w.pendingX, w.attempt = 0, w.attempt+1
	m, err := New(w.cfg, xfrm.Caps{Migrate: true}, bytes.NewReader([]byte{byte(w.rng.Uint32()), byte(w.rng.Uint32())}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
	w.step(Restored{recs})
	for i := range w.up {
		w.tellLink(i)
	}
	for _, k := range w.addrKeys() {
		w.step(HostEvent{host.AddrChanged{Addr: w.addrs[k]}})
	}
	for i := range 4 {
		if w.homeOn[i] {
			w.tellHome(i, false)
		}
	}
}

// tellHome tells of the home address on an interface, a little later; 0 is the loopback.
func (w *world) tellHome(i int, gone bool) {
	p := netip.PrefixFrom(hoa, 64)
	if i == 0 {
		i, p = 1, netip.PrefixFrom(hoa, 128)
	}
	life := w.life
	w.after(time.Millisecond, func() {
		if life == w.life {
			w.step(HostEvent{host.AddrChanged{Gone: gone, Addr: host.Addr{IfIndex: i, Prefix: p, Permanent: true, Home: true}}})
		}
	})
}

func (w *world) addrKeys() []string {
	var keys []string
	for k := range w.addrs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	w.queue = append(w.queue, later2{w.now.Add(d), w.order, do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for n := 0; ; n++ {
		if n > 200000 {
			w.t.Fatal("no progress")
		}
		sort.SliceStable(w.queue, func(i, j int) bool { return w.queue[i].at.Before(w.queue[j].at) })
		dl := w.m.Deadline()
		if len(w.queue) > 0 && !w.queue[0].at.After(end) && (dl.IsZero() || !dl.Before(w.queue[0].at)) {
			e := w.queue[0]
			w.queue = w.queue[1:]
			w.now = maxTime(w.now, e.at)
			e.do()
			continue
		}
		if dl.IsZero() || dl.After(end) {
			break
		}
		w.now = maxTime(w.now, dl)
		w.do(w.m.Tick(w.now, nil))
		if dl := w.m.Deadline(); !dl.IsZero() && !dl.After(w.now) {
			w.t.Fatalf("after Tick at %s the deadline is %s", stamp(w.now), stamp(dl))
		}
	}
	w.now = end
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *world) step(ev Event) { w.do(w.m.Step(w.now, ev, nil)) }

func (w *world) chance() bool { return w.rng.Float64() < w.fail }

func (w *world) do(actions []Action) {
	for _, a := range actions {
		if txt := actionText(a, false); txt != "" {
			w.log = append(w.log, stamp(w.now)+" "+strings.TrimSpace(txt))
		}
		switch x := a.(type) {
		case Host:
			w.order2(func() []error { return w.hostApply(x.Ops) }, func(errs []error) Event { return HostDone{x.ID, errs} })
			for _, op := range x.Ops {
				if s, ok := op.(host.SendMH); ok {
					w.checkUpdate(s.MH)
				}
			}
		case Xfrm:
			if gating(x.Ops) {
				w.pendingX++
			}
			w.order2(func() []error { return w.xfrmApply(x.Ops) }, func(errs []error) Event {
				if gating(x.Ops) {
					w.pendingX--
				}
				return XfrmDone{x.ID, errs}
			})
		case KeyUp:
			w.keyUp(x)
		case KeyDown:
			w.attempt++
		case Save:
			r := x.Record
			w.record = &r
		case Forget:
			w.record = nil
		}
	}
}

func gating(ops []xfrm.Op) bool {
	for _, op := range ops {
		switch op.(type) {
		case xfrm.PutSA, xfrm.PutPolicy, xfrm.Migrate:
			return true
		}
	}
	return false
}

// order2 has something done in order, in its time, and answers it.
func (w *world) order2(apply func() []error, done func([]error) Event) {
	w.busy = maxTime(w.busy, w.now).Add(time.Duration(w.rng.IntN(3000)) * time.Microsecond)
	life := w.life
	w.after(w.busy.Sub(w.now), func() {
		if life != w.life {
			return
		}
		w.step(done(apply()))
	})
}

func (w *world) hostApply(ops []host.Op) []error {
	errs := make([]error, len(ops))
	for i, op := range ops {
		switch o := op.(type) {
		case host.PutAddr:
			if w.rng.Float64() < w.fail/4 {
				errs[i] = errors.New("busy")
				continue
			}
			w.homeOn[o.IfIndex] = true
			w.tellHome(o.IfIndex, false)
		case host.DelAddr:
			if w.homeOn[o.IfIndex] {
				delete(w.homeOn, o.IfIndex)
				w.tellHome(o.IfIndex, true)
			}
		case host.PutRule:
			w.rules[o.Rule] = true
		case host.DelRule:
			delete(w.rules, o.Rule)
		case host.SolicitRouter:
			idx := o.IfIndex
			w.after(5*time.Millisecond, func() { w.advertise(idx) })
		case host.SendMH:
			w.update(o.MH)
		}
	}
	return errs
}

func (w *world) xfrmApply(ops []xfrm.Op) []error {
	errs := make([]error, len(ops))
	for i, op := range ops {
		if w.rng.Float64() < w.fail/10 && gating(ops[i:i+1]) { // removals do not fail
			errs[i] = errors.New("no memory")
			continue
		}
		switch o := op.(type) {
		case xfrm.PutSA:
			w.states[o.SA.ID()] = o.SA
		case xfrm.DelSA:
			delete(w.states, o.ID)
		case xfrm.PutPolicy:
			w.policies[o.Policy.ID()] = o.Policy
		case xfrm.DelPolicy:
			delete(w.policies, o.ID)
		case xfrm.Migrate:
			errs[i] = w.migrate(o.Migration)
		}
	}
	return errs
}

func (w *world) migrate(g xfrm.Migration) error {
	p, ok := w.policies[g.Policy]
	if !ok {
		return xfrm.ErrNotFound
	}
	p.Templates = append([]xfrm.Template(nil), p.Templates...)
	for i, t := range p.Templates {
		mv := g.Moves[0]
		if t.Mode == mv.Mode && t.ReqID == mv.ReqID && (t.Mode == xfrm.Transport || t.Src == mv.OldSrc && t.Dst == mv.OldDst) {
			if t.Mode == xfrm.Tunnel {
				p.Templates[i].Src, p.Templates[i].Dst = mv.NewSrc, mv.NewDst
			}
			w.policies[g.Policy] = p
			return nil
		}
	}
	return xfrm.ErrNotFound
}

// checkUpdate holds every Binding Update against the rules.
func (w *world) checkUpdate(mh host.MH) {
	var m mobility.Message
	if err := m.Decode(mh.Data); err != nil {
		w.t.Fatal(err)
	}
	bu, ok := m.Body.(mobility.BindingUpdate)
	if !ok {
		return
	}
	if w.pendingX > 0 {
		w.bad("a binding update before its migration was done")
	}
	if w.lastSeq >= 0 && !mobility.SequenceAfter(uint16(w.lastSeq), bu.Seq) {
		w.bad(fmt.Sprintf("sequence number %d after %d", bu.Seq, w.lastSeq))
	}
	w.lastSeq = int(bu.Seq)
	w.sent = append(w.sent, w.now)
	if n := len(w.sent); n > 3 && w.now.Sub(w.sent[n-4]) < time.Second {
		w.bad("more than three binding updates in a second")
	}
	alt, hasAlt := m.Options.AlternateCareOf()
	if away := w.m.s.Bind.Phase == protect.Away; away != hasAlt || away && alt != w.m.s.Bind.CareOf {
		w.bad("alternate care-of address is wrong")
	}
	if !bu.Flags.Has(mobility.FlagAck|mobility.FlagHome) || bu.Flags.Has(mobility.FlagKey) == w.cfg.NoKeyMobility {
		w.bad("flags are wrong")
	}
	if w.record == nil || w.record.Seq != bu.Seq {
		w.bad("a binding update whose number was not saved before")
	}
}

func (w *world) bad(msg string) {
	w.t.Fatalf("%s %s\n%s", stamp(w.now), msg, strings.Join(w.log[max(0, len(w.log)-60):], "\n"))
}

// update is the home agent.
func (w *world) update(mh host.MH) {
	var m mobility.Message
	if m.Decode(mh.Data) != nil {
		return
	}
	bu, ok := m.Body.(mobility.BindingUpdate)
	if !ok || w.chance() {
		return
	}
	alt, away := m.Options.AlternateCareOf()
	ba := mobility.BindingAck{Seq: bu.Seq, Lifetime: bu.Lifetime, Flags: mobility.AckKey}
	if w.cfg.NoKeyMobility || w.chance() {
		ba.Flags = 0
	}
	switch {
	case w.knows && !mobility.SequenceAfter(w.boundSeq, bu.Seq):
		ba.Status, ba.Seq = mobility.StatusSequence, w.boundSeq
	case w.rng.Float64() < w.fail/2:
		ba.Status = mobility.Status(128 + w.rng.IntN(60))
		if ba.Status == mobility.StatusSequence {
			ba.Seq = uint16(w.rng.Uint32())
			w.boundSeq, w.knows = ba.Seq, true
			w.lastSeq = -1 // told to jump
		}
	case bu.Lifetime == 0:
		w.bound, w.boundSeq, w.knows = netip.Addr{}, bu.Seq, true
	default:
		w.bound, w.boundSeq, w.knows = alt, bu.Seq, true
	}
	msg := mobility.Message{Body: ba}
	data, _ := msg.AppendTo(nil)
	if w.chance() {
		return
	}
	w.after(20*time.Millisecond, func() {
		w.step(HostEvent{host.MHReceived{MH: host.MH{Src: ha, Dst: hoa, RouteHeader: away, Data: data}}})
	})
}

func (w *world) keyUp(k KeyUp) {
	w.attempt++
	mine, life := w.attempt, w.life
	w.after(time.Duration(20+w.rng.IntN(50))*time.Millisecond, func() {
		if mine != w.attempt || life != w.life {
			return
		}
		if w.chance() {
			w.step(KeysRefused{"no answer"})
			return
		}
		w.handle++
		w.step(KeysUp{w.handle})
		for _, c := range k.Children {
			if w.rng.Float64() < w.fail/4 {
				w.step(KeysRefused{"child refused"})
				return
			}
			spi := xfrm.SPI(w.rng.Uint32())
			w.step(ChildUp{Kind: c.Kind, ReqID: c.ReqID, InSPI: spi, OutSPI: spi + 1, Handle: w.handle})
		}
	})
}

func (w *world) tellLink(i int) {
	name := []string{"lo", "eth0", "wlan0"}[i]
	w.step(HostEvent{host.LinkChanged{Link: host.Link{Index: i + 1, Name: name, Up: w.up[i], LinkLocal: netip.MustParseAddr(fmt.Sprintf("fe80::%d", i+1))}}})
}

// advertise is a router advertisement of the network that the link is on, and what the kernel makes of it.
func (w *world) advertise(index int) {
	i := index - 1
	if i <= 0 || !w.up[i] {
		return
	}
	p := nets[w.net[i]]
	w.step(HostEvent{host.RouterSeen{Router: host.Router{IfIndex: index, Addr: netip.MustParseAddr(fmt.Sprintf("fe80::%d:1", w.net[i]+1)),
		Lifetime: 30 * time.Minute, Prefixes: []host.RouterPrefix{{Prefix: p, OnLink: true, Auto: true, Valid: 24 * time.Hour}}}}})
	b := p.Addr().As16()
	b[15] = byte(0x80 + i)
	a := host.Addr{IfIndex: index, Prefix: netip.PrefixFrom(netip.AddrFrom16(b), 64), Valid: 24 * time.Hour}
	if _, ok := w.addrs[a.Prefix.String()]; !ok {
		w.setAddr(a)
	}
}

func (w *world) setAddr(a host.Addr) {
	w.addrs[a.Prefix.String()] = a
	w.step(HostEvent{host.AddrChanged{Addr: a}})
}

// chaos does something at random.
func (w *world) chaos() {
	i := 1 + w.rng.IntN(2)
	switch w.rng.IntN(14) {
	case 0, 1, 2:
		w.up[i] = false
		w.tellLink(i)
		if w.rng.IntN(3) > 0 {
			w.up[i], w.net[i] = true, w.rng.IntN(3)
			w.tellLink(i)
		}
	case 3, 4:
		w.up[i] = true
		w.tellLink(i)
	case 5, 6:
		w.advertise(i + 1)
	case 7:
		b := nets[1+w.rng.IntN(2)].Addr().As16()
		b[15] = byte(w.rng.IntN(4))
		w.setAddr(host.Addr{IfIndex: i + 1, Prefix: netip.PrefixFrom(netip.AddrFrom16(b), 128), Permanent: true, Tentative: w.chance()})
	case 8, 9:
		if keys := w.addrKeys(); len(keys) > 0 {
			a := w.addrs[keys[w.rng.IntN(len(keys))]]
			delete(w.addrs, a.Prefix.String())
			w.step(HostEvent{host.AddrChanged{Addr: a, Gone: true}})
		}
	case 10:
		w.step(KeysDown{Handle: w.handle, Reason: "chance"})
	case 11:
		be := mobility.Message{Body: mobility.BindingError{Status: 1, HomeAddr: hoa}}
		data, _ := be.AppendTo(nil)
		w.step(HostEvent{host.MHReceived{MH: host.MH{Src: ha, Dst: w.m.s.Bind.CareOf, Data: data}}})
	case 12:
		w.step(HostEvent{host.Lost{}})
		for j := range w.up {
			w.tellLink(j)
		}
		for _, k := range w.addrKeys() {
			w.step(HostEvent{host.AddrChanged{Addr: w.addrs[k]}})
		}
	case 13:
		if w.rng.IntN(3) == 0 {
			w.crash()
		}
	}
}

// crash kills the program and starts it again. The daemon then removes what is not wanted, as it
// reconciles.
func (w *world) crash() {
	w.log = append(w.log, stamp(w.now)+" CRASH")
	var recs []Record
	if w.record != nil {
		b, _ := json.Marshal(*w.record)
		var r Record
		if err := json.Unmarshal(b, &r); err != nil {
			w.t.Fatal(err)
		}
		recs = append(recs, r)
	}
	if len(recs) == 0 {
		w.lastSeq = -1
	}
	w.busy, w.sent = w.now, nil // the rate is counted by one run of the program
	w.boot(recs)
	w.after(300*time.Millisecond, func() {
		for r := range w.rules {
			if !slices.ContainsFunc(w.m.WantHost(), func(op host.Op) bool { return op == host.Op(host.PutRule{Rule: r}) }) {
				delete(w.rules, r)
			}
		}
		want := w.m.Want()
		for id := range w.policies {
			keep := false
			for _, p := range want.Policies {
				keep = keep || p.ID() == id
			}
			if !keep {
				delete(w.policies, id)
			}
		}
		for id := range w.states {
			keep := false
			for _, s := range want.SAs {
				keep = keep || s.ID() == id
			}
			if !keep {
				delete(w.states, id)
			}
		}
	})
}

// calm ends the chaos on one network and checks that everything is where it should be.
func (w *world) calm() {
	w.fail = 0
	w.run(200 * time.Millisecond)
	for _, k := range w.addrKeys() {
		a := w.addrs[k]
		delete(w.addrs, k)
		w.step(HostEvent{host.AddrChanged{Addr: a, Gone: true}})
	}
	for i := 1; i < 3; i++ {
		w.up[i] = false
		w.tellLink(i)
	}
	w.up[1], w.net[1] = true, w.rng.IntN(3)
	w.tellLink(1)
	w.step(Refresh{})
	w.run(time.Minute)
	w.step(Refresh{}) // what was refused in the last moment
	for k := 0; k < 40; k++ {
		w.run(5 * time.Second)
		w.advertise(2)
	}
	info := w.m.Info()
	want := w.m.Want()
	expect := map[xfrm.PolicyID]xfrm.Policy{}
	for _, p := range want.Policies {
		expect[p.ID()] = p
	}
	states := map[xfrm.ID]xfrm.SA{}
	for _, s := range want.SAs {
		states[s.ID()] = s
	}
	check := func(ok bool, what string) {
		if !ok {
			w.bad(fmt.Sprintf("at the end: %s (%v, care-of %v, bound %v, on %v, rules %v)", what, info.State, info.CareOf, w.bound, w.homeOn, w.rules))
		}
	}
	check(reflect.DeepEqual(expect, w.policies) && reflect.DeepEqual(states, w.states), "databases are not as wanted")
	check(w.m.Deadline().After(w.now), "deadline")
	if w.net[1] == 0 {
		check(info.State == StateHome, "not at home")
		check(reflect.DeepEqual(w.homeOn, map[int]bool{2: true}), "home address")
		check(len(w.rules) == 1, "rules")
		return
	}
	b := nets[w.net[1]].Addr().As16()
	b[15] = 0x81
	care := netip.AddrFrom16(b)
	check(info.State == StateRegistered && info.CareOf == care, "not registered")
	check(w.bound == care, "the agent's binding")
	check(reflect.DeepEqual(w.homeOn, map[int]bool{0: true}), "home address")
	check(len(w.rules) == 2, "rules")
	check(len(info.Children) == 2 && info.Keys, "keys")
}
