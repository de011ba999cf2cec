package kernel

import (
	"testing"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// TestSuite holds the kernel to the suite of all backends. What the running kernel
// lacks is skipped there; a kernel that has all boots by integration/vm.
func TestSuite(t *testing.T) {
	xfrmtest.Run(t, func(t *testing.T) xfrm.Backend {
		return newNetns(t).mustBackend(Options{})
	})
}

func TestCaps(t *testing.T) {
	b := newNetns(t).mustBackend(Options{})
	c := b.Caps()
	t.Logf("%+v", c)
	if c.Name != "kernel" {
		t.Errorf("name %q", c.Name)
	}
	lacks := 0
	for _, has := range []bool{c.ESP6, c.AH6, c.MIP6, c.Migrate, c.SubPolicy} {
		if !has {
			lacks++
		}
	}
	if lacks != len(c.Missing) {
		t.Errorf("%d features lack, %d are explained", lacks, len(c.Missing))
	}
	for _, m := range c.Missing {
		if m.Remedy == "" || m.Err == nil {
			t.Errorf("%s: no remedy or no error: %+v", m.Feature, m)
		}
	}
}
