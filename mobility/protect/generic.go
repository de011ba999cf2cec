package protect

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/xfrm"
)

const (
	protoMH     = 135
	protoICMPv6 = 58

	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

var anywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// Generic is the set that is there before any binding.
//
// Both roles let neighbour discovery pass unprotected: at home the home
// address's own solicitations would otherwise meet the payload policies
// (RFC 4877 does not say so; without it the return home deadlocks).
//
// The agent accepts home address options from any care-of address by a wildcard
// state, since the first Binding Update comes from one that it does not know,
// and blocks Mobility Headers that come from the home prefix without ESP: each
// node's own policy stands before the block. Others, who speak to it as
// a correspondent, pass.
func (p Plan) Generic(g Generic) xfrm.Snapshot {
	var s xfrm.Snapshot
	if p.Role == Correspondent {
		return correspondent()
	}
	for _, dir := range []xfrm.Dir{xfrm.In, xfrm.Out} {
		for _, typ := range []uint16{neighbourSolicitation, neighbourAdvertisement} {
			s.Policies = append(s.Policies, xfrm.Policy{
				Sel: xfrm.Selector{Src: anywhere, Dst: anywhere, Proto: protoICMPv6,
					SrcPort: typ, SrcPortMask: 0xffff},
				Dir: dir, Priority: PriorityDiscovery,
			})
		}
	}
	if p.Role != Agent {
		return s
	}
	s.SAs = append(s.SAs, wildcard)
	for _, prefix := range g.HomePrefixes {
		for _, agent := range g.HomeAgents {
			s.Policies = append(s.Policies, xfrm.Policy{
				Sel: xfrm.Selector{Src: prefix.Masked(), Dst: host(agent), Proto: protoMH},
				Dir: xfrm.In, Priority: PriorityBlock, Block: true,
			})
		}
	}
	return s
}

// wildcard accepts a home address option from any care-of address; a policy that allows it must match too.
var wildcard = xfrm.SA{Src: any6, Dst: any6, CareOf: any6, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, WildRecv: true}

// correspondent is the set of that role: Mobility Headers come from anyone and any care-of address, and
// are answered in the clear (RFC 6275 §9). Data needs a Path. The wildcard state is the agent's too.
func correspondent() xfrm.Snapshot {
	mh := xfrm.Selector{Src: anywhere, Dst: anywhere, Proto: protoMH}
	return xfrm.Snapshot{
		SAs: []xfrm.SA{wildcard},
		Policies: []xfrm.Policy{
			{Sel: mh, Dir: xfrm.In, Priority: PriorityAnswers, Templates: []xfrm.Template{roTemplate(xfrm.HAO, any6, any6, true)}},
			{Sel: mh, Dir: xfrm.Out, Priority: PriorityAnswers},
		},
	}
}

// Start puts the generic set in, policies first: the wildcard state must not
// accept a home address option while nothing demands ESP of it.
func (p Plan) Start(g Generic) []xfrm.Op {
	s := p.Generic(g)
	var ops []xfrm.Op
	for _, pol := range s.Policies {
		ops = append(ops, xfrm.PutPolicy{Policy: pol})
	}
	for _, sa := range s.SAs {
		ops = append(ops, xfrm.PutSA{SA: sa})
	}
	return ops
}

// Stop takes the generic set out, in the opposite order.
func (p Plan) Stop(g Generic) []xfrm.Op {
	s := p.Generic(g)
	var ops []xfrm.Op
	for _, sa := range s.SAs {
		ops = append(ops, xfrm.DelSA{ID: sa.ID()})
	}
	for i := len(s.Policies) - 1; i >= 0; i-- {
		ops = append(ops, xfrm.DelPolicy{ID: s.Policies[i].ID()})
	}
	return ops
}

// Generics is what several roles of one host have in common, the plans in the order Agent, Node,
// Correspondent: the agent's block is to be there before anything is accepted. What
// they share (neighbour discovery, the wildcard state) is in it once.
func Generics(plans []Plan, g Generic) xfrm.Snapshot {
	var s xfrm.Snapshot
	for _, p := range plans {
		one := p.Generic(g)
		for _, sa := range one.SAs {
			if !hasSAID(s.SAs, sa.ID()) {
				s.SAs = append(s.SAs, sa)
			}
		}
		for _, pol := range one.Policies {
			if !hasPolicyID(s.Policies, pol.ID()) {
				s.Policies = append(s.Policies, pol)
			}
		}
	}
	return s
}

// Without leaves out of a Stop what another role of the host, that goes on, still needs.
func Without(stop []xfrm.Op, still xfrm.Snapshot) []xfrm.Op {
	return slices.DeleteFunc(stop, func(op xfrm.Op) bool {
		switch o := op.(type) {
		case xfrm.DelSA:
			return hasSAID(still.SAs, o.ID)
		case xfrm.DelPolicy:
			return hasPolicyID(still.Policies, o.ID)
		}
		return false
	})
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
