package protect

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/mip6/mip6/xfrm"
)

// Text writes an operation on one line, close to the notation of ip-xfrm(8). Keys
// are never in it.
func Text(op xfrm.Op) string {
	switch o := op.(type) {
	case xfrm.PutSA:
		return "put " + StateText(o.SA)
	case xfrm.DelSA:
		if o.ID.SPI == 0 { // of mode RouteOpt
			return fmt.Sprintf("del state src %v dst %v proto %v", o.ID.Src, o.ID.Dst, o.ID.Proto)
		}
		return fmt.Sprintf("del state dst %v proto %v spi %v", o.ID.Dst, o.ID.Proto, o.ID.SPI)
	case xfrm.PutPolicy:
		return "put " + PolicyText(o.Policy)
	case xfrm.DelPolicy:
		return "del " + idText(o.ID)
	case xfrm.CopySA:
		return fmt.Sprintf("copy state dst %v proto %v spi %v to dst %v", o.From.Dst, o.From.Proto, o.From.SPI, o.NewDst)
	case xfrm.Remap:
		return fmt.Sprintf("remap state dst %v proto %v spi %v to src %v dst %v sport %d dport %d",
			o.ID.Dst, o.ID.Proto, o.ID.SPI, o.Src, o.Dst, o.Encap.SrcPort, o.Encap.DstPort)
	case xfrm.Migrate:
		return "migrate " + migrationText(o.Migration)
	}
	return fmt.Sprintf("unknown operation %T", op)
}

// StateText writes a state.
func StateText(s xfrm.SA) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state src %v dst %v proto %v", s.Src, s.Dst, s.Proto)
	if s.SPI != 0 {
		fmt.Fprintf(&b, " spi %v", s.SPI)
	}
	if s.ReqID != 0 {
		fmt.Fprintf(&b, " reqid %#x", uint32(s.ReqID))
	}
	fmt.Fprintf(&b, " mode %v", s.Mode)
	if s.CareOf.IsValid() {
		fmt.Fprintf(&b, " coa %v", s.CareOf)
	}
	if s.WildRecv {
		b.WriteString(" flag wildrecv")
	}
	return b.String()
}

// PolicyText writes a policy.
func PolicyText(p xfrm.Policy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s prio %d", idText(p.ID()), p.Priority)
	if p.Block {
		b.WriteString(" action block")
	}
	for _, t := range p.Templates {
		fmt.Fprintf(&b, " tmpl src %v dst %v proto %v mode %v", t.Src, t.Dst, t.Proto, t.Mode)
		if t.ReqID != 0 {
			fmt.Fprintf(&b, " reqid %#x", uint32(t.ReqID))
		}
		if t.Optional {
			b.WriteString(" level use")
		}
	}
	return b.String()
}

func idText(id xfrm.PolicyID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy dir %v src %s dst %s", id.Dir, prefixText(id.Sel.Src), prefixText(id.Sel.Dst))
	if id.Sel.Proto != 0 {
		fmt.Fprintf(&b, " proto %d", id.Sel.Proto)
	}
	if id.Sel.SrcPortMask != 0 {
		fmt.Fprintf(&b, " type %d", id.Sel.SrcPort)
	}
	if id.Sel.DstPortMask != 0 {
		fmt.Fprintf(&b, " dport %d", id.Sel.DstPort)
	}
	if id.Type == xfrm.Sub {
		b.WriteString(" ptype sub")
	}
	return b.String()
}

func migrationText(m xfrm.Migration) string {
	var b strings.Builder
	b.WriteString(idText(m.Policy))
	for _, v := range m.Moves {
		fmt.Fprintf(&b, " proto %v mode %v reqid %#x from %v %v to %v %v",
			v.Proto, v.Mode, uint32(v.ReqID), v.OldSrc, v.OldDst, v.NewSrc, v.NewDst)
	}
	if m.Endpoints != nil {
		fmt.Fprintf(&b, " kmaddress %v %v", m.Endpoints.Local, m.Endpoints.Remote)
	}
	return b.String()
}

func prefixText(p netip.Prefix) string {
	if p.Bits() == p.Addr().BitLen() {
		return p.Addr().String()
	}
	return p.String()
}
