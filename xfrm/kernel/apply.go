package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// Apply carries out the operations in order. What follows one another goes to the
// kernel in one system call, CopySA excepted, which reads before it writes: a run
// of copies is two calls, unless it follows the migrations that its originals are
// moved by. What the kernel refuses for a reason that this package knows a way
// around is tried again at the end of its run.
func (b *Backend) Apply(ctx context.Context, ops []xfrm.Op) []error {
	errs := make([]error, len(ops))
	err := b.with(ctx, func(s *socket) {
		for start := 0; start < len(ops); {
			if r, is := ops[start].(xfrm.Remap); is {
				errs[start] = b.remap(s, r)
				start++
				continue
			}
			end := runEnd(ops, start)
			if start > 0 && lingers(ops[start]) {
				linger(ctx)
			}
			if isCopy(ops[start]) {
				b.applyCopies(s, ops[start:end], errs[start:end])
				start = end
				continue
			}
			after := end
			if end < len(ops) && isCopy(ops[end]) {
				after = runEnd(ops, end)
			}
			back := b.readLeaving(s, ops[start:end], ops[end:after])
			b.applyRun(ctx, s, ops[start:end], errs[start:end], back)
			if back != nil {
				b.finishCopies(s, back, ops[end:after], errs[end:after])
				end = after
			}
			start = end
		}
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// runEnd is where the run of copies, of deletions that linger, or of anything else but Remap, ends that begins
// at start.
func runEnd(ops []xfrm.Op, start int) int {
	end := start + 1
	for end < len(ops) && !isRemap(ops[end]) && isCopy(ops[end]) == isCopy(ops[start]) && (lingers(ops[end-1]) || !lingers(ops[end])) {
		end++
	}
	return end
}

func isCopy(op xfrm.Op) bool {
	_, is := op.(xfrm.CopySA)
	return is
}

func isRemap(op xfrm.Op) bool {
	_, is := op.(xfrm.Remap)
	return is
}

func lingers(op xfrm.Op) bool {
	d, is := op.(xfrm.DelSA)
	return is && d.Linger
}

// lingerTime is how long a packet may be between its policy and its state on a busy host.
const lingerTime = 2 * time.Millisecond

func linger(ctx context.Context) {
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// applyRun sends one message for each operation that can be sent, and the copies
// of states that the migrations move away, then looks after those whose answer asks for more.
func (b *Backend) applyRun(ctx context.Context, s *socket, ops []xfrm.Op, errs []error, back []leaving) {
	msgs := make([]message, 0, len(ops))
	at := make([]int, 0, len(ops))
	for i, op := range ops {
		m, err := b.encode(op)
		if err != nil {
			errs[i] = err
			continue
		}
		msgs, at = append(msgs, m), append(at, i)
	}
	var moved []int
	for i := range back {
		msgs = append(msgs, back[i].put)
	}
	for j, a := range s.exchange(msgs) {
		if j >= len(at) {
			back[j-len(at)].err = a.err
			continue
		}
		i := at[j]
		switch op := ops[i].(type) {
		case xfrm.PutSA:
			errs[i] = b.finishPutSA(s, op.SA, msgs[j].typ(), a.err)
		case xfrm.DelSA:
			errs[i] = b.finishDelSA(op.ID, a.err)
		case xfrm.PutPolicy:
			errs[i] = finishPutPolicy(op.Policy, a.err)
			if errs[i] == nil {
				b.index.policyMark(op.Policy.ID(), op.Policy.Mark)
			}
		case xfrm.DelPolicy:
			errs[i] = finishDelPolicy(op.ID, a.err)
			if errs[i] == nil {
				b.index.policyMark(op.ID, 0)
			}
		case xfrm.Migrate:
			errs[i] = a.err
			moved = append(moved, i)
		}
	}
	b.finishMigrations(ctx, s, ops, errs, moved, back)
}

// encode makes the first message of an operation.
func (b *Backend) encode(op xfrm.Op) (message, error) {
	switch op := op.(type) {
	case xfrm.PutSA:
		if err := checkSA(op.SA); err != nil {
			return nil, err
		}
		// UPDSA fills a larval state, NEWSA makes a new one, and each refuses the
		// other's case: what is known decides which to try first.
		typ := uint16(msgNewSA)
		if _, ok := b.index.get(op.SA.ID()); ok {
			typ = msgUpdSA
		}
		return saMessage(typ, op.SA), nil
	case xfrm.DelSA:
		k, _ := b.index.get(op.ID)
		return saIDMessage(msgDelSA, op.ID, k.mark), nil
	case xfrm.PutPolicy:
		if err := checkPolicy(op.Policy); err != nil {
			return nil, err
		}
		return policyMessage(msgUpdPolicy, op.Policy), nil
	case xfrm.DelPolicy:
		return policyIDMessage(msgDelPolicy, op.ID, b.index.markOf(op.ID)), nil
	case xfrm.Migrate:
		if err := checkMigration(op.Migration); err != nil {
			return nil, err
		}
		return migrateMessage(op.Migration), nil
	}
	return nil, fmt.Errorf("xfrm/kernel: unknown operation %T: %w", op, xfrm.ErrUnsupported)
}

func describeSA(id xfrm.ID) string {
	if byAddress(id.Proto) {
		return fmt.Sprintf("%v %v→%v", id.Proto, id.Src, id.Dst)
	}
	return fmt.Sprintf("%v →%v spi %v", id.Proto, id.Dst, id.SPI)
}

// finishPutSA looks at the answer to the first message and does the rest.
func (b *Backend) finishPutSA(s *socket, sa xfrm.SA, tried uint16, err error) error {
	old, had := b.index.get(sa.ID())
	switch {
	case tried == msgNewSA && isErrno(err, unix.EEXIST):
		tried, err = msgUpdSA, s.exchange([]message{saMessage(msgUpdSA, sa)})[0].err
		had, old.reserved = true, false
	case tried == msgUpdSA && isErrno(err, unix.ESRCH):
		tried, err = msgNewSA, s.exchange([]message{saMessage(msgNewSA, sa)})[0].err
	}
	// An update of a live state succeeds and leaves keys, addresses, mode and window
	// as they were; a larval one that we reserved takes all.
	if tried == msgUpdSA && !(err == nil && had && old.reserved) && (err == nil || isErrno(err, unix.EINVAL)) {
		err = b.settleSA(s, sa, err)
	}
	if err != nil {
		return explain(err, featureOf(sa, err), "put SA "+describeSA(sa.ID()))
	}
	b.index.put(sa, false)
	return nil
}

// settleSA makes the live state be what it should be where an update did not. An
// SA that stays the same but for its surroundings keeps its sequence numbers.
func (b *Backend) settleSA(s *socket, sa xfrm.SA, updateErr error) error {
	a := s.exchange([]message{saIDMessage(msgGetSA, sa.ID(), sa.Mark)})[0]
	now, err := decodeSA(a.msg)
	if a.err != nil || err != nil {
		return errors.Join(updateErr, a.err, err)
	}
	if updateErr == nil && now.Same(sa) {
		return nil
	}
	if sameMaterial(now, sa) && sa.Replay.OSeq == 0 && sa.Replay.Seq == 0 {
		window, esn := sa.Replay.Packets(), sa.Replay.ESN
		if sa.Replay = resize(now.Replay, window); sa.Replay.OSeq != 0 {
			sa.Replay.OSeq += skipPackets
		}
		sa.Replay.ESN = esn
	}
	answers := s.exchange([]message{saIDMessage(msgDelSA, sa.ID(), sa.Mark), saMessage(msgNewSA, sa)})
	if answers[1].err != nil && !now.Larval { // refused: what was there comes back
		if old, err := rewriteSA(a.msg, now.Src, now.Dst, 0); err == nil {
			s.exchange([]message{old})
		}
	}
	return answers[1].err
}

// sameMaterial tells whether two SAs have the same keys.
func sameMaterial(a, b xfrm.SA) bool {
	return a.AEAD.Name == b.AEAD.Name && bytes.Equal(a.AEAD.Key, b.AEAD.Key) &&
		a.Crypt.Name == b.Crypt.Name && bytes.Equal(a.Crypt.Key, b.Crypt.Key) &&
		a.Auth.Name == b.Auth.Name && bytes.Equal(a.Auth.Key, b.Auth.Key)
}

func (b *Backend) finishDelSA(id xfrm.ID, err error) error {
	if err == nil || isErrno(err, unix.ESRCH, unix.ENOENT) {
		b.index.drop(id)
		return nil
	}
	return explain(err, featureOf(xfrm.SA{Dst: id.Dst, Proto: id.Proto}, err), "delete SA "+describeSA(id))
}

func finishPutPolicy(p xfrm.Policy, err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("put policy %v %v", p.Dir, p.Sel)
	if p.Type == xfrm.Sub && isErrno(err, unix.EINVAL) {
		return &xfrm.FeatureError{Feature: "SUB policy", Err: fmt.Errorf("%w: %w", explain(err, "", what), xfrm.ErrUnsupported)}
	}
	return explain(err, "policy", what)
}

func finishDelPolicy(id xfrm.PolicyID, err error) error {
	if err == nil || isErrno(err, unix.ENOENT, unix.ESRCH) {
		return nil
	}
	return explain(err, "", fmt.Sprintf("delete policy %v %v", id.Dir, id.Sel))
}
