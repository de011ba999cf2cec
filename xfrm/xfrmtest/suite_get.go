package xfrmtest

import (
	"bytes"
	"context"
	"errors"

	"github.com/mip6/mip6/xfrm"
)

// get: one SA by its ID, and ErrNotFound for what is not there or has no keys.
func (e *env) get() {
	e.need(e.caps.ESP6, "ESP6")
	ctx := context.Background()
	s := ESP(HomeAgent, CareOf1, 0x1001, 2)
	e.apply(xfrm.PutSA{SA: s})
	if got, err := e.b.Get(ctx, s.ID()); err != nil || !got.Same(s) || got.Stats.Packets != 0 || !got.Stats.LastUsed.IsZero() {
		e.Fatalf("Get: %+v, %v; put %+v", got, err, s)
	}
	spi, err := e.b.AllocSPI(ctx, ESP(HomeAgent, CareOf1, 0, 2))
	if err != nil {
		e.Fatal(err)
	}
	for _, id := range []xfrm.ID{
		{Dst: CareOf1, SPI: spi, Proto: xfrm.ESP},
		{Dst: CareOf2, SPI: s.SPI, Proto: xfrm.ESP},
		{Dst: HomeAgent, Src: HomeAddress, Proto: xfrm.HAO},
	} {
		if got, err := e.b.Get(ctx, id); !errors.Is(err, xfrm.ErrNotFound) {
			e.Fatalf("Get of %+v: %+v, %v; want ErrNotFound", id, got, err)
		}
	}
	if !e.caps.MIP6 {
		return
	}
	hao := xfrm.SA{Src: HomeAddress, Dst: HomeAgent, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: CareOf1}
	other := hao
	other.Src, other.CareOf = Peer, CareOf2
	e.apply(xfrm.PutSA{SA: hao}, xfrm.PutSA{SA: other})
	for _, want := range []xfrm.SA{hao, other} {
		if got, err := e.b.Get(ctx, want.ID()); err != nil || !got.Same(want) {
			e.Fatalf("Get: %+v, %v; put %+v", got, err, want)
		}
	}
}

// ah: authentication headers with the algorithms that IKE negotiates.
func (e *env) ah() {
	e.need(e.caps.AH6, "AH6")
	mk := func(end int, spi xfrm.SPI, name string, key, trunc int) xfrm.SA {
		ends := []xfrm.SA{{Src: HomeAddress, Dst: Peer}, {Src: Peer, Dst: HomeAddress}}
		s := ends[end]
		s.SPI, s.Proto, s.ReqID, s.Replay = spi, xfrm.AH, 9, xfrm.Replay{Window: 64}
		s.Auth = xfrm.Auth{Name: name, Key: bytes.Repeat([]byte{byte(spi)}, key), TruncBits: trunc}
		return s
	}
	out := mk(0, 0x1011, "hmac(sha256)", 32, 128)
	in := mk(1, 0x1012, "hmac(sha1)", 20, 96)
	e.apply(xfrm.PutSA{SA: out}, xfrm.PutSA{SA: in})
	e.wantSAs(out, in)
	// The same SPI for ESP is another SA.
	if e.caps.ESP6 {
		esp := ESP(HomeAddress, Peer, out.SPI, 9)
		esp.Mode = xfrm.Transport
		e.apply(xfrm.PutSA{SA: esp}, xfrm.DelSA{ID: esp.ID()})
		e.wantSAs(out, in)
	}
	if ops := xfrm.Diff(e.dump(), xfrm.Snapshot{SAs: []xfrm.SA{out, in}}); len(ops) != 0 {
		e.Fatalf("Diff of what is there: %+v", ops)
	}
	longer := in
	longer.Auth = xfrm.Auth{Name: "hmac(sha512)", Key: bytes.Repeat([]byte{3}, 64), TruncBits: 256}
	want := xfrm.Snapshot{SAs: []xfrm.SA{longer}}
	e.apply(xfrm.Diff(e.dump(), want)...)
	e.wantSAs(want.SAs...)
}
