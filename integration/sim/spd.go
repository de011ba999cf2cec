package sim

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// flow is a packet as policies see it. typ is the message type of the Mobility Header.
type flow struct {
	src, dst netip.Addr
	proto    uint8
	typ      uint16
}

func (f flow) selector() xfrm.Selector {
	return xfrm.Selector{Src: netip.PrefixFrom(f.src, 128), Dst: netip.PrefixFrom(f.dst, 128), Proto: f.proto, SrcPort: f.typ, SrcPortMask: 0xffff}
}

func matches(s *xfrm.Selector, f flow) bool {
	return (!s.Src.IsValid() || s.Src.Contains(f.src)) && (!s.Dst.IsValid() || s.Dst.Contains(f.dst)) &&
		(s.Proto == 0 || s.Proto == f.proto) && (s.SrcPort^f.typ)&s.SrcPortMask == 0
}

// policy is the one that a packet meets: of the lowest number, the oldest among equals.
func policy(db *xfrm.Snapshot, dir xfrm.Dir, f flow) *xfrm.Policy {
	var best *xfrm.Policy
	for i := range db.Policies {
		p := &db.Policies[i]
		if p.Dir == dir && p.Type == xfrm.Main && (best == nil || p.Priority < best.Priority) && matches(&p.Sel, f) {
			best = p
		}
	}
	return best
}

func same(a, b netip.Addr) bool { return a == b || unset(a) && unset(b) }
func unset(a netip.Addr) bool   { return !a.IsValid() || a.IsUnspecified() }

// resolve finds the states that an outbound policy's templates want; missing is the
// place of a template that has none, -1 if nothing lacks. The newest state serves.
func resolve(db *xfrm.Snapshot, p *xfrm.Policy, f flow) (bundle []xfrm.SA, missing int) {
	for i := range p.Templates {
		t := &p.Templates[i]
		src, dst := f.src, f.dst
		if t.Mode == xfrm.Tunnel {
			src, dst = t.Src, t.Dst
		}
		found := false
		for j := len(db.SAs) - 1; j >= 0 && !found; j-- {
			s := &db.SAs[j]
			if !s.Larval && s.Proto == t.Proto && s.Mode == t.Mode && (s.ReqID == t.ReqID || t.Mode == xfrm.RouteOpt) &&
				same(s.Src, src) && same(s.Dst, dst) {
				bundle, found = append(bundle, *s), true
			}
		}
		if !found && !t.Optional {
			return bundle, i
		}
	}
	return bundle, -1
}

// state finds an inbound IPsec SA.
func state(db *xfrm.Snapshot, dst netip.Addr, spi xfrm.SPI) *xfrm.SA {
	for i := range db.SAs {
		if s := &db.SAs[i]; s.SPI == spi && s.Proto == xfrm.ESP && s.Dst == dst && !s.Larval {
			return s
		}
	}
	return nil
}

// header finds the state that accepts an extension header of Mobile IPv6 with this
// care-of address: the exact one, or one that receives for all.
func header(db *xfrm.Snapshot, proto xfrm.Proto, src, dst, careOf netip.Addr) *xfrm.SA {
	var wild *xfrm.SA
	for i := range db.SAs {
		s := &db.SAs[i]
		if s.Proto != proto || s.Mode != xfrm.RouteOpt || s.Larval || !same(s.CareOf, careOf) && !unset(s.CareOf) {
			continue
		}
		switch {
		case s.Src == src && s.Dst == dst:
			return s
		case s.WildRecv && unset(s.Src) && unset(s.Dst):
			wild = s
		}
	}
	return wild
}

// admit tells whether a packet that came by these states (the outermost first) may
// come in. As Linux does it, templates are looked at from the outermost on, each
// finds its state in what is left of the path, and no state but those of
// transport mode may be left over.
func admit(db *xfrm.Snapshot, dir xfrm.Dir, f flow, path []xfrm.SA) error {
	p := policy(db, dir, f)
	if p == nil {
		return spare(path)
	}
	if p.Block {
		return fmt.Errorf("policy blocks")
	}
	at := 0
	for i := len(p.Templates) - 1; i >= 0; i-- {
		next, ok := meets(&p.Templates[i], path, at)
		if !ok {
			return fmt.Errorf("template %v reqid %#x is not met", p.Templates[i].Proto, uint32(p.Templates[i].ReqID))
		}
		at = next
	}
	return spare(path[at:])
}

func spare(path []xfrm.SA) error {
	for _, s := range path {
		if s.Mode != xfrm.Transport {
			return fmt.Errorf("state %v %v is of no template", s.Proto, s.Mode)
		}
	}
	return nil
}

func meets(t *xfrm.Template, path []xfrm.SA, from int) (next int, ok bool) {
	if t.Optional && t.Mode == xfrm.Transport {
		return from, true
	}
	for i := from; i < len(path); i++ {
		s := &path[i]
		if s.Proto == t.Proto && s.Mode == t.Mode && (t.ReqID == 0 || t.ReqID == s.ReqID) &&
			(t.Mode == xfrm.Transport || unset(t.Src) || s.Src == t.Src) { // the destination is not compared
			return i + 1, true
		}
		if s.Mode != xfrm.Transport {
			break
		}
	}
	return from, t.Optional
}
