package protect

import (
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

var any6 = netip.IPv6Unspecified()

// WantPath is the set that a path shall have: the states of its headers, then its policies, inbound
// first. It does not depend on the plan's role.
func (p Plan) WantPath(x Path) xfrm.Snapshot {
	s := xfrm.Snapshot{SAs: x.states()}
	s.Policies = append(s.Policies, x.in(false)...)
	s.Policies = append(s.Policies, x.out()...)
	return s
}

func (x Path) priority() uint32 {
	if x.Protect != 0 {
		return PriorityProtected
	}
	return PriorityPath
}

// direct tells whether what we send goes without the tunnel, although we are away.
func (x Path) direct() bool { return x.Away && x.Direct && x.CareOf.IsValid() }

// tunnelled tells whether what we send goes by the tunnel, or nowhere while there is none.
func (x Path) tunnelled() bool { return x.Away && !x.direct() }

// ready tells whether the state of the home address option is there: from before packets go directly
// until after, so that none meets a state that is just being deleted. The path's own policy, which puts them into
// the tunnel, keeps the triggers of a Plan from it.
func (x Path) ready() bool {
	return x.Away && x.CareOf.IsValid() && (x.Direct || x.Accept) || x.binds()
}

// binds tells whether a Binding Update goes under the SA of the path: it needs the home address option
// before anything else does.
func (x Path) binds() bool {
	return x.Protect != 0 && x.Away && x.CareOf.IsValid() && (x.Direct || x.Ack)
}

// receives tells whether packets may come with a type 2 routing header.
func (x Path) receives() bool { return x.Away && (x.Accept || x.Ack) }

// bound tells whether we are the correspondent of the peer.
func (x Path) bound() bool { return x.RemoteCareOf.IsValid() }

// states are those of the headers (RFC 6275 §6.3, §6.4), as long as a policy needs them and no
// longer. Outbound ones are found by both home addresses. An inbound type 2 routing header is found by the
// source on the wire, which for a peer that is mobile too is its care-of address as well as its home
// address; it accepts any address of ours, so that a move changes nothing. An inbound home address option is accepted from the
// one care-of address that is bound, and reported otherwise.
func (x Path) states() []xfrm.SA {
	ro := func(proto xfrm.Proto, src, dst, careOf netip.Addr) xfrm.SA {
		return xfrm.SA{Src: src, Dst: dst, CareOf: careOf, Proto: proto, Mode: xfrm.RouteOpt}
	}
	var out []xfrm.SA
	if x.receives() {
		rh := ro(xfrm.Route2, x.Remote, x.Local, any6)
		rh.WildRecv = true
		out = append(out, rh)
		if x.bound() {
			rh.Src = x.RemoteCareOf
			out = append(out, rh)
		}
	}
	if x.bound() {
		out = append(out, ro(xfrm.HAO, x.Remote, x.Local, x.RemoteCareOf))
		if !x.tunnelled() || x.binds() {
			out = append(out, ro(xfrm.Route2, x.Local, x.Remote, x.RemoteCareOf))
		}
	}
	if x.ready() {
		out = append(out, ro(xfrm.HAO, x.Local, x.Remote, x.CareOf))
	}
	return out
}

// in are the inbound policies: Mobility Headers, where the generic policies do not fit them, then
// everything. Each lists what a packet may or must have, innermost first, in one order that
// holds for all ways that a packet may come: a home address option stands inside the tunnel or
// inside the routing header. loose makes the tunnel optional, for the moment of a change.
func (x Path) in(loose bool) []xfrm.Policy {
	var out []xfrm.Policy
	sel := xfrm.Selector{Src: host(x.Remote), Dst: host(x.Local)}
	if x.Protect != 0 || x.Away && x.Ack {
		mh := xfrm.Policy{Sel: sel, Dir: xfrm.In, Priority: PriorityPathMH}
		mh.Sel.Proto = protoMH
		// A Binding Update may come from any care-of address: the machine judges it.
		mh.Templates = append(x.protection(x.Remote, x.Local), roTemplate(xfrm.HAO, any6, any6, true))
		mh.Templates = append(mh.Templates, x.arrival(loose || x.Ack || x.Protect != 0 && x.Accept)...)
		out = append(out, mh)
	}
	data := xfrm.Policy{Sel: sel, Dir: xfrm.In, Priority: x.priority()}
	data.Templates = x.protection(x.Remote, x.Local)
	if x.bound() {
		data.Templates = append(data.Templates, roTemplate(xfrm.HAO, x.Remote, x.Local, true))
	}
	if x.Protect != 0 || x.bound() || x.Away && x.Accept {
		data.Templates = append(data.Templates, x.arrival(loose || x.Accept)...)
		out = append(out, data)
	}
	return out
}

// arrival are the templates of the ways to an address of ours: the tunnel, and
// directly with a routing header where that may be. At home nothing must, but what is still under way in the tunnel may.
func (x Path) arrival(direct bool) []xfrm.Template {
	var out []xfrm.Template
	if x.Tunnel != 0 {
		// The kernel looks at the source only: so a move changes nothing here.
		out = append(out, xfrm.Template{Src: x.HomeAgent, Dst: any6, Proto: xfrm.ESP, Mode: xfrm.Tunnel,
			ReqID: x.Tunnel, Optional: direct || !x.Away})
	}
	if x.Away && direct {
		out = append(out, roTemplate(xfrm.Route2, any6, any6, true))
	}
	return out
}

// out are the outbound policies. Without one the tunnel's own or nobody's decides. Abroad without
// a care-of address nothing can be sent, and nothing that needs an SA leaves without.
func (x Path) out() []xfrm.Policy {
	sel := xfrm.Selector{Src: host(x.Local), Dst: host(x.Remote)}
	lost := x.Away && !x.CareOf.IsValid()
	policy := func(proto uint8, priority uint32, direct bool) xfrm.Policy {
		sel.Proto = proto
		pol := xfrm.Policy{Sel: sel, Dir: xfrm.Out, Priority: priority, Block: lost}
		if !lost {
			pol.Templates = x.departure(direct)
		}
		return pol
	}
	var out []xfrm.Policy
	if x.Protect != 0 {
		out = append(out, policy(protoMH, PriorityPathMH, x.binds()))
	}
	if x.Protect != 0 || x.ready() && (x.Direct || x.Tunnel != 0) || x.bound() && !x.tunnelled() {
		out = append(out, policy(0, x.priority(), x.direct()))
	}
	return out
}

// departure are the templates of what we send, in the order in which they are applied. ESP is applied
// to the payload alone, but AH covers the headers of Mobile IPv6 too, and comes after them (RFC
// 6275 §11.3.2). The routing header ends up before the home address option (§6.3).
func (x Path) departure(direct bool) []xfrm.Template {
	var ro []xfrm.Template
	if x.Away && direct {
		ro = append(ro, roTemplate(xfrm.HAO, x.Local, x.Remote, false))
	}
	if x.bound() && (!x.Away || direct) {
		ro = append(ro, roTemplate(xfrm.Route2, x.Local, x.Remote, false))
	}
	sa := x.protection(x.Local, x.Remote)
	if x.Protect == xfrm.AH {
		sa = append(ro, sa...)
	} else {
		sa = append(sa, ro...)
	}
	if x.Away && !direct && x.Tunnel != 0 {
		sa = append(sa, xfrm.Template{Src: x.CareOf, Dst: x.HomeAgent, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: x.Tunnel})
	}
	return sa
}

// protection is the SA between the two ends.
func (x Path) protection(src, dst netip.Addr) []xfrm.Template {
	if x.Protect == 0 {
		return nil
	}
	return []xfrm.Template{{Src: src, Dst: dst, Proto: x.Protect, ReqID: x.ReqID}}
}

// roTemplate names a header of Mobile IPv6. With unspecified addresses it takes any state.
func roTemplate(proto xfrm.Proto, src, dst netip.Addr, optional bool) xfrm.Template {
	return xfrm.Template{Src: src, Dst: dst, Proto: proto, Mode: xfrm.RouteOpt, Optional: optional}
}
