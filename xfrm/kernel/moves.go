package kernel

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// checkMoves looks whether all known states of the moves are where they should
// be with the replay window that they had, and moves those left behind. What was
// put back on purpose is not left behind.
func (b *Backend) checkMoves(ctx context.Context, s *socket, moves []xfrm.Move, back []leaving) error {
	type check struct {
		move xfrm.Move
		from xfrm.ID
	}
	var checks []check
	var msgs []message
	seen := map[xfrm.ID]bool{}
	meant := map[xfrm.ID]bool{}
	for _, l := range back {
		meant[l.sa.ID().Canonical()] = l.err == nil
	}
	for _, m := range moves {
		if !located(m) {
			continue
		}
		ids := b.index.members(oldGroup(m))
		if len(ids) == 0 && len(b.index.members(newGroup(m))) == 0 {
			// Somebody else's states, or none: ask the kernel.
			if err := b.moveStates(ctx, s, m); err != nil {
				return err
			}
			continue
		}
		for _, id := range ids {
			if seen[id.Canonical()] {
				continue // the forward policy has the states of the inbound one
			}
			seen[id.Canonical()] = true
			k, _ := b.index.get(id)
			checks = append(checks, check{m, id})
			msgs = append(msgs, saIDMessage(msgGetSA, movedID(id, m), k.mark), saIDMessage(msgGetSA, id, k.mark))
		}
	}
	answers := s.exchange(msgs)
	for i, c := range checks {
		left := answers[2*i+1]
		if meant[c.from.Canonical()] {
			left.err = unix.ESRCH
		}
		if err := b.checkMoved(s, c.move, c.from, answers[2*i], left); err != nil {
			return err
		}
	}
	return nil
}

// movedID is the key of an SA after a move.
func movedID(id xfrm.ID, m xfrm.Move) xfrm.ID {
	id.Dst = m.NewDst
	if byAddress(id.Proto) {
		id.Src = m.NewSrc
	}
	return id
}

// checkMoved looks at what stands at an SA's new and at its old key after its
// migration. The two are one where only the source address changed.
func (b *Backend) checkMoved(s *socket, m xfrm.Move, from xfrm.ID, there, left answer) error {
	k, _ := b.index.get(from)
	to := movedID(from, m)
	now, err := decodeSA(there.msg)
	moved := there.err == nil && err == nil && as16(now.Src) == as16(m.NewSrc)
	// A copy may have stood at the new address before: then the original is left.
	if stays := to.Canonical() != from.Canonical() && left.err == nil; !moved || stays {
		return b.moveState(s, m, from, k.mark)
	}
	b.index.move(from, to, newGroup(m))
	if k.window != 0 && now.Replay.Packets() != k.window {
		return b.restoreWindow(s, now, k.window)
	}
	return nil
}

// restoreWindow gives an SA its replay window back, which some kernels lose.
func (b *Backend) restoreWindow(s *socket, sa xfrm.SA, window uint32) error {
	if err := readable(sa); err != nil {
		return err
	}
	sa.Replay = resize(sa.Replay, window)
	if sa.Replay.OSeq != 0 {
		sa.Replay.OSeq += skipPackets
	}
	answers := s.exchange([]message{saIDMessage(msgDelSA, sa.ID(), sa.Mark), saMessage(msgNewSA, sa)})
	return answers[1].err
}

// moveStates moves by hand all states of a move that are at the old addresses.
func (b *Backend) moveStates(ctx context.Context, s *socket, m xfrm.Move) error {
	states, err := b.statesOf(ctx, s, m)
	if err != nil {
		return err
	}
	for _, sa := range states {
		if sa.Larval {
			continue
		}
		if err := b.moveState(s, m, sa.ID(), sa.Mark); err != nil {
			return err
		}
	}
	return nil
}

// moveState moves one state by hand, with keys, replay state, counters and age.
// One that is not there any more is no error.
func (b *Backend) moveState(s *socket, m xfrm.Move, from xfrm.ID, mark uint32) error {
	a := s.exchange([]message{saIDMessage(msgGetSA, from, mark)})[0]
	if isErrno(a.err, unix.ESRCH) {
		b.index.drop(from)
		return nil
	}
	if a.err != nil {
		return a.err
	}
	sa, err := decodeSA(a.msg)
	if err != nil {
		return err
	}
	to := movedID(from, m)
	if as16(sa.Src) == as16(m.NewSrc) && to.Canonical() == from.Canonical() {
		return nil // it is there already
	}
	if err := readable(sa); err != nil {
		return err
	}
	put, err := rewriteSA(a.msg, m.NewSrc, m.NewDst, skipPackets)
	if err != nil {
		return err
	}
	del := saIDMessage(msgDelSA, from, mark)
	if to.Canonical() == from.Canonical() { // the source alone changes: the key is taken
		err = s.exchange([]message{del, put})[1].err
	} else {
		err = s.exchange([]message{put, del})[0].err
	}
	if isErrno(err, unix.EEXIST) {
		err = b.mergeCopy(s, sa, to, put)
	}
	if err == nil {
		b.index.move(from, to, newGroup(m))
	}
	return err
}

// mergeCopy ends a copy that stands where its original moves to: the one that
// received the later packet stays. The original is deleted already.
func (b *Backend) mergeCopy(s *socket, original xfrm.SA, to xfrm.ID, put message) error {
	a := s.exchange([]message{saIDMessage(msgGetSA, to, original.Mark)})[0]
	if there, err := decodeSA(a.msg); a.err == nil && err == nil &&
		there.SameKeys(original) && there.Replay.Seq >= original.Replay.Seq && there.Replay.OSeq >= original.Replay.OSeq {
		return nil
	}
	return s.exchange([]message{saIDMessage(msgDelSA, to, original.Mark), put})[1].err
}
