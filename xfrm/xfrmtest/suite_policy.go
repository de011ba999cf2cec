package xfrmtest

import (
	"context"
	"net/netip"
	"sync"

	"github.com/mip6/mip6/xfrm"
)

func signalling() xfrm.Policy {
	return xfrm.Policy{
		Sel: xfrm.Selector{
			Src: netip.PrefixFrom(HomeAddress, 128), Dst: netip.PrefixFrom(HomeAgent, 128),
			Proto: 135, SrcPort: 5, SrcPortMask: 0xffff,
		},
		Dir: xfrm.Out, Priority: 10,
		Templates: []xfrm.Template{
			{Src: HomeAddress, Dst: HomeAgent, Proto: xfrm.ESP, Mode: xfrm.Transport, ReqID: 1},
			{Src: HomeAddress, Dst: HomeAgent, Proto: xfrm.HAO, Mode: xfrm.RouteOpt},
		},
	}
}

func (e *env) policies() {
	out, in, fwd := signalling(), TunnelPolicy(xfrm.In, HomeAgent, CareOf1, 2), TunnelPolicy(xfrm.Fwd, HomeAgent, CareOf1, 2)
	fwd.Templates[0].Optional = true
	bypass := xfrm.Policy{Dir: xfrm.Out, Sel: xfrm.Selector{Proto: 58, SrcPort: 136, SrcPortMask: 0xffff}, Priority: 1}
	block := xfrm.Policy{Dir: xfrm.Out, Sel: xfrm.Selector{Src: netip.PrefixFrom(HomeAddress, 128)}, Priority: 5, Block: true}
	e.apply(xfrm.PutPolicy{Policy: out}, xfrm.PutPolicy{Policy: in}, xfrm.PutPolicy{Policy: fwd},
		xfrm.PutPolicy{Policy: bypass}, xfrm.PutPolicy{Policy: block})
	e.wantPolicies(out, in, fwd, bypass, block)

	out.Priority, out.Templates = 11, out.Templates[:1]
	e.apply(xfrm.PutPolicy{Policy: out})
	e.wantPolicies(out, in, fwd, bypass, block)

	e.apply(xfrm.DelPolicy{ID: out.ID()}, xfrm.DelPolicy{ID: out.ID()}, xfrm.DelPolicy{ID: bypass.ID()}, xfrm.DelPolicy{ID: block.ID()})
	e.wantPolicies(in, fwd)
	e.apply(xfrm.DelPolicy{ID: in.ID()}, xfrm.DelPolicy{ID: fwd.ID()})
	e.wantPolicies()
}

func (e *env) subPolicies() {
	e.need(e.caps.SubPolicy, "SUB policies")
	mainPolicy := signalling()
	sub := signalling()
	sub.Type, sub.Templates = xfrm.Sub, sub.Templates[1:]
	e.apply(xfrm.PutPolicy{Policy: mainPolicy}, xfrm.PutPolicy{Policy: sub})
	e.wantPolicies(mainPolicy, sub)
	want, n := xfrm.Sub, 0
	err := e.b.Dump(context.Background(), xfrm.Filter{Policies: true, Type: &want}, func(o xfrm.Object) error {
		if n++; !o.(xfrm.Policy).Same(sub) {
			e.Errorf("a dump of type SUB has %+v", o)
		}
		return nil
	})
	if err != nil || n != 1 {
		e.Fatalf("dump of type SUB: %d policies, %v", n, err)
	}
	e.apply(xfrm.DelPolicy{ID: sub.ID()})
	e.wantPolicies(mainPolicy)
}

func (e *env) routeOptimization() {
	e.need(e.caps.MIP6, "MIP6")
	hao := xfrm.SA{Src: HomeAddress, Dst: HomeAgent, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: CareOf1}
	other := hao
	other.Src = Peer
	rt2 := xfrm.SA{Src: HomeAgent, Dst: HomeAddress, Proto: xfrm.Route2, Mode: xfrm.RouteOpt, CareOf: CareOf1, WildRecv: true}
	any6 := netip.IPv6Unspecified()
	wild := xfrm.SA{Src: any6, Dst: any6, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: any6, WildRecv: true}
	e.apply(xfrm.PutSA{SA: hao}, xfrm.PutSA{SA: other}, xfrm.PutSA{SA: rt2}, xfrm.PutSA{SA: wild})
	e.wantSAs(hao, other, rt2, wild)
	hao.CareOf = CareOf2
	e.apply(xfrm.PutSA{SA: hao})
	e.wantSAs(hao, other, rt2, wild)
	e.apply(xfrm.DelSA{ID: other.ID()}, xfrm.DelSA{ID: other.ID()}, xfrm.DelSA{ID: wild.ID()})
	e.wantSAs(hao, rt2)
	n := 0
	err := e.b.Dump(context.Background(), xfrm.Filter{SAs: true, Proto: xfrm.Route2}, func(o xfrm.Object) error {
		n++
		return nil
	})
	if err != nil || n != 1 {
		e.Fatalf("dump of route2: %d, %v", n, err)
	}
}

// concurrent: several goroutines apply at once, each in its own order.
func (e *env) concurrent() {
	e.need(e.caps.ESP6, "ESP6")
	const workers, each = 8, 20
	var wg sync.WaitGroup
	errs := make(chan error, workers*each*3)
	for w := range workers {
		wg.Go(func() {
			dst := netip.AddrFrom16(CareOf1.As16())
			for i := range each {
				s := ESP(HomeAgent, dst, xfrm.SPI(0x10000+w*1000+i), xfrm.ReqID(100+w))
				ops := []xfrm.Op{xfrm.PutSA{SA: s}, xfrm.CopySA{From: s.ID(), NewDst: CareOf2}, xfrm.DelSA{ID: s.ID()}}
				for _, err := range e.b.Apply(context.Background(), ops) {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			e.Fatal(err)
		}
	}
	if n := len(e.sas()); n != workers*each {
		e.Fatalf("%d SAs, want %d", n, workers*each)
	}
}

// diff: what Diff says brings the databases where they should be, and then it
// says nothing more.
func (e *env) diff() {
	e.need(e.caps.ESP6, "ESP6")
	keep, change, gone, add := ESP(HomeAgent, CareOf1, 1001, 2), ESP(HomeAgent, CareOf1, 1002, 2), ESP(HomeAgent, CareOf1, 1003, 2), ESP(CareOf1, HomeAgent, 1004, 2)
	in, out, fwd := TunnelPolicy(xfrm.In, HomeAgent, CareOf1, 2), TunnelPolicy(xfrm.Out, CareOf1, HomeAgent, 2), TunnelPolicy(xfrm.Fwd, HomeAgent, CareOf1, 2)
	e.apply(xfrm.PutSA{SA: keep}, xfrm.PutSA{SA: change}, xfrm.PutSA{SA: gone}, xfrm.PutPolicy{Policy: in}, xfrm.PutPolicy{Policy: out})
	change.AEAD.Key = make([]byte, 20)
	change.AEAD.Key[3] = 9
	out.Priority = 21
	want := xfrm.Snapshot{SAs: []xfrm.SA{keep, change, add}, Policies: []xfrm.Policy{out, fwd}}
	ops := xfrm.Diff(e.dump(), want)
	e.apply(ops...)
	e.wantSAs(want.SAs...)
	e.wantPolicies(want.Policies...)
	if ops := xfrm.Diff(e.dump(), want); len(ops) != 0 {
		e.Fatalf("a second Diff says %+v", ops)
	}
}
