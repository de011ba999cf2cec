package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// Rules of RFC 6275 that the suite does not try, or not alone; named by section.
var cnRules = []Case{
	{ID: "rfc6275-5.2.8-replay", Run: func(t *testing.T, x *Tester) {
		// A registration that comes again after the deletion does not bring the binding back.
		m := mobile(x).begin().routability()
		old := m.registration()
		m.acknowledged(old, 0)
		m.bound()
		m.acknowledged(m.deletion(), 0)
		m.unbound()
		mark := m.mark()
		m.Send(old.packet(m.CN))
		if v, ok := m.wait(silence, func(v View) bool { return v.Is(typeBA) }); ok {
			m.must(v, v.status() >= 128, "an old update was accepted")
		}
		m.Silent(mark, "an answer", m.settled, func(v View) bool { return v.Is(typeBA, typeBE) })
		m.unbound()
	}},
	{ID: "rfc6275-6.1.7-care-of", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		for _, a := range []string{"ff02::1", "::1", "fe80::1", "::"} {
			bad := netip.MustParseAddr(a)
			m.ignored(m.registration(with(alternate(bad), m.indices(), authorization()), func(u *Update) { u.About = bad }))
		}
		m.unbound()
	}},
	{ID: "rfc6275-8.2-routing-header", Run: func(t *testing.T, x *Tester) {
		// Who is no mobile node drops packets with a type 2 routing header.
		m := mobile(x).begin()
		p := echoRequest(m.CareOf, m.CN, netip.Addr{}, 0x4bad, 1)
		p.Route = m.CN
		mark := m.mark()
		m.Send(p)
		m.Silent(mark, "a reply", m.settled, func(v View) bool { return v.icmp(129) })
	}},
	{ID: "rfc6275-9.3.3-limit", Run: func(t *testing.T, x *Tester) {
		// Binding Errors are limited, and the node serves on.
		m := mobile(x).begin()
		const packets = 300
		start := m.Wire.Now()
		for range packets {
			m.echo(m.CareOf, m.Home)
		}
		errors := 0
		for { // a row of them takes its time
			if _, ok := m.wait(5*time.Second, func(v View) bool { return v.Is(typeBE) }); !ok {
				break
			}
			errors++
		}
		if most := int(m.Wire.Now().Sub(start)/time.Second) + 2; errors > most {
			t.Errorf("%d Binding Errors for %d packets of one node, more than %d", errors, packets, most)
		}
		m.bind()
		m.bound()
	}},
	{ID: "rfc6275-9.4.1-home-address-option", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		p, cookie := m.testInit(typeHoTI, m.CareOf)
		p.Home = m.Home
		m.untested(p, typeHoT, cookie)
	}},
	{ID: "rfc6275-9.5.1-home-address", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.ignored(m.registration(func(u *Update) { u.HomeOption = netip.IPv6LinkLocalAllNodes() }))
		m.ignored(m.registration(func(u *Update) { u.HomeOption = netip.IPv6Loopback() }))
	}},
	sequences(15, 16, 0), sequences(15, 15, 135), sequences(15, 14, 135), sequences(15, 32782, 0),
	sequences(15, 32783, 135), sequences(32783, 32784, 0), sequences(32783, 14, 0), sequences(32783, 15, 135),
	{ID: "rfc6275-9.5.1-alternate", Run: func(t *testing.T, x *Tester) {
		// The alternate care-of address is what counts: for the tokens, the authenticator
		// and the binding; but not for where the acknowledgement goes.
		m := mobile(x).begin()
		m.homeTest()
		m.CareOf = careOf2
		m.careOfTest()
		u := m.registration(with(alternate(careOf2), m.indices(), authorization()), func(u *Update) { u.Src = careOf1 })
		m.acknowledged(u, 0)
		m.bound()
		m.refused(careOf1, m.Home)
	}},
	{ID: "rfc6275-9.5.1-care-of-index", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.acknowledged(m.registration(with(nonceIndices(m.home.index, never(m.careOf)), authorization())), 137)
		m.unbound()
	}},
	{ID: "rfc6275-9.5.1-home-registration", Run: func(t *testing.T, x *Tester) {
		// H must not come with nonce indices.
		m := mobile(x).begin().routability()
		m.ignored(m.registration(flags(flagA | flagH | flagL)))
		m.unbound()
	}},
	{ID: "rfc6275-9.5.3-nothing-to-delete", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.homeTest()
		m.acknowledged(m.deletion(), 0)
		m.unbound()
	}},
	{ID: "rfc6275-9.5.4-unasked", Run: func(t *testing.T, x *Tester) {
		// Without the A flag nothing is said of what went well, but of what did not.
		m := mobile(x).begin().routability()
		m.ignored(m.registration(seq(7), flags(0)))
		m.bound()
		m.answered(m.registration(seq(7), flags(0)), 135, 7)
		m.bound()
	}},
}

// sequences is an update after another, with the status that it gets (§9.5.1).
func sequences(first, second uint16, status byte) Case {
	return Case{ID: fmt.Sprintf("rfc6275-9.5.1-sequence-%d-%d", first, second), Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(seq(first))
		tells := second
		if status != 0 {
			tells = first
		}
		m.answered(m.registration(seq(second)), status, tells)
		m.bound()
	}}
}
