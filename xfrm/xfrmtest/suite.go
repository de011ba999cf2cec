package xfrmtest

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// Addresses of the suite, from the documentation prefix.
var (
	HomeAddress = netip.MustParseAddr("2001:db8:1::100")
	HomeAgent   = netip.MustParseAddr("2001:db8:1::1")
	CareOf1     = netip.MustParseAddr("2001:db8:a::100")
	CareOf2     = netip.MustParseAddr("2001:db8:b::100")
	Peer        = netip.MustParseAddr("2001:db8:c::1")
)

// Run holds a backend to what package xfrm says of it. open gives a backend with
// empty databases, and cleans up by t.Cleanup; what the backend's Caps lacks is
// skipped with the reason.
func Run(t *testing.T, open func(t *testing.T) xfrm.Backend) {
	for _, c := range []struct {
		name string
		run  func(*env)
	}{
		{"PutDumpDelete", (*env).putDumpDelete},
		{"Replace", (*env).replace},
		{"ReplacedKeys", (*env).replacedKeys},
		{"GoesOnAfterError", (*env).goesOn},
		{"AllocSPI", (*env).allocSPI},
		{"Get", (*env).get},
		{"AH", (*env).ah},
		{"Policies", (*env).policies},
		{"SubPolicies", (*env).subPolicies},
		{"RouteOptimization", (*env).routeOptimization},
		{"MigrateTunnel", (*env).migrateTunnel},
		{"MigrateWithoutState", (*env).migrateWithoutState},
		{"MigrateWithoutPolicy", (*env).migrateWithoutPolicy},
		{"MigrateLarval", (*env).migrateLarval},
		{"MigrateTwoStates", (*env).migrateTwoStates},
		{"MigrateOntoCopy", (*env).migrateOntoCopy},
		{"MigrateTwice", (*env).migrateTwice},
		{"MigrateForward", (*env).migrateForward},
		{"MigrateBehindWiderPolicy", (*env).migrateBehind},
		{"MigrateTransport", (*env).migrateTransport},
		{"MigrateSource", (*env).migrateSource},
		{"CopySA", (*env).copySA},
		{"ReplayKept", (*env).replayKept},
		{"Remap", (*env).remap},
		{"Watch", (*env).watch},
		{"WatchBehindWiderPolicy", (*env).watchBehind},
		{"Concurrent", (*env).concurrent},
		{"Diff", (*env).diff},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			c.run(&env{T: t, b: b, caps: b.Caps()})
		})
	}
}

type env struct {
	*testing.T
	b    xfrm.Backend
	caps xfrm.Caps
}

// need skips the test where the backend lacks a feature.
func (e *env) need(has bool, feature string) {
	e.Helper()
	if !has {
		e.Skipf("the backend %q lacks %s", e.caps.Name, feature)
	}
}

// apply carries out operations that must all succeed.
func (e *env) apply(ops ...xfrm.Op) {
	e.Helper()
	for i, err := range e.b.Apply(context.Background(), ops) {
		if err != nil {
			e.Fatalf("operation %d of %d, %#v: %v", i+1, len(ops), ops[i], err)
		}
	}
}

func (e *env) dump() xfrm.Snapshot {
	e.Helper()
	var now xfrm.Snapshot
	err := e.b.Dump(context.Background(), xfrm.Filter{SAs: true, Policies: true}, func(o xfrm.Object) error {
		switch o := o.(type) {
		case xfrm.SA:
			now.SAs = append(now.SAs, o)
		case xfrm.Policy:
			now.Policies = append(now.Policies, o)
		}
		return nil
	})
	if err != nil {
		e.Fatalf("dump: %v", err)
	}
	return now
}

// sas gives the SAs with keys.
func (e *env) sas() []xfrm.SA {
	e.Helper()
	var live []xfrm.SA
	for _, s := range e.dump().SAs {
		if !s.Larval {
			live = append(live, s)
		}
	}
	return live
}

// sa gives the SA with this ID; it must be there.
func (e *env) sa(id xfrm.ID) xfrm.SA {
	e.Helper()
	for _, s := range e.sas() {
		if s.ID().Canonical() == id.Canonical() {
			return s
		}
	}
	e.Fatalf("no SA %+v among %+v", id, e.sas())
	return xfrm.SA{}
}

// wantSAs compares what is there with what should be.
func (e *env) wantSAs(want ...xfrm.SA) {
	e.Helper()
	got := e.sas()
	if len(got) != len(want) {
		e.Fatalf("%d SAs, want %d: %+v", len(got), len(want), got)
	}
	for _, w := range want {
		if s := e.sa(w.ID()); !s.Same(w) {
			e.Fatalf("SA\n  %+v\nwant\n  %+v", s, w)
		}
	}
}

func (e *env) wantPolicies(want ...xfrm.Policy) {
	e.Helper()
	got := e.dump().Policies
	if len(got) != len(want) {
		e.Fatalf("%d policies, want %d: %+v", len(got), len(want), got)
	}
next:
	for _, w := range want {
		for _, p := range got {
			if p.Same(w) {
				continue next
			}
		}
		e.Fatalf("no policy\n  %+v\namong\n  %+v", w, got)
	}
}

func (e *env) putDumpDelete() {
	e.need(e.caps.ESP6, "ESP6")
	full := ESP(HomeAgent, CareOf1, 0x1001, 2)
	full.Life = xfrm.Lifetimes{SoftTime: time.Hour, HardTime: 2 * time.Hour, SoftBytes: 1 << 40, HardBytes: 1 << 41, SoftPackets: 1 << 30, HardPackets: 1 << 31}
	full.Replay = xfrm.Replay{Window: 512, ESN: true}
	auth := xfrm.SA{
		Src: HomeAgent, Dst: HomeAddress, SPI: 0x1002, Proto: xfrm.ESP, ReqID: 1,
		Crypt:  xfrm.Crypt{Name: "cbc(aes)", Key: bytes.Repeat([]byte{7}, 16)},
		Auth:   xfrm.Auth{Name: "hmac(sha256)", Key: bytes.Repeat([]byte{8}, 32), TruncBits: 128},
		Sel:    xfrm.Selector{Src: netip.PrefixFrom(HomeAgent, 128), Dst: netip.PrefixFrom(HomeAddress, 128), Proto: 135},
		Replay: xfrm.Replay{Window: 32},
	}
	e.apply(xfrm.PutSA{SA: full}, xfrm.PutSA{SA: auth})
	e.wantSAs(full, auth)
	e.apply(xfrm.DelSA{ID: full.ID()}, xfrm.DelSA{ID: full.ID()})
	e.wantSAs(auth)
	e.apply(xfrm.DelSA{ID: auth.ID()})
	e.wantSAs()
}

func (e *env) replace() {
	e.need(e.caps.ESP6, "ESP6")
	s := ESP(HomeAgent, CareOf1, 0x1001, 2)
	e.apply(xfrm.PutSA{SA: s})
	s.Life.HardTime = time.Hour
	e.apply(xfrm.PutSA{SA: s})
	e.wantSAs(s)
}

// replacedKeys: a Put over a live SA with other keys, request id or source.
func (e *env) replacedKeys() {
	e.need(e.caps.ESP6, "ESP6")
	s := ESP(HomeAgent, CareOf1, 0x1001, 2)
	e.apply(xfrm.PutSA{SA: s})
	s.AEAD.Key = bytes.Repeat([]byte{0x55}, 20)
	s.ReqID = 3
	e.apply(xfrm.PutSA{SA: s})
	e.wantSAs(s)
	s.Src = Peer
	e.apply(xfrm.PutSA{SA: s})
	e.wantSAs(s)
}

func (e *env) goesOn() {
	e.need(e.caps.ESP6, "ESP6")
	s := ESP(HomeAgent, CareOf1, 0x1001, 2)
	bad := ESP(HomeAgent, CareOf1, 0x1002, 2)
	bad.Mode = xfrm.RouteOpt
	errs := e.b.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{SA: bad}, xfrm.PutSA{SA: s}, xfrm.CopySA{From: bad.ID(), NewDst: CareOf2}})
	if len(errs) != 3 || errs[0] == nil || errs[1] != nil || !errors.Is(errs[2], xfrm.ErrNotFound) {
		e.Fatalf("errors %v, want one, none, ErrNotFound", errs)
	}
	e.wantSAs(s)
}

func (e *env) allocSPI() {
	e.need(e.caps.ESP6, "ESP6")
	want := ESP(HomeAgent, CareOf1, 0, 2)
	a, err := e.b.AllocSPI(context.Background(), want)
	if err != nil || a == 0 {
		e.Fatalf("AllocSPI: %v, %v", a, err)
	}
	b, err := e.b.AllocSPI(context.Background(), want)
	if err != nil || b == a {
		e.Fatalf("second AllocSPI: %v, %v; the first was %v", b, err, a)
	}
	for _, s := range e.dump().SAs {
		if !s.Larval {
			e.Fatalf("a reserved SPI is not larval: %+v", s)
		}
	}
	s := ESP(HomeAgent, CareOf1, a, 2)
	e.apply(xfrm.PutSA{SA: s})
	e.wantSAs(s)
	e.apply(xfrm.DelSA{ID: xfrm.ID{Dst: CareOf1, SPI: b, Proto: xfrm.ESP}})
	if got := e.dump().SAs; len(got) != 1 {
		e.Fatalf("after deleting the reservation: %+v", got)
	}
	want.SPI = 0x4242
	if c, err := e.b.AllocSPI(context.Background(), want); err != nil || c != 0x4242 {
		e.Fatalf("AllocSPI of 0x4242: %v, %v", c, err)
	}
}
