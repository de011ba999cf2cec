package protect

import (
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// Trigger says for which packets to a correspondent the databases shall ask (Acquire with proto
// hao), so that their path can be made a direct one. The packets go by the tunnel meanwhile, none is held. The first
// that fits a packet counts.
type Trigger struct {
	To    netip.Prefix // the zero value: anywhere
	Proto uint8        // 0: any
	Port  uint16       // the correspondent's; 0: any
	// Never: they go by the tunnel, whatever the correspondent's path.
	Never bool
}

// MaxTriggers is how many there may be; more are not looked at.
const MaxTriggers = PriorityPayload - PriorityTrigger

// Rearm lets the next packet of the pair ask again. Without it the databases are silent for a while
// after each Acquire (30 s, net.core.xfrm_acq_expires).
func Rearm(local, remote netip.Addr) []xfrm.Op {
	return []xfrm.Op{xfrm.DelSA{ID: xfrm.ID{Src: local, Dst: remote, Proto: xfrm.HAO}}}
}

// triggers are the policies for them: what the tunnel's own is, with a home address option that is taken where
// there is a state. There is none, so the kernel asks for one and goes on without.
func (p Plan) triggers(b Binding, tunnel xfrm.Policy) []xfrm.Policy {
	if len(p.Triggers) == 0 || b.Phase != Away {
		return nil
	}
	plain := tunnel.Templates[0]
	asking := []xfrm.Template{roTemplate(xfrm.HAO, b.Home, any6, true), plain}
	// The agent's own state would be taken for what is sent to the agent.
	out := []xfrm.Policy{{Sel: xfrm.Selector{Src: host(b.Home), Dst: host(b.HomeAgent)}, Dir: xfrm.Out,
		Priority: PriorityNever, Templates: []xfrm.Template{plain}}}
	seen := map[xfrm.PolicyID]bool{out[0].ID(): true, tunnel.ID(): true}
	for i, t := range p.Triggers[:min(len(p.Triggers), MaxTriggers)] {
		if p.shadowed(i) {
			continue
		}
		for _, sel := range t.selectors(host(b.Home)) {
			pol := xfrm.Policy{Dir: xfrm.Out, Priority: PriorityTrigger + uint32(i), Sel: sel, Templates: asking}
			if t.Never {
				pol.Templates = []xfrm.Template{plain}
				if t.Proto != 0 { // what else goes to this correspondent may be direct
					pol.Priority = PriorityNever
				}
			}
			if id := pol.ID(); !seen[id] {
				out, seen[id] = append(out, pol), true
			}
		}
	}
	return out
}

func (t Trigger) to() netip.Prefix {
	if !t.To.IsValid() {
		return anywhere
	}
	return t.To.Masked()
}

// selectors are what the trigger's policies are for. One for everything would have the key of the
// tunnel's own, and one for all packets to one correspondent that of its path: they are made of two
// halves, of the addresses or of the source ports (0 where there are none).
func (t Trigger) selectors(home netip.Prefix) []xfrm.Selector {
	s := xfrm.Selector{Src: home, Dst: t.to(), Proto: t.Proto}
	if t.Port != 0 {
		s.DstPort, s.DstPortMask = t.Port, 0xffff
		return []xfrm.Selector{s}
	}
	other := s
	switch {
	case s.Dst.IsSingleIP() && (t.Proto == 0 || t.Proto == protoMH):
		s.SrcPortMask, other.SrcPort, other.SrcPortMask = 1, 1, 1
	case s.Dst.Bits() == 0 && t.Proto == 0 && !t.Never:
		upper := netip.AddrFrom16([16]byte{0x80})
		s.Dst, other.Dst = netip.PrefixFrom(any6, 1), netip.PrefixFrom(upper, 1)
	default:
		return []xfrm.Selector{s}
	}
	return []xfrm.Selector{s, other}
}

// shadowed tells whether an earlier trigger fits all that the i-th fits.
func (p Plan) shadowed(i int) bool {
	t := p.Triggers[i]
	for _, e := range p.Triggers[:i] {
		if e.to().Bits() <= t.to().Bits() && e.to().Contains(t.to().Addr()) &&
			(e.Proto == 0 || e.Proto == t.Proto) && (e.Port == 0 || e.Port == t.Port) {
			return true
		}
	}
	return false
}

// tests are the policies of Mobility Headers that go by the tunnel whatever else is in the databases: the
// Home Test Init must, and a Home Test is accepted from there only (RFC 6275 §11.6.2).
func (p Plan) tests(b Binding) []xfrm.Policy {
	// A correspondent answers from the home address, and its tests come there by the tunnel.
	if !p.Optimises && !p.Answers || p.Role != Node {
		return nil
	}
	plain := p
	plain.Triggers = nil
	out := plain.payload(b)
	for i := range out {
		out[i].Sel.Proto, out[i].Priority = protoMH, PriorityTests
		if p.Answers && out[i].Dir == xfrm.In { // we are the peer's correspondent
			out[i].Templates = append([]xfrm.Template{roTemplate(xfrm.HAO, any6, any6, true)}, out[i].Templates...)
		}
	}
	return out
}
