package cn

import "net/netip"

// Counters returns what was counted.
func (m *Machine) Counters() Counters { return m.count }

// Summary is the state of the service in numbers.
type Summary struct {
	Serving    bool
	Bindings   int
	Remembered int // sequence numbers of bindings that are gone
	Protected  int // pairs with SAs
}

// Summary tells the state in numbers.
func (m *Machine) Summary() Summary {
	s := Summary{Serving: m.life == serving, Bindings: len(m.table.alive), Remembered: len(m.table.memory)}
	for _, used := range m.table.reqs {
		if used {
			s.Protected++
		}
	}
	return s
}

// Bindings gives up to max bindings to each, from the cursor on, 0 for the first page, and returns
// the cursor of the next page, 0 at the end. A binding that comes or goes between two pages may be
// missed; none is given twice.
func (m *Machine) Bindings(cursor, max int, each func(BindingInfo)) (next int) {
	for i := cursor; i >= 0 && i < len(m.table.slots); i++ {
		e := m.table.slots[i]
		if e == nil || !e.bound {
			continue
		}
		if max--; max < 0 {
			return i
		}
		each(m.info(e))
	}
	return 0
}

// Lookup tells about one binding.
func (m *Machine) Lookup(local, home netip.Addr) (BindingInfo, bool) {
	if !local.Is6() || !home.Is6() {
		return BindingInfo{}, false
	}
	e := m.table.find(local, home)
	if e == nil || !e.bound {
		return BindingInfo{}, false
	}
	return m.info(e), true
}

func (m *Machine) info(e *entry) BindingInfo {
	return BindingInfo{Local: e.local, Home: e.home, CareOf: e.careOf, Seq: e.seq, Flags: e.flags,
		Lifetime: e.lifetime.Duration(), Expires: e.expires, Since: e.since, LastMove: e.moved, Moves: e.moves,
		Auth: e.auth, HomeNonce: e.nonces.Home, CareOfNonce: e.nonces.CareOf,
		LastUsed: e.refresh.used, Refreshing: e.refresh.sent > 0, Pending: e.answer != nil}
}
