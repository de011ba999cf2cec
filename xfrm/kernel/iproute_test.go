package kernel

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// The tests of this file hold the codec to another reader and writer of the same
// messages, ip(8).

func fields(s string) string { return strings.Join(strings.Fields(s), " ") }

// wantPrinted looks for each piece in what ip prints, white space apart.
func wantPrinted(t *testing.T, printed string, pieces ...string) {
	t.Helper()
	for _, p := range pieces {
		if !strings.Contains(fields(printed), fields(p)) {
			t.Errorf("ip does not print\n  %s\nbut\n%s", p, printed)
		}
	}
}

func TestIPPrintsOurSAs(t *testing.T) {
	ns := newNetns(t)
	b := ns.mustBackend(Options{})
	if !b.Caps().ESP6 || !b.Caps().MIP6 {
		t.Skipf("this kernel lacks %+v", b.Caps().Missing)
	}
	esp := xfrmtest.ESP(ha, coa1, 0x1234, 2)
	esp.Replay = xfrm.Replay{Window: 512, ESN: true, OSeq: 1<<32 | 5, Seq: 9}
	esp.Life = xfrm.Lifetimes{SoftTime: time.Hour, HardTime: 2 * time.Hour, SoftBytes: 1000, HardPackets: 77}
	esp.Encap = &xfrm.Encap{SrcPort: 4500, DstPort: 4501}
	auth := xfrm.SA{
		Src: hoa, Dst: ha, SPI: 0x99, Proto: xfrm.ESP, ReqID: 1, Mark: 5,
		Crypt:  xfrm.Crypt{Name: "cbc(aes)", Key: []byte("0123456789abcdef")},
		Auth:   xfrm.Auth{Name: "hmac(sha256)", Key: []byte("0123456789abcdef0123456789abcdef"), TruncBits: 128},
		Sel:    xfrm.Selector{Src: netip.PrefixFrom(hoa, 128), Dst: netip.PrefixFrom(ha, 128), Proto: 135, SrcPort: 5, SrcPortMask: 0xffff},
		Replay: xfrm.Replay{Window: 32},
	}
	ro := xfrm.SA{Src: ha, Dst: hoa, Proto: xfrm.Route2, Mode: xfrm.RouteOpt, CareOf: coa1, WildRecv: true}
	for i, err := range b.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{SA: esp}, xfrm.PutSA{SA: auth}, xfrm.PutSA{SA: ro}}) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	wantPrinted(t, ns.ip("-s xfrm state"),
		"src 2001:db8:1::1 dst 2001:db8:a::100 proto esp spi 0x00001234(4660) reqid 2(0x00000002) mode tunnel",
		"flag af-unspec esn (0x10100000)",
		"aead rfc4106(gcm(aes)) 0x"+strings.Repeat("35", 20)+" (160 bits) 128",
		"encap type espinudp sport 4500 dport 4501",
		"seq-hi 0x0, seq 0x9, oseq-hi 0x1, oseq 0x5",
		"replay_window 512, bitmap-length 16",
		"limit: soft 1000(bytes), hard (INF)(bytes)", "limit: soft (INF)(packets), hard 77(packets)",
		"expire add: soft 3600(sec), hard 7200(sec)",
		"src 2001:db8:1::100 dst 2001:db8:1::1 proto esp spi 0x00000099(153) reqid 1(0x00000001) mode transport",
		"replay-window 32", "mark 0x5/0xffffffff",
		"auth-trunc hmac(sha256) 0x3031323334353637383961626364656630313233343536373839616263646566 (256 bits) 128",
		"enc cbc(aes) 0x30313233343536373839616263646566 (128 bits)",
		"sel src 2001:db8:1::100/128 dst 2001:db8:1::1/128 proto mobility-header type 5",
		"proto route2 spi 0x00000000(0) reqid 0(0x00000000) mode ro", "flag wildrecv", "coa 2001:db8:a::100",
	)
}

func TestIPPrintsOurPolicies(t *testing.T) {
	ns := newNetns(t)
	b := ns.mustBackend(Options{})
	p := xfrm.Policy{
		Sel: xfrm.Selector{Src: netip.PrefixFrom(hoa, 128), Dst: netip.PrefixFrom(ha, 64), Proto: 135, SrcPort: 5, SrcPortMask: 0xffff},
		Dir: xfrm.Fwd, Priority: 10, Mark: 7,
		Templates: []xfrm.Template{
			{Src: coa1, Dst: ha, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: 9, SPI: 0x42},
			{Proto: xfrm.HAO, Mode: xfrm.RouteOpt, Optional: true},
		},
	}
	block := xfrm.Policy{Dir: xfrm.Out, Block: true, Priority: 3}
	for i, err := range b.Apply(context.Background(), []xfrm.Op{xfrm.PutPolicy{Policy: p}, xfrm.PutPolicy{Policy: block}}) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	wantPrinted(t, ns.ip("-s xfrm policy"),
		"src 2001:db8:1::100/128 dst 2001:db8:1::1/64 proto mobility-header type 5",
		"dir fwd action allow", "priority 10", "mark 0x7/0xffffffff",
		"tmpl src 2001:db8:a::100 dst 2001:db8:1::1 proto esp spi 0x00000042(66) reqid 9(0x00000009) mode tunnel level required",
		"tmpl src :: dst :: proto hao spi 0x00000000(0) reqid 0(0x00000000) mode ro level use",
		"src ::/0 dst ::/0", "dir out action block", "priority 3",
	)
}

func TestWeReadIPsObjects(t *testing.T) {
	ns := newNetns(t)
	b := ns.mustBackend(Options{})
	ns.ip("xfrm policy add src 2001:db8:1::100/128 dst ::/0 proto mobility-header type 1 dir in priority 12 mark 3 mask 0xffffffff " +
		"tmpl src 2001:db8:a::100 dst 2001:db8:1::1 proto esp reqid 4 mode tunnel level use")
	want := xfrm.Policy{
		Sel: xfrm.Selector{Src: netip.PrefixFrom(hoa, 128), Proto: 135, SrcPort: 1, SrcPortMask: 0xffff},
		Dir: xfrm.In, Priority: 12, Mark: 3,
		Templates: []xfrm.Template{{Src: coa1, Dst: ha, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: 4, Optional: true}},
	}
	var got []xfrm.Object
	each := func(o xfrm.Object) error { got = append(got, o); return nil }
	if err := b.Dump(context.Background(), xfrm.Filter{Policies: true}, each); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !got[0].(xfrm.Policy).Same(want) {
		t.Fatalf("policies %+v, want %+v", got, want)
	}
	// Deleting by the ID of a dump works, mark and host bits included.
	if err := b.Apply(context.Background(), []xfrm.Op{xfrm.DelPolicy{ID: got[0].(xfrm.Policy).ID()}})[0]; err != nil {
		t.Fatal(err)
	}
	if out := ns.ip("xfrm policy"); strings.TrimSpace(out) != "" {
		t.Errorf("policies left: %s", out)
	}
	if !b.Caps().ESP6 || !b.Caps().MIP6 {
		t.Skipf("this kernel lacks %+v", b.Caps().Missing)
	}
	ns.ip("xfrm state add src 2001:db8:1::1 dst 2001:db8:a::100 proto esp spi 0x77 reqid 6 mode tunnel replay-window 20 " +
		"aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128 limit packet-soft 10")
	ns.ip("xfrm state add src 2001:db8:1::100 dst 2001:db8:1::1 proto hao mode ro coa 2001:db8:b::100")
	got = nil
	if err := b.Dump(context.Background(), xfrm.Filter{SAs: true}, each); err != nil {
		t.Fatal(err)
	}
	key := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	wants := []xfrm.SA{
		{Src: hoa, Dst: ha, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: coa2},
		{Src: ha, Dst: coa1, SPI: 0x77, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: 6, Replay: xfrm.Replay{Window: 20},
			AEAD: xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: key, ICVBits: 128}, Life: xfrm.Lifetimes{SoftPackets: 10}},
	}
	if len(got) != 2 {
		t.Fatalf("SAs %+v", got)
	}
	for _, w := range wants {
		if !got[0].(xfrm.SA).Same(w) && !got[1].(xfrm.SA).Same(w) {
			t.Errorf("no SA %+v among %+v", w, got)
		}
	}
}
