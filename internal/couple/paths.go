package couple

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// pair are an address of ours and a correspondent's, home addresses where they are mobile.
type pair struct{ local, remote netip.Addr }

// path is a pair for which there are policies, or shall be. A host may be mobile node
// and correspondent to the same peer, and two policies of one pair would replace each other: so what
// the two machines want is put together here.
type path struct {
	pair
	node optimise.Route // what the mobile node's machine wants
	peer cn.Route       // what the correspondent's machine wants
	now  protect.Path   // as the databases have it when what is under way is done
	left *protect.Path  // what an earlier run may have left; nil: nothing
	// counted is whether the host counts the packets; packets and usedAt are what was last seen.
	counted bool
	packets uint64
	usedAt  time.Time
}

// place is what a path needs to know of the mobile node whose address it has.
type place struct {
	away   bool
	careOf netip.Addr
}

// path returns the entry of a pair and makes one where there is none.
func (n *Node) path(p pair) *path {
	x := n.paths[p]
	if x == nil {
		x = &path{pair: p, now: protect.Path{Local: p.local, Remote: p.remote}}
		n.paths[p] = x
		n.pathOrder = append(n.pathOrder, x)
	}
	return x
}

// want is what the path should be now.
func (n *Node) want(x *path) protect.Path {
	p := protect.Path{Local: x.local, Remote: x.remote, RemoteCareOf: x.peer.CareOf,
		Accept: x.node.Accept, Ack: x.node.Ack, Protect: x.node.Protect, ReqID: x.node.ReqID}
	if p.Protect == 0 {
		p.Protect, p.ReqID = x.peer.Protect, x.peer.ReqID
	}
	if h := n.homes[x.local]; h != nil && h.mn != nil && h.place.away {
		p.Away, p.CareOf, p.HomeAgent, p.Tunnel = true, h.place.careOf, h.mn.HomeAgent, h.mn.reqID(mn.ChildPayload)
		p.Direct = x.node.Direct && x.node.CareOf == p.CareOf && p.CareOf.IsValid()
	}
	return p
}

// putPath brings a path in line with what is wanted.
func (n *Node) putPath(x *path, t Token, out []Action) []Action {
	to := n.want(x)
	ops := n.plan().ChangePath(x.now, to)
	if x.left != nil {
		for _, op := range n.plan().ChangePath(*x.left, to) {
			switch op.(type) {
			case xfrm.DelPolicy, xfrm.DelSA:
				ops = append(ops, op)
			}
		}
		x.left = nil
	}
	x.now = to
	if x.node == (optimise.Route{Remote: x.node.Remote}) && x.peer == (cn.Route{Local: x.peer.Local, Home: x.peer.Home}) && !x.counted {
		delete(n.paths, x.pair)
		n.pathOrder = slices.DeleteFunc(n.pathOrder, func(o *path) bool { return o == x })
		ops = append(ops, n.rearm(x.pair)...)
	}
	if len(ops) == 0 && t.Owner == Nobody {
		return out
	}
	return append(out, Xfrm{Key: n.pathKey(x.pair), Token: t, Ops: ops})
}

// rearm lets the databases ask for a path again that is given up: they are silent for a while after they asked.
func (n *Node) rearm(p pair) []xfrm.Op {
	h := n.homes[p.local]
	if h == nil || h.mn == nil {
		return nil
	}
	i := slices.Index(h.asked, p.remote)
	if i < 0 {
		return nil
	}
	h.asked = slices.Delete(h.asked, i, i+1)
	return protect.Rearm(p.local, p.remote)
}

// maxAsked bounds the correspondents that are known to have been asked for.
const maxAsked = 4096

// pathKey orders what is done for a pair: with what is done for our own home address, or, at
// a correspondent that is not mobile, for the node's.
func (n *Node) pathKey(p pair) netip.Addr {
	if h := n.homes[p.local]; h != nil && h.mn != nil {
		return p.local
	}
	return p.remote
}

// plan is that of the paths: their policies are the same for every role.
func (n *Node) plan() protect.Plan {
	return protect.Plan{Role: protect.Correspondent, Caps: n.cfg.Caps}
}

// checkPlace tells of a change of a mobile node's place: to the paths of its home address, and to
// its route optimization. early is before what the node's own machine does about it: what went
// directly from home must not go directly from abroad for a moment.
func (n *Node) checkPlace(h *home, early bool, out []Action) []Action {
	i := h.mn.Machine.Info()
	at := place{away: i.Away, careOf: i.CareOf}
	leaving := at.away && !h.place.away
	if at != h.place && (!early || leaving) {
		was := h.place
		h.place = at
		for _, x := range slices.Clone(n.pathOrder) {
			// A protected path that is not direct goes through the tunnel, which has to move first.
			if x.local == h.addr && !(early && x.now.Protect != 0) {
				out = n.putPath(x, Token{}, out)
			}
		}
		if early {
			h.place = was // once more afterwards, for the others
		}
	}
	if o := h.mn.Optimise; o != nil && !early {
		if to := placed(i); to != h.placed {
			h.placed = to
			n.tellOptimise(h.mn, to)
		}
	}
	return out
}

// withPaths takes the paths of a home address along where its tunnel moves: those that are not direct
// name the tunnel too, and must not be met where it was.
func (n *Node) withPaths(h *home, ops []xfrm.Op) []xfrm.Op {
	tunnel := slices.ContainsFunc(ops, func(op xfrm.Op) bool {
		m, ok := op.(xfrm.Migrate)
		return ok && len(m.Migration.Moves) > 0 && m.Migration.Moves[0].Mode == xfrm.Tunnel
	})
	if !tunnel || h.mn == nil {
		return ops
	}
	i := h.mn.Machine.Info()
	at := place{away: i.Away, careOf: i.CareOf}
	if at == h.place {
		return ops
	}
	h.place = at
	var changes [][2]protect.Path
	for _, x := range n.pathOrder {
		if x.local == h.addr {
			to := n.want(x)
			changes = append(changes, [2]protect.Path{x.now, to})
			x.now = to
		}
	}
	return n.plan().WithPaths(ops, changes)
}

// used answers a machine's question.
func (n *Node) used(e UsageDone) {
	x := n.paths[pair{e.Local, e.Remote}]
	if x == nil {
		x = &path{}
	}
	var packets uint64
	last := x.usedAt
	for _, s := range e.Stats {
		packets += s.Packets
		if s.LastUsed.After(last) {
			last = s.LastUsed
		}
	}
	// Not every kernel writes down when a state of Mobile IPv6 was used, but all count.
	if packets > x.packets && n.now.After(last) {
		last = n.now
	}
	x.packets, x.usedAt = packets, last
	switch e.Token.Owner {
	case OwnerOptimise:
		if h := n.homes[e.Token.Home]; h != nil && h.mn != nil {
			n.tellOptimise(h.mn, optimise.Used{ID: e.Token.ID, Last: last, Packets: e.Counted})
		}
	case OwnerCN:
		n.tellCN(cn.Used{ID: e.Token.ID, Last: last, Packets: packets})
	}
}

// usage asks for the use of a path's states.
func (n *Node) usage(p pair, t Token, out []Action) []Action {
	u := Usage{Token: t, Local: p.local, Remote: p.remote}
	if x := n.paths[p]; x != nil {
		u.Counter = x.counted
		for _, sa := range n.plan().WantPath(x.now).SAs {
			if sa.Mode == xfrm.RouteOpt {
				u.IDs = append(u.IDs, sa.ID())
			}
		}
	}
	return append(out, u)
}
