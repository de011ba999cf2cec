package mn

import (
	"log/slog"
	"time"

	"github.com/mip6/mip6/internal/host"
)

// A home address at home may turn out to be a duplicate: the agent still defends it for a
// binding that this node knows nothing of, since it was started anew. The kernel
// then never uses the address. It is put there again until the binding is over.
const (
	firstAgain = time.Second
	lastAgain  = 30 * time.Second
)

// duplicateAtHome notes that the kernel has found the home address in use on the home link, or
// that it has not.
func (m *Machine) duplicateAtHome(now time.Time, a host.Addr, out []Action) []Action {
	s := &m.s
	if a.Prefix.Addr() != m.cfg.Home.Addr() || a.IfIndex != s.OnIf || s.OnIf == 0 {
		return out
	}
	if !a.DADFailed {
		if !a.Tentative {
			s.AgainAt, s.AgainPause = time.Time{}, 0
		}
		return out
	}
	s.AgainPause = min(max(2*s.AgainPause, firstAgain), lastAgain)
	s.AgainAt = now.Add(s.AgainPause)
	return m.note(slog.LevelWarn, "the home address is in use on the home link: perhaps the agent has a binding still", out,
		slog.Duration("retry", s.AgainPause))
}

// putAgain tries the home address once more, duplicate address detection included.
func (m *Machine) putAgain(now time.Time, out []Action) []Action {
	s := &m.s
	if !due(s.AgainAt, now) {
		return out
	}
	s.AgainAt = time.Time{}
	if s.OnIf == 0 || s.Cur.Kind != atHome || m.mayBeBound(now) {
		return out
	}
	return m.hostOps([]host.Op{host.DelAddr{IfIndex: s.OnIf, Prefix: m.cfg.Home},
		host.PutAddr{IfIndex: s.OnIf, Prefix: m.cfg.Home, Home: true}}, false, out)
}
