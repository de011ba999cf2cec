package xfrmtest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/xfrm"
)

// migrate moves the templates of the policy and all states of the moves, removes
// larval ones, and tells the watchers, even where there was no state.
func (f *Fake) migrate(g xfrm.Migration) error {
	for _, m := range g.Moves {
		if unset(m.NewSrc) || unset(m.NewDst) {
			return fmt.Errorf("xfrmtest: migration to %v→%v: %w", m.NewSrc, m.NewDst, xfrm.ErrUnsupported)
		}
	}
	if len(g.Moves) == 0 || len(g.Moves) > 6 {
		return fmt.Errorf("xfrmtest: %d moves: %w", len(g.Moves), xfrm.ErrUnsupported)
	}
	for _, m := range g.Moves {
		f.moveStates(m)
	}
	i := f.findPolicy(g.Policy)
	if i < 0 {
		return nil
	}
	for j := range f.policies[i].Templates {
		t := &f.policies[i].Templates[j]
		for _, m := range g.Moves {
			if t.Mode == xfrm.Tunnel && m.Mode == t.Mode && m.Proto == t.Proto &&
				(m.ReqID == 0 || m.ReqID == t.ReqID) && t.Src == m.OldSrc && t.Dst == m.OldDst {
				t.Src, t.Dst = m.NewSrc, m.NewDst
				break
			}
		}
	}
	g.Policy.Sel = g.Policy.Sel.Canonical()
	g.Moves = slices.Clone(g.Moves)
	for i := range g.Moves {
		if m := &g.Moves[i]; unset(m.OldSrc) || unset(m.OldDst) {
			m.OldSrc, m.OldDst = known(m.OldSrc), known(m.OldDst)
		}
	}
	f.emit(xfrm.Migrated{Migration: g})
	return nil
}

func (f *Fake) moveStates(m xfrm.Move) {
	if unset(m.OldSrc) || unset(m.OldDst) {
		return
	}
	var kept []xfrm.SA
	for _, s := range f.sas {
		if s.Proto != m.Proto || s.Mode != m.Mode || m.ReqID != 0 && s.ReqID != m.ReqID || s.Src != m.OldSrc || s.Dst != m.OldDst {
			kept = append(kept, s)
			continue
		}
		if s.Larval {
			continue
		}
		s.Src, s.Dst = m.NewSrc, m.NewDst
		kept = slices.DeleteFunc(kept, func(c xfrm.SA) bool { return c.ID() == s.ID() })
		kept = append(kept, s)
	}
	// A copy that stood at the new address gives way to the original.
	slices.Reverse(kept)
	seen := map[xfrm.ID]bool{}
	kept = slices.DeleteFunc(kept, func(s xfrm.SA) bool {
		dup := seen[s.ID().Canonical()] && !s.Larval
		seen[s.ID().Canonical()] = true
		return dup
	})
	slices.Reverse(kept)
	f.sas = kept
}

func unset(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

func known(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return netip.IPv6Unspecified()
	}
	return a
}
