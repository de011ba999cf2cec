package conformance

import (
	"net/netip"
	"testing"
	"time"
)

// What the binding cache is for: errors, home address options, upper layers.
var cnErrors = []Case{
	{ID: "CN-6-1", Wait: 60 * time.Second, Run: unreachableCareOf},
	{ID: "CN-6-2-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.refused(careOf1, home2)
		m.refused(careOf2, home1)
	}},
	{ID: "CN-6-2-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.refused(careOf2, home1)
		m.refused(careOf2, home1)
		m.bound()
	}},
	{ID: "CN-6-3-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.pace(m.CareOf)
		mark := m.mark()
		_, reply := m.echo(m.CareOf, netip.MustParseAddr("ff0e::104:1"))
		m.Silent(mark, "an answer", m.settled, func(v View) bool { return v.Is(typeBE) || reply(v) })
	}},
	{ID: "CN-6-4-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.refused(m.Home, m.CareOf)
		m.pace(m.CareOf)
		p := echoRequest(m.CareOf, m.CN, netip.Addr{}, 0x4bad, 1)
		putSum(p.Src, p.Dst, p.Proto, p.Payload, p.Sum) // over the care-of address
		p.Home, p.Sum = m.Home, -1
		mark := m.mark()
		m.Send(p)
		m.Silent(mark, "an answer", m.settled, func(v View) bool { return v.Is(typeBE) || v.icmp(129) })
	}},
}

// unreachableCareOf: the router of the foreign link says again and again that the
// care-of address is not there, until the correspondent drops the binding; but not
// for a single one.
func unreachableCareOf(t *testing.T, x *Tester) {
	m := mobile(x).begin()
	m.bind(lifetime(maxRR))
	last := m.bound()
	m.Send(unreachable(router1, m.CN, 3, last.Raw))
	m.settled()
	last = m.bound()
	for end := m.Wire.Now().Add(120 * time.Second); m.Wire.Now().Before(end); {
		m.Send(unreachable(router1, m.CN, 3, last.Raw))
		m.Wire.Sleep(time.Second)
		m.pace(m.CareOf)
		_, reply := m.echo(m.CareOf, m.Home)
		v := m.Expect("Echo Reply or Binding Error", func(v View) bool { return reply(v) || v.Is(typeBE) })
		if v.Is(typeBE) {
			m.must(v, v.Dst == m.CareOf && v.status() == 1 && v.about() == m.Home, "not the right error")
			return
		}
		last = v
	}
	m.Fatal("the binding outlived two minutes of destination unreachable")
}
