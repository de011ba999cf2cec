package conformance

import (
	"net/netip"
	"testing"
	"time"
)

// Nonce indices and tokens that are old or wrong.
var cnNonces = []Case{
	{ID: "CN-4-12-1", Wait: 120 * time.Second, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		home, careOf := m.homeTest(), m.careOfTest()
		m.another("home", home.index, m.homeTest)
		m.another("care-of", careOf.index, m.careOfTest)
		m.home, m.careOf = home, careOf
		m.acknowledged(m.registration(), 0)
		m.bound()
	}},
	{ID: "CN-4-12-2", Wait: 60 * time.Second, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		home := m.homeTest()
		m.another("home", home.index, m.homeTest)
		m.home = home
		m.acknowledged(m.deletion(m.alternateHome), 0)
		m.unbound()
	}},
	{ID: "CN-4-2-2", Wait: nonceLife, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(maxRR))
		m.bound()
		m.homeTest()
		m.after(nonceLife, "the home nonce expires")
		m.acknowledged(m.deletion(m.alternateHome), 136)
		m.bound()
	}},
	{ID: "CN-4-3-3", Wait: nonceLife, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(maxRR))
		m.bound()
		old := m.careOfTest()
		m.after(nonceLife, "the care-of nonce expires")
		m.homeTest()
		m.acknowledged(m.deletion(m.fromHome, with(nonceIndices(m.home.index, old.index), authorization())), 0)
		m.plain(netip.Addr{})
	}},
	{ID: "CN-4-4-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		m.acknowledged(m.deletion(m.fromHome, with(nonceIndices(never(m.home), 0), authorization())), 136)
		m.plain(m.CareOf)
	}},
	{ID: "CN-4-5-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		m.acknowledged(m.deletion(with(alternate(m.Home), nonceIndices(m.home.index, never(m.home)), authorization())), 0)
		m.unbound()
	}},
	{ID: "CN-4-5-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		m.acknowledged(m.deletion(m.fromHome, with(nonceIndices(m.home.index, never(m.home)), authorization())), 0)
		m.plain(netip.Addr{})
	}},
	{ID: "CN-4-6-2", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		m.ignored(m.deletion(m.alternateHome, func(u *Update) { u.Key = key(noToken) }))
		m.bound()
	}},
	{ID: "CN-4-7-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin().routability()
		m.ignored(m.registration(func(u *Update) { u.Key = key(m.home.token, noToken) }))
		m.unbound()
	}},
	{ID: "CN-4-8-2", Wait: nonceLife, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(lifetime(maxRR))
		m.bound()
		m.homeTest()
		m.careOfTest()
		m.after(nonceLife, "both nonces expire")
		m.acknowledged(m.deletion(with(alternate(m.Home), m.indices(), authorization())), 136)
		m.bound()
	}},
	{ID: "CN-4-9-1", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.careOfTest()
		m.homeTest()
		m.acknowledged(m.registration(with(nonceIndices(never(m.home), never(m.home)), authorization())), 138)
		m.unbound()
	}},
	{ID: "CN-4-9-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		m.homeTest()
		m.acknowledged(m.deletion(m.fromHome, with(nonceIndices(never(m.home), never(m.home)), authorization())), 136)
		m.plain(m.CareOf)
	}},
}

// noToken is a keygen token that was never given.
var noToken = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// never is the index of a nonce that was not given out: 0xffff, unless the
// correspondent's indices are just there.
func never(present ticket) uint16 {
	if d := 0xffff - present.index; d < 0x100 || d > 0xff00 {
		return present.index + 0x8000
	}
	return 0xffff
}

// another repeats a test until its nonce has another index.
func (m *Mobile) another(name string, index uint16, test func() ticket) {
	m.Helper()
	for end := m.Wire.Now().Add(210 * time.Second); m.Wire.Now().Before(end); m.Wire.Sleep(5 * time.Second) {
		if test().index != index {
			return
		}
	}
	m.Fatalf("the %s nonce index stays %d", name, index)
}
