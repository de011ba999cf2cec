package ha

import (
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

// world is a home agent among random events, with a model of what its actions
// would have made of the kernel, and the promises that it has to keep.
type world struct {
	*rig
	r        *rand.Rand
	policies map[xfrm.PolicyID]xfrm.Policy
	states   map[xfrm.ID]xfrm.SA
	proxies  map[netip.Addr]bool
	probing  map[netip.Addr]int
	probes   map[uint64]netip.Addr
	// The sequence numbers of each home address that were received and not answered,
	// and the last one sent.
	asked   map[netip.Addr]map[uint16]int
	next    map[netip.Addr]uint16
	ledger  map[netip.Addr]Record // as the actions come, within a step too
	open    map[uint64]Xfrm       // not answered
	handle  uint64
	stopped int
	seen    int // how much of out was looked at
}

func newWorld(t *testing.T, seed uint64) *world {
	cfg := testConfig()
	r := rand.New(rand.NewPCG(seed, 7))
	cfg.NoDAD, cfg.RefuseK, cfg.HostRoutes = r.IntN(3) == 0, r.IntN(3) == 0, r.IntN(2) == 0
	cfg.MaxBindings = r.IntN(3)
	w := &world{rig: newRig(t, cfg), r: r}
	w.reset()
	w.do(Start{})
	w.answerAll()
	return w
}

func (w *world) reset() {
	w.probing, w.probes = map[netip.Addr]int{}, map[uint64]netip.Addr{}
	if w.policies == nil {
		w.policies, w.states, w.proxies = map[xfrm.PolicyID]xfrm.Policy{}, map[xfrm.ID]xfrm.SA{}, map[netip.Addr]bool{}
		w.next, w.ledger = map[netip.Addr]uint16{}, map[netip.Addr]Record{}
	}
	w.open = map[uint64]Xfrm{}
	w.asked = map[netip.Addr]map[uint16]int{cast["hoa"]: {}, cast["hoa2"]: {}}
}

func (w *world) do(ev Event) {
	w.step(ev)
	w.look()
}

// look carries the new actions out in the model and checks them.
func (w *world) look() {
	acts := w.out[w.seen:]
	w.seen = len(w.out)
	for _, a := range acts {
		switch a := a.(type) {
		case Xfrm:
			w.open[a.ID] = a
			for _, op := range a.Ops {
				w.put(op)
			}
		case Host:
			for _, op := range a.Ops {
				w.act(a.Home, op)
			}
		case Save:
			w.ledger[a.Record.Home] = a.Record
		case Forget:
			delete(w.ledger, a.Home)
		case ProbeDAD:
			w.probes[a.ID] = a.Addr
			if w.probing[a.Addr]++; w.probing[a.Addr] > 1 {
				w.t.Fatalf("two detections for %v", a.Addr)
			}
		case Changed:
			if a.What == Deregistered || a.What == Refused { // it was given up, whatever comes of it
				for id, addr := range w.probes {
					if addr == a.Home || addr == mobility.WithPrefix(linkLocal, a.Home) {
						delete(w.probes, id)
						w.probing[addr]--
						w.dads = slices.DeleteFunc(w.dads, func(x uint64) bool { return x == id })
					}
				}
			}
		case Stopped:
			w.stopped++
		}
	}
}

func (w *world) put(op xfrm.Op) {
	switch op := op.(type) {
	case xfrm.PutSA:
		w.states[op.SA.ID()] = op.SA
	case xfrm.DelSA:
		delete(w.states, op.ID)
	case xfrm.PutPolicy:
		w.policies[op.Policy.ID()] = op.Policy
	case xfrm.DelPolicy:
		delete(w.policies, op.ID)
	case xfrm.Migrate:
		p, ok := w.policies[op.Migration.Policy]
		if !ok {
			w.t.Fatalf("no policy to migrate: %s", xfrmText(op))
		}
		mv := op.Migration.Moves[0]
		if mv.Mode != xfrm.Tunnel {
			return
		}
		p.Templates = slices.Clone(p.Templates)
		if p.Templates[0].Src != mv.OldSrc || p.Templates[0].Dst != mv.OldDst {
			w.t.Fatalf("policy is elsewhere: %s", xfrmText(op))
		}
		p.Templates[0].Src, p.Templates[0].Dst = mv.NewSrc, mv.NewDst
		w.policies[p.ID()] = p
	}
}

func (w *world) act(home netip.Addr, op host.Op) {
	switch op := op.(type) {
	case host.PutProxy:
		w.proxies[op.Addr] = true
	case host.DelProxy:
		delete(w.proxies, op.Addr)
	case host.SendMH:
		var msg mobility.Message
		if err := msg.Decode(op.MH.Data); err != nil {
			w.t.Fatal(err)
		}
		if ack, ok := msg.Body.(mobility.BindingAck); ok {
			w.ack(home, ack)
		}
	}
}

// ack checks an acknowledgement: whose it is, and that what it promises is there.
func (w *world) ack(home netip.Addr, ack mobility.BindingAck) {
	w.t.Helper()
	if ack.Status == mobility.StatusSequence {
		if last := w.ledger[home]; last.State == Unbound || ack.Seq != last.Seq {
			w.t.Fatalf("135 with %d, the ledger has %+v", ack.Seq, last)
		}
		return
	}
	if w.asked[home][ack.Seq] == 0 {
		w.t.Fatalf("acknowledgement of %d, which was not asked for", ack.Seq)
	}
	w.asked[home][ack.Seq]--
	if !ack.Status.Accepted() {
		return
	}
	if ack.Lifetime == 0 {
		return
	}
	if rec := w.ledger[home]; rec.State != Bound || rec.Seq != ack.Seq {
		w.t.Fatalf("acknowledged %d, the ledger has %+v", ack.Seq, rec)
	}
	for _, x := range w.open { // nothing of the tunnel is still to be done
		if x.Home != home {
			continue
		}
		for _, op := range x.Ops {
			if strings.Contains(xfrmText(op), "tunnel") {
				w.t.Fatalf("acknowledged before %s", xfrmText(op))
			}
		}
	}
}

// answerOne answers the oldest that waits for a home address, as an executor would.
func (w *world) answerOne() {
	if len(w.waiting) == 0 {
		return
	}
	a := w.waiting[0]
	w.waiting = w.waiting[1:]
	switch a := a.(type) {
	case Xfrm:
		delete(w.open, a.ID)
		w.do(XfrmDone{ID: a.ID, Errs: make([]error, len(a.Ops))})
	case Host:
		w.do(HostDone{ID: a.ID, Errs: make([]error, len(a.Ops))})
	}
}

func (w *world) answerAll() {
	for len(w.waiting) > 0 {
		w.answerOne()
	}
}

func (w *world) random() {
	who := w.r.IntN(2)
	home, id := []netip.Addr{cast["hoa"], cast["hoa2"]}[who], []string{"mn1", "mn2"}[who]
	at := []netip.Addr{cast["coa1"], cast["coa2"], cast["coa3"], {}}[w.r.IntN(4)]
	switch n := w.r.IntN(40); {
	case n < 14:
		w.update(home, at)
	case n < 24:
		w.answerOne()
	case n < 26:
		if len(w.dads) > 0 {
			ev := DADDone{ID: w.dads[0], Duplicate: w.r.IntN(4) == 0}
			w.dads = w.dads[1:]
			w.probing[w.probes[ev.ID]]--
			delete(w.probes, ev.ID)
			w.do(ev)
		}
	case n < 28:
		w.advance(time.Duration(w.r.IntN(9000)) * time.Millisecond)
		w.look()
	case n == 28:
		w.advance(time.Minute)
		w.look()
	case n < 31:
		w.do(w.ask(words{"id": id, "home": home.String(), []string{"mh", "payload"}[w.r.IntN(2)]: ""}))
	case n < 35:
		w.handle++
		if !at.IsValid() {
			at = home
		}
		w.do(KeysUp{Home: home, Handle: w.handle, CareOf: at})
		w.do(ChildUp{Home: home, Kind: MH, InSPI: xfrm.SPI(w.handle*2 + 1), Handle: w.handle, CareOf: at})
		w.do(ChildUp{Home: home, Kind: Payload, InSPI: xfrm.SPI(w.handle*2 + 2), Handle: w.handle, CareOf: at})
	case n < 37:
		kind := []Kind{MH, Payload}[w.r.IntN(2)]
		w.do(ChildDown{Home: home, Kind: kind, InSPI: xfrm.SPI(w.handle*2 + uint64(kind))})
	case n == 37:
		w.do(KeysDown{Home: home, Handle: w.handle})
	case n == 38:
		w.do(KeysRefused{Home: home})
	case n == 39 && w.r.IntN(4) == 0:
		w.crash()
	}
}

func (w *world) update(home, at netip.Addr) {
	w.next[home] += uint16(w.r.IntN(3)) // 0: a repeated number
	seq := w.next[home]
	args := words{"home": home.String(), "seq": fmt.Sprint(seq), "life": fmt.Sprint(w.r.IntN(4) * 3)}
	if at.IsValid() {
		args["from"] = at.String()
	} else {
		args["life"] = "0"
	}
	if w.r.IntN(4) == 0 {
		args["flags"] = "AHLK"
	}
	if w.r.IntN(8) == 0 {
		args["alt"] = "coa2"
	}
	w.asked[home][seq]++
	w.do(bu(args))
}

// crash starts a new machine with what the ledger holds.
func (w *world) crash() {
	m, err := New(w.cfg, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	w.m, w.waiting, w.dads, w.handle = m, nil, nil, w.handle+100
	w.reset()
	var recs []Record
	for _, home := range []netip.Addr{cast["hoa"], cast["hoa2"]} {
		if rec, ok := w.records[home]; ok {
			recs = append(recs, rec)
		}
	}
	clear(w.proxies) // whatever was there: the machine says again what it wants
	// What was emitted counts as carried out in the model, but a crash may have come
	// before: the policies stand where the record says that the tunnel is.
	w.policies, w.states = map[xfrm.PolicyID]xfrm.Policy{}, map[xfrm.ID]xfrm.SA{}
	plan := protect.Plan{Role: protect.Agent, Caps: w.cfg.Caps}
	for _, rec := range recs {
		b := protect.Binding{Phase: rec.Phase, Home: rec.Home, HomeAgent: rec.Agent, CareOf: rec.TunnelAt, Tunnel: rec.TunnelAt, ReqIDs: rec.ReqIDs}
		if rec.Phase == protect.Returned { // its left-overs are the daemon's to remove
			b.Phase = protect.Home
		}
		for _, p := range plan.Want(b).Policies {
			w.policies[p.ID()] = p
		}
		for _, s := range plan.Want(b).SAs {
			w.states[s.ID()] = s
		}
	}
	w.do(Restored{Records: recs})
	w.do(Start{})
	w.answerAll()
}

// check compares the model with what the machine says that it wants.
func (w *world) check() {
	for _, n := range w.m.nodes {
		if n != nil && n.answer != [16]byte{} {
			return // an answer's state stands over it for a second
		}
	}
	want := w.m.Want()
	if got, want := texts(w.policies), listed(want.Policies); !reflect.DeepEqual(got, want) {
		w.t.Fatalf("policies\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	var got, wanted []string
	for _, s := range w.states {
		got = append(got, xfrmText(xfrm.PutSA{SA: s}))
	}
	for _, s := range want.SAs {
		wanted = append(wanted, xfrmText(xfrm.PutSA{SA: s}))
	}
	sort.Strings(got)
	sort.Strings(wanted)
	if !slices.Equal(got, wanted) {
		w.t.Fatalf("states\n got %v\nwant %v", got, wanted)
	}
	if len(w.waiting) > 0 {
		return
	}
	proxies := map[netip.Addr]bool{}
	w.m.WantPage(0, 100, func(_ netip.Addr, _ xfrm.Snapshot, ops []host.Op) {
		for _, op := range ops {
			if p, ok := op.(host.PutProxy); ok {
				proxies[p.Addr] = true
			}
		}
	})
	if !reflect.DeepEqual(proxies, w.proxies) {
		w.t.Fatalf("proxies %v, want %v", w.proxies, proxies)
	}
}

func texts(m map[xfrm.PolicyID]xfrm.Policy) []string {
	var out []xfrm.Policy
	for _, p := range m {
		out = append(out, p)
	}
	return listed(out)
}

func listed(list []xfrm.Policy) []string {
	var out []string
	for _, p := range list {
		out = append(out, xfrmText(xfrm.PutPolicy{Policy: p}))
	}
	sort.Strings(out)
	return out
}

func TestRandomEvents(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			for range 600 {
				w.random()
				w.check()
				if d := w.m.Deadline(); !d.IsZero() && d.Before(w.now.Add(-time.Second)) && w.m.life == serving {
					w.advance(0)
					w.look()
				}
			}
			w.do(Stop{})
			for w.stopped == 0 && (len(w.waiting) > 0 || !w.m.Deadline().IsZero()) {
				w.answerAll()
				w.advance(0)
				w.look()
			}
			if w.stopped != 1 || len(w.policies)+len(w.states)+len(w.proxies)+len(w.records) != 0 {
				t.Fatalf("after the end (%d): %d policies, %d states, %d proxies, %d records", w.stopped,
					len(w.policies), len(w.states), len(w.proxies), len(w.records))
			}
		})
	}
}
