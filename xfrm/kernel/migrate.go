package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// The kernel's MIGRATE has four habits that its callers shall not know:
//
//   - it takes a larval state for the one to move and fails with ENODATA, as it does
//     where a copy stands at the new address already;
//   - it moves one state a call, though a child SA in rekeying has two;
//   - since Linux 6.7 it finds the policy by a flow look-up, so that another policy
//     of higher priority that holds the addresses gives ENODATA;
//   - it fails with ENOENT where there is no policy, though states may be there.
//
// So each migration is tried as it is, and what it left undone is done here.

// finishMigrations looks after the migrations of a run; errs holds their answers.
func (b *Backend) finishMigrations(ctx context.Context, s *socket, ops []xfrm.Op, errs []error, at []int, back []leaving) {
	var check []xfrm.Move
	for _, i := range at {
		g := ops[i].(xfrm.Migrate).Migration
		if errs[i] != nil {
			errs[i] = b.migrateSlowly(ctx, s, g, errs[i])
		}
		if errs[i] == nil {
			check = append(check, g.Moves...)
		}
	}
	err := b.checkMoves(ctx, s, check, back)
	for _, i := range at {
		if errs[i] == nil && err != nil {
			errs[i] = explain(err, "MIGRATE", fmt.Sprintf("migrate %v %v", ops[i].(xfrm.Migrate).Migration.Policy.Dir, ops[i].(xfrm.Migrate).Migration.Policy.Sel))
		}
	}
}

// migrateSlowly carries out a migration that the kernel refused.
func (b *Backend) migrateSlowly(ctx context.Context, s *socket, g xfrm.Migration, refused error) error {
	what := fmt.Sprintf("migrate %v %v", g.Policy.Dir, g.Policy.Sel)
	if !isErrno(refused, unix.ENODATA, unix.ENOENT, unix.ESRCH, unix.ENOPROTOOPT) {
		return explain(refused, "MIGRATE", what)
	}
	cleared := false
	for _, m := range g.Moves {
		any, err := b.clearWay(ctx, s, m)
		if err != nil {
			return explain(err, "", what)
		}
		cleared = cleared || any
	}
	if cleared {
		err := s.exchange([]message{migrateMessage(g)})[0].err
		if err == nil {
			return nil // checkMoves does the rest
		}
		refused = err
	}
	if done, err := b.movePolicy(s, g, refused); err != nil {
		return explain(err, "MIGRATE", what)
	} else if done {
		return nil
	}
	for _, m := range g.Moves {
		if err := b.moveStates(ctx, s, m); err != nil {
			return explain(err, "", what)
		}
	}
	return nil
}

// movePolicy looks after the policy of a migration that was refused. Where the
// kernel found another policy first, this one is put before all others for the
// moment of the MIGRATE, in one system call: so key management hears of it, and the
// kernel moves a state (done). Else the templates are moved here, and the states
// are left to the caller. A policy that is not there is no error.
func (b *Backend) movePolicy(s *socket, g xfrm.Migration, refused error) (done bool, err error) {
	a := s.exchange([]message{policyIDMessage(msgGetPolicy, g.Policy, b.index.markOf(g.Policy))})[0]
	if isErrno(a.err, unix.ENOENT) {
		return false, nil
	}
	if a.err != nil {
		return false, a.err
	}
	p, err := decodePolicy(a.msg)
	if err != nil {
		return false, err
	}
	first := p
	first.Priority = 0
	first.Templates = slices.Clone(p.Templates)
	if !moveTemplates(p.Templates, g.Moves) { // moved already
		return false, nil
	}
	after := policyMessage(msgUpdPolicy, p)
	if p.Priority == 0 || isErrno(refused, unix.ENOPROTOOPT) {
		return false, s.exchange([]message{after})[0].err
	}
	answers := s.exchange([]message{policyMessage(msgUpdPolicy, first), migrateMessage(g), after})
	return answers[1].err == nil, answers[2].err
}

// moveTemplates does to templates what MIGRATE does, and says whether any is meant.
// A transport template is meant by its request id and has nothing to be moved.
func moveTemplates(ts []xfrm.Template, moves []xfrm.Move) (meant bool) {
	for i := range ts {
		t := &ts[i]
		for _, m := range moves {
			if t.Mode != m.Mode || t.Proto != m.Proto || m.ReqID != 0 && t.ReqID != m.ReqID {
				continue
			}
			if t.Mode == xfrm.Transport {
				meant = true
			} else if t.Mode == xfrm.Tunnel && as16(t.Src) == as16(m.OldSrc) && as16(t.Dst) == as16(m.OldDst) {
				t.Src, t.Dst, meant = m.NewSrc, m.NewDst, true
				break
			}
		}
	}
	return meant
}

// located tells a move that names the states to be moved. Transport policies of
// the Mobility Header have none: their migration only tells key management.
func located(m xfrm.Move) bool {
	ok := func(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() }
	return ok(m.OldSrc) && ok(m.OldDst)
}

// statesOf dumps the states that a move is about. The kernel walks all of its
// states for that, so it is for what is not known otherwise.
func (b *Backend) statesOf(ctx context.Context, s *socket, m xfrm.Move) ([]xfrm.SA, error) {
	var found []xfrm.SA
	if !located(m) {
		return nil, nil
	}
	err := s.dump(ctx, dumpStates(m.Proto, m.OldSrc, m.OldDst), func(_ uint16, body []byte) error {
		sa, err := decodeSA(body)
		if err != nil {
			return err
		}
		if sa.Proto == m.Proto && sa.Mode == m.Mode && (m.ReqID == 0 || sa.ReqID == m.ReqID) &&
			as16(sa.Src) == as16(m.OldSrc) && as16(sa.Dst) == as16(m.OldDst) {
			found = append(found, sa)
		}
		return nil
	})
	return found, err
}

// clearWay removes what makes the kernel refuse a move and says whether there was
// anything: larval states, and copies that stand at the new address already.
func (b *Backend) clearWay(ctx context.Context, s *socket, m xfrm.Move) (cleared bool, err error) {
	states, err := b.statesOf(ctx, s, m)
	if err != nil {
		return false, err
	}
	for _, sa := range states {
		done := false
		if sa.Larval {
			done, err = b.clearLarval(s, sa)
		} else if to := movedID(sa.ID(), m); to.Canonical() != sa.ID().Canonical() {
			if s.exchange([]message{saIDMessage(msgGetSA, to, sa.Mark)})[0].err == nil {
				done, err = true, b.moveState(s, m, sa.ID(), sa.Mark)
			}
		}
		if err != nil {
			return cleared, err
		}
		cleared = cleared || done
	}
	return cleared, nil
}

// clearLarval removes a larval state. That of an acquire has no SPI, and without
// one nothing can be deleted: it is given one first.
func (b *Backend) clearLarval(s *socket, sa xfrm.SA) (bool, error) {
	if sa.SPI == 0 && !byAddress(sa.Proto) {
		a := s.exchange([]message{allocMessage(sa)})[0]
		got, err := decodeSA(a.msg)
		if a.err != nil || err != nil {
			return false, nil // it expired by itself
		}
		sa.SPI = got.SPI
	}
	b.index.drop(sa.ID())
	err := s.exchange([]message{saIDMessage(msgDelSA, sa.ID(), sa.Mark)})[0].err
	if isErrno(err, unix.ESRCH) {
		err = nil
	}
	return true, err
}
