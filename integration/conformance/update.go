package conformance

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Update is a Binding Update that can be wrong in any way.
type Update struct {
	Src, HomeOption      netip.Addr // on the wire; HomeOption not valid: none
	Type                 byte
	Seq, Flags, Lifetime uint16
	Options              []option
	Key                  kbm
	About                netip.Addr      // the care-of address that the authenticator is over
	Spoil                func(mh []byte) // after the authenticator, before the checksum
	Sum                  func(mh []byte) // in place of the checksum
}

// registration is the right update for the present tests; edit changes it.
func (m *Mobile) registration(edit ...func(*Update)) Update {
	m.Seq++
	u := Update{
		Src: m.CareOf, HomeOption: m.Home, Type: typeBU, Seq: m.Seq, Flags: flagA, Lifetime: 60,
		Options: []option{nonceIndices(m.home.index, m.careOf.index), authorization()},
		Key:     key(m.home.token, m.careOf.token), About: m.CareOf,
	}
	return u.edit(edit)
}

// deletion is the right update to delete the binding, from the foreign link; the
// care-of nonce index does not count in it (RFC 6275 §9.5.1).
func (m *Mobile) deletion(edit ...func(*Update)) Update {
	m.Seq++
	u := Update{
		Src: m.CareOf, HomeOption: m.Home, Type: typeBU, Seq: m.Seq, Flags: flagA,
		Options: []option{nonceIndices(m.home.index, 0), authorization()},
		Key:     key(m.home.token), About: m.Home,
	}
	return u.edit(edit)
}

func (u Update) edit(all []func(*Update)) Update {
	for _, f := range all {
		f(&u)
	}
	return u
}

// fromHome sends from the home link, without a home address option.
func (m *Mobile) fromHome(u *Update) { u.Src, u.HomeOption = m.Home, netip.Addr{} }

// with puts these options in place of the usual ones.
func with(options ...option) func(*Update) { return func(u *Update) { u.Options = options } }

// seq and lifetime set a field.
func seq(n uint16) func(*Update)      { return func(u *Update) { u.Seq = n } }
func lifetime(n uint16) func(*Update) { return func(u *Update) { u.Lifetime = n } }

// packet puts an update to a correspondent together.
func (u Update) packet(cn netip.Addr) Packet {
	body := binary.BigEndian.AppendUint16(nil, u.Seq)
	body = binary.BigEndian.AppendUint16(body, u.Flags)
	body = binary.BigEndian.AppendUint16(body, u.Lifetime)
	mh := mobilityHeader(u.Type, body, u.Options...)
	u.Key.sign(u.About, cn, mh)
	if u.Spoil != nil {
		u.Spoil(mh)
	}
	p := Packet{Src: u.Src, Dst: cn, Home: u.HomeOption, Proto: protoMH, Payload: mh, Sum: 4}
	if u.Sum != nil {
		u.Sum(mh)
		p.Sum = -1
	}
	return p
}

// acknowledged sends an update and judges the acknowledgement, all of it.
func (m *Mobile) acknowledged(u Update, status byte) View {
	m.Helper()
	return m.answered(u, status, u.Seq)
}

// answered is acknowledged with another sequence number than the update's, as
// status 135 tells it.
func (m *Mobile) answered(u Update, status byte, seq uint16) View {
	m.Helper()
	m.Seq = u.Seq
	m.Send(u.packet(m.CN))
	v := m.Expect("Binding Acknowledgement", func(v View) bool { return v.Is(typeBA) })
	m.must(v, v.Src == m.CN, "the acknowledgement is not from %v", m.CN)
	m.must(v, v.Dst == u.Src, "the acknowledgement is not to the update's source %v", u.Src)
	route := u.HomeOption
	if route == u.Src {
		route = netip.Addr{} // it is at home (RFC 6275 §9.5.4)
	}
	m.must(v, v.Route == route, "routing header with %v, not %v", v.Route, route)
	m.must(v, v.status() == status, "status %d, not %d", v.status(), status)
	m.must(v, v.seq() == seq, "sequence number %d, not %d", v.seq(), seq)
	m.must(v, v.ackFlags() == 0, "flags %#x (RFC 6275 §6.1.7: K is ignored)", v.ackFlags())
	if status == 0 {
		m.must(v, v.lifetime() <= min(u.Lifetime, maxRR), "lifetime %d was not asked for", v.lifetime())
	}
	m.authenticated(v, u)
	return v
}

// authenticated judges the authorization data of an acknowledgement: none where the
// key is not known (RFC 6275 §9.5.4), else the last option, with the right authenticator.
func (m *Mobile) authenticated(v View, u Update) {
	m.Helper()
	switch v.status() {
	case 131, 136, 137, 138:
		m.must(v, !v.authorized(), "authorization data in a refusal for want of a key")
		return
	}
	b := v.Payload
	at := findOption(b, fixed[typeBA], 5)
	if at <= 0 || b[at-1] != 12 || at+12 != len(b) {
		m.must(v, false, "authorization data is not the last option")
		return
	}
	m.must(v, bytes.Equal(b[at:], u.Key.authenticator(u.About, m.CN, b, at)), "wrong authenticator")
}

// ignored sends an update that must get neither acknowledgement nor error.
func (m *Mobile) ignored(u Update) {
	m.Helper()
	mark := m.mark()
	m.Send(u.packet(m.CN))
	m.Silent(mark, "an answer", m.settled, func(v View) bool { return v.Is(typeBA, typeBE) })
}

// bind is return routability and a registration.
func (m *Mobile) bind(edit ...func(*Update)) View {
	m.Helper()
	return m.routability().acknowledged(m.registration(edit...), 0)
}
