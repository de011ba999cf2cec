package ha

import (
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/binding"
)

// accept makes the acknowledgement of a registration (RFC 6275 §10.3.1), and
// moves the keys' end first.
func (m *Machine) accept(n *node, u update, e binding.Entry, p HomePrefix) (mobility.BindingAck, mobility.Units) {
	ack := mobility.BindingAck{Status: m.success(e.Lifetime, p), Seq: u.seq, Lifetime: e.Lifetime, Flags: m.moveKeys(n, u)}
	advice := mobility.UnitsOf(m.cfg.RefreshAdvice)
	if advice >= e.Lifetime { // it has to be below the lifetime
		advice = 0
	}
	return ack, advice
}

// refuse answers an update with a status of rejection.
func (m *Machine) refuse(n *node, u update, status mobility.Status, seq uint16) {
	m.stats.refused(status)
	m.emit(Changed{At: m.now, Home: n.addr(), What: Refused, CareOf: u.careOf, Seq: u.seq, Lifetime: u.lifetime,
		Status: status, AtHome: !u.wire.IsValid()})
	m.note(Info, n, "binding update refused", "status", status, "careof", u.careOf, "seq", u.seq)
	m.acknowledge(n, u, mobility.BindingAck{Status: status, Seq: seq}, 0)
}

// acknowledge sends to where the update came from: by a type 2 routing header, or
// directly to the home address of a node at home (RFC 6275 §9.5.4). It is sent
// whatever the A flag says (§10.3.1).
func (m *Machine) acknowledge(n *node, u update, ack mobility.BindingAck, advice mobility.Units) {
	msg := mobility.Message{Body: ack}
	if advice > 0 {
		msg.Options = mobility.Options{mobility.RefreshAdvice{Interval: advice}}
	}
	data, err := msg.AppendTo(nil)
	if err != nil { // a mistake of ours
		m.note(Warn, n, "acknowledgement cannot be encoded", "err", err)
		return
	}
	before, after := m.leadTo(n, u.wire)
	m.apply(n, before)
	m.act(n, host.SendMH{MH: host.MH{Src: m.cfg.Agents[n.agent], Dst: n.addr(), Data: data}})
	m.apply(n, after)
	m.stats.Acks++
	m.emit(Changed{At: m.now, Home: n.addr(), What: AckSent, CareOf: u.careOf, Seq: ack.Seq, Lifetime: ack.Lifetime,
		Status: ack.Status, AtHome: !u.wire.IsValid()})
}
