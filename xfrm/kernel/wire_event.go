package kernel

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// decodeEvent reads a notification. nil without an error: a kind that nobody here
// asks for.
func decodeEvent(typ uint16, b []byte) (xfrm.Event, error) {
	ev, err := eventOf(typ, b)
	if err != nil {
		return nil, fmt.Errorf("%w (type %#x, %d bytes)", err, typ, len(b))
	}
	return ev, nil
}

func eventOf(typ uint16, b []byte) (xfrm.Event, error) {
	switch typ {
	case msgAcquire:
		return decodeAcquire(b)
	case msgExpire:
		return decodeExpire(b)
	case msgPolExpire:
		p, err := getPolicyInfo(b)
		if err != nil || len(b) < sizePolExpire {
			return nil, errShort
		}
		policyAttrs(&p, tail(b, 176))
		return xfrm.PolicyExpire{Policy: p, Hard: b[sizePolExpire-1] != 0}, nil
	case msgMigrate:
		g, err := decodeMigrate(b)
		if err != nil {
			return nil, err
		}
		return xfrm.Migrated{Migration: g}, nil
	case msgMapping:
		return decodeMapping(b)
	case msgReport:
		return decodeReport(b)
	}
	return nil, nil
}

// decodeExpire reads an EXPIRE; it carries no keys.
func decodeExpire(b []byte) (xfrm.Event, error) {
	s, err := getSAInfo(b)
	if err != nil || len(b) < sizeExpire {
		return nil, errShort
	}
	attrs(tail(b, 232), func(typ uint16, v []byte) {
		if typ == attrMark && len(v) >= 8 {
			s.Mark = host.Uint32(v)
		}
	})
	return xfrm.Expire{SA: s, Hard: b[sizeExpire-1] != 0}, nil
}

func decodeAcquire(b []byte) (xfrm.Event, error) {
	if len(b) < sizeAcquire {
		return nil, errShort
	}
	p, err := getPolicyInfo(b[96:264])
	if err != nil {
		return nil, err
	}
	policyAttrs(&p, tail(b, sizeAcquire))
	sel := getSelector(b[40:96])
	a := xfrm.Acquire{Seq: host.Uint32(b[276:]), Proto: xfrm.Proto(b[20]), Sel: sel, Policy: p}
	// The structure has no family of its own; the template that asks tells it, and
	// which one that is the protocol tells.
	family := host.Uint16(b[40:])
	for i, t := range p.Templates {
		if t.Proto == a.Proto {
			a.Template, family = p.Templates[i], familyOf(t.Dst)
			break
		}
	}
	a.Dst, a.Src = getAddr(b[0:16], family), getAddr(b[24:40], family)
	return a, nil
}

// decodeReport reads a REPORT. Its interface index, and on Linux 6.1 its ports,
// are garbage and are cleared.
func decodeReport(b []byte) (xfrm.Event, error) {
	if len(b) < sizeReport {
		return nil, errShort
	}
	r := xfrm.Report{Proto: xfrm.Proto(b[0]), Sel: getSelector(b[4:sizeReport])}
	r.Sel.IfIndex = 0
	r.Sel.SrcPort, r.Sel.SrcPortMask, r.Sel.DstPort, r.Sel.DstPortMask = 0, 0, 0, 0
	attrs(tail(b, sizeReport), func(typ uint16, v []byte) {
		if typ == attrCareOf && len(v) >= 16 {
			r.CareOf = netip.AddrFrom16([16]byte(v[:16]))
		}
	})
	return r, nil
}

func decodeMapping(b []byte) (xfrm.Event, error) {
	if len(b) < sizeMapping {
		return nil, errShort
	}
	family := host.Uint16(b[20:])
	return xfrm.Mapping{
		ID: xfrm.ID{
			Dst:   getAddr(b[0:16], family),
			SPI:   xfrm.SPI(wireOrder.Uint32(b[16:])),
			Proto: xfrm.Proto(b[22]),
		},
		New: netip.AddrPortFrom(getAddr(b[44:60], family), wireOrder.Uint16(b[62:])),
	}, nil
}
