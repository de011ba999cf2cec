package ha

import (
	"net/netip"

	"github.com/mip6/mip6/mobility"
)

// judge does the tests of RFC 6275 §10.3.1 in their order.
func (m *Machine) judge(n *node, u update) mobility.Status {
	if len(m.cfg.Prefixes) == 0 {
		return mobility.StatusHomeRegUnsupported
	}
	p, ok := m.cfg.prefix(m.now, n.addr())
	if !ok || m.lifetime(u.lifetime, p) == 0 {
		return mobility.StatusNotHomeSubnet
	}
	if line := m.byName[n.identity]; line != nil && (line.Deny || line.Home.IsValid() && line.Home != n.addr()) {
		return mobility.StatusProhibited
	}
	// A home address as care-of address would loop (RFC 6275 §15.1).
	if m.isHome(u.careOf) || m.cfg.isAgent(u.careOf) {
		return mobility.StatusInvalidCareOf
	}
	return mobility.StatusAccepted
}

// isHome tells whether an address is a home address that this agent serves.
func (m *Machine) isHome(a netip.Addr) bool {
	if _, ok := m.byLine[a]; ok {
		return true
	}
	if _, ok := m.byHome[a.As16()]; ok {
		return true
	}
	for _, p := range m.cfg.Pool {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// lifetime is what is granted of the lifetime asked for: no more than the home
// prefix has (RFC 6275 §10.3.1).
func (m *Machine) lifetime(asked mobility.Units, p HomePrefix) mobility.Units {
	granted := asked
	if m.cfg.MaxLifetime > 0 {
		granted = min(granted, max(1, mobility.UnitsOf(m.cfg.MaxLifetime)))
	}
	if !p.ValidUntil.IsZero() {
		granted = min(granted, mobility.UnitsOf(p.ValidUntil.Sub(m.now)))
	}
	return granted
}

// success is the status of an accepted registration: 1 where the home prefix is
// deprecated or will be within the binding's lifetime, or ends with it
// (RFC 6275 §10.3.1). Lifetimes are compared in units of four seconds.
func (m *Machine) success(granted mobility.Units, p HomePrefix) mobility.Status {
	if !p.PreferredUntil.IsZero() && mobility.UnitsOf(p.PreferredUntil.Sub(m.now)) < granted {
		return mobility.StatusPrefixDiscovery
	}
	if !p.ValidUntil.IsZero() && mobility.UnitsOf(p.ValidUntil.Sub(m.now)) <= granted {
		return mobility.StatusPrefixDiscovery
	}
	return mobility.StatusAccepted
}
