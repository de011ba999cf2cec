package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// remap reads a state and gives it other ports, and where they changed other addresses. An
// update takes the ports only: with other addresses it is put anew, with what it has.
func (b *Backend) remap(s *socket, op xfrm.Remap) error {
	what := "remap SA " + describeSA(op.ID)
	k, _ := b.index.get(op.ID)
	a := s.exchange([]message{saIDMessage(msgGetSA, op.ID, k.mark)})[0]
	if a.err != nil {
		return explain(a.err, "", what)
	}
	now, err := decodeSA(a.msg)
	if err != nil {
		return err
	}
	switch {
	case now.Larval:
		return fmt.Errorf("xfrm/kernel: %s: %w: the SA is larval", what, xfrm.ErrNotFound)
	case now.Encap == nil:
		return fmt.Errorf("%w: %s: the SA has no UDP encapsulation", ErrInvalid, what)
	case op.Src.Is4() != now.Src.Is4() || op.Dst.Is4() != now.Dst.Is4():
		return fmt.Errorf("%w: %s: another family", ErrInvalid, what)
	}
	to := now
	to.Src, to.Dst, to.Encap = op.Src, op.Dst, &op.Encap
	if to.Src == now.Src && to.Dst == now.Dst {
		m, err := rewriteSA(a.msg, now.Src, now.Dst, 0)
		if err != nil {
			return err
		}
		host.PutUint16(m[4:], msgUpdSA)
		setEncap(m, op.Encap)
		return explain(s.exchange([]message{m})[0].err, featureOf(to, nil), what)
	}
	return explain(b.replace(s, a.msg, now, to), featureOf(to, nil), what)
}

// replace puts a state at other addresses in place of what it was. The one that sends is there
// twice for a moment: no packet is without. That which receives has the same key, and is away for as long as
// one system call takes.
func (b *Backend) replace(s *socket, answer []byte, now, to xfrm.SA) error {
	if err := readable(now); err != nil {
		return err
	}
	put, err := rewriteSA(answer, to.Src, to.Dst, skipPackets)
	if err != nil {
		return err
	}
	setEncap(put, *to.Encap)
	del := saIDMessage(msgDelSA, now.ID(), now.Mark)
	if now.Dst != to.Dst {
		answers := s.exchange([]message{put, del})
		if err = answers[0].err; isErrno(err, unix.EEXIST) {
			err = answers[1].err // it is there already: the one before it went
		}
		if err != nil {
			return err
		}
		b.index.drop(now.ID())
	} else if err = s.exchange([]message{del, put})[1].err; err != nil {
		if old, e := rewriteSA(answer, now.Src, now.Dst, 0); e == nil { // refused: what was there comes back
			s.exchange([]message{old})
		}
		return err
	}
	b.index.put(to, false)
	return nil
}

// setEncap writes the ports into the message of a state that has them.
func setEncap(m message, e xfrm.Encap) {
	attrs(tail(m.fixed(), sizeSAInfo), func(typ uint16, v []byte) {
		if typ == attrEncap && len(v) >= 6 {
			wireOrder.PutUint16(v[2:], e.SrcPort)
			wireOrder.PutUint16(v[4:], e.DstPort)
		}
	})
}
