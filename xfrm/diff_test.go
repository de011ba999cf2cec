package xfrm_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// pick draws an address out of a few, so that keys meet.
func pick(r *rand.Rand) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(r.IntN(3) + 1)})
}

func randomSnapshot(r *rand.Rand) xfrm.Snapshot {
	var s xfrm.Snapshot
	seen, seenPolicy := map[xfrm.ID]bool{}, map[xfrm.PolicyID]bool{}
	for range r.IntN(8) {
		sa := xfrm.SA{
			Src: pick(r), Dst: pick(r), SPI: xfrm.SPI(r.IntN(3) + 1), Proto: xfrm.ESP, Mode: xfrm.Mode(r.IntN(2)), ReqID: xfrm.ReqID(r.IntN(2)),
			AEAD:   xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: []byte{1, byte(r.IntN(2))}, ICVBits: 128},
			Replay: xfrm.Replay{Window: uint32(32 * r.IntN(3)), ESN: r.IntN(2) == 0, OSeq: r.Uint64N(3), Seq: r.Uint64N(3)},
			Life:   xfrm.Lifetimes{HardTime: time.Duration(r.IntN(2)) * time.Hour},
			Stats:  xfrm.Stats{Bytes: r.Uint64()},
			Larval: r.IntN(6) == 0,
		}
		if r.IntN(3) == 0 {
			sa = xfrm.SA{Src: sa.Src, Dst: sa.Dst, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: pick(r), WildRecv: r.IntN(2) == 0}
		}
		if !seen[sa.ID().Canonical()] {
			seen[sa.ID().Canonical()] = true
			s.SAs = append(s.SAs, sa)
		}
	}
	for range r.IntN(8) {
		p := xfrm.Policy{
			Dir: xfrm.Dir(r.IntN(3)), Type: xfrm.PolicyType(r.IntN(2)), Priority: uint32(r.IntN(2)), Block: r.IntN(3) == 0,
			Index: r.Uint32(), Stats: xfrm.Stats{Packets: r.Uint64()},
		}
		if r.IntN(2) == 0 {
			p.Sel = xfrm.Selector{Src: netip.PrefixFrom(pick(r), 128), Proto: uint8(135 * r.IntN(2))}
		}
		if r.IntN(2) == 0 {
			p.Sel.Dst = netip.MustParsePrefix("::/0") // the same as none
		}
		for range r.IntN(3) {
			p.Templates = append(p.Templates, xfrm.Template{Src: pick(r), Dst: pick(r), Proto: xfrm.ESP, ReqID: xfrm.ReqID(r.IntN(2))})
		}
		if !seenPolicy[p.ID().Canonical()] {
			seenPolicy[p.ID().Canonical()] = true
			s.Policies = append(s.Policies, p)
		}
	}
	return s
}

// TestDiffGivesWant: the operations turn any databases into any others, then there
// is nothing more to do, and larval SAs of have that are in nobody's way stay.
func TestDiffGivesWant(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 275))
	for range 3000 {
		have, want := randomSnapshot(r), randomSnapshot(r)
		f := xfrmtest.New()
		larval := 0
		for _, s := range have.SAs {
			if s.Larval {
				larval++
				if _, err := f.AllocSPI(context.Background(), s); err != nil {
					t.Fatal(err)
				}
				continue
			}
			f.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{SA: s}})
		}
		for _, p := range have.Policies {
			f.Apply(context.Background(), []xfrm.Op{xfrm.PutPolicy{Policy: p}})
		}
		ops := xfrm.Diff(f.Snapshot(), want)
		for i, err := range f.Apply(context.Background(), ops) {
			if err != nil {
				t.Fatalf("%#v: %v", ops[i], err)
			}
		}
		now := f.Snapshot()
		if again := xfrm.Diff(now, want); len(again) != 0 {
			t.Fatalf("have %+v\nwant %+v\nnow %+v\nstill to do %+v", have, want, now, again)
		}
		if back := xfrm.Diff(want, now); len(back) != 0 {
			t.Fatalf("too much is there: %+v", back)
		}
		if same := xfrm.Diff(f.Snapshot(), now); len(same) != 0 {
			t.Fatalf("a difference to itself: %+v", same)
		}
	}
}

func TestDiffOrder(t *testing.T) {
	s := xfrmtest.ESP(xfrmtest.HomeAgent, xfrmtest.CareOf1, 1, 1)
	p := xfrmtest.TunnelPolicy(xfrm.In, xfrmtest.HomeAgent, xfrmtest.CareOf1, 1)
	all := xfrm.Snapshot{SAs: []xfrm.SA{s}, Policies: []xfrm.Policy{p}}
	if got := xfrm.Diff(xfrm.Snapshot{}, all); !reflect.DeepEqual(got, []xfrm.Op{xfrm.PutSA{SA: s}, xfrm.PutPolicy{Policy: p}}) {
		t.Errorf("%+v", got)
	}
	if got := xfrm.Diff(all, xfrm.Snapshot{}); !reflect.DeepEqual(got, []xfrm.Op{xfrm.DelPolicy{ID: p.ID()}, xfrm.DelSA{ID: s.ID()}}) {
		t.Errorf("%+v", got)
	}
}

func TestSame(t *testing.T) {
	a := xfrmtest.ESP(xfrmtest.HomeAgent, xfrmtest.CareOf1, 1, 1)
	b := a
	b.Replay.Seq, b.Replay.Bitmap, b.Stats.Bytes, b.Acquire = 7, []uint32{1}, 9, 3
	if !a.Same(b) {
		t.Error("numbers and counters count")
	}
	for name, change := range map[string]func(*xfrm.SA){
		"window": func(s *xfrm.SA) { s.Replay.Window = 32 },
		"mark":   func(s *xfrm.SA) { s.Mark = 1 },
		"key":    func(s *xfrm.SA) { s.AEAD.Key = []byte{1} },
		"encap":  func(s *xfrm.SA) { s.Encap = &xfrm.Encap{SrcPort: 4500} },
		"sel":    func(s *xfrm.SA) { s.Sel.Proto = 135 },
		"src":    func(s *xfrm.SA) { s.Src = xfrmtest.Peer },
		"life":   func(s *xfrm.SA) { s.Life.HardBytes = 5 },
	} {
		c := a
		change(&c)
		if a.Same(c) {
			t.Errorf("%s does not count", name)
		}
	}
}
