package conformance

import (
	"testing"
	"time"
)

// Registrations, renewals and moves.
var cnBindings = []Case{
	{ID: "CN-3-1-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.acknowledged(m.registration(with(alternate(m.CareOf), m.indices(), authorization())), 0)
		m.bound()
	}},
	{ID: "CN-3-2-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		v := m.bind(lifetime(maxRR))
		m.must(v, v.lifetime() == maxRR, "lifetime %d", v.lifetime())
		m.bound()
		m.acknowledged(m.registration(lifetime(1)), 0)
		m.bound()
		m.after(5*time.Second, "the new lifetime ends")
		m.unbound()
	}},
	{ID: "CN-3-2-3", Wait: 45 * time.Second, Run: func(t *testing.T, x *Tester) {
		refreshRequested(mobile(x).begin())
	}},
	{ID: "CN-3-2-4", Wait: 50 * time.Second, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		refreshRequested(m)
		m.bind(lifetime(maxRR))
		mark := m.mark()
		for range 10 {
			m.bound()
			m.Wire.Sleep(500 * time.Millisecond)
		}
		m.Silent(mark, "another Binding Refresh Request", m.settled, func(v View) bool { return v.Is(typeBRR) })
	}},
	{ID: "CN-3-4-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.CareOf = careOf2
		m.careOfTest()
		m.acknowledged(m.registration(), 0)
		m.plain(careOf2)
		m.bound()
	}},
	{ID: "CN-3-4-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(seq(1))
		m.bound()
		m.CareOf = careOf2
		m.careOfTest()
		m.homeTest()
		m.answered(m.registration(seq(1)), 135, 1)
		m.plain(careOf1)
	}},
	sequence("CN-5-1-1-1", 10000, 10001),
	sequence("CN-5-1-1-2", 10000, 42767),
	sequence("CN-5-1-1-3", 42768, 0),
	sequence("CN-5-1-1-4", 42768, 9999),
	{ID: "CN-5-1-2-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(seq(10000))
		m.answered(m.registration(seq(9999)), 135, 10000)
	}},
	{ID: "CN-5-1-3-2", Run: func(t *testing.T, x *Tester) { mobile(x).begin().bind(seq(32768)) }},
	{ID: "CN-5-1-3-3", Run: func(t *testing.T, x *Tester) { mobile(x).begin().bind(seq(65535)) }},

	{ID: "CN-5-2-1", Wait: longest, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.lasts(m.acknowledged(m.registration(lifetime(0xffff)), 0), maxRR, 410*time.Second)
	}},
	{ID: "CN-5-2-4", Wait: longest, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(10))
		m.bound()
		m.lasts(m.acknowledged(m.registration(lifetime(0xffff)), 0), maxRR, 410*time.Second)
	}},
	{ID: "CN-5-2-5", Wait: 45 * time.Second, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(100))
		m.bound()
		m.lasts(m.acknowledged(m.registration(lifetime(10)), 0), 10, 0)
	}},
	{ID: "CN-5-2-6", Wait: 85 * time.Second, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(10))
		m.bound()
		m.lasts(m.acknowledged(m.registration(lifetime(20)), 0), 20, 60*time.Second)
	}},
	{ID: "CN-5-2-7", Wait: longest, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(10))
		m.bound()
		m.lasts(m.acknowledged(m.registration(lifetime(106)), 0), maxRR, 410*time.Second)
	}},
	{ID: "CN-5-4-3", Run: func(t *testing.T, x *Tester) {
		one, two := mobile(x), mobile(x)
		two.Home, two.CareOf = home2, careOf2
		one.begin()
		two.begin()
		one.bind()
		two.bind()
		one.bound()
		two.bound()
	}},
}

// sequence is a case of two updates with these sequence numbers, both accepted.
func sequence(id string, first, second uint16) Case {
	return Case{ID: id, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(seq(first))
		m.acknowledged(m.registration(seq(second)), 0)
	}}
}

// refreshRequested registers for a minute, keeps the binding in use, and is asked to
// renew it before that is over.
func refreshRequested(m *Mobile) {
	m.Helper()
	m.bind(lifetime(15))
	for end := m.Wire.Now().Add(58 * time.Second); m.Wire.Now().Before(end); m.Wire.Sleep(500 * time.Millisecond) {
		m.bound()
		v, ok := m.wait(0, func(v View) bool { return v.Is(typeBRR) })
		if ok {
			m.must(v, v.Src == m.CN && v.Dst == m.Home, "the request is not from %v to %v", m.CN, m.Home)
			return
		}
	}
	m.Fatal("no Binding Refresh Request came in the time of a binding in use")
}

// lasts judges how long the binding of an acknowledgement that just came is there:
// the lifetime told is right, it is there at a time, and gone 2 s after its end.
func (m *Mobile) lasts(v View, units uint16, there time.Duration) {
	m.Helper()
	start := m.Wire.Now()
	m.must(v, v.lifetime() == units, "lifetime %d, not %d", v.lifetime(), units)
	m.bound()
	if there > 0 {
		m.Wire.Sleep(start.Add(there).Sub(m.Wire.Now()))
		m.bound()
	}
	m.Wire.Sleep(start.Add(time.Duration(units)*4*time.Second + 2*time.Second).Sub(m.Wire.Now()))
	m.unbound()
}
