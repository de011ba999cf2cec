package kernel

import (
	"github.com/mip6/mip6/xfrm"
)

// policyMessage makes an UPDPOLICY, which adds or replaces atomically, or a
// NEWPOLICY. The caller has checked the policy.
func policyMessage(typ uint16, p xfrm.Policy) message {
	m := newMessage(typ, 0, sizePolicyInfo)
	b := m.fixed()
	putSelector(b[0:sizeSelector], p.Sel)
	putLife(b[56:120], xfrm.Lifetimes{})
	host.PutUint32(b[152:], p.Priority)
	b[160] = uint8(p.Dir)
	if p.Block {
		b[161] = 1
	}
	if len(p.Templates) > 0 {
		v := m.attr(attrTmpl, sizeTemplate*len(p.Templates))
		for i, t := range p.Templates {
			putTemplate(v[i*sizeTemplate:], t, familyOf(p.Sel.Canonical().Dst.Addr()))
		}
	}
	m.typeAttr(p.Type)
	m.markAttr(p.Mark)
	return m
}

// putTemplate writes a struct xfrm_user_tmpl.
func putTemplate(b []byte, t xfrm.Template, family uint16) {
	putAddr(b[0:16], t.Dst)
	wireOrder.PutUint32(b[16:], uint32(t.SPI))
	b[20] = uint8(t.Proto)
	if t.Dst.IsValid() {
		family = familyOf(t.Dst)
	}
	host.PutUint16(b[24:], family)
	putAddr(b[28:44], t.Src)
	host.PutUint32(b[44:], uint32(t.ReqID))
	b[48] = uint8(t.Mode)
	if t.Optional {
		b[50] = 1
	}
	for i := 52; i < 64; i++ { // all algorithms
		b[i] = 0xff
	}
}

func getTemplate(b []byte) xfrm.Template {
	family := host.Uint16(b[24:])
	return xfrm.Template{
		Dst:      getAddr(b[0:16], family),
		SPI:      xfrm.SPI(wireOrder.Uint32(b[16:])),
		Proto:    xfrm.Proto(b[20]),
		Src:      getAddr(b[28:44], family),
		ReqID:    xfrm.ReqID(host.Uint32(b[44:])),
		Mode:     xfrm.Mode(b[48]),
		Optional: b[50] != 0,
	}
}

// decodePolicy reads a struct xfrm_userpolicy_info and the attributes behind it.
func decodePolicy(b []byte) (xfrm.Policy, error) {
	p, err := getPolicyInfo(b)
	if err == nil {
		policyAttrs(&p, tail(b, sizePolicyInfo))
	}
	return p, err
}

func getPolicyInfo(b []byte) (xfrm.Policy, error) {
	if len(b) < sizePolicyInfo {
		return xfrm.Policy{}, errShort
	}
	p := xfrm.Policy{
		Sel:      getSelector(b[:sizeSelector]),
		Priority: host.Uint32(b[152:]),
		Index:    host.Uint32(b[156:]),
		Dir:      xfrm.Dir(b[160]),
		Block:    b[161] == 1,
	}
	p.Stats, p.Stats.LastUsed = getUsage(b[120:152])
	return p, nil
}

func policyAttrs(p *xfrm.Policy, b []byte) {
	attrs(b, func(typ uint16, v []byte) {
		switch typ {
		case attrTmpl:
			for len(v) >= sizeTemplate && len(p.Templates) < maxTemplates {
				p.Templates = append(p.Templates, getTemplate(v))
				v = v[sizeTemplate:]
			}
		case attrPolicyType:
			if len(v) >= 1 {
				p.Type = xfrm.PolicyType(v[0])
			}
		case attrMark:
			if len(v) >= 8 {
				p.Mark = host.Uint32(v)
			}
		}
	})
}

// ofSocket tells a socket's own policy, which a dump also shows.
func ofSocket(p xfrm.Policy) bool { return p.Index&7 > uint32(xfrm.Fwd) || p.Dir > xfrm.Fwd }

// policyIDMessage makes a DELPOLICY or GETPOLICY.
func policyIDMessage(typ uint16, id xfrm.PolicyID, mark uint32) message {
	m := newMessage(typ, 0, sizePolicyID)
	b := m.fixed()
	putSelector(b[0:sizeSelector], id.Sel)
	b[60] = uint8(id.Dir)
	m.typeAttr(id.Type)
	m.markAttr(mark)
	return m
}

// migrateMessage makes a MIGRATE. The caller has checked the number of moves.
func migrateMessage(g xfrm.Migration) message {
	m := policyIDMessage(msgMigrate, g.Policy, 0)
	v := m.attr(attrMigrate, sizeMigrate*len(g.Moves))
	for i, mv := range g.Moves {
		b := v[i*sizeMigrate:]
		putAddr(b[0:16], mv.OldDst)
		putAddr(b[16:32], mv.OldSrc)
		putAddr(b[32:48], mv.NewDst)
		putAddr(b[48:64], mv.NewSrc)
		b[64] = uint8(mv.Proto)
		b[65] = uint8(mv.Mode)
		host.PutUint32(b[68:], uint32(mv.ReqID))
		host.PutUint16(b[72:], familyOf(mv.OldDst))
		host.PutUint16(b[74:], familyOf(mv.NewDst))
	}
	if e := g.Endpoints; e != nil {
		b := m.attr(attrKMAddress, sizeKMAddress)
		putAddr(b[0:16], e.Local)
		putAddr(b[16:32], e.Remote)
		host.PutUint16(b[36:], familyOf(e.Local))
	}
	return m
}

// decodeMigrate reads a MIGRATE. The kernel's notification has one attribute a
// move where the request has one for all; both are read.
func decodeMigrate(b []byte) (xfrm.Migration, error) {
	var g xfrm.Migration
	if len(b) < sizePolicyID {
		return g, errShort
	}
	g.Policy.Sel = getSelector(b[:sizeSelector])
	g.Policy.Dir = xfrm.Dir(b[60])
	attrs(tail(b, sizePolicyID), func(typ uint16, v []byte) {
		switch typ {
		case attrPolicyType:
			if len(v) >= 1 {
				g.Policy.Type = xfrm.PolicyType(v[0])
			}
		case attrMigrate:
			for len(v) >= sizeMigrate && len(g.Moves) < maxTemplates {
				g.Moves = append(g.Moves, getMove(v))
				v = v[sizeMigrate:]
			}
		case attrKMAddress:
			if len(v) >= 38 {
				family := host.Uint16(v[36:])
				g.Endpoints = &xfrm.Endpoints{Local: getAddr(v[0:16], family), Remote: getAddr(v[16:32], family)}
			}
		}
	})
	return g, nil
}

func getMove(b []byte) xfrm.Move {
	before, after := host.Uint16(b[72:]), host.Uint16(b[74:])
	return xfrm.Move{
		OldDst: getAddr(b[0:16], before), OldSrc: getAddr(b[16:32], before),
		NewDst: getAddr(b[32:48], after), NewSrc: getAddr(b[48:64], after),
		Proto: xfrm.Proto(b[64]), Mode: xfrm.Mode(b[65]), ReqID: xfrm.ReqID(host.Uint32(b[68:])),
	}
}
