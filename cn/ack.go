package cn

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// acknowledge sends to where the update came from, by a type 2 routing header unless that is the home
// address; what the bindings say does not matter (RFC 6275 §9.5.4). Under SAs the policies make
// the headers: they are what ESP or AH has to be beside.
func (m *Machine) acknowledge(u update, ack mobility.BindingAck) {
	mh := host.MH{Src: u.local, Dst: u.home}
	if u.from.IsValid() && u.auth != IPsec {
		mh.CareOf, mh.RouteHeader = u.from, true
	}
	msg := mobility.Message{Body: ack}
	if !u.signed {
		m.send(mh, msg, u.home)
		return
	}
	msg.Options = mobility.Options{mobility.Authorization{Authenticator: make([]byte, rr.AuthenticatorLen)}}
	data, err := msg.AppendTo(nil)
	if err == nil {
		err = u.key.Sign(u.registered(), u.local, data)
	}
	if err != nil { // a mistake of ours
		m.note(Warn, u.home, "acknowledgement cannot be made", "err", err)
		return
	}
	mh.Data = data
	m.emit(Host{Local: u.local, Home: u.home, Ops: []host.Op{host.SendMH{MH: mh}}})
}

// refuse answers an update with a status of rejection, and with the authenticator where that of the
// update was right (RFC 6275 §9.5.4). It is owed whatever the A flag says, but for statuses that a
// node cannot do much about. Anybody can cause it, if only by a replay, so it is limited.
func (m *Machine) refuse(u update, status mobility.Status, seq uint16) {
	if status == mobility.StatusProhibited && !u.flags.Has(mobility.FlagAck) {
		return
	}
	to, all := u.home, &m.limits.refusals
	if u.from.IsValid() {
		to = u.from
	}
	if u.signed || u.auth == IPsec {
		all = &m.limits.signed
	}
	if !m.limits.refused.take(m.now, address(to)) || !all.take(m.now) {
		m.count.RefusalsLimited++
		return
	}
	level := Info
	if all == &m.limits.refusals { // anybody's
		level = Debug
	}
	m.note(level, u.home, "binding update refused", "local", u.local, "status", status, "careof", u.careOf, "seq", u.seq)
	m.acknowledge(u, mobility.BindingAck{Status: status, Seq: seq})
}

// bindingError sends to the source on the wire, without a routing header, never to
// one that is not unicast, and not without limit (RFC 6275 §9.3.3).
func (m *Machine) bindingError(status mobility.ErrorStatus, mh host.MH, home netip.Addr) {
	for _, a := range []netip.Addr{mh.Src, mh.Dst} {
		if !a.Is6() || a.Is4In6() || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() {
			m.count.ErrorsLimited++
			return
		}
	}
	if !m.limits.err.take(m.now, address(mh.Dst)^mix(address(home))) || !m.limits.errors.take(m.now) {
		m.count.ErrorsLimited++
		return
	}
	m.tell(status, mh, home)
}

// tell sends a Binding Error.
func (m *Machine) tell(status mobility.ErrorStatus, mh host.MH, home netip.Addr) {
	m.count.ErrorsSent++
	m.send(mh, mobility.Message{Body: mobility.BindingError{Status: status, HomeAddr: home}}, home)
}
