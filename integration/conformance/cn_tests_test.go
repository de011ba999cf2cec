package conformance

import (
	"net/netip"
	"testing"
)

// Return routability, and the messages that a correspondent must not take.
var cnTests = []Case{
	{ID: "CN-1-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x)
		m.plain(netip.Addr{})
		m.unbound()
		m.routability()
	}},
	{ID: "CN-1-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.plain(m.CareOf)
		m.bound()
	}},
	{ID: "CN-2-1-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.tests(typeHoTI, m.Home, nil, nonceIndices(1, 2))
	}},
	{ID: "CN-2-1-4", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.tests(typeHoTI, m.Home, func(mh []byte) { mh[3] = 0xff })
		m.tests(typeHoTI, m.Home, func(mh []byte) { mh[6], mh[7] = 0xff, 0xff })
	}},
	{ID: "CN-2-1-5", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		p, _ := m.testInit(typeHoTI, m.Home)
		m.problem(p, 0, 40, 0xff)
	}},
	{ID: "CN-2-2-1-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.tests(typeCoTI, m.CareOf, nil, alternate(careOf2))
	}},
	{ID: "CN-2-2-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		p, cookie := m.testInit(typeCoTI, m.CareOf)
		p.Home = m.Home
		m.untested(p, typeCoT, cookie)
	}},
	{ID: "CN-2-2-4", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.tests(typeCoTI, m.CareOf, func(mh []byte) { mh[3] = 0xff })
		m.tests(typeCoTI, m.CareOf, func(mh []byte) { mh[6], mh[7] = 0xff, 0xff })
	}},
	{ID: "CN-2-2-5", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		p, _ := m.testInit(typeCoTI, m.CareOf)
		m.problem(p, 0, 40, 0xff)
	}},
	{ID: "CN-2-2-6", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		p, cookie := m.testInit(typeCoTI, m.CareOf)
		p.Sum = -1 // it holds zero
		m.untested(p, typeCoT, cookie)
	}},
	{ID: "CN-2-4-1", Run: unknownType},
	{ID: "CN-2-4-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x)
		second := *m
		second.CN = x.Node.Second
		m.plain(netip.Addr{})
		second.plain(netip.Addr{})
		m.homeTest()
		second.homeTest()
		m.careOfTest()
		second.careOfTest()
	}},
}

// tests sends a test init with something that is to be ignored, and gets its answer.
func (m *Mobile) tests(typ byte, src netip.Addr, spoil func(mh []byte), options ...option) {
	m.Helper()
	p, cookie := m.testInit(typ, src, options...)
	if spoil != nil {
		spoil(p.Payload)
	}
	m.Send(p)
	m.tested(typ+2, src, cookie)
}

// untested sends a test init that must not be answered.
func (m *Mobile) untested(p Packet, answer byte, cookie [8]byte) {
	m.Helper()
	mark := m.mark()
	m.Send(p)
	m.Silent(mark, "an answer", m.settled, func(v View) bool { return v.Is(answer) && v.cookie() == cookie || v.Is(typeBE) })
}

// problem sends a packet with an octet of its Mobility Header changed, and gets a
// Parameter Problem, code 0, that points to that octet (RFC 6275 §9.2).
func (m *Mobile) problem(p Packet, octet int, pointer uint32, value byte) {
	m.Helper()
	p.Payload[octet] = value
	m.Send(p)
	v := m.Expect("Parameter Problem", func(v View) bool { return v.icmp(4) })
	m.must(v, v.Dst == p.Src && v.Src == m.CN, "not from %v to the packet's source %v", m.CN, p.Src)
	m.must(v, v.Payload[1] == 0 && v.pointer() == pointer, "code %d, pointer %d, not %d", v.Payload[1], v.pointer(), pointer)
}

// unknownType: a message of a type that is not known gets a Binding Error of status
// 2, but never to a multicast address.
func unknownType(t *testing.T, x *Tester) {
	m := mobile(x).begin()
	const unknown = 8
	p, _ := m.testInit(unknown, m.Home)
	m.Send(p)
	m.bindingError(m.Home, netip.IPv6Unspecified(), 2)

	mark := m.mark()
	p, _ = m.testInit(unknown, netip.MustParseAddr("ff0e::104:1"))
	m.Send(p)
	m.Silent(mark, "a Binding Error", m.settled, func(v View) bool { return v.Is(typeBE) })

	m.routability()
	m.pace(m.CareOf)
	m.Send(m.registration(func(u *Update) { u.Type = unknown }).packet(m.CN))
	m.bindingError(m.CareOf, m.Home, 2)
}
