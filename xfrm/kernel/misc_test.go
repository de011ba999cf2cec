package kernel

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

func TestThresholdsRestored(t *testing.T) {
	ns := newNetns(t)
	b := ns.mustBackend(Options{})
	before, err := b.Thresholds(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := Thresholds{Local: 0, Remote: 128}
	second := ns.mustBackend(Options{Thresholds: &want})
	if got, err := b.Thresholds(context.Background()); err != nil || got != want {
		t.Errorf("thresholds %+v, %v", got, err)
	}
	if s := second.SavedThresholds(); s == nil || *s != before {
		t.Errorf("saved %+v, want %+v", s, before)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if got, err := b.Thresholds(context.Background()); err != nil || got != before {
		t.Errorf("after Close: %+v, %v; before: %+v", got, err, before)
	}
	if err := b.SetThresholds(context.Background(), Thresholds{Local: 129}); !errors.Is(err, ErrInvalid) {
		t.Errorf("129 bits: %v", err)
	}
}

func TestClosed(t *testing.T) {
	b := newNetns(t).mustBackend(Options{Sockets: 1})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(context.Background(), []xfrm.Op{xfrm.DelSA{}})[0]; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	b := newNetns(t).mustBackend(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Apply(ctx, []xfrm.Op{xfrm.DelSA{}})[0]; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := b.Dump(ctx, xfrm.Filter{Policies: true}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDumpStops: an error of the caller ends a dump, and nothing is left over that
// would disturb the next one.
func TestDumpStops(t *testing.T) {
	b := newNetns(t).mustBackend(Options{})
	var ops []xfrm.Op
	for i := range 500 {
		p := xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2)
		p.Sel.SrcPort, p.Sel.SrcPortMask, p.Sel.Proto = uint16(i), 0xffff, 17
		ops = append(ops, xfrm.PutPolicy{Policy: p})
	}
	for _, err := range b.Apply(context.Background(), ops) {
		if err != nil {
			t.Fatal(err)
		}
	}
	enough := errors.New("enough")
	n := 0
	err := b.Dump(context.Background(), xfrm.Filter{Policies: true}, func(xfrm.Object) error {
		if n++; n == 10 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 10 {
		t.Fatalf("%d objects, %v", n, err)
	}
	n = 0
	if err := b.Dump(context.Background(), xfrm.Filter{Policies: true}, func(xfrm.Object) error { n++; return nil }); err != nil || n != 500 {
		t.Fatalf("%d objects, %v", n, err)
	}
}

// TestInvalid: what cannot be put into a message never reaches the kernel.
func TestInvalid(t *testing.T) {
	b := newNetns(t).mustBackend(Options{})
	long := strings.Repeat("x", 64)
	deep := xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2)
	deep.Templates = make([]xfrm.Template, 7)
	v4 := netip.MustParseAddr("192.0.2.1")
	ops := []xfrm.Op{
		xfrm.PutSA{}, xfrm.PutSA{SA: xfrm.SA{Src: ha, Dst: v4, Proto: xfrm.ESP}},
		xfrm.PutSA{SA: xfrm.SA{Src: ha, Dst: ha, Proto: xfrm.ESP, AEAD: xfrm.AEAD{Name: long}}},
		xfrm.PutSA{SA: xfrm.SA{Src: ha, Dst: ha, Proto: xfrm.ESP, Replay: xfrm.Replay{Window: 5000}}},
		xfrm.PutSA{SA: xfrm.SA{Src: ha, Dst: ha, Proto: xfrm.HAO}},
		xfrm.PutPolicy{Policy: deep}, xfrm.PutPolicy{Policy: xfrm.Policy{Dir: 3}},
		xfrm.PutPolicy{Policy: xfrm.Policy{Sel: xfrm.Selector{Src: netip.PrefixFrom(v4, 32), Dst: netip.PrefixFrom(ha, 128)}}},
		xfrm.Migrate{}, xfrmtest.Move(xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2), ha, coa1, ha, netip.Addr{}),
	}
	for i, err := range b.Apply(context.Background(), ops) {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

// TestMissingFeature: an SA that this kernel cannot have gives the typed error.
func TestMissingFeature(t *testing.T) {
	b := newNetns(t).mustBackend(Options{})
	s := xfrmtest.ESP(ha, coa1, 0x55, 1)
	s.AEAD.Name = "rfc9999(none)"
	want := "algorithm rfc9999(none)"
	if !b.Caps().ESP6 {
		// Whether the protocol or its algorithm is told to be missing is the kernel's choice.
		s.AEAD.Name, want = "rfc4106(gcm(aes))", "algorithm rfc4106(gcm(aes))"
	}
	err := b.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{SA: s}})[0]
	fe := new(xfrm.FeatureError)
	if !errors.As(err, &fe) || fe.Feature != want && fe.Feature != "ESP6" || !errors.Is(err, xfrm.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func TestStats(t *testing.T) {
	got, err := parseStats(strings.NewReader("XfrmInError             \t7\ngarbage\nXfrmInNoPols\tx\nXfrmBrandNew 3\n"))
	if err != nil || len(got) != 2 || got[0].Value != 7 || got[0].Meaning == "" || got[1].Name != "XfrmBrandNew" || got[1].Meaning != "" {
		t.Errorf("%+v, %v", got, err)
	}
	all, err := ReadStats()
	if errors.Is(err, xfrm.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Meaning == "" {
			t.Errorf("%s is not explained", c.Name)
		}
	}
}

// TestOverrun: a sink that sleeps while much happens gets Lost.
func TestOverrun(t *testing.T) {
	b := newNetns(t).mustBackend(Options{WatchBuffer: 1}) // the kernel's least
	p := xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2)
	there := xfrmtest.Move(p, ha, coa1, ha, coa2)
	back := xfrmtest.Move(p, ha, coa2, ha, coa1)
	b.Apply(context.Background(), []xfrm.Op{xfrm.PutPolicy{Policy: p}})
	ctx, cancel := context.WithCancel(context.Background())
	first, proceed, lost := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	done := make(chan error, 1)
	heard := false
	go func() {
		done <- b.Watch(ctx, func(ev xfrm.Event) {
			if !heard {
				heard = true
				close(first)
				<-proceed
			}
			if l, ok := ev.(xfrm.Lost); ok {
				select {
				case lost <- l.Err:
				default:
				}
			}
		})
	}()
	for listening := false; !listening; {
		b.Apply(context.Background(), []xfrm.Op{there, back})
		select {
		case <-first:
			listening = true
		default:
		}
	}
	for range 100 {
		for _, err := range b.Apply(context.Background(), []xfrm.Op{there, back}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	close(proceed)
	if err := <-lost; !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("lost: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPermission runs itself as nobody.
func TestPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		ns := newNetns(t)
		var err error
		e := ns.do(func() { // the thread ends with this: its capabilities may go
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err = unix.Capset(&hdr, &none[0]); err == nil {
				_, err = Open(Options{})
			}
		})
		if e != nil || !errors.Is(err, xfrm.ErrPermission) {
			t.Errorf("%v, %v", e, err)
		}
		return
	}
	if _, err := Open(Options{}); !errors.Is(err, xfrm.ErrPermission) {
		t.Errorf("%v", err)
	}
}
