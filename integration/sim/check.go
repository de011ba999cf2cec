package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

// Check looks whether everything is as it should be once nothing changes any more: it is
// to be asked when whatever lingers after the last change has had its time.
func (w *World) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	for _, f := range w.faults {
		bad("%s", f)
	}
	for _, h := range w.Hosts {
		for _, s := range h.db().SAs {
			if s.Larval && s.Proto != xfrm.HAO { // one of those only keeps the kernel from asking again
				bad("%s: larval SA %v reqid %#x %v -> %v", h.Name, s.SPI, uint32(s.ReqID), s.Src, s.Dst)
			}
		}
		if h.Node != nil {
			errs = append(errs, h.checkSizes()...)
		}
		if !h.agent && h.MN != nil && w.Agent().HA != nil {
			errs = append(errs, w.checkNode(h)...)
		}
	}
	errs = append(errs, w.checkSAs()...)
	return errors.Join(errs...)
}

// checkSizes: nothing is under way, and there is one IKE SA with two children for each home at most.
func (h *Host) checkSizes() (errs []error) {
	s := h.Node.Stats()
	keyed := 0
	for _, i := range h.IKE.Snapshot() {
		if i.State == "orphans" { // children without an IKE SA
			continue
		}
		if i.State != "established" {
			errs = append(errs, fmt.Errorf("%s: IKE SA %x is %s", h.Name, i.SA, i.State))
		}
		keyed++
	}
	if s.IKESAs != keyed || s.IKESAs > s.Homes {
		errs = append(errs, fmt.Errorf("%s: %d IKE SAs coupled, %d in IKE, %d homes", h.Name, s.IKESAs, keyed, s.Homes))
	}
	if s.Installed > 2*s.Homes {
		errs = append(errs, fmt.Errorf("%s: %d pairs of child SAs for %d homes", h.Name, s.Installed, s.Homes))
	}
	if slices.ContainsFunc(h.w.Nodes(), func(n *Host) bool {
		_, home := n.place()
		return home && n.keyless() && (n == h || h.agent)
	}) {
		s.Stale = 0 // see checkSAs
	}
	s.Homes, s.IKESAs, s.Installed = 0, 0, 0
	if s != (couple.Stats{}) {
		errs = append(errs, fmt.Errorf("%s: left under way: %+v", h.Name, s))
	}
	return errs
}

// keyless tells whether the program has no IKE SA that stands.
func (h *Host) keyless() bool {
	return h.IKE == nil || !slices.ContainsFunc(h.IKE.Snapshot(), func(i ike.SAInfo) bool { return i.State == "established" })
}

// place is where a node should be: the links that it is attached to.
func (h *Host) place() (away, home bool) {
	for _, i := range h.ifaces {
		away = away || i.link != nil && !i.link.Home
		home = home || i.link != nil && i.link.Home
	}
	return away, home
}

// checkNode: the binding is the care-of address, which is where the node is, and payload passes.
func (w *World) checkNode(h *Host) (errs []error) {
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf(h.Name+": "+format, a...))
	}
	info := h.MN.Info()
	node, known := w.Agent().HA.Lookup(h.Home)
	away, home := h.place()
	switch {
	case home:
		if info.State != mn.StateHome {
			bad("at home, and its state is %v", info.State)
		}
		if known && node.State == ha.Bound {
			bad("at home, and bound to %v", node.CareOf)
		}
	case away:
		if info.State != mn.StateRegistered {
			bad("away, and its state is %v (%s)", info.State, info.StatusText)
		}
		if !known || node.State != ha.Bound || node.CareOf != info.CareOf {
			bad("care-of address %v, the agent has %v (%v)", info.CareOf, node.CareOf, node.State)
		}
		if !h.has(info.CareOf) {
			bad("care-of address %v is not where it is", info.CareOf)
		}
	default:
		if info.State != mn.StateDetached && info.State != mn.StateStarting {
			bad("nowhere, and its state is %v", info.State)
		}
		return errs
	}
	if err := w.Reachable(h); err != nil {
		bad("payload: %w", err)
	}
	return errs
}

// pair names an SA as both ends have it.
type pair struct {
	src, dst netip.Addr
	spi      xfrm.SPI
	mode     xfrm.Mode
}

func (h *Host) pairs() (out []pair) {
	for _, s := range h.db().SAs {
		if s.Proto == xfrm.ESP && !s.Larval && s.Src != Correspondent && s.Dst != Correspondent {
			out = append(out, pair{s.Src, s.Dst, s.SPI, s.Mode})
		}
	}
	return out
}

// checkSAs: no SA of either side that the other has not, with the same addresses. (At home the
// tunnel is unused, and each end has it where it was when it ceased to use it.)
func (w *World) checkSAs() (errs []error) {
	agent := w.Agent()
	all, somewhere := map[pair]bool{}, map[xfrm.SPI]bool{}
	for _, p := range agent.pairs() {
		all[p], somewhere[p.spi] = true, true
	}
	// One that is nowhere cannot know what became of the others. One that is at home and lost its
	// IKE SA has no use for the children and lets them be until others come or they end.
	quiet := func(h *Host) bool {
		away, home := h.place()
		return !away && !home || home && h.keyless()
	}
	unsure := false
	seen := map[pair]bool{}
	athome := map[xfrm.SPI]bool{}
	for _, h := range w.Nodes() {
		unsure = unsure || quiet(h)
		_, home := h.place()
		for _, p := range h.pairs() {
			seen[p] = true
			if home && p.mode == xfrm.Tunnel {
				athome[p.spi] = true
			}
			if !all[p] && !(athome[p.spi] && somewhere[p.spi]) && !quiet(h) {
				errs = append(errs, fmt.Errorf("%s: SA %v %v -> %v is not at the agent", h.Name, p.spi, p.src, p.dst))
			}
		}
	}
	if unsure {
		return errs
	}
	for _, p := range agent.pairs() {
		if !seen[p] && !athome[p.spi] {
			errs = append(errs, fmt.Errorf("ha: SA %v %v -> %v is at no node", p.spi, p.src, p.dst))
		}
	}
	return errs
}

// SPIs are those of a host's child SAs, sorted.
func (h *Host) SPIs() (out []xfrm.SPI) {
	for _, p := range h.pairs() {
		if !slices.Contains(out, p.spi) {
			out = append(out, p.spi)
		}
	}
	slices.Sort(out)
	return out
}

// Registered tells whether node and agent agree on the node's present care-of address.
func (w *World) Registered(h *Host) bool {
	if h.MN == nil || w.Agent().HA == nil {
		return false
	}
	info := h.MN.Info()
	node, ok := w.Agent().HA.Lookup(h.Home)
	return ok && info.State == mn.StateRegistered && node.State == ha.Bound && node.CareOf == info.CareOf && h.has(info.CareOf)
}

// AtHome tells whether both know that the node is at home.
func (w *World) AtHome(h *Host) bool {
	if h.MN == nil || w.Agent().HA == nil {
		return false
	}
	node, ok := w.Agent().HA.Lookup(h.Home)
	return h.MN.Info().State == mn.StateHome && (!ok || node.State != ha.Bound)
}
