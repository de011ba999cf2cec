package protect

import "github.com/mip6/mip6/xfrm"

// Want is the set that a binding shall have: its Mobile IPv6 states and its
// policies, Mobility Header first.
func (p Plan) Want(b Binding) xfrm.Snapshot {
	if b.Phase == Absent {
		return xfrm.Snapshot{}
	}
	s := xfrm.Snapshot{SAs: p.states(b), Policies: p.mh(b)}
	if p.Protection == MHAndPayload {
		s.Policies = append(s.Policies, p.tests(b)...)
		payload := p.payload(b)
		s.Policies = append(s.Policies, payload...)
		if len(payload) > 0 && p.Role == Node {
			s.Policies = append(s.Policies, p.triggers(b, payload[0])...)
		}
	}
	return s
}

// roams tells whether Mobility Headers travel with the headers of Mobile IPv6.
func (b Binding) roams() bool { return b.Phase == Away || b.Phase == Answering }

// states are the Mobile IPv6 states (RFC 6275 §6.3 and §6.4). The agent has none
// for the home address option: its wildcard accepts the next care-of
// address as well as this one.
func (p Plan) states(b Binding) []xfrm.SA {
	if !b.roams() {
		return nil
	}
	rh := xfrm.SA{Src: b.HomeAgent, Dst: b.Home, CareOf: b.CareOf, Proto: xfrm.Route2, Mode: xfrm.RouteOpt}
	if p.Role == Agent {
		return []xfrm.SA{rh}
	}
	rh.WildRecv = true
	hao := xfrm.SA{Src: b.Home, Dst: b.HomeAgent, CareOf: b.CareOf, Proto: xfrm.HAO, Mode: xfrm.RouteOpt}
	return []xfrm.SA{hao, rh}
}

// mh are the policies of Mobility Headers between home address and agent (RFC
// 4877 §4.3): ESP innermost, then the header of Mobile IPv6.
func (p Plan) mh(b Binding) []xfrm.Policy {
	up := xfrm.Policy{ // node to agent
		Sel:       xfrm.Selector{Src: host(b.Home), Dst: host(b.HomeAgent), Proto: protoMH},
		Priority:  PriorityMH,
		Templates: []xfrm.Template{{Src: b.Home, Dst: b.HomeAgent, Proto: xfrm.ESP, ReqID: b.ReqIDs.MH}},
	}
	down := xfrm.Policy{
		Sel:       xfrm.Selector{Src: host(b.HomeAgent), Dst: host(b.Home), Proto: protoMH},
		Priority:  PriorityMH,
		Templates: []xfrm.Template{{Src: b.HomeAgent, Dst: b.Home, Proto: xfrm.ESP, ReqID: b.ReqIDs.MH}},
	}
	route2 := xfrm.Template{Src: b.HomeAgent, Dst: b.Home, Proto: xfrm.Route2, Mode: xfrm.RouteOpt}
	if p.Role == Agent {
		up.Dir, down.Dir = xfrm.In, xfrm.Out
		// Any care-of address, and none from home. Only an unspecified template
		// matches the wildcard state; ESP's own template stays strict.
		up.Templates = append(up.Templates, xfrm.Template{Src: any6, Dst: any6,
			Proto: xfrm.HAO, Mode: xfrm.RouteOpt, Optional: true})
		if b.roams() {
			down.Templates = append(down.Templates, route2)
		}
		return []xfrm.Policy{down, up}
	}
	up.Dir, down.Dir = xfrm.Out, xfrm.In
	if b.roams() {
		up.Templates = append(up.Templates, xfrm.Template{Src: b.Home, Dst: b.HomeAgent,
			Proto: xfrm.HAO, Mode: xfrm.RouteOpt})
		route2.Optional = true
		down.Templates = append(down.Templates, route2)
	}
	return []xfrm.Policy{up, down}
}

// payload are the policies of the tunnel (RFC 4877 §6.4): outbound first, the
// order in which they are to be migrated.
func (p Plan) payload(b Binding) []xfrm.Policy {
	optional := b.Phase == Returning || b.Phase == Returned
	up := xfrm.Policy{ // node to agent
		Sel:      xfrm.Selector{Src: host(b.Home), Dst: anywhere},
		Priority: PriorityPayload,
		Templates: []xfrm.Template{{Src: b.CareOf, Dst: b.HomeAgent, Proto: xfrm.ESP,
			Mode: xfrm.Tunnel, ReqID: b.ReqIDs.Payload, Optional: optional}},
	}
	down := xfrm.Policy{
		Sel:      xfrm.Selector{Src: anywhere, Dst: host(b.Home)},
		Priority: PriorityPayload,
		Templates: []xfrm.Template{{Src: b.HomeAgent, Dst: b.CareOf, Proto: xfrm.ESP,
			Mode: xfrm.Tunnel, ReqID: b.ReqIDs.Payload, Optional: optional}},
	}
	if p.Role == Node {
		return nodePayload(b.Phase, up, down)
	}
	up.Dir, down.Dir = xfrm.In, xfrm.Out
	fwd := up
	fwd.Dir = xfrm.Fwd
	switch b.Phase {
	case Away:
		return []xfrm.Policy{down, up, fwd}
	case Returning, Returned: // nothing goes by the tunnel any more
		return []xfrm.Policy{up, fwd}
	}
	return nil
}

func nodePayload(phase Phase, up, down xfrm.Policy) []xfrm.Policy {
	up.Dir, down.Dir = xfrm.Out, xfrm.In
	switch phase {
	case Away:
		return []xfrm.Policy{up, down}
	case Returning: // still sends by the tunnel until the agent has answered
		up.Templates[0].Optional = false
		return []xfrm.Policy{up, down}
	case Returned:
		return []xfrm.Policy{down}
	case Adrift:
		up.Block, up.Templates = true, nil
		return []xfrm.Policy{up}
	}
	return nil
}
