package daemon

import "github.com/mip6/mip6/xfrm/kernel"

// statsNow reads the kernel's counters of refused packets, so that status can
// tell what was added since.
func statsNow() map[string]uint64 {
	out := make(map[string]uint64)
	stats, err := kernel.ReadStats()
	if err != nil {
		return out // a kernel without CONFIG_XFRM_STATISTICS
	}
	for _, s := range stats {
		out[s.Name] = s.Value
	}
	return out
}
