package conformance

import (
	"net/netip"
	"testing"
)

// Binding Updates that are odd or wrong.
var cnUpdates = []Case{
	{ID: "CN-2-3-1-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.acknowledged(m.registration(with(refreshAdvice(10), m.indices(), authorization())), 0)
		m.bound()
	}},
	{ID: "CN-2-3-1-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.ignored(m.registration(with(m.indices(), authorization(), pad(6), alternate(m.CareOf))))
		m.ignored(m.registration(with(pad(6), authorization(), m.indices(), pad(2))))
		m.unbound()
	}},
	{ID: "CN-2-3-10-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.ignored(m.registration(with(authorization())))
		m.unbound()
	}},
	{ID: "CN-2-3-10-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.homeTest()
		m.ignored(m.deletion(m.fromHome, with(authorization())))
		m.bound()
	}},
	{ID: "CN-2-3-11", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.ignored(m.registration(with(m.indices(), pad(6))))
		m.ignored(m.registration(with(m.indices(), authorization(), pad(8))))
		m.ignored(m.registration(func(u *Update) { u.Spoil = func(mh []byte) { mh[len(mh)-1] ^= 1 } }))
		m.unbound()
	}},
	{ID: "CN-2-3-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.problem(m.registration().packet(m.CN), 1, 65, 0)
		m.unbound()
	}},
	{ID: "CN-2-3-6", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.ignored(m.registration(func(u *Update) { u.Sum = func(mh []byte) { mh[4], mh[5] = 0, 0 } }))
		m.unbound()
	}},
	{ID: "CN-2-3-8", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.acknowledged(m.registration(flags(flagA|flagK)), 0)
		m.bound()
	}},
	{ID: "CN-2-3-9", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.acknowledged(m.registration(flags(flagA|0x0fff)), 0)
		m.bound()
	}},
	{ID: "CN-2-5-3", Wait: nonceLife, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.homeTest()
		m.after(nonceLife, "the home nonce expires")
		m.careOfTest()
		m.acknowledged(m.registration(flags(0)), 136)
	}},
	{ID: "CN-2-5-5", Wait: nonceLife, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.careOfTest()
		m.homeTest()
		m.after(nonceLife, "both nonces expire")
		m.acknowledged(m.registration(flags(0)), 138)
	}},
	{ID: "CN-2-6-5", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		for _, a := range []string{"ff0e::104:1", "fe80::a:1"} {
			m.ignored(m.deletion(m.fromHome, with(alternate(netip.MustParseAddr(a)), m.indices(), authorization())))
		}
		m.plain(m.CareOf)
	}},
	{ID: "CN-5-3-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.acknowledged(m.registration(flags(flagA|flagH), with()), 131)
		m.unbound()
	}},
	{ID: "CN-5-3-6", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		u := m.deletion(m.fromHome, flags(flagA|flagH))
		mark := m.mark()
		m.Send(u.packet(m.CN))
		if v, ok := m.wait(silence, func(v View) bool { return v.Is(typeBA) }); ok {
			m.must(v, v.status() == 139, "status %d, not 139", v.status())
			m.must(v, v.Dst == m.Home && !v.Route.IsValid(), "not plain to %v", m.Home)
		}
		m.Silent(mark, "an answer", m.settled, func(v View) bool { return v.Is(typeBA, typeBE) })
		m.bound()
	}},
}

func flags(f uint16) func(*Update) { return func(u *Update) { u.Flags = f } }

// indices are those of the present tests.
func (m *Mobile) indices() option { return nonceIndices(m.home.index, m.careOf.index) }
