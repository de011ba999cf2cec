package protect

import (
	"net/netip"

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
	any6 := netip.IPv6Unspecified()
	s.SAs = append(s.SAs, xfrm.SA{Src: any6, Dst: any6, CareOf: any6,
		Proto: xfrm.HAO, Mode: xfrm.RouteOpt, WildRecv: true})
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

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
