package ha

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// report answers a home address option without a binding by a Binding Error
// (RFC 6275 §9.3.1).
func (m *Machine) report(r xfrm.Report) {
	m.stats.UnknownBinding++
	if r.Proto != xfrm.HAO || !r.CareOf.IsValid() {
		return
	}
	m.bindingError(mobility.ErrorUnknownBinding, r.Sel.Dst.Addr(), r.CareOf, r.Sel.Src.Addr(), 0)
}

// unknownType answers a message type that is not known (RFC 6275 §9.2).
func (m *Machine) unknownType(mh host.MH) {
	wire, home := mh.Src, netip.IPv6Unspecified()
	if mh.CareOf.IsValid() { // there was a home address option
		wire, home = mh.CareOf, mh.Src
	}
	m.bindingError(mobility.ErrorUnrecognizedType, mh.Dst, wire, home, mh.IfIndex)
}

// bindingError sends to the source on the wire, without a routing header, never to
// one that is not unicast, and not without limit (RFC 6275 §9.3.3). What the
// bindings say does not matter (§9.2).
func (m *Machine) bindingError(status mobility.ErrorStatus, from, to, home netip.Addr, ifIndex int) {
	if !to.Is6() || to.IsMulticast() || to.IsUnspecified() || to.IsLoopback() {
		m.stats.ErrorsWithheld++
		return
	}
	if m.life != serving || !m.errors.take(m.now) {
		m.stats.ErrorsWithheld++
		return
	}
	if !mobility.UnicastRoutable(from) {
		from = m.cfg.Agents[0]
	}
	out := host.MH{Src: from, Dst: to}
	if to.IsLinkLocalUnicast() { // only the link tells where it is
		out.IfIndex = ifIndex
	}
	msg := mobility.Message{Body: mobility.BindingError{Status: status, HomeAddr: home}}
	out.Data, _ = msg.AppendTo(nil)
	m.stats.ErrorsSent++
	m.act(nil, host.SendMH{MH: out})
}
