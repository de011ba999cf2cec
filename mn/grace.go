package mn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// grace is an old care-of address at which packets under way are still accepted.
type grace struct {
	CareOf  netip.Addr
	Inbound []xfrm.SPI
	Until   time.Time
}

// leave notes the old care-of address for a grace time if packets to it can still arrive, and
// which SAs are to be accepted at it.
func (m *Machine) leave(now time.Time, from, to protect.Binding) grace {
	if from.Phase != protect.Away || from.CareOf == to.CareOf || !m.reachable(from.CareOf) {
		return grace{}
	}
	g := grace{CareOf: from.CareOf, Until: now.Add(m.cfg.Grace)}
	if m.plan.Protection == protect.MHAndPayload && m.plan.Caps.Migrate {
		for _, c := range m.s.Keys.Children {
			if c.Kind == ChildPayload {
				g.Inbound = append(g.Inbound, c.InSPI)
			}
		}
	}
	m.s.Grace = append(m.s.Grace, g)
	return g
}

// dropGrace ends the grace of one address at once.
func (m *Machine) dropGrace(a netip.Addr) []xfrm.Op {
	var ops []xfrm.Op
	keep := m.s.Grace[:0]
	for _, g := range m.s.Grace {
		if g.CareOf == a {
			ops = append(ops, protect.EndGrace(g.CareOf, protect.Grace{Inbound: g.Inbound})...)
			continue
		}
		keep = append(keep, g)
	}
	m.s.Grace = keep
	return ops
}

// expireGrace ends what is over.
func (m *Machine) expireGrace(now time.Time, out []Action) []Action {
	for i := 0; i < len(m.s.Grace); {
		if !due(m.s.Grace[i].Until, now) {
			i++
			continue
		}
		if ops := m.dropGrace(m.s.Grace[i].CareOf); len(ops) > 0 {
			out = append(out, Xfrm{Home: m.cfg.Home.Addr(), ID: m.id(), Ops: ops})
		}
		// Only the rules change: routes of a place that is lost stay as they are.
		want := m.s.Routes
		want.Rules = slices.DeleteFunc(slices.Clone(want.Rules), m.unused)
		out = m.hostOps(m.route(want, false), false, out)
	}
	return out
}

// unused tells whether a rule's source is neither in use nor in its grace time.
func (m *Machine) unused(r host.Rule) bool {
	a := r.Src.Addr()
	return a != m.cfg.Home.Addr() && a != m.s.Bind.CareOf &&
		!slices.ContainsFunc(m.s.Grace, func(g grace) bool { return g.CareOf == a })
}
