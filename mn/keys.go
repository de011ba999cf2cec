package mn

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// keys is what is known of key management.
type keys struct {
	Up       bool
	Handle   uint64
	At       netip.Addr // our end of the IKE SA, as both sides last agreed on it
	Asked    [2]bool    // by ChildKind: a KeyUp for it has not been answered yet
	RetryAt  time.Time
	Pause    time.Duration
	Children []child
	TunnelAt netip.Addr // of payload SAs that were made while the return home was not settled
	// OldMH: SAs of before a restart may still protect a Binding Update.
	OldMH bool
}

// child is a live child SA. An Old one is of an IKE SA that was discarded; it is used until another comes.
type child struct {
	ChildInfo
	Old bool
}

const lastKeyPause = 32 * time.Second

func (m *Machine) hasChild(kind ChildKind) bool {
	return slices.ContainsFunc(m.s.Keys.Children, func(c child) bool { return c.Kind == kind })
}

// lacking are the children to be asked for.
func (m *Machine) lacking() []Child {
	if m.s.Cur.Kind != abroad || m.s.Bind.Phase != protect.Away || m.dup() {
		return nil
	}
	fresh := func(kind ChildKind) bool {
		return slices.ContainsFunc(m.s.Keys.Children, func(c child) bool { return c.Kind == kind && !c.Old })
	}
	var out []Child
	if !fresh(ChildMH) {
		out = append(out, Child{Kind: ChildMH, ReqID: m.cfg.ReqIDs.MH, Mode: xfrm.Transport})
	}
	if m.plan.Protection == protect.MHAndPayload && !fresh(ChildPayload) {
		out = append(out, Child{Kind: ChildPayload, ReqID: m.cfg.ReqIDs.Payload, Mode: xfrm.Tunnel})
	}
	return out
}

// toAsk are those of the lacking children that are not asked for. While an IKE SA is coming
// about nothing more is: it would be begun anew.
func (m *Machine) toAsk() []Child {
	k := &m.s.Keys
	if !k.Up && k.asking() {
		return nil
	}
	return slices.DeleteFunc(m.lacking(), func(c Child) bool { return k.Asked[c.Kind] })
}

func (k *keys) asking() bool { return k.Asked != [2]bool{} }

// wantKeys asks for the keys that are lacking.
func (m *Machine) wantKeys(now time.Time, out []Action) []Action {
	s, k := &m.s, &m.s.Keys
	lack := m.toAsk()
	if len(lack) == 0 || k.RetryAt.After(now) {
		return out
	}
	for _, c := range lack {
		k.Asked[c.Kind] = true
	}
	k.RetryAt = time.Time{}
	return append(out, KeyUp{Home: m.cfg.Home.Addr(), HomeAgent: m.cfg.HomeAgent, CareOf: s.Bind.CareOf,
		Children: lack, InitialContact: k.Handle == 0})
}

// moveKeys takes the IKE SA along, without a message (RFC 6275 §11.7.3, the K bit).
func (m *Machine) moveKeys(to netip.Addr, out []Action) []Action {
	k := &m.s.Keys
	home := m.cfg.Home.Addr()
	switch {
	case k.Up && !m.cfg.NoKeyMobility:
		return append(out, KeyMoved{Home: home, HomeAgent: m.cfg.HomeAgent, CareOf: to})
	case !k.Up && k.asking():
		// An exchange that began at an address which may be gone is begun anew.
		k.Asked, k.RetryAt, k.Pause = [2]bool{}, time.Time{}, 0
		return append(out, KeyDown{Home: home, Silent: true, Old: true})
	}
	return out
}

// keyMobility acts on the K bit of an acknowledgement: without it the agent has dropped the
// IKE SA of before the move, and so do we, silently.
func (m *Machine) keyMobility(u sent, out []Action) []Action {
	s, k := &m.s, &m.s.Keys
	at := s.Bind.CareOf
	if s.Reg.Want == wantUnbind {
		at = m.cfg.Home.Addr()
	}
	if u.Key && s.Reg.Key {
		k.At = at
	}
	if k.At == at {
		return out
	}
	return m.rekeyAnew(out)
}

// rekeyAnew discards the IKE SA without a Delete, keeps its children in use, and lets another
// be made over the present care-of address.
func (m *Machine) rekeyAnew(out []Action) []Action {
	k := &m.s.Keys
	if !k.Up {
		return out
	}
	k.Up, k.Asked, k.RetryAt, k.Pause = false, [2]bool{}, time.Time{}, 0
	for i := range k.Children {
		k.Children[i].Old = true
	}
	return append(out, KeyDown{Home: m.cfg.Home.Addr(), Silent: true, Old: true})
}

func (m *Machine) keysUp(e KeysUp, out []Action) []Action {
	k := &m.s.Keys
	k.Up, k.Handle, k.Pause = true, e.Handle, 0
	if m.s.Bind.Phase == protect.Away {
		k.At = m.s.Bind.CareOf
	}
	return m.changed("keys", out)
}

func (m *Machine) keysDown(now time.Time, e KeysDown, out []Action) []Action {
	k := &m.s.Keys
	k.Children = slices.DeleteFunc(k.Children, func(c child) bool { return c.Handle == e.Handle && !c.Old })
	if !k.Up || k.Handle != e.Handle {
		return out
	}
	k.Up, k.Asked = false, [2]bool{}
	m.keyPause(now)
	out = m.note(slog.LevelWarn, "the IKE SA with the home agent is down", out, slog.String("reason", e.Reason))
	return m.changed("keys", out)
}

func (m *Machine) keysRefused(now time.Time, e KeysRefused, out []Action) []Action {
	k := &m.s.Keys
	if !k.asking() { // of an attempt that was given up
		return out
	}
	k.Asked = [2]bool{}
	m.keyPause(now)
	out = m.note(slog.LevelWarn, "keys were not agreed upon", out, slog.String("reason", e.Reason),
		slog.Duration("retry", k.Pause))
	return m.changed("keys", out)
}

// keyPause waits before IKE is tried again: shortly at first, longer each time.
func (m *Machine) keyPause(now time.Time) {
	k := &m.s.Keys
	k.Pause = min(max(2*k.Pause, m.cfg.KeyRetry), lastKeyPause)
	k.RetryAt = now.Add(k.Pause)
}

// childUp takes a new child SA, asked for or not, in place of the one of its kind.
func (m *Machine) childUp(now time.Time, e ChildUp, out []Action) []Action {
	s, k := &m.s, &m.s.Keys
	want := m.cfg.ReqIDs.MH
	if e.Kind == ChildPayload {
		want = m.cfg.ReqIDs.Payload
	}
	if e.ReqID != want {
		return out
	}
	unasked := !k.Asked[e.Kind]
	k.Asked[e.Kind] = false
	k.Children = slices.DeleteFunc(k.Children, func(c child) bool { return c.Kind == e.Kind })
	k.Children = append(k.Children, child{ChildInfo: ChildInfo{Kind: e.Kind, InSPI: e.InSPI, OutSPI: e.OutSPI, Handle: e.Handle}})
	if len(m.lacking()) == 0 {
		k.Asked, k.Pause, k.RetryAt = [2]bool{}, 0, time.Time{}
	}
	if e.Kind != ChildMH {
		return m.changed("keys", m.tunnelAdded(e.CareOf, out))
	}
	k.OldMH = false
	switch {
	case !s.Reg.Acked && s.Reg.Tries > 0: // what was sent may have met SAs that the agent had lost
		m.kick(now)
	case unasked && s.Reg.Want == wantBind && s.Reg.Acked: // the agent restarted: does it know the binding?
		m.again(now)
	}
	return m.changed("keys", out)
}

// childRekeyed follows a rekey of the child in use.
func (m *Machine) childRekeyed(e ChildRekeyed) {
	k := &m.s.Keys
	now := child{ChildInfo: ChildInfo{Kind: e.Kind, InSPI: e.InSPI, OutSPI: e.OutSPI, Handle: e.Handle}}
	i := slices.IndexFunc(k.Children, func(c child) bool { return c.Kind == e.Kind && c.InSPI == e.OldInSPI })
	switch {
	case i >= 0:
		k.Children[i] = now
	case !m.hasChild(e.Kind):
		k.Children = append(k.Children, now)
	}
}

func (m *Machine) childDown(now time.Time, e ChildDown) {
	k := &m.s.Keys
	n := len(k.Children)
	k.Children = slices.DeleteFunc(k.Children, func(c child) bool { return c.Kind == e.Kind && c.InSPI == e.InSPI })
	if len(k.Children) < n && !k.Asked[e.Kind] && k.RetryAt.IsZero() {
		m.keyPause(now)
	}
}

// dup tells whether the home address was found to be somebody else's.
func (m *Machine) dup() bool { return m.s.Reg.Final && m.s.Reg.Status == 134 }

// tunnelAdded notes where new payload SAs stand, so that the next move takes them along: IKE speaks
// from the home address at home, and may have begun before the last move.
func (m *Machine) tunnelAdded(at netip.Addr, out []Action) []Action {
	s := &m.s
	if !at.IsValid() {
		return out
	}
	switch s.Bind.Phase {
	case protect.Home, protect.Adrift:
		if s.Bind.Tunnel != at {
			s.Bind.Tunnel = at
			return m.save(out)
		}
	case protect.Returned: // nothing goes by the tunnel that was
		s.Keys.TunnelAt = at
	case protect.Away:
		if at != s.Bind.CareOf {
			from := s.Bind
			from.CareOf = at
			return m.xfrmOps(m.plan.Change(from, s.Bind, protect.Grace{}), out)
		}
	}
	return out
}
