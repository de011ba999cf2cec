package ha

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// many is a machine that was restored with n bindings at the care-of address coa1.
func many(t *testing.T, n int) *rig {
	r := newRig(t, testConfig())
	var recs []Record
	for i := range n {
		home := netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", 0x1000+i))
		recs = append(recs, Record{Home: home, Identity: fmt.Sprintf("n%d", i), Agent: cast["ha"], Slot: uint32(i),
			ReqIDs: protect.ReqIDsFor(protect.Agent, uint32(i)), KeysAt: cast["coa1"], TunnelAt: cast["coa1"],
			Phase: protect.Away, State: Bound, CareOf: cast["coa1"], Seq: 9, Lifetime: 900, Expires: epoch.Add(time.Hour)})
		r.records[home] = recs[i]
	}
	r.auto = true
	r.step(Restored{Records: recs})
	r.step(Start{})
	return r
}

func countKeyUp(acts []Action) (n int) {
	for _, a := range acts {
		if _, ok := a.(KeyUp); ok {
			n++
		}
	}
	return n
}

// After a restart all bindings are there at once; IKE starts with so many nodes a second.
func TestRestartPace(t *testing.T) {
	r := many(t, 700)
	if s := r.m.Summary(); s.Bindings != 700 || s.Waiting != 699 {
		t.Fatalf("%+v", s)
	}
	r.advance(time.Second)
	if n := countKeyUp(r.out); n < 50 || n > 52 {
		t.Errorf("%d nodes in the first second", n)
	}
	put := 0
	for _, a := range r.out {
		if x, ok := a.(Xfrm); ok && x.Home.IsValid() {
			put++
		}
	}
	if put != 700 {
		t.Errorf("policies of %d nodes were put again in the first second", put)
	}
	// A node that comes by itself is not called.
	ev := r.ask(words{})
	home := netip.MustParseAddr("2001:db8:1::12bb")
	ev.Identity = "n699"
	if i, ok := r.m.Lookup(home); !ok || i.Identity != ev.Identity {
		t.Fatalf("%+v", i)
	}
	r.step(KeysUp{Home: home, Handle: 5, CareOf: cast["coa1"]})
	r.advance(time.Minute)
	if n := countKeyUp(r.out); n != 699 {
		t.Errorf("%d nodes in all", n)
	}
}

// Records that cannot be taken over are named and forgotten; the others are served.
func TestRestoreBadRecords(t *testing.T) {
	r := newRig(t, testConfig())
	good := Record{Home: cast["hoa"], Identity: "mn1", Agent: cast["ha"], Slot: 3, ReqIDs: protect.ReqIDsFor(protect.Agent, 3),
		State: Bound, CareOf: cast["coa1"], TunnelAt: cast["coa1"], Phase: protect.Away, Seq: 1, Expires: epoch.Add(time.Hour)}
	bad := func(change func(*Record)) Record { x := good; change(&x); return x }
	r.step(Restored{Records: []Record{good,
		bad(func(x *Record) {}),
		bad(func(x *Record) { x.Home = cast["hoa2"] }),
		bad(func(x *Record) { x.Home, x.Slot = cast["hoa2"], 4 }),
		bad(func(x *Record) { x.Home, x.Agent = cast["hoa2"], cast["ha2"] }),
		bad(func(x *Record) { x.Home = netip.Addr{} }),
		bad(func(x *Record) {
			x.Home, x.Slot, x.ReqIDs = cast["hoa2"], 1<<31, protect.ReqIDsFor(protect.Agent, 1<<31)
		}),
	}})
	forgotten := 0
	for _, a := range r.out {
		if _, ok := a.(Forget); ok {
			forgotten++
		}
	}
	if s := r.m.Summary(); forgotten != 6 || s.Nodes != 1 || s.Bindings != 1 {
		t.Errorf("%d forgotten, %+v", forgotten, s)
	}
	r.auto = true
	r.step(Start{})
	// A new node takes another slot.
	got := r.answer(r.ask(words{"mh": "", "id": "mn2", "home": "hoa2"}))
	if i, _ := r.m.Lookup(cast["hoa"]); got.Err != nil || i.ReqIDs != good.ReqIDs || got.ReqID == good.ReqIDs.MH {
		t.Errorf("%+v %+v", got, i)
	}
}

// A binding whose lifetime ended while we were away is taken down at the start.
func TestRestoreExpired(t *testing.T) {
	r := newRig(t, testConfig())
	r.auto = true
	r.step(Restored{Records: []Record{{Home: cast["hoa"], Identity: "mn1", Agent: cast["ha"], ReqIDs: protect.ReqIDsFor(protect.Agent, 0),
		State: Bound, CareOf: cast["coa1"], TunnelAt: cast["coa1"], Phase: protect.Away, Expires: epoch.Add(-time.Second)}}})
	r.step(Start{})
	if s := r.m.Summary(); s.Nodes != 0 || s.Bindings != 0 || countKeyUp(r.out) != 0 {
		t.Errorf("%+v", s)
	}
	if want := r.m.Want(); len(want.Policies) != 5 || len(want.SAs) != 1 { // what all share
		t.Errorf("%d policies, %d states are wanted", len(want.Policies), len(want.SAs))
	}
}

// The end goes page by page and waits for the answers.
func TestStopPages(t *testing.T) {
	r := many(t, 700)
	r.advance(time.Second)
	r.auto, r.out = false, nil
	r.step(Stop{})
	if n := len(r.waiting); n < 2*sweepPage || n > 2*sweepPage+2 {
		t.Fatalf("%d actions in the first step", n)
	}
	r.advance(0)
	if len(r.waiting) < 1400 {
		t.Fatalf("%d actions", len(r.waiting))
	}
	for _, a := range r.out {
		if _, ok := a.(Stopped); ok {
			t.Fatal("stopped before the answers")
		}
	}
	r.done(nil)
	if _, ok := r.out[len(r.out)-1].(Stopped); !ok || len(r.records) != 0 || !r.m.Deadline().IsZero() {
		t.Errorf("last action %T, %d records", r.out[len(r.out)-1], len(r.records))
	}
	r.out = nil
	r.step(bu(words{"from": "coa1"}))
	r.step(Stop{})
	if len(r.out) != 0 {
		t.Errorf("after the end: %v", r.out)
	}
	if got := r.answer(r.ask(words{"mh": ""})); got.Err == nil {
		t.Error("authorised after the end")
	}
}

func TestStopKeep(t *testing.T) {
	r := served(t, nil)
	r.step(bu(words{"from": "coa1"}))
	r.out = nil
	r.step(Stop{Keep: true})
	if len(r.out) != 1 || r.out[0] != (Stopped{}) || len(r.records) != 1 {
		t.Errorf("%v", r.out)
	}
}

// A new home prefix gets its block, an old one loses it.
func TestSetConfigPrefixes(t *testing.T) {
	r := served(t, nil)
	cfg := testConfig()
	cfg.Prefixes = append(cfg.Prefixes, HomePrefix{Prefix: netip.MustParsePrefix("2001:db8:9::/64")})
	r.out = nil
	r.step(SetConfig{Config: cfg})
	var got []string
	for _, a := range r.out {
		if x, ok := a.(Xfrm); ok {
			for _, op := range x.Ops {
				got = append(got, xfrmText(op))
			}
		}
	}
	if len(got) != 1 || got[0] != "put policy in 2001:db8:9::/64>ha mh block" {
		t.Errorf("%v", got)
	}
	cfg.Agents = nil // not valid: nothing changes
	r.out = nil
	r.step(SetConfig{Config: cfg})
	if len(r.out) != 1 || len(r.m.cfg.Prefixes) != 2 {
		t.Errorf("%v", r.out)
	}
	r.out = nil
	r.step(SetConfig{Config: testConfig()})
	if x, ok := r.out[0].(Xfrm); !ok || xfrmText(x.Ops[0]) != "del policy in 2001:db8:9::/64>ha mh" {
		t.Errorf("%v", r.out)
	}
}

func TestPages(t *testing.T) {
	r := many(t, 25)
	seen, pages := map[netip.Addr]bool{}, 0
	for cursor, more := 0, true; more; more = cursor != 0 {
		cursor = r.m.Page(cursor, 10, func(i NodeInfo) {
			if i.State != Bound || i.Seq != 9 || !i.Restored {
				t.Errorf("%+v", i)
			}
			seen[i.Home] = true
		})
		pages++
	}
	if len(seen) != 25 || pages != 3 {
		t.Errorf("%d nodes in %d pages", len(seen), pages)
	}
	nodes := 0
	for cursor, more := 0, true; more; more = cursor != 0 {
		cursor = r.m.WantPage(cursor, 10, func(home netip.Addr, want xfrm.Snapshot, _ []host.Op) {
			if home.IsValid() {
				nodes++
				if len(want.Policies) != 5 || len(want.SAs) != 1 {
					t.Errorf("%v wants %d policies", home, len(want.Policies))
				}
			}
		})
	}
	if nodes != 25 {
		t.Errorf("%d nodes", nodes)
	}
}

// Before the start nothing happens.
func TestNotStarted(t *testing.T) {
	r := newRig(t, testConfig())
	r.step(bu(words{"from": "coa1"}))
	r.took(r.m.Tick(r.now, nil))
	if len(r.out) != 0 || !r.m.Deadline().IsZero() || r.m.Stats().NotServing != 1 {
		t.Errorf("%v", r.out)
	}
	if got := r.answer(r.ask(words{"mh": ""})); got.Err == nil {
		t.Error("authorised before the start")
	}
	r.out = nil
	r.step(Stop{})
	if len(r.out) != 1 {
		t.Errorf("%v", r.out)
	}
}
