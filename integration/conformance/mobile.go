package conformance

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// beInterval is what lies between two Binding Errors to one address, which a
// correspondent should limit (RFC 6275 §9.3.3; mip6d: one a second).
const beInterval = 1100 * time.Millisecond

// maxRR is MAX_RR_BINDING_LIFETIME, 420 s, in units of 4 s (RFC 6275 §12, §6.1.7).
const maxRR = 105

// ticket is what a test gave: a keygen token and the index of its nonce.
type ticket struct {
	index uint16
	token [8]byte
}

// Mobile is a mobile node that the Tester plays towards a correspondent.
type Mobile struct {
	*Tester
	Home, CareOf, CN netip.Addr
	Seq              uint16 // of the last update
	home, careOf     ticket // of the last tests
	cookies, echoes  uint16
	lastBE           map[netip.Addr]time.Time
}

// mobile is the mobile node of most cases.
func mobile(x *Tester) *Mobile {
	return &Mobile{Tester: x, Home: home1, CareOf: careOf1, CN: x.Node.First, lastBE: map[netip.Addr]time.Time{}}
}

// begin is what most cases begin with: the node answers a plain packet, and knows no
// binding of ours.
func (m *Mobile) begin() *Mobile {
	m.Helper()
	m.step("the node is there and knows no binding")
	m.plain(netip.Addr{})
	m.unbound()
	return m
}

// ---- return routability ----

// testInit is a HoTI or CoTI with a cookie of its own; change may spoil it before its
// checksum is computed.
func (m *Mobile) testInit(typ byte, src netip.Addr, options ...option) (Packet, [8]byte) {
	m.cookies++
	cookie := [8]byte{0xc0, 0x0c, 0x1e, typ, byte(m.cookies >> 8), byte(m.cookies), 0xff, 0x01}
	body := append([]byte{0, 0}, cookie[:]...)
	return Packet{Src: src, Dst: m.CN, Proto: protoMH, Payload: mobilityHeader(typ, body, options...), Sum: 4}, cookie
}

// tested waits for the HoT or CoT that answers a test init of this source and cookie.
func (m *Mobile) tested(typ byte, to netip.Addr, cookie [8]byte) ticket {
	m.Helper()
	name := map[byte]string{typeHoT: "Home Test", typeCoT: "Care-of Test"}[typ]
	v := m.Expect(name, func(v View) bool { return v.Is(typ) && v.cookie() == cookie })
	m.must(v, v.Src == m.CN, "%s not from %v", name, m.CN)
	m.must(v, v.Dst == to, "%s not to %v", name, to)
	return ticket{v.index(), v.token()}
}

func (m *Mobile) homeTest() ticket {
	m.Helper()
	p, cookie := m.testInit(typeHoTI, m.Home)
	m.Send(p)
	m.home = m.tested(typeHoT, m.Home, cookie)
	return m.home
}

func (m *Mobile) careOfTest() ticket {
	m.Helper()
	p, cookie := m.testInit(typeCoTI, m.CareOf)
	m.Send(p)
	m.careOf = m.tested(typeCoT, m.CareOf, cookie)
	return m.careOf
}

// routability is both tests at the same time.
func (m *Mobile) routability() *Mobile {
	m.Helper()
	c, careOf := m.testInit(typeCoTI, m.CareOf)
	h, home := m.testInit(typeHoTI, m.Home)
	m.Send(c)
	m.Send(h)
	m.careOf = m.tested(typeCoT, m.CareOf, careOf)
	m.home = m.tested(typeHoT, m.Home, home)
	return m
}

// settled makes the node answer a message that it got behind those before: it has
// judged them then.
func (m *Mobile) settled() {
	m.Helper()
	p, cookie := m.testInit(typeCoTI, m.CareOf)
	m.Send(p)
	m.tested(typeCoT, m.CareOf, cookie)
}

// ---- what shows whether there is a binding ----

// echo sends an echo request and gives what its reply is known by.
func (m *Mobile) echo(src, home netip.Addr) ([]byte, func(View) bool) {
	m.Helper()
	m.echoes++
	id, n := uint16(0x3b00), m.echoes
	if m.Home == home2 {
		id++
	}
	raw := m.Send(echoRequest(src, m.CN, home, id, n))
	return raw, func(v View) bool {
		return v.icmp(129) && binary.BigEndian.Uint16(v.Payload[4:]) == id && binary.BigEndian.Uint16(v.Payload[6:]) == n
	}
}

// replied waits for an echo reply: to a care-of address with a routing header, or
// where careOf is not valid plain to the home address.
func (m *Mobile) replied(match func(View) bool, careOf netip.Addr) View {
	m.Helper()
	v := m.Expect("Echo Reply", match)
	m.must(v, v.Src == m.CN, "the reply is not from %v", m.CN)
	if careOf.IsValid() {
		m.must(v, v.Dst == careOf && v.Route == m.Home, "the reply is not to %v with a routing header for %v", careOf, m.Home)
	} else {
		m.must(v, v.Dst == m.Home && !v.Route.IsValid(), "the reply is not plain to %v", m.Home)
	}
	return v
}

// plain sends an echo request from the home address, without an option: the reply
// goes to the care-of address of the binding, or to the home address without one.
func (m *Mobile) plain(careOf netip.Addr) {
	m.Helper()
	_, match := m.echo(m.Home, netip.Addr{})
	m.replied(match, careOf)
}

// bound sends an echo request from the care-of address with a home address option:
// the reply comes back the same way, so there is this binding.
func (m *Mobile) bound() View {
	m.Helper()
	_, match := m.echo(m.CareOf, m.Home)
	return m.replied(match, m.CareOf)
}

// unbound sends the same, and gets a Binding Error: there is no such binding.
func (m *Mobile) unbound() { m.Helper(); m.refused(m.CareOf, m.Home) }

// refused sends an echo request from src with a home address option, for which there
// must be no binding with src.
func (m *Mobile) refused(src, home netip.Addr) {
	m.Helper()
	m.pace(src)
	_, match := m.echo(src, home)
	m.bindingError(src, home, 1)
	if v, ok := m.wait(0, match); ok {
		m.Errorf("a reply came too: %v", v)
	}
}

// pace waits until the node owes src a Binding Error again.
func (m *Mobile) pace(src netip.Addr) {
	if last, ok := m.lastBE[src]; ok {
		if d := beInterval - m.Wire.Now().Sub(last); d > 0 {
			m.Wire.Sleep(d)
		}
	}
}

// bindingError waits for a Binding Error and judges it.
func (m *Mobile) bindingError(to, about netip.Addr, status byte) {
	m.Helper()
	v := m.Expect("Binding Error", func(v View) bool { return v.Is(typeBE) })
	m.lastBE[to] = m.Wire.Now()
	m.must(v, v.Src == m.CN && v.Dst == to, "the error is not from %v to %v", m.CN, to)
	m.must(v, v.status() == status, "status %d, not %d", v.status(), status)
	m.must(v, v.about() == about, "home address %v, not %v", v.about(), about)
}

// after lets time pass.
func (m *Mobile) after(d time.Duration, why string) {
	m.step("%v pass: %s", d, why)
	m.Wire.Sleep(d)
}
