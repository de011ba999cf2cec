package xfrmtest

import (
	"context"
	"errors"
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// remap: SAs in UDP encapsulation follow a NAT's new mapping, in ports alone and in address
// and port, both ways and in both families; keys and replay state stay.
func (e *env) remap() {
	e.need(e.caps.ESP6, "ESP6")
	four := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	for i, x := range []struct{ us, peer, next netip.Addr }{
		{HomeAgent, CareOf1, CareOf2},
		{four("198.51.100.9"), four("192.0.2.1"), four("192.0.2.7")},
	} {
		if !e.has4() && x.us.Is4() {
			e.Log("no ESP over IPv4 here")
			continue
		}
		r := xfrm.Replay{Window: 64, OSeq: 7, Seq: 99, Bitmap: []uint32{0x5, 0x80000001}}
		in, out := ESP(x.peer, x.us, xfrm.SPI(0x5000+i), 2), ESP(x.us, x.peer, xfrm.SPI(0x6000+i), 2)
		in.Encap, out.Encap = &xfrm.Encap{SrcPort: 20001, DstPort: 4500}, &xfrm.Encap{SrcPort: 4500, DstPort: 20001}
		in.Replay, out.Replay = r, r
		e.apply(xfrm.PutSA{SA: in}, xfrm.PutSA{SA: out})
		to := func(peer netip.Addr, port uint16) {
			e.Helper()
			ops := []xfrm.Op{
				xfrm.Remap{ID: in.ID(), Src: peer, Dst: x.us, Encap: xfrm.Encap{SrcPort: port, DstPort: 4500}},
				xfrm.Remap{ID: out.ID(), Src: x.us, Dst: peer, Encap: xfrm.Encap{SrcPort: 4500, DstPort: port}},
			}
			e.apply(ops...)
			in.Src, in.Encap = peer, &xfrm.Encap{SrcPort: port, DstPort: 4500}
			out.Dst, out.Encap = peer, &xfrm.Encap{SrcPort: 4500, DstPort: port}
			for _, want := range []xfrm.SA{in, out} {
				got := e.sa(want.ID())
				if !got.SameKeys(want) || got.Src != want.Src || *got.Encap != *want.Encap {
					e.Fatalf("after a new mapping to %v:%d\n%+v\nwant\n%+v", peer, port, got, want)
				}
				if got.Replay.Seq != r.Seq || got.Replay.OSeq < r.OSeq || got.Replay.OSeq > r.OSeq+1000 || len(got.Replay.Bitmap) != 2 || got.Replay.Bitmap[1] != r.Bitmap[1] {
					e.Fatalf("replay state: %+v", got.Replay)
				}
			}
			if n := len(e.sas()); n != 2*(i+1) {
				e.Fatalf("%d SAs", n)
			}
		}
		to(x.peer, 20002)
		to(x.next, 20003)
		to(x.next, 20003) // it is so already
		to(x.peer, 20001)
	}
	plain := ESP(HomeAgent, CareOf1, 0x7001, 2)
	e.apply(xfrm.PutSA{SA: plain})
	gone := plain.ID()
	gone.SPI++
	for id, want := range map[xfrm.ID]error{gone: xfrm.ErrNotFound, plain.ID(): nil} {
		op := xfrm.Remap{ID: id, Src: HomeAgent, Dst: CareOf2, Encap: xfrm.Encap{SrcPort: 1, DstPort: 2}}
		if err := e.b.Apply(context.Background(), []xfrm.Op{op})[0]; err == nil || want != nil && !errors.Is(err, want) {
			e.Errorf("remap of %v: %v", id, err)
		}
	}
}

// has4 tells whether the backend takes ESP over IPv4.
func (e *env) has4() bool {
	s := ESP(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), 0x7777, 9)
	if e.b.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{SA: s}})[0] != nil {
		return false
	}
	e.apply(xfrm.DelSA{ID: s.ID()})
	return true
}
