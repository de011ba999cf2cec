package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// skipPackets is how far ahead of the original an outbound state starts that was
// made by hand: packets that leave between the reading and the writing keep their
// numbers to themselves, else the receiver drops the copy's first as replays.
const skipPackets = 64

// applyCopies carries out a run of CopySA: all are read in one system call and
// written in the next, so that the replay state is as fresh as it can be.
func (b *Backend) applyCopies(s *socket, ops []xfrm.Op, errs []error) {
	gets := make([]message, len(ops))
	for i, op := range ops {
		from := op.(xfrm.CopySA).From
		k, _ := b.index.get(from)
		gets[i] = saIDMessage(msgGetSA, from, k.mark)
	}
	var puts []message
	var at []int
	found := make([]xfrm.SA, len(ops))
	for i, a := range s.exchange(gets) {
		op := ops[i].(xfrm.CopySA)
		var m message
		m, found[i], errs[i] = copyMessage(op, a)
		if errs[i] != nil {
			errs[i] = explain(errs[i], "", "copy SA "+describeSA(op.From))
			continue
		}
		puts, at = append(puts, m), append(at, i)
	}
	for j, a := range s.exchange(puts) {
		i := at[j]
		op, to := ops[i].(xfrm.CopySA), found[i]
		to.Dst = op.NewDst
		err := a.err
		if isErrno(err, unix.EEXIST) { // an older copy: replaced
			err = s.exchange([]message{saIDMessage(msgDelSA, to.ID(), to.Mark), puts[j]})[1].err
		}
		if errs[i] = explain(err, featureOf(to, err), "copy SA "+describeSA(op.From)); errs[i] == nil {
			b.index.put(to, false)
		}
	}
}

// copyMessage turns the answer to a GETSA into the message that makes the copy.
func copyMessage(op xfrm.CopySA, a answer) (message, xfrm.SA, error) {
	if a.err != nil {
		return nil, xfrm.SA{}, a.err
	}
	sa, err := decodeSA(a.msg)
	if err != nil {
		return nil, sa, err
	}
	if sa.ID().Canonical() == (xfrm.ID{Dst: op.NewDst, Src: sa.ID().Src, SPI: sa.SPI, Proto: sa.Proto}).Canonical() {
		return nil, sa, fmt.Errorf("%w: a copy needs another destination than %v", ErrInvalid, op.NewDst)
	}
	if err := readable(sa); err != nil {
		return nil, sa, err
	}
	m, err := rewriteSA(a.msg, sa.Src, op.NewDst, skipPackets)
	return m, sa, err
}

// readable says whether the kernel gave an SA's keys. A larval state has none,
// and a kernel under lockdown gives zeros for them.
func readable(sa xfrm.SA) error {
	if sa.Larval {
		return fmt.Errorf("%w: the SA is larval", xfrm.ErrNotFound)
	}
	for _, key := range [][]byte{sa.AEAD.Key, sa.Auth.Key, sa.Crypt.Key} {
		zero := len(key) > 0
		for _, c := range key {
			zero = zero && c == 0
		}
		if zero {
			return &xfrm.FeatureError{Feature: "key read-out", Err: fmt.Errorf("%w: the kernel hides keys (lockdown)", xfrm.ErrUnsupported)}
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
