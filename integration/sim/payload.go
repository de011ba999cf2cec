package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// Correspondent is an address somewhere in the network.
var Correspondent = netip.MustParseAddr("2001:db8:99::1")

const protoUDP = 17

// Uplink tells why a packet of a node's home address would not reach the correspondent now; nil:
// it would. Of routers on the way nothing is asked but that they are there.
func (w *World) Uplink(h *Host) error {
	f := flow{src: h.Home, dst: Correspondent, proto: protoUDP}
	if !h.local(h.Home) {
		return fmt.Errorf("the node has no home address")
	}
	db := h.db()
	p := policy(db, xfrm.Out, f)
	if p == nil || !p.Block && len(p.Templates) == 0 {
		return w.plainUp(h, f)
	}
	if p.Block {
		return fmt.Errorf("the node's policy blocks")
	}
	bundle, missing := resolve(db, p, f)
	if missing >= 0 {
		return fmt.Errorf("the node has no outbound SA")
	}
	if len(bundle) == 0 {
		return w.plainUp(h, f)
	}
	s := bundle[0]
	if h.egress(s.Src, s.Dst) == nil {
		return fmt.Errorf("no way from %v", s.Src)
	}
	agent := w.owner(s.Dst)
	if agent == nil {
		return fmt.Errorf("nobody has %v", s.Dst)
	}
	in := state(agent.db(), s.Dst, s.SPI)
	if in == nil {
		return fmt.Errorf("the agent has no SA %v", s.SPI)
	}
	if err := admit(agent.db(), xfrm.Fwd, f, []xfrm.SA{*in}); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

func (w *World) plainUp(h *Host, f flow) error {
	if l := h.egress(f.src, f.dst); l == nil || !l.Home {
		return fmt.Errorf("unprotected, and not at home")
	}
	return nil
}

// Downlink is the same for a packet from the correspondent to the home address.
func (w *World) Downlink(h *Host) error {
	f := flow{src: Correspondent, dst: h.Home, proto: protoUDP}
	agent := w.defender(h.Home)
	if agent == nil {
		if !h.has(h.Home) {
			return fmt.Errorf("nobody has the home address")
		}
		return admit(h.db(), xfrm.In, f, nil)
	}
	db := agent.db()
	if err := admit(db, xfrm.Fwd, f, nil); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	p := policy(db, xfrm.Out, f)
	if p == nil || p.Block || len(p.Templates) == 0 {
		return fmt.Errorf("the agent has no tunnel")
	}
	bundle, missing := resolve(db, p, f)
	if missing >= 0 || len(bundle) == 0 {
		return fmt.Errorf("the agent has no outbound SA")
	}
	s := bundle[0]
	if !h.has(s.Dst) {
		return fmt.Errorf("the node is not at %v", s.Dst)
	}
	in := state(h.db(), s.Dst, s.SPI)
	if in == nil {
		return fmt.Errorf("the node has no SA %v at %v", s.SPI, s.Dst)
	}
	if err := admit(h.db(), xfrm.In, f, []xfrm.SA{*in}); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if !h.local(h.Home) {
		return fmt.Errorf("the node has no home address")
	}
	return nil
}

// Reachable tells why payload would not pass in both directions now; nil: it would.
func (w *World) Reachable(h *Host) error {
	if err := w.Uplink(h); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	if err := w.Downlink(h); err != nil {
		return fmt.Errorf("down: %w", err)
	}
	return nil
}

// leaks tells whether what the home address sends would leave in the clear elsewhere than at home.
func (h *Host) leaks() bool {
	if !h.local(h.Home) {
		return false
	}
	f := flow{src: h.Home, dst: Correspondent, proto: protoUDP}
	db := h.db()
	p := policy(db, xfrm.Out, f)
	if p != nil && p.Block {
		return false
	}
	if p != nil {
		if bundle, missing := resolve(db, p, f); missing >= 0 || len(bundle) > 0 {
			return false
		}
	}
	l := h.route(h.Home, Correspondent)
	return l != nil && !l.Home
}

// Meter measures for how long payload of a node does not pass.
type Meter struct {
	w        *World
	h        *Host
	Up, Down Outage
}

// Outage is the time without service in one direction.
type Outage struct {
	Total, Longest time.Duration
	Why            error // of the last one
	since          time.Time
}

// Measure begins to measure. The simulation is slower for it.
func (w *World) Measure(h *Host) *Meter {
	m := &Meter{w: w, h: h}
	w.meters = append(w.meters, m)
	m.look()
	return m
}

func (m *Meter) look() {
	m.Up.note(m.w.Now, m.w.Uplink(m.h))
	m.Down.note(m.w.Now, m.w.Downlink(m.h))
}

func (o *Outage) note(now time.Time, err error) {
	if !o.since.IsZero() {
		o.Longest = max(o.Longest, now.Sub(o.since))
	}
	switch {
	case err != nil && o.since.IsZero():
		o.since, o.Why = now, err
	case err == nil && !o.since.IsZero():
		o.Total += now.Sub(o.since)
		o.since = time.Time{}
	}
}
