package xfrmtest

import (
	"context"
	"net/netip"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// moved is an SA after its migration.
func moved(s xfrm.SA, src, dst netip.Addr) xfrm.SA {
	s.Src, s.Dst = src, dst
	return s
}

// movedPolicy is a policy after its migration.
func movedPolicy(p xfrm.Policy, src, dst netip.Addr) xfrm.Policy {
	p.Templates = []xfrm.Template{p.Templates[0]}
	p.Templates[0].Src, p.Templates[0].Dst = src, dst
	return p
}

// setUp puts the node's payload child: policies and SAs in both directions.
func (e *env) setUp() (out, in xfrm.Policy, outSA, inSA xfrm.SA) {
	e.need(e.caps.ESP6, "ESP6")
	out, in = TunnelPolicy(xfrm.Out, CareOf1, HomeAgent, 2), TunnelPolicy(xfrm.In, HomeAgent, CareOf1, 2)
	outSA, inSA = ESP(CareOf1, HomeAgent, 0x2001, 2), ESP(HomeAgent, CareOf1, 0x2002, 2)
	e.apply(xfrm.PutSA{SA: outSA}, xfrm.PutSA{SA: inSA}, xfrm.PutPolicy{Policy: out}, xfrm.PutPolicy{Policy: in})
	return
}

func (e *env) migrateTunnel() {
	out, in, outSA, inSA := e.setUp()
	e.apply(Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2))
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), moved(inSA, HomeAgent, CareOf2))
	e.wantPolicies(movedPolicy(out, CareOf2, HomeAgent), movedPolicy(in, HomeAgent, CareOf2))
}

// migrateTwice: there and back; and a migration that was carried out already is no error.
func (e *env) migrateTwice() {
	out, in, outSA, inSA := e.setUp()
	there := []xfrm.Op{Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2)}
	e.apply(there...)
	e.apply(there...)
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), moved(inSA, HomeAgent, CareOf2))
	e.apply(Move(out, CareOf2, HomeAgent, CareOf1, HomeAgent), Move(in, HomeAgent, CareOf2, HomeAgent, CareOf1))
	e.wantSAs(outSA, inSA)
	e.wantPolicies(out, in)
}

func (e *env) migrateWithoutState() {
	in := TunnelPolicy(xfrm.In, HomeAgent, CareOf1, 2)
	e.apply(xfrm.PutPolicy{Policy: in})
	e.apply(Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2))
	e.wantPolicies(movedPolicy(in, HomeAgent, CareOf2))
}

// migrateWithoutPolicy: at home the tunnel policies are gone and the SAs are kept.
func (e *env) migrateWithoutPolicy() {
	out, in, outSA, inSA := e.setUp()
	e.apply(xfrm.DelPolicy{ID: out.ID()}, xfrm.DelPolicy{ID: in.ID()})
	e.apply(Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2))
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), moved(inSA, HomeAgent, CareOf2))
}

// migrateLarval: a reserved SPI of a rekey in progress stands in the way.
func (e *env) migrateLarval() {
	out, in, outSA, inSA := e.setUp()
	if _, err := e.b.AllocSPI(context.Background(), ESP(HomeAgent, CareOf1, 0, 2)); err != nil {
		e.Fatal(err)
	}
	e.apply(Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2))
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), moved(inSA, HomeAgent, CareOf2))
	e.wantPolicies(movedPolicy(out, CareOf2, HomeAgent), movedPolicy(in, HomeAgent, CareOf2))
}

// migrateTwoStates: a child in rekeying has two SAs a direction, and both move.
func (e *env) migrateTwoStates() {
	out, in, outSA, inSA := e.setUp()
	outSA2, inSA2 := ESP(CareOf1, HomeAgent, 0x2003, 2), ESP(HomeAgent, CareOf1, 0x2004, 2)
	other := ESP(HomeAgent, CareOf1, 0x2005, 3) // of another child
	e.apply(xfrm.PutSA{SA: outSA2}, xfrm.PutSA{SA: inSA2}, xfrm.PutSA{SA: other})
	e.apply(Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2))
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), moved(inSA, HomeAgent, CareOf2),
		moved(outSA2, CareOf2, HomeAgent), moved(inSA2, HomeAgent, CareOf2), other)
	e.wantPolicies(movedPolicy(out, CareOf2, HomeAgent), movedPolicy(in, HomeAgent, CareOf2))
}

// migrateOntoCopy: the copy for the new address was made before the move.
func (e *env) migrateOntoCopy() {
	out, in, outSA, inSA := e.setUp()
	e.apply(xfrm.CopySA{From: inSA.ID(), NewDst: CareOf2},
		Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2))
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), moved(inSA, HomeAgent, CareOf2))
	e.wantPolicies(movedPolicy(out, CareOf2, HomeAgent), movedPolicy(in, HomeAgent, CareOf2))
}

// migrateForward: an agent's inbound and forward policies share their states.
func (e *env) migrateForward() {
	e.need(e.caps.ESP6, "ESP6")
	in, fwd := TunnelPolicy(xfrm.In, CareOf1, HomeAgent, 2), TunnelPolicy(xfrm.Fwd, CareOf1, HomeAgent, 2)
	s := ESP(CareOf1, HomeAgent, 0x2001, 2)
	e.apply(xfrm.PutSA{SA: s}, xfrm.PutPolicy{Policy: in}, xfrm.PutPolicy{Policy: fwd})
	e.apply(Move(in, CareOf1, HomeAgent, CareOf2, HomeAgent), Move(fwd, CareOf1, HomeAgent, CareOf2, HomeAgent))
	e.wantSAs(moved(s, CareOf2, HomeAgent))
	e.wantPolicies(movedPolicy(in, CareOf2, HomeAgent), movedPolicy(fwd, CareOf2, HomeAgent))
}

// migrateBehind: a policy that is looked at first holds the addresses too.
func (e *env) migrateBehind() {
	wide := xfrm.Policy{Dir: xfrm.Out, Priority: 1, Templates: []xfrm.Template{
		{Proto: xfrm.ESP, Mode: xfrm.Transport, ReqID: 99, Optional: true},
	}}
	out := TunnelPolicy(xfrm.Out, CareOf1, HomeAgent, 2)
	e.apply(xfrm.PutPolicy{Policy: wide}, xfrm.PutPolicy{Policy: out})
	s := ESP(CareOf1, HomeAgent, 0x2001, 2)
	if e.caps.ESP6 {
		e.apply(xfrm.PutSA{SA: s})
	}
	e.apply(Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent))
	e.wantPolicies(wide, movedPolicy(out, CareOf2, HomeAgent))
	if e.caps.ESP6 {
		e.wantSAs(moved(s, CareOf2, HomeAgent))
	}
}

// migrateTransport: the Mobility Header policy names no outer addresses; its
// migration only tells key management.
func (e *env) migrateTransport() {
	p := signalling()
	p.Sel.SrcPort, p.Sel.SrcPortMask = 0, 0
	e.apply(xfrm.PutPolicy{Policy: p})
	any6 := netip.IPv6Unspecified()
	e.apply(Move(p, any6, any6, CareOf2, HomeAgent))
	e.wantPolicies(p)
}

// migrateSource: only the source changes; SPI, keys and key of the SA stay.
func (e *env) migrateSource() {
	out, _, outSA, inSA := e.setUp()
	e.apply(Move(out, CareOf1, HomeAgent, CareOf2, HomeAgent))
	e.wantSAs(moved(outSA, CareOf2, HomeAgent), inSA)
}

func (e *env) copySA() {
	_, _, outSA, inSA := e.setUp()
	e.apply(xfrm.CopySA{From: inSA.ID(), NewDst: CareOf2})
	e.wantSAs(outSA, inSA, moved(inSA, HomeAgent, CareOf2))
	e.apply(xfrm.CopySA{From: inSA.ID(), NewDst: CareOf2}) // again: refreshed
	e.apply(xfrm.DelSA{ID: inSA.ID()})
	e.wantSAs(outSA, moved(inSA, HomeAgent, CareOf2))
}

// replayKept: migration and copy carry the replay state, for short and long
// windows, with and without extended sequence numbers.
func (e *env) replayKept() {
	e.need(e.caps.ESP6, "ESP6")
	for i, r := range []xfrm.Replay{
		{Window: 32, OSeq: 7, Seq: 99, Bitmap: []uint32{0x5}},
		{Window: 64, OSeq: 7, Seq: 99, Bitmap: []uint32{0x5, 0x80000001}},
		{Window: 512, ESN: true, OSeq: 1<<33 + 5, Seq: 1<<34 + 77, Bitmap: append(make([]uint32, 15), 0xdeadbeef)},
	} {
		spi := xfrm.SPI(0x3000 + i)
		in := TunnelPolicy(xfrm.In, HomeAgent, CareOf1, 2)
		s := ESP(HomeAgent, CareOf1, spi, 2)
		s.Replay = r
		e.apply(xfrm.PutSA{SA: s}, xfrm.PutPolicy{Policy: in})
		e.apply(Move(in, HomeAgent, CareOf1, HomeAgent, CareOf2), xfrm.CopySA{From: moved(s, HomeAgent, CareOf2).ID(), NewDst: CareOf1})
		for _, at := range []netip.Addr{CareOf2, CareOf1} {
			got := e.sa(xfrm.ID{Dst: at, SPI: spi, Proto: xfrm.ESP}).Replay
			if got.Window != r.Window || got.ESN != r.ESN || got.Seq != r.Seq || got.OSeq < r.OSeq || len(got.Bitmap) != len(r.Bitmap) {
				e.Fatalf("replay state at %v: %+v, was %+v", at, got, r)
			}
			for j := range r.Bitmap {
				if got.Bitmap[j] != r.Bitmap[j] {
					e.Fatalf("window at %v: %x, was %x", at, got.Bitmap, r.Bitmap)
				}
			}
		}
		e.apply(xfrm.DelSA{ID: s.ID()}, xfrm.DelSA{ID: moved(s, HomeAgent, CareOf2).ID()}, xfrm.DelPolicy{ID: in.ID()})
	}
}

// watch: a migration is told with its content to whoever watches, and Watch ends
// with its context.
func (e *env) watch() { e.watchMigrations() }

// watchBehind: the same where a policy that is looked at first holds the addresses.
func (e *env) watchBehind() {
	e.apply(xfrm.PutPolicy{Policy: xfrm.Policy{Dir: xfrm.In, Priority: 1, Templates: []xfrm.Template{
		{Proto: xfrm.ESP, Mode: xfrm.Transport, ReqID: 99, Optional: true},
	}}})
	e.watchMigrations()
}

func (e *env) watchMigrations() {
	in := TunnelPolicy(xfrm.In, HomeAgent, CareOf1, 2)
	e.apply(xfrm.PutPolicy{Policy: in})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	events, done := make(chan xfrm.Event, 4096), make(chan error, 1)
	go func() { done <- e.b.Watch(ctx, func(ev xfrm.Event) { events <- ev }) }()
	// Nothing tells when Watch listens: go to and fro until it hears.
	from, to := CareOf1, CareOf2
	var got xfrm.Event
	var sent xfrm.Migration
	for got == nil {
		op := Move(in, HomeAgent, from, HomeAgent, to)
		e.apply(op)
		sent = op.Migration
		from, to = to, from
		select {
		case got = <-events:
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			e.Fatal("no event in 20 seconds")
		}
	}
	g, ok := got.(xfrm.Migrated)
	if !ok {
		e.Fatalf("event %#v", got)
	}
	if g.Migration.Policy.Canonical() != sent.Policy.Canonical() || len(g.Migration.Moves) != 1 ||
		g.Migration.Endpoints == nil || *g.Migration.Endpoints != *sent.Endpoints {
		e.Fatalf("migration %+v, sent %+v", g.Migration, sent)
	}
	m := g.Migration.Moves[0]
	if back := (xfrm.Move{OldSrc: m.NewSrc, OldDst: m.NewDst, NewSrc: m.OldSrc, NewDst: m.OldDst, Proto: m.Proto, Mode: m.Mode, ReqID: m.ReqID}); m != sent.Moves[0] && back != sent.Moves[0] {
		e.Fatalf("move %+v, sent %+v", m, sent.Moves[0])
	}
	cancel()
	if err := <-done; err != nil {
		e.Fatalf("Watch: %v", err)
	}
}
