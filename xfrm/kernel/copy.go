package kernel

import (
	"fmt"
	"net/netip"

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

// leaving is a state that a migration moves away and of which a copy shall stay where it
// was. It is read before and put back in the system call that moves it, so that
// nothing that arrives in between finds neither.
type leaving struct {
	sa  xfrm.SA
	put message
	err error
}

// readLeaving reads the states that the copies behind a run with migrations are
// of, while they are where the copies shall be. It gives nil where it does not
// know all of them: then they are copied afterwards.
func (b *Backend) readLeaving(s *socket, run, copies []xfrm.Op) []leaving {
	var gets []message
	for _, op := range copies {
		c := op.(xfrm.CopySA)
		if !movesAway(run, c) {
			return nil
		}
		id := c.From
		id.Dst = c.NewDst
		k, _ := b.index.get(id)
		gets = append(gets, saIDMessage(msgGetSA, id, k.mark))
	}
	var out []leaving
	for _, a := range s.exchange(gets) {
		sa, err := decodeSA(a.msg)
		if a.err != nil || err != nil || readable(sa) != nil {
			return nil
		}
		put, err := rewriteSA(a.msg, sa.Src, sa.Dst, skipPackets)
		if err != nil {
			return nil
		}
		out = append(out, leaving{sa: sa, put: put})
	}
	return out
}

// movesAway tells whether a migration of the run takes the copy's original from
// where the copy shall be.
func movesAway(run []xfrm.Op, c xfrm.CopySA) bool {
	for _, op := range run {
		if g, ok := op.(xfrm.Migrate); ok {
			for _, m := range g.Migration.Moves {
				if m.OldDst == c.NewDst && m.NewDst == c.From.Dst && m.Proto == c.From.Proto {
					return true
				}
			}
		}
	}
	return false
}

// finishCopies notes the copies that were put back, and makes those afterwards
// that could not be: their original was still in the place.
func (b *Backend) finishCopies(s *socket, back []leaving, ops []xfrm.Op, errs []error) {
	for i, l := range back {
		if l.err == nil {
			b.index.put(l.sa, false)
			continue
		}
		b.applyCopies(s, ops[i:i+1], errs[i:i+1])
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

// rewriteSA turns the answer to a GETSA into a NEWSA for other addresses, with
// everything else as it is, attributes that this package does not know included:
// keys, replay state, counters and age. skip is added to the number of the last
// packet sent: an outbound copy starts behind what may leave in the meantime.
func rewriteSA(answer []byte, src, dst netip.Addr, skip uint32) (message, error) {
	if len(answer) < sizeSAInfo {
		return nil, errShort
	}
	m := newMessage(msgNewSA, 0, sizeSAInfo)
	b := m.fixed()
	copy(b, answer[:sizeSAInfo])
	clear(b[56:72])
	clear(b[80:96])
	putAddr(b[56:72], dst)
	putAddr(b[80:96], src)
	host.PutUint16(b[212:], familyOf(dst))
	host.PutUint32(b[204:], 0)
	usage := b[160:192]
	attrs(tail(answer, sizeSAInfo), func(typ uint16, v []byte) {
		if typ == attrLastUsed || typ == attrPad {
			return
		}
		w := m.attr(typ, len(v))
		copy(w, v)
		skipOSeq(typ, w, skip)
		if typ == attrReplayESN {
			m.fixed()[215] = 0 // the window stands in the attribute
		}
	})
	copy(m.attr(attrLifeVal, 32), usage)
	return m, nil
}
