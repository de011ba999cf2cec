package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// Correspondent is an address somewhere in the network.
var Correspondent = netip.MustParseAddr("2001:db8:99::1")

const protoUDP = 17

// parcel is a packet of payload that is on its way: in the clear, or in a tunnel.
type parcel struct {
	spi xfrm.SPI // 0: in the clear
	dst netip.Addr
}

func up(h *Host) flow   { return flow{src: h.Home, dst: Correspondent, proto: protoUDP} }
func down(h *Host) flow { return flow{src: Correspondent, dst: h.Home, proto: protoUDP} }

// sendUp is what becomes of a packet that the home address sends.
func (w *World) sendUp(h *Host) (parcel, error) {
	f := up(h)
	if !h.local(h.Home) {
		return parcel{}, fmt.Errorf("the node has no home address")
	}
	db := h.db()
	var bundle []xfrm.SA
	if p := policy(db, xfrm.Out, f); p != nil {
		if p.Block {
			return parcel{}, fmt.Errorf("the node's policy blocks")
		}
		var missing int
		if bundle, missing = resolve(db, p, f); missing >= 0 {
			return parcel{}, fmt.Errorf("the node has no outbound SA")
		}
	}
	if len(bundle) == 0 {
		if l := h.egress(f.src, f.dst); l == nil || !l.Home {
			return parcel{}, fmt.Errorf("unprotected, and not at home")
		}
		return parcel{}, nil
	}
	if h.egress(bundle[0].Src, bundle[0].Dst) == nil {
		return parcel{}, fmt.Errorf("no way from %v", bundle[0].Src)
	}
	return parcel{bundle[0].SPI, bundle[0].Dst}, nil
}

// takeUp brings it to the correspondent.
func (w *World) takeUp(h *Host, p parcel) error {
	if p.spi == 0 {
		return nil
	}
	agent := w.owner(p.dst)
	if agent == nil {
		return fmt.Errorf("nobody has %v", p.dst)
	}
	in := state(agent.db(), p.dst, p.spi)
	if in == nil {
		return fmt.Errorf("the agent has no SA %v", p.spi)
	}
	if err := admit(agent.db(), xfrm.Fwd, up(h), []xfrm.SA{*in}); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

// sendDown is what becomes of a packet from the correspondent on the home link.
func (w *World) sendDown(h *Host) (parcel, error) {
	f := down(h)
	agent := w.defender(h.Home)
	if agent == nil {
		if !h.has(h.Home) {
			return parcel{}, fmt.Errorf("nobody has the home address")
		}
		return parcel{dst: h.Home}, nil
	}
	db := agent.db()
	if err := admit(db, xfrm.Fwd, f, nil); err != nil {
		return parcel{}, fmt.Errorf("agent: %w", err)
	}
	p := policy(db, xfrm.Out, f)
	if p == nil || p.Block || len(p.Templates) == 0 {
		return parcel{}, fmt.Errorf("the agent has no tunnel")
	}
	bundle, missing := resolve(db, p, f)
	if missing >= 0 || len(bundle) == 0 {
		return parcel{}, fmt.Errorf("the agent has no outbound SA")
	}
	return parcel{bundle[0].SPI, bundle[0].Dst}, nil
}

// takeDown brings it to the node.
func (w *World) takeDown(h *Host, p parcel) error {
	if !h.has(p.dst) || !h.local(h.Home) {
		return fmt.Errorf("the node is not at %v, or has no home address", p.dst)
	}
	var path []xfrm.SA
	if p.spi != 0 {
		in := state(h.db(), p.dst, p.spi)
		if in == nil {
			return fmt.Errorf("the node has no SA %v at %v", p.spi, p.dst)
		}
		path = append(path, *in)
	}
	if err := admit(h.db(), xfrm.In, down(h), path); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

// Reachable tells why payload would not pass in both directions now; nil: it would.
func (w *World) Reachable(h *Host) error {
	if peer := w.Peer(); peer != nil {
		_, err := w.Direct(h, peer)
		return err
	}
	p, err := w.sendUp(h)
	if err == nil {
		err = w.takeUp(h, p)
	}
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	if p, err = w.sendDown(h); err == nil {
		err = w.takeDown(h, p)
	}
	if err != nil {
		return fmt.Errorf("down: %w", err)
	}
	return nil
}

// leaks tells whether what the home address sends would leave in the clear elsewhere than at home.
func (h *Host) leaks() bool {
	if !h.local(h.Home) {
		return false
	}
	f := up(h)
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

// Meter measures for how long payload of a node does not pass: a packet that leaves one end now
// meets the other end's databases as they are when it gets there.
type Meter struct {
	w        *World
	h        *Host
	Up, Down Outage
}

// Outage is the time without service in one direction, by when packets arrive.
type Outage struct {
	Total, Longest time.Duration
	Why            error // of the last one
	since          time.Time
	sent           []sending
}

// sending is what a sender has done with packets since at.
type sending struct {
	at  time.Time
	p   parcel
	ok  bool
	why string
}

// Measure begins to measure. The simulation is slower for it.
func (w *World) Measure(h *Host) *Meter {
	m := &Meter{w: w, h: h}
	w.meters = append(w.meters, m)
	m.look()
	return m
}

func (m *Meter) look() {
	w := m.w
	p, err := w.sendUp(m.h)
	m.Up.note(w, p, err, func(p parcel) error { return w.takeUp(m.h, p) })
	p, err = w.sendDown(m.h)
	m.Down.note(w, p, err, func(p parcel) error { return w.takeDown(m.h, p) })
}

// note looks at what arrives now, which was sent a delay ago.
func (o *Outage) note(w *World, p parcel, err error, take func(parcel) error) {
	s := sending{at: w.Now, p: p, ok: err == nil}
	if err != nil {
		s.why = err.Error()
	}
	if n := len(o.sent); n == 0 || o.sent[n-1].p != s.p || o.sent[n-1].ok != s.ok {
		if n == 0 {
			s.at = start // as if it had always been so
		} else {
			w.After(w.Delay, func() {}) // look again when this arrives
		}
		o.sent = append(o.sent, s)
	}
	then := w.Now.Add(-w.Delay)
	for len(o.sent) > 1 && !o.sent[1].at.After(then) {
		o.sent = o.sent[1:]
	}
	if o.sent[0].ok {
		err = take(o.sent[0].p)
	} else {
		err = errors.New(o.sent[0].why)
	}
	if !o.since.IsZero() {
		o.Longest = max(o.Longest, w.Now.Sub(o.since))
	}
	switch {
	case err != nil && o.since.IsZero():
		o.since, o.Why = w.Now, err
	case err == nil && !o.since.IsZero():
		o.Total += w.Now.Sub(o.since)
		o.since = time.Time{}
	}
}
