package couple

import (
	"maps"
	"slices"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
)

// stopWait bounds how long IKE SAs that are not closed yet are waited for at the end.
// The answer to a Delete is not: a peer that missed it finds out by itself.
const stopWait = time.Second

// stopping is the orderly end: first the roles, which still need their keys for
// deregistration, then IKE.
type stopping struct {
	first    int // of those that need the others to stop: route optimization, the correspondent
	second   bool
	roles    int // that have not stopped yet
	begun    bool
	closing  bool
	deadline time.Time
	done     bool
}

func (n *Node) beginStop() {
	if n.stop.begun {
		return
	}
	n.stop.begun = true
	for i := range n.cfg.MNs {
		if m := &n.cfg.MNs[i]; m.Optimise != nil && !m.optimiseStopped {
			n.stop.first++
			n.tellOptimise(m, optimise.Stop{})
		}
	}
	if n.cfg.CN != nil {
		n.stop.first++
		n.tellCN(cn.Stop{})
	}
	n.stopBoot()
}

// optimiseStopped notes that a node's packets go by the tunnel again.
func (n *Node) optimiseStopped(m *MN) {
	if !m.optimiseStopped && n.stop.begun {
		n.stop.first--
	}
	m.optimiseStopped = true
	if n.boot != nil && n.boot.leaving && !n.stop.begun {
		n.tellMN(m, mn.Stop{})
	}
}

// stopRoles is the second step: correspondents are told, and the home agent may be.
func (n *Node) stopRoles() {
	n.stop.second = true
	n.stop.roles = len(n.cfg.MNs)
	if n.cfg.HA != nil {
		n.stop.roles++
	}
	for i := range n.cfg.MNs {
		n.tellMN(&n.cfg.MNs[i], mn.Stop{})
	}
	n.tellHA(ha.Stop{})
}

func (n *Node) roleStopped() { n.stop.roles-- }

// stopTick goes on with the end where the step before allows it.
func (n *Node) stopTick(out []Action) []Action {
	st := &n.stop
	if st.begun && !st.second && st.first == 0 {
		n.stopRoles()
		out = n.pump(out)
	}
	if !st.second || st.done || st.roles > 0 {
		return out
	}
	if !st.closing {
		st.closing, st.deadline = true, n.now.Add(stopWait)
		for _, h := range n.order {
			n.abandon(h)
			for _, s := range slices.Clone(h.sas) {
				n.tellIKE(ike.Close{SA: s.id})
			}
		}
		for _, id := range slices.Sorted(maps.Keys(n.sas)) { // those of nobody: a child was refused
			if n.sas[id].home == nil {
				n.tellIKE(ike.Close{SA: id})
			}
		}
		out = n.pump(out)
	}
	if len(n.sas) > 0 && n.now.Before(st.deadline) {
		return out
	}
	// What the peers have not confirmed is discarded.
	for _, h := range n.order {
		for _, s := range slices.Clone(h.sas) {
			n.tellIKE(ike.Close{SA: s.id, Silent: true})
		}
		for len(h.stale) > 0 {
			out = n.dropStale(h, h.stale[0].ReqID, out)
		}
	}
	out = n.pump(out)
	for _, h := range n.order { // children that outlived their IKE SA
		for _, x := range h.installed {
			h.dying = append(h.dying, dying{x.in, x.inSrc, x.mode, x.reqid, n.now}, dying{x.out, x.in.Dst, x.mode, x.reqid, n.now})
		}
		h.installed = nil
	}
	out = n.reap(out)
	if ops := n.shared(false); len(ops) > 0 {
		out = append(out, Xfrm{Ops: ops})
	}
	st.done, st.deadline = true, time.Time{}
	return append(out, Stopped{})
}
