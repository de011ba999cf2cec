package cn

import (
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// homeTest answers a Home Test Init (RFC 6275 §9.4.1, §9.4.3), careOfTest a Care-of
// Test Init (§9.4.2, §9.4.4). Nothing is kept: token and index say all when the Binding Update
// comes. The answer goes to where the request came from, whatever the bindings say (§6.1).
func (m *Machine) homeTest(mh host.MH, init mobility.HomeTestInit) {
	if !m.testable(mh) {
		return
	}
	if m.cfg.policy(mh.Src) == Deny {
		m.count.Prohibited++
		return
	}
	if !m.allowTest(mh, &m.limits.home) {
		return
	}
	index, nonce, ok := m.nonce()
	if !ok {
		return
	}
	m.count.HomeTests++
	m.send(host.MH{Src: mh.Dst, Dst: mh.Src}, mobility.Message{Body: mobility.HomeTest{
		NonceIndex: index, Cookie: init.Cookie, Token: m.kcn.HomeToken(mh.Src, nonce)}}, mh.Src)
}

func (m *Machine) careOfTest(mh host.MH, init mobility.CareOfTestInit) {
	if !m.testable(mh) {
		return
	}
	if m.cfg.closed() {
		m.count.Prohibited++
		return
	}
	if !m.allowTest(mh, &m.limits.careOf) {
		return
	}
	index, nonce, ok := m.nonce()
	if !ok {
		return
	}
	m.count.CareOfTests++
	m.send(host.MH{Src: mh.Dst, Dst: mh.Src}, mobility.Message{Body: mobility.CareOfTest{
		NonceIndex: index, Cookie: init.Cookie, Token: m.kcn.CareOfToken(mh.Src, nonce)}}, mh.Src)
}

// testable does the tests of RFC 6275 §9.4.1 and §9.4.2: a home address option MUST NOT be there.
func (m *Machine) testable(mh host.MH) bool {
	if mh.CareOf.IsValid() || !mobility.UnicastRoutable(mh.Src) || !m.cfg.local(mh.Dst) || mh.Src == mh.Dst {
		m.count.Malformed++
		return false
	}
	return true
}

// allowTest keeps to the limits. A source that has a binding has one of its own, apart from its
// neighbours and from a flood.
func (m *Machine) allowTest(mh host.MH, all *rate) bool {
	key := subnet(mh.Src)
	if e := m.table.find(mh.Dst, mh.Src); e != nil && e.bound {
		key, all = address(mh.Src), &m.limits.bound
	}
	if m.limits.source.take(m.now, key) && all.take(m.now) {
		return true
	}
	m.count.TestsLimited++
	return false
}

// nonce is the nonce to make tokens with.
func (m *Machine) nonce() (uint16, rr.Nonce, bool) {
	index, nonce, err := m.nonces.Current(m.now, m.random)
	if err != nil {
		m.emit(Note{Level: Warn, Msg: "no randomness for a nonce", Attrs: []any{"err", err}})
		return 0, nonce, false
	}
	return index, nonce, true
}

// invalidate ends the nonces that were given out until a time, where there is no memory for what
// was done with them (RFC 6275 §5.2.8, the last measure).
func (m *Machine) invalidate(until time.Time) {
	for i := range m.nonces.Ring {
		s := &m.nonces.Ring[i].Since
		if !s.IsZero() && !s.After(until) {
			*s = s.Add(-rr.MaxNonceLifetime)
		}
	}
}
