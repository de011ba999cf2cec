package story

import (
	"os/exec"
	"strings"

	"github.com/mip6/mip6/xfrm/kernel"
)

// KernelLacks names what the running kernel lacks for the story; empty: nothing. It
// loads the modules that have it, where there are any.
func KernelLacks() string {
	var lacks []string
	for _, module := range []string{"xfrm_user", "esp6", "mip6"} {
		exec.Command("modprobe", "-q", module).Run() // built in, or told by the probe below
	}
	b, err := kernel.Open(kernel.Options{})
	if err != nil {
		return err.Error()
	}
	defer b.Close()
	caps := b.Caps()
	for _, f := range []struct {
		has  bool
		name string
	}{{caps.ESP6, "ESP"}, {caps.MIP6, "Mobile IPv6 headers"}, {caps.Migrate, "XFRM migration"}} {
		if !f.has {
			lacks = append(lacks, f.name)
		}
	}
	return strings.Join(lacks, ", ")
}
