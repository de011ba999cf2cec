package ledger

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

var (
	hoa = netip.MustParseAddr("2001:db8:1::10")
	ha  = netip.MustParseAddr("2001:db8:1::1")
	coa = netip.MustParseAddr("2001:db8:f1::a")
)

// applied runs changes as the ledger would.
func applied(changes ...Change) map[id]Record {
	out := map[id]Record{}
	for _, c := range changes {
		k := id{c.Kind, c.Key}
		if delete(out, k); !c.Del {
			out[k] = Record{Kind: c.Kind, Key: c.Key, Value: c.Value}
		}
	}
	return out
}

func TestStates(t *testing.T) {
	key := []byte("very secret key octets")
	ro := xfrm.SA{Src: hoa, Dst: ha, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: coa}
	esp := xfrm.SA{Src: coa, Dst: ha, Proto: xfrm.ESP, SPI: 7, ReqID: 0x4d000001, AEAD: xfrm.AEAD{Name: "x", Key: key}}
	manual := esp
	manual.ReqID = 0
	if c := FromXfrm(xfrm.PutSA{SA: esp}); c != nil {
		t.Errorf("an SA that its request id marks gets the record %+v", c)
	}
	all := append(FromXfrm(xfrm.PutSA{SA: ro}), FromXfrm(xfrm.PutSA{SA: manual})...)
	got := applied(all...)
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, r := range got {
		if bytes.Contains(r.Value, key) || bytes.Contains(r.Value, []byte("Key")) {
			t.Errorf("a key: %s", r.Value)
		}
	}
	info, err := got[id{KindSA, StateKey(ro.ID())}].State()
	if want := (StateInfo{ID: ro.ID(), Mode: xfrm.RouteOpt, CareOf: coa}); err != nil || info != want {
		t.Errorf("%+v, %v", info, err)
	}
	moved := ro
	moved.CareOf = coa.Next()
	all = append(all, FromXfrm(xfrm.PutSA{SA: moved})...)
	if len(applied(all...)) != 2 {
		t.Error("a state that moved has two records")
	}
	all = append(all, FromXfrm(xfrm.DelSA{ID: ro.ID()})...)
	all = append(all, FromXfrm(xfrm.DelSA{ID: manual.ID()})...)
	if left := applied(all...); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestPolicies(t *testing.T) {
	base := xfrm.Policy{Dir: xfrm.Out, Sel: xfrm.Selector{Src: netip.PrefixFrom(hoa, 128), Dst: netip.PrefixFrom(ha, 128), Proto: 135}}
	seen := map[string]bool{}
	for _, change := range []func(*xfrm.Policy){
		func(*xfrm.Policy) {}, func(p *xfrm.Policy) { p.Dir = xfrm.In }, func(p *xfrm.Policy) { p.Type = xfrm.Sub },
		func(p *xfrm.Policy) { p.Sel = p.Sel.Reverse() }, func(p *xfrm.Policy) { p.Sel.Proto = 58 },
		func(p *xfrm.Policy) { p.Sel.SrcPort = 5 }, func(p *xfrm.Policy) { p.Sel.SrcPortMask = 5 },
		func(p *xfrm.Policy) { p.Sel.DstPort = 5 }, func(p *xfrm.Policy) { p.Sel.DstPortMask = 5 }, func(p *xfrm.Policy) { p.Sel.IfIndex = 5 },
	} {
		p := base
		change(&p)
		got := applied(FromXfrm(xfrm.PutPolicy{Policy: p})...)
		r, ok := got[id{KindPolicy, PolicyKey(p.ID())}]
		if !ok || seen[r.Key] {
			t.Errorf("%+v shares a key or has none", p)
		}
		seen[r.Key] = true
		if back, err := r.Policy(); err != nil || back != p.ID() {
			t.Errorf("%+v, %v", back, err)
		}
		if left := applied(append(FromXfrm(xfrm.PutPolicy{Policy: p}), FromXfrm(xfrm.DelPolicy{ID: p.ID()})...)...); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	}
}

func TestHostOps(t *testing.T) {
	p := netip.PrefixFrom(hoa, 128)
	route := host.Route{Dst: p, Via: ha, IfIndex: 3, Table: 6275, Metric: 9}
	rule := host.Rule{Src: p, Table: 6275, Priority: 100}
	for _, c := range []struct{ do, undo host.Op }{
		{host.PutAddr{IfIndex: 2, Prefix: p, Home: true, NoDAD: true}, host.DelAddr{IfIndex: 2, Prefix: p}},
		{host.PutRoute{Route: route}, host.DelRoute{Route: route}},
		{host.PutRule{Rule: rule}, host.DelRule{Rule: rule}},
		{host.PutProxy{IfIndex: 2, Addr: hoa}, host.DelProxy{IfIndex: 2, Addr: hoa}},
	} {
		changes := FromHost(c.do)
		got := applied(changes...)
		if len(got) != 1 {
			t.Fatalf("%T: %+v", c.do, got)
		}
		for _, r := range got {
			if back, err := r.Undo(); err != nil || !reflect.DeepEqual(back, c.undo) {
				t.Errorf("%T: %+v, %v", c.do, back, err)
			}
		}
		if left := applied(append(changes, FromHost(c.undo)...)...); len(left) != 0 {
			t.Errorf("%T leaves %+v", c.undo, left)
		}
	}
	for _, op := range []host.Op{host.SendMH{}, host.SolicitRouter{}, host.AdvertiseNeighbour{}, host.SetSysctl{Key: "a"}} {
		if c := FromHost(op); c != nil {
			t.Errorf("%T: %+v", op, c)
		}
	}
}

// TestSplit stops at every point between writing and applying: whatever is in the host
// has its record.
func TestSplit(t *testing.T) {
	changes := []Change{
		put(KindSA, "kept", "1"), del(KindSA, "gone"), put(KindSA, "passing", "2"), del(KindSA, "passing"),
		del(KindSA, "anew"), put(KindSA, "anew", "3"), del(KindPolicy, "kept"),
	}
	old := []Change{put(KindSA, "gone", "0"), put(KindSA, "anew", "0"), put(KindPolicy, "kept", "0")}
	before, after := Split(changes)
	for n := range len(changes) + 1 {
		onHost := applied(append(old[:3:3], changes[:n]...)...)
		written := applied(append(old[:3:3], before...)...)
		for k := range onHost {
			if _, ok := written[k]; !ok {
				t.Errorf("after %d operations %v has no record", n, k)
			}
		}
	}
	end := applied(append(append(old[:3:3], before...), after...)...)
	if want := applied(append(old[:3:3], changes...)...); !reflect.DeepEqual(end, want) {
		t.Errorf("at the end %v, want %v", end, want)
	}
}

func TestOtherRecords(t *testing.T) {
	rec := func(c Change) Record { return Record{Kind: c.Kind, Key: c.Key, Value: c.Value} }
	th := SPDThresholds{1, 2, 3, 4}
	if got, err := rec(SPD(th)).SPD(); err != nil || got != th {
		t.Errorf("%+v, %v", got, err)
	}
	if r := rec(Sysctl("net/x", "1")); r.Kind != KindSysctl || r.Key != "net/x" || string(r.Value) != "1" {
		t.Errorf("%+v", r)
	}
	if _, err := (Record{Kind: KindSA}).Policy(); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
	if _, err := (Record{Kind: KindPolicy, Value: []byte("{")}).Policy(); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
	if _, err := (Record{Kind: KindHost, Value: []byte("{}")}).Undo(); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
}
