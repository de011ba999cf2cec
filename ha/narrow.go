package ha

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/mobility"
)

var (
	firstAddr = netip.IPv6Unspecified()
	lastAddr  = netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
)

const anyPort = 65535

func (s Selector) has(a netip.Addr) bool {
	return s.Start.Is6() && s.End.Is6() && s.Start.Compare(a) <= 0 && a.Compare(s.End) <= 0
}

func (s Selector) allPorts() bool { return s.StartPort == 0 && s.EndPort == anyPort }

func covers(list []Selector, a netip.Addr) bool {
	for _, s := range list {
		if s.has(a) {
			return true
		}
	}
	return false
}

// narrow cuts the proposed selectors to those of the home address: transport
// mode is for the Mobility Header between home address and home agent, tunnel
// mode for all that the home address sends and gets (RFC 4877 §7.2).
func (m *Machine) narrow(ev Authorise, home netip.Addr) (Authorised, error) {
	if !covers(ev.Remote, home) {
		return Authorised{}, fmt.Errorf("%w: %s has home address %v and asks for %s", ErrTSUnacceptable, ev.Identity, home, list(ev.Remote))
	}
	if !ev.Transport {
		return m.narrowPayload(ev, home)
	}
	ans := Authorised{Kind: MH, Mode: MH.mode(), Remote: onlyMH(ev.Remote, home)}
	for _, agent := range m.agentsFirst(ev.Agent) {
		if ans.Local = onlyMH(ev.Local, agent); len(ans.Local) > 0 {
			break
		}
	}
	if len(ans.Local) == 0 || len(ans.Remote) == 0 {
		return ans, fmt.Errorf("%w: transport mode is for the mobility header between %v and this home agent, not for %s to %s",
			ErrTSUnacceptable, home, list(ev.Remote), list(ev.Local))
	}
	return ans, nil
}

// agentsFirst are our addresses, the one that IKE uses first.
func (m *Machine) agentsFirst(first netip.Addr) []netip.Addr {
	out := []netip.Addr{}
	if m.cfg.isAgent(first) {
		out = append(out, first)
	}
	for _, a := range m.cfg.Agents {
		if a != first {
			out = append(out, a)
		}
	}
	return out
}

// onlyMH keeps what a selector has of one address and the Mobility Header. Ports
// are message types, in whatever way the peer writes them; our policies
// have none, so they are taken as they are.
func onlyMH(from []Selector, a netip.Addr) []Selector {
	var out []Selector
	for _, s := range from {
		if !s.has(a) || s.Proto != 0 && s.Proto != mobility.ProtoMobility || s.Proto == 0 && !s.allPorts() {
			continue
		}
		s.Proto, s.Start, s.End = mobility.ProtoMobility, a, a
		out = appendOnce(out, s)
	}
	return out
}

func (m *Machine) narrowPayload(ev Authorise, home netip.Addr) (Authorised, error) {
	ans := Authorised{Kind: Payload, Mode: Payload.mode()}
	for _, s := range ev.Remote {
		if s.has(home) && s.Proto == 0 && s.allPorts() {
			ans.Remote = []Selector{{EndPort: anyPort, Start: home, End: home}}
		}
	}
	for _, s := range ev.Local {
		if s.Proto == 0 && s.allPorts() && s.has(firstAddr) && s.has(lastAddr) {
			ans.Local = []Selector{{EndPort: anyPort, Start: firstAddr, End: lastAddr}}
		}
	}
	if len(ans.Local) == 0 || len(ans.Remote) == 0 {
		return ans, fmt.Errorf("%w: tunnel mode is for all of %v to ::/0, not for %s to %s",
			ErrTSUnacceptable, home, list(ev.Remote), list(ev.Local))
	}
	return ans, nil
}

func appendOnce(out []Selector, s Selector) []Selector {
	for _, x := range out {
		if x == s {
			return out
		}
	}
	return append(out, s)
}

// list is the selectors in words for the log.
func list(sel []Selector) string {
	if len(sel) == 0 {
		return "nothing"
	}
	s := sel[0]
	out := fmt.Sprintf("%v-%v", s.Start, s.End)
	if s.Start == s.End {
		out = s.Start.String()
	}
	if s.Proto != 0 {
		out += fmt.Sprintf(" proto %d", s.Proto)
	}
	if !s.allPorts() {
		out += fmt.Sprintf(" ports %d-%d", s.StartPort, s.EndPort)
	}
	if len(sel) > 1 {
		out += fmt.Sprintf(" and %d more", len(sel)-1)
	}
	return out
}
