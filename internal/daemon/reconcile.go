package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/ledger"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// settleTime is how long after the start the roles may take to put again what
// they want of what an earlier run left. What is left then is removed.
const settleTime = 10 * time.Second

// ownSAs lists the SAs of children, from an earlier run, by their request ids.
func (d *daemon) ownSAs(ctx context.Context) []xfrm.SA {
	var out []xfrm.SA
	err := d.backend.Dump(ctx, xfrm.Filter{SAs: true}, func(o xfrm.Object) error {
		if sa, ok := o.(xfrm.SA); ok && protect.Owned(sa.ReqID) && !sa.Larval {
			sa.AEAD.Key, sa.Crypt.Key, sa.Auth.Key = nil, nil, nil
			out = append(out, sa)
		}
		return nil
	})
	d.check("list the SAs of an earlier run", err)
	return out
}

// dropAsked removes what the databases keep of paths that they asked an earlier run for: while it
// is there they do not ask again.
func (d *daemon) dropAsked(ctx context.Context) {
	var ops []xfrm.Op
	err := d.backend.Dump(ctx, xfrm.Filter{SAs: true, Proto: xfrm.HAO}, func(o xfrm.Object) error {
		if sa, ok := o.(xfrm.SA); ok && sa.Larval {
			ops = append(ops, xfrm.DelSA{ID: sa.ID()})
		}
		return nil
	})
	d.check("list what was asked for", err)
	if len(ops) > 0 {
		d.check("remove what was asked for", errors.Join(d.applyXfrm(ctx, ops)...))
	}
}

// cleanLeftOvers removes what an earlier run left and nobody wants any more: at once, unless roles
// go on from records.
func (d *daemon) cleanLeftOvers(ctx context.Context, records bool) error {
	if records {
		settled := time.NewTimer(settleTime)
		defer settled.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-settled.C:
		}
	}
	want := d.wanted(ctx)
	policies, states, undo := d.journal.left()
	var ops []xfrm.Op
	for _, id := range policies {
		if !wantsPolicy(want, id) {
			ops = append(ops, xfrm.DelPolicy{ID: id})
		}
	}
	for _, id := range states {
		if !wantsSA(want, id) {
			ops = append(ops, xfrm.DelSA{ID: id})
		}
	}
	d.remove(ctx, ops, undo)
	return nil
}

// remove takes objects out of the databases and the host, and then out of the ledger.
func (d *daemon) remove(ctx context.Context, ops []xfrm.Op, undo []host.Op) {
	if len(ops)+len(undo) == 0 {
		return
	}
	d.log.Info("removing what an earlier run left", "ipsec", len(ops), "host", len(undo))
	d.check("remove left-overs", errors.Join(d.applyXfrm(ctx, ops)...))
	d.check("remove left-overs", errors.Join(d.applyHost(ctx, undo)...))
}

// wanted is what the roles want in the databases now, SAs of children excepted.
func (d *daemon) wanted(ctx context.Context) xfrm.Snapshot {
	var want xfrm.Snapshot
	err := d.loop.Inspect(ctx, func() { want = d.node.Want() })
	d.check("ask the roles what they want", err)
	return want
}

func wantsPolicy(want xfrm.Snapshot, id xfrm.PolicyID) bool {
	for i := range want.Policies {
		if want.Policies[i].ID() == id {
			return true
		}
	}
	return false
}

func wantsSA(want xfrm.Snapshot, id xfrm.ID) bool {
	for i := range want.SAs {
		if want.SAs[i].ID() == id {
			return true
		}
	}
	return false
}

// reconcile compares the databases with what the roles want after events were
// lost, and mends the difference. Objects that are not in the ledger are somebody
// else's; the SAs of children are IKE's, which learns of a loss by liveness.
func (d *daemon) reconcile() {
	ctx := context.Background()
	want := d.wanted(ctx)
	ours, err := d.journal.all()
	if err != nil {
		d.check("read the ledger", err)
		return
	}
	mine := make(map[string]bool, len(ours))
	for _, r := range ours {
		mine[r.Key] = true
	}
	var have xfrm.Snapshot
	err = d.backend.Dump(ctx, xfrm.Filter{SAs: true, Policies: true}, func(o xfrm.Object) error {
		switch o := o.(type) {
		case xfrm.Policy:
			if mine[ledger.PolicyKey(o.ID())] {
				have.Policies = append(have.Policies, o)
			}
		case xfrm.SA:
			if o.Mode == xfrm.RouteOpt && mine[ledger.StateKey(o.ID())] {
				have.SAs = append(have.SAs, o)
			}
		}
		return nil
	})
	if err != nil {
		d.check("list the IPsec databases", err)
		return
	}
	if ops := xfrm.Diff(have, want); len(ops) > 0 {
		d.log.Warn("the IPsec databases differ from what is wanted; mending", "operations", len(ops))
		d.check("mend the IPsec databases", errors.Join(d.applyXfrm(ctx, ops)...))
	}
}

// undoRest removes whatever is still in the ledger at the end: what the machines
// did not come to take down. SAs of ours are found by their request ids.
func (d *daemon) undoRest() error {
	recs, err := d.journal.all()
	if err != nil {
		return err
	}
	ctx := context.Background()
	var ops []xfrm.Op
	var undo []host.Op
	for i := len(recs) - 1; i >= 0; i-- {
		switch r := recs[i]; r.Kind {
		case ledger.KindPolicy:
			if id, err := r.Policy(); err == nil {
				ops = append(ops, xfrm.DelPolicy{ID: id})
			}
		case ledger.KindSA:
			if s, err := r.State(); err == nil {
				ops = append(ops, xfrm.DelSA{ID: s.ID})
			}
		case ledger.KindHost:
			if op, err := r.Undo(); err == nil {
				undo = append(undo, op)
			}
		}
	}
	for _, sa := range d.ownSAs(ctx) {
		ops = append(ops, xfrm.DelSA{ID: sa.ID()})
	}
	return errors.Join(errors.Join(d.applyXfrm(ctx, ops)...), errors.Join(d.applyHost(ctx, undo)...))
}
