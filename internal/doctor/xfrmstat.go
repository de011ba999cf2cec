package doctor

import (
	"fmt"

	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/xfrm/kernel"
)

// hints say what a counter most likely means where Mobile IPv6 is spoken; what it
// means at all is said by xfrm/kernel.
var hints = map[string]string{
	"XfrmInNoStates":      "Here: the other end uses keys, or a binding, that are gone on this host.",
	"XfrmInStateSeqError": "Here: an old packet was sent again, such as a replayed Binding Update.",
	"XfrmInTmplMismatch":  "Here: for example a Binding Update without ESP, or from a care-of address that has no binding.",
	"XfrmInPolBlock":      "Here: for example a Binding Update that came without protection.",
	"XfrmOutNoStates":     "Here: it is usual for the moments until IKE is done.",
}

// XfrmStat reads the counters of the calling thread's network namespace. before is
// an earlier reading, from which Delta counts, or nil.
func XfrmStat(before []control.XfrmCounter) ([]control.XfrmCounter, error) {
	now, err := kernel.ReadStats()
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	return compare(now, before), nil
}

func compare(now []kernel.Counter, before []control.XfrmCounter) []control.XfrmCounter {
	old := make(map[string]uint64, len(before))
	for _, c := range before {
		old[c.Name] = c.Value
	}
	out := make([]control.XfrmCounter, 0, len(now))
	for _, n := range now {
		c := control.XfrmCounter{Name: n.Name, Value: n.Value, Meaning: n.Meaning}
		if h := hints[n.Name]; h != "" {
			c.Meaning += " " + h
		}
		if b := old[n.Name]; n.Value > b {
			c.Delta = n.Value - b
		}
		out = append(out, c)
	}
	return out
}
