package sim

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// packet is a packet as it is on the wire: perhaps in a tunnel, perhaps with headers of Mobile
// IPv6, perhaps with ESP or AH in transport mode.
type packet struct {
	flow                 // as upper layers see it: home addresses
	wireSrc   netip.Addr // of its IPv6 header
	wireDst   netip.Addr
	hao, rh2  bool
	sa        xfrm.ID // in transport mode; zero: none
	tunnel    *tunnelHop
	forwarded int
}

// tunnelHop is an outer header.
type tunnelHop struct {
	src, dst netip.Addr
	spi      xfrm.SPI
}

func (p packet) ends() (src, dst netip.Addr) {
	if p.tunnel != nil {
		return p.tunnel.src, p.tunnel.dst
	}
	return p.wireSrc, p.wireDst
}

// inTheClear tells whether neither a tunnel nor an SA protects it.
func (p packet) inTheClear() bool { return p.tunnel == nil && p.sa == xfrm.ID{} }

// plain is a packet without any of that.
func plain(f flow) packet { return packet{flow: f, wireSrc: f.src, wireDst: f.dst} }

// verdict is why a packet ends where it should not.
type verdict struct {
	why    string
	report *xfrm.Report // the kernel tells of it
	miss   func()       // an SA is asked for
}

func (v *verdict) Error() string { return v.why }

func ends(format string, a ...any) *verdict { return &verdict{why: fmt.Sprintf(format, a...)} }

// emit applies the outbound policies to a packet that the host sends or forwards. f is what the policies see.
func (h *Host) emit(p packet, f flow) (packet, *verdict) {
	db := h.db()
	pol := policy(db, xfrm.Out, f)
	if pol == nil {
		return p, nil
	}
	if pol.Block {
		return p, ends("policy blocks")
	}
	bundle, missing := resolve(db, pol, f)
	if missing >= 0 {
		v := ends("no state for %v", pol.Templates[missing].Proto)
		h.w.logf("%s: no state for %v %v -> %v at %s", h.Name, pol.Templates[missing].Proto, f.src, f.dst, protect.PolicyText(*pol))
		v.miss = func() {
			if seq := h.FW.Miss(pol.ID(), missing, f.selector()); seq != 0 {
				h.w.After(larvalTime, func() { h.forgetMiss(seq) })
			}
		}
		return p, v
	}
	h.trigger(pol, bundle, f)
	for _, s := range bundle {
		h.FW.Count(s.ID(), 1, h.w.Now)
		switch {
		case s.Proto == xfrm.HAO:
			p.wireSrc, p.hao = s.CareOf, true
		case s.Proto == xfrm.Route2:
			p.wireDst, p.rh2 = s.CareOf, true
		case s.Mode == xfrm.Tunnel:
			p.tunnel = &tunnelHop{s.Src, s.Dst, s.SPI}
		default:
			p.sa = s.ID()
		}
	}
	return p, nil
}

// trigger has the program hear of an optional header that has no state, as the kernel does.
func (h *Host) trigger(pol *xfrm.Policy, bundle []xfrm.SA, f flow) {
	for i := range pol.Templates {
		t := &pol.Templates[i]
		if t.Proto != xfrm.HAO || !t.Optional || slices.ContainsFunc(bundle, func(s xfrm.SA) bool { return s.Proto == xfrm.HAO }) {
			continue
		}
		if seq := h.FW.Miss(pol.ID(), i, f.selector()); seq != 0 {
			h.w.After(larvalTime, func() { h.forgetMiss(seq) })
		}
	}
}

// hop is what becomes of a packet at the host that its outer header leads to: it is taken in there
// (last), or sent on.
func (w *World) hop(p packet) (to *Host, next packet, last bool, v *verdict) {
	_, dst := p.ends()
	h := w.owner(dst)
	if h == nil {
		if h = w.defender(dst); h == nil {
			return nil, p, false, ends("nobody has %v", dst)
		}
	}
	db := h.db()
	var path []xfrm.SA
	if p.tunnel != nil {
		s := state(db, p.tunnel.dst, p.tunnel.spi)
		if s == nil {
			return h, p, false, ends("%s has no SA %v", h.Name, p.tunnel.spi)
		}
		path = append(path, *s)
		p.tunnel = nil
	}
	if h.has(p.wireDst) || h.local(p.wireDst) && len(path) > 0 {
		return h, p, true, h.takeIn(p, path)
	}
	f := p.flow
	f.src, f.dst = p.wireSrc, p.wireDst
	if !h.agent {
		return h, p, false, ends("%s does not forward", h.Name)
	}
	if p.forwarded++; p.forwarded > 4 {
		return h, p, false, ends("a loop")
	}
	if err := admit(db, xfrm.Fwd, f, path); err != nil {
		return h, p, false, ends("%s: %v", h.Name, err)
	}
	p, v = h.emit(p, f)
	if v == nil && p.tunnel == nil && w.owner(p.wireDst) == h {
		v = ends("%s knows no way on to %v", h.Name, p.wireDst)
	}
	return h, p, false, v
}

// takeIn lets a packet in, header by header, then by the policy.
func (h *Host) takeIn(p packet, path []xfrm.SA) *verdict {
	db := h.db()
	if p.rh2 {
		s := header(db, xfrm.Route2, p.wireSrc, p.dst, p.wireDst) // the option comes behind it
		if s == nil || !h.local(p.dst) {
			return ends("routing header to %v at another care-of address", p.dst)
		}
		path = append(path, *s)
	}
	if p.hao {
		s := header(db, xfrm.HAO, p.src, p.dst, p.wireSrc)
		if s == nil {
			v := ends("home address option of %v at %v", p.src, p.wireSrc)
			v.report = h.reportOf(p)
			return v
		}
		path = append(path, *s)
	}
	if p.sa != (xfrm.ID{}) {
		s := stateOf(db, p.sa)
		if s == nil {
			return ends("no SA %v", p.sa.SPI)
		}
		path = append(path, *s)
	}
	if err := admit(db, xfrm.In, p.flow, path); err != nil {
		v := ends("%v", err)
		if p.hao { // the kernel tells of that too
			v.report = h.reportOf(p)
		}
		return v
	}
	for _, s := range path {
		h.FW.Count(s.ID(), 1, h.w.Now)
	}
	return nil
}

// reportOf is what the kernel tells of a home address option that it does not accept.
func (h *Host) reportOf(p packet) *xfrm.Report {
	return &xfrm.Report{Proto: xfrm.HAO, CareOf: p.wireSrc,
		Sel: xfrm.Selector{Src: netip.PrefixFrom(p.src, 128), Dst: netip.PrefixFrom(p.dst, 128), Proto: p.proto}}
}

// travel carries a packet through the world and its delays; end is told where it ended, and why if it
// is not where it should be.
func (h *Host) travel(kind Kind, p packet, what string, end func(at *Host, p packet, v *verdict)) {
	src, dst := p.ends()
	if h.egress(src, dst) == nil {
		h.w.Count.Undeliverable++
		h.w.logf("%s: no way from %v to %v", h.Name, src, dst)
		end(nil, p, ends("no way from %v to %v", src, dst))
		return
	}
	h.w.transit(Packet{Kind: kind, From: h, Src: src, Dst: dst, What: what}, func() {
		at, next, last, v := h.w.hop(p)
		switch {
		case at == nil:
			h.w.Count.Undeliverable++
			end(nil, next, v)
		case last || v != nil:
			end(at, next, v)
		default:
			at.travel(kind, next, what, end)
		}
	})
}

// Way is what would become of a packet of a host now; crossed are the hosts that it went through.
func (w *World) Way(h *Host, f flow) (p packet, crossed []*Host, v *verdict) {
	if !h.local(f.src) {
		return p, nil, ends("%s has no address %v", h.Name, f.src)
	}
	p, v = h.emit(plain(f), f)
	first := p
	for at := h; v == nil; {
		src, dst := p.ends()
		if at.egress(src, dst) == nil {
			return first, crossed, ends("%s: no way from %v to %v", at.Name, src, dst)
		}
		var last bool
		at, p, last, v = w.hop(p)
		if v != nil || last {
			break
		}
		crossed = append(crossed, at)
	}
	return first, crossed, v
}

// stateOf finds an SA by its key.
func stateOf(db *xfrm.Snapshot, id xfrm.ID) *xfrm.SA {
	for i := range db.SAs {
		if s := &db.SAs[i]; s.ID() == id && !s.Larval {
			return s
		}
	}
	return nil
}
