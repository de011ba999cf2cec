package conformance

import (
	"net/netip"
	"testing"
)

// Deletions, from the foreign link and from home.
var cnDeletions = []Case{
	deletedAbroad("CN-3-3-1-1", true, nil),
	deletedAbroad("CN-3-3-1-2", false, nil),
	deletedAbroad("CN-3-3-1-4", false, func(m *Mobile, u *Update) { m.alternateHome(u) }),
	deletedAbroad("CN-3-3-1-6", false, func(m *Mobile, u *Update) { m.alternateHome(u); u.Lifetime = 60 }),

	deletedAtHome("CN-3-3-2-12", false, func(m *Mobile, u *Update) { u.HomeOption = m.Home; u.Lifetime = 60 }),
	deletedAtHome("CN-3-3-2-13", true, func(m *Mobile, u *Update) { m.alternateHome(u); u.Lifetime = 60 }),
	deletedAtHome("CN-3-3-2-14", false, func(m *Mobile, u *Update) { m.alternateHome(u); u.Lifetime = 60 }),
	deletedAtHome("CN-3-3-2-16", false, func(m *Mobile, u *Update) { m.alternateHome(u); u.HomeOption = m.Home; u.Lifetime = 60 }),
	deletedAtHome("CN-3-3-2-3", true, func(m *Mobile, u *Update) { u.HomeOption = m.Home }),
	deletedAtHome("CN-3-3-2-4", false, func(m *Mobile, u *Update) { u.HomeOption = m.Home }),
	deletedAtHome("CN-3-3-2-5", true, func(m *Mobile, u *Update) { m.alternateHome(u) }),
	deletedAtHome("CN-3-3-2-7", true, func(m *Mobile, u *Update) { m.alternateHome(u); u.HomeOption = m.Home }),

	{ID: "CN-3-3-3", Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind(seq(1))
		m.bound()
		m.homeTest()
		m.answered(m.deletion(m.fromHome, seq(1)), 135, 1)
		m.plain(m.CareOf)
	}},
}

// alternateHome puts the home address into an alternate care-of address option.
func (m *Mobile) alternateHome(u *Update) {
	u.Options = append([]option{alternate(m.Home)}, u.Options...)
}

// deletedAbroad is a binding that its node deletes from the foreign link, after
// another home test or with the token of the registration.
func deletedAbroad(id string, test bool, edit func(*Mobile, *Update)) Case {
	return Case{ID: id, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		if test {
			m.homeTest()
		}
		m.acknowledged(m.deletion(m.applying(edit)), 0)
		m.unbound()
	}}
}

// deletedAtHome is the same from the home link.
func deletedAtHome(id string, test bool, edit func(*Mobile, *Update)) Case {
	return Case{ID: id, Run: func(t *testing.T, x *Tester) {
		m := mobile(x).begin()
		m.bind()
		m.bound()
		if test {
			m.homeTest()
		}
		m.acknowledged(m.deletion(m.fromHome, m.applying(edit)), 0)
		m.plain(netip.Addr{})
	}}
}

func (m *Mobile) applying(edit func(*Mobile, *Update)) func(*Update) {
	return func(u *Update) {
		if edit != nil {
			edit(m, u)
		}
	}
}
