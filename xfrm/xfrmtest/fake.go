// Package xfrmtest has an in-memory xfrm.Backend for tests, and one suite of
// tests that every backend passes.
package xfrmtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/mip6/mip6/xfrm"
)

// Fake is a Backend that keeps its databases in memory and behaves as Linux does
// where the kernel backend lets it show. The zero value is not usable: New. All
// methods may be called from several goroutines.
type Fake struct {
	// Refuse, when set, is asked before each operation; an error is its result.
	Refuse func(xfrm.Op) error
	// Capabilities is what Caps gives.
	Capabilities xfrm.Caps
	// Tell, when set, is given every event at once, besides those who Watch: for a caller without
	// goroutines. It must not call the Fake.
	Tell func(xfrm.Event)

	mu       sync.Mutex
	sas      []xfrm.SA
	policies []xfrm.Policy
	sinks    map[int]chan xfrm.Event
	next     int // number of the next sink
	seq      uint32
	spi      xfrm.SPI
	index    uint32
	log      []xfrm.Op
	closed   bool
}

var _ xfrm.Backend = (*Fake)(nil)

// New gives a Fake with empty databases and every capability.
func New() *Fake {
	return &Fake{
		Capabilities: xfrm.Caps{Name: "fake", ESP6: true, AH6: true, MIP6: true, Migrate: true, SubPolicy: true, InboundTypes: true},
		sinks:        map[int]chan xfrm.Event{},
		spi:          0xc0000000,
	}
}

func (f *Fake) Caps() xfrm.Caps { return f.Capabilities }

// Close makes everything that follows fail.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// AllocSPI puts a larval SA with a new SPI, or with want.SPI if that is set.
func (f *Fake) AllocSPI(ctx context.Context, want xfrm.SA) (xfrm.SPI, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	larval := xfrm.SA{Dst: want.Dst, Src: want.Src, SPI: want.SPI, Proto: want.Proto, Mode: want.Mode, ReqID: want.ReqID, Mark: want.Mark, Larval: true}
	if larval.SPI == 0 {
		f.spi++
		larval.SPI = f.spi
	}
	if f.findSA(larval.ID()) >= 0 {
		return 0, fmt.Errorf("xfrmtest: SPI %v: %w", larval.SPI, xfrm.ErrExists)
	}
	f.sas = append(f.sas, larval)
	return larval.SPI, nil
}

// Apply carries the operations out in order and goes on after an error.
func (f *Fake) Apply(ctx context.Context, ops []xfrm.Op) []error {
	errs := make([]error, len(ops))
	for i, op := range ops {
		errs[i] = ctx.Err()
		if errs[i] == nil && f.Refuse != nil {
			errs[i] = f.Refuse(op)
		}
		if errs[i] == nil {
			errs[i] = f.apply(op)
		}
	}
	return errs
}

func (f *Fake) apply(op xfrm.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("xfrmtest: closed")
	}
	f.log = append(f.log, op)
	switch op := op.(type) {
	case xfrm.PutSA:
		return f.putSA(op.SA)
	case xfrm.DelSA:
		if i := f.findSA(op.ID); i >= 0 {
			f.sas = slices.Delete(f.sas, i, i+1)
		}
	case xfrm.PutPolicy:
		f.putPolicy(op.Policy)
	case xfrm.DelPolicy:
		if i := f.findPolicy(op.ID); i >= 0 {
			f.policies = slices.Delete(f.policies, i, i+1)
		}
	case xfrm.CopySA:
		return f.copySA(op)
	case xfrm.Remap:
		return f.remap(op)
	case xfrm.Migrate:
		return f.migrate(op.Migration)
	default:
		return fmt.Errorf("xfrmtest: operation %T: %w", op, xfrm.ErrUnsupported)
	}
	return nil
}

func (f *Fake) findSA(id xfrm.ID) int {
	id = id.Canonical()
	for i := range f.sas {
		// Most are told apart by this much.
		if f.sas[i].SPI == id.SPI && f.sas[i].Proto == id.Proto && f.sas[i].ID().Canonical() == id {
			return i
		}
	}
	return -1
}

func (f *Fake) findPolicy(id xfrm.PolicyID) int {
	id = id.Canonical()
	for i := range f.policies {
		// Those that are kept have canonical selectors.
		if f.policies[i].Dir == id.Dir && f.policies[i].ID() == id {
			return i
		}
	}
	return -1
}

// putSA adds, replaces or fills; a larval SA of an acquire goes when it is answered.
func (f *Fake) putSA(s xfrm.SA) error {
	if s.Mode == xfrm.RouteOpt != (s.Proto == xfrm.HAO || s.Proto == xfrm.Route2) {
		return fmt.Errorf("xfrmtest: %v in mode %v: %w", s.Proto, s.Mode, xfrm.ErrUnsupported)
	}
	f.sas = slices.DeleteFunc(f.sas, func(l xfrm.SA) bool {
		answered := s.Acquire != 0 && l.Acquire == s.Acquire && l.Dst == s.Dst && l.Proto == s.Proto
		same := l.SPI == 0 && l.Src == s.Src && l.Dst == s.Dst && l.Proto == s.Proto && l.Mode == s.Mode && l.ReqID == s.ReqID
		return l.Larval && (answered || same)
	})
	s.Acquire, s.Larval, s.Stats = 0, false, xfrm.Stats{}
	i := f.findSA(s.ID())
	if i < 0 {
		f.sas = append(f.sas, clone(s))
		return nil
	}
	old := f.sas[i]
	if !old.Larval && s.Replay.OSeq == 0 && s.Replay.Seq == 0 && old.SameKeys(s) {
		s.Replay = old.Replay
		s.Stats = old.Stats
	}
	f.sas[i] = clone(s)
	return nil
}

func (f *Fake) putPolicy(p xfrm.Policy) {
	p.Sel = p.Sel.Canonical()
	p.Stats = xfrm.Stats{}
	p.Templates = slices.Clone(p.Templates)
	if i := f.findPolicy(p.ID()); i >= 0 {
		p.Index = f.policies[i].Index
		f.policies[i] = p
		return
	}
	f.index += 8
	p.Index = f.index | uint32(p.Dir)
	f.policies = append(f.policies, p)
}

func (f *Fake) copySA(op xfrm.CopySA) error {
	i := f.findSA(op.From)
	if i < 0 || f.sas[i].Larval {
		return fmt.Errorf("xfrmtest: copy of %v: %w", op.From, xfrm.ErrNotFound)
	}
	c := clone(f.sas[i])
	c.Dst = op.NewDst
	if c.ID().Canonical() == op.From.Canonical() {
		return fmt.Errorf("xfrmtest: copy of %v onto itself: %w", op.From, xfrm.ErrExists)
	}
	if j := f.findSA(c.ID()); j >= 0 {
		f.sas[j] = c
	} else {
		f.sas = append(f.sas, c)
	}
	return nil
}

func (f *Fake) remap(op xfrm.Remap) error {
	i := f.findSA(op.ID)
	switch {
	case i < 0 || f.sas[i].Larval:
		return fmt.Errorf("xfrmtest: remap of %v: %w", op.ID, xfrm.ErrNotFound)
	case f.sas[i].Encap == nil || op.Dst.Is4() != f.sas[i].Dst.Is4() || op.Src.Is4() != f.sas[i].Src.Is4():
		return fmt.Errorf("xfrmtest: remap of %v to %v: %w", op.ID, op, xfrm.ErrUnsupported)
	}
	s := f.sas[i]
	s.Src, s.Dst, s.Encap = op.Src, op.Dst, &op.Encap
	if j := f.findSA(s.ID()); j >= 0 && j != i {
		f.sas[j] = s
		f.sas = slices.Delete(f.sas, i, i+1)
		return nil
	}
	f.sas[i] = s
	return nil
}

// clone makes a copy that shares no slice.
func clone(s xfrm.SA) xfrm.SA {
	s.AEAD.Key, s.Crypt.Key, s.Auth.Key = slices.Clone(s.AEAD.Key), slices.Clone(s.Crypt.Key), slices.Clone(s.Auth.Key)
	s.Replay.Bitmap = slices.Clone(s.Replay.Bitmap)
	if s.Encap != nil {
		e := *s.Encap
		s.Encap = &e
	}
	return s
}
