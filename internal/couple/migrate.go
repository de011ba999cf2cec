package couple

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/xfrm"
)

// echo is a migration that this program asked for and whose notification is
// still to come. The notification carries no sender: its content tells.
type echo struct {
	m    xfrm.Migration
	till time.Time
}

// echoTime is how long a notification may take. One that never comes (the
// migration failed) must not swallow the same one of another program for ever.
const echoTime = 10 * time.Second

// noteOps remembers the migrations that a role asks for, and where they leave the SAs.
func (n *Node) noteOps(key netip.Addr, ops []xfrm.Op) {
	n.echoes = slices.DeleteFunc(n.echoes, func(e echo) bool { return n.now.After(e.till) })
	for _, op := range ops {
		m, ok := op.(xfrm.Migrate)
		if !ok {
			continue
		}
		n.echoes = append(n.echoes, echo{m.Migration, n.now.Add(echoTime)})
		n.home(key).follow(m.Migration)
	}
}

// migrated takes the notification of a migration. One that another program sent
// moves the IKE SA as our own would: that is what KMADDRESS is for.
func (n *Node) migrated(m xfrm.Migration, out []Action) []Action {
	for i, e := range n.echoes {
		if sameMigration(e.m, m) {
			n.echoes = append(n.echoes[:i:i], n.echoes[i+1:]...)
			return append(out, Note{Level: Debug, Msg: "migrated", Event: Migration{Ours: true, Migration: m}})
		}
	}
	h := n.concerned(m)
	if h == nil {
		return append(out, Note{Level: Debug, Msg: "a migration of no SA of ours", Event: Migration{Migration: m}})
	}
	h.follow(m)
	out = append(out, Note{Level: Info, Msg: "another program migrated an SA of ours",
		Event: Migration{Migration: m}, Attrs: []any{"home", h.addr.String(), "policy", m.Policy.Sel.String()}})
	if m.Endpoints == nil {
		return out // without KMADDRESS it says nothing about key management
	}
	for _, s := range slices.Clone(h.sas) {
		if h.mn == nil {
			s.remote = m.Endpoints.Remote
		}
		n.tellIKE(ike.Moved{SA: s.id, Local: n.port(m.Endpoints.Local), Remote: n.port(m.Endpoints.Remote)})
	}
	return out
}

// sameMigration compares what the kernel reports back: policy, moves, endpoints.
func sameMigration(a, b xfrm.Migration) bool {
	return a.Policy == b.Policy && slices.Equal(a.Moves, b.Moves) && reflect.DeepEqual(a.Endpoints, b.Endpoints)
}

// concerned finds the home address whose SAs a migration moves.
func (n *Node) concerned(m xfrm.Migration) *home {
	for _, h := range n.order {
		for _, mv := range m.Moves {
			for _, s := range h.sas {
				if s.has(mv.ReqID) {
					return h
				}
			}
		}
	}
	return nil
}
