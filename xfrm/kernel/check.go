package kernel

import (
	"errors"
	"fmt"

	"github.com/mip6/mip6/xfrm"
)

// ErrInvalid is wrapped where an object cannot be put into a message.
var ErrInvalid = errors.New("xfrm/kernel: invalid object")

func checkSA(s xfrm.SA) error {
	switch {
	case !s.Dst.IsValid() || !s.Src.IsValid():
		return fmt.Errorf("%w: an SA needs both addresses", ErrInvalid)
	case s.Dst.Is4() != s.Src.Is4():
		return fmt.Errorf("%w: SA %v→%v mixes address families", ErrInvalid, s.Src, s.Dst)
	case s.Mode == xfrm.RouteOpt && !byAddress(s.Proto):
		return fmt.Errorf("%w: route optimization mode is for hao and route2, not %v", ErrInvalid, s.Proto)
	case s.Mode != xfrm.RouteOpt && byAddress(s.Proto):
		return fmt.Errorf("%w: %v needs route optimization mode", ErrInvalid, s.Proto)
	case s.Replay.Window > 4096:
		return fmt.Errorf("%w: replay window of %d packets, the kernel has at most 4096", ErrInvalid, s.Replay.Window)
	case len(s.AEAD.Name) >= sizeAlgName || len(s.Crypt.Name) >= sizeAlgName || len(s.Auth.Name) >= sizeAlgName:
		return fmt.Errorf("%w: name of an algorithm longer than %d", ErrInvalid, sizeAlgName-1)
	}
	return nil
}

func checkPolicy(p xfrm.Policy) error {
	c := p.Sel.Canonical()
	switch {
	case len(p.Templates) > maxTemplates:
		return fmt.Errorf("%w: %d templates, at most %d", ErrInvalid, len(p.Templates), maxTemplates)
	case p.Dir > xfrm.Fwd:
		return fmt.Errorf("%w: direction %d", ErrInvalid, p.Dir)
	case c.Src.Addr().Is4() != c.Dst.Addr().Is4():
		return fmt.Errorf("%w: selector %v mixes address families", ErrInvalid, p.Sel)
	}
	return nil
}

func checkMigration(g xfrm.Migration) error {
	if n := len(g.Moves); n == 0 || n > maxTemplates {
		return fmt.Errorf("%w: %d moves in a migration, 1 to %d", ErrInvalid, n, maxTemplates)
	}
	for _, m := range g.Moves {
		if !m.NewSrc.IsValid() || !m.NewDst.IsValid() || m.NewSrc.IsUnspecified() || m.NewDst.IsUnspecified() {
			return fmt.Errorf("%w: a migration needs both new addresses (%v→%v)", ErrInvalid, m.NewSrc, m.NewDst)
		}
	}
	return nil
}
