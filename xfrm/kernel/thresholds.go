package kernel

import (
	"context"
	"fmt"

	"github.com/mip6/mip6/xfrm"
)

// Thresholds are the prefix lengths from which on the kernel keeps IPv6 policies
// in its hash table instead of a list that it walks. Local is the source of an
// outbound selector and the destination of an inbound one. A home agent's policies
// are ::/0 on the local side and a home address /128 on the remote one: {0, 128}
// makes a MIGRATE among 20,000 of them take 0.1 ms in place of 1.9 ms.
type Thresholds struct {
	Local, Remote uint8 // bits, 0 to 128; the kernel's default is 128 and 128
}

// Thresholds reads the thresholds of the SPD.
func (b *Backend) Thresholds(ctx context.Context) (Thresholds, error) {
	var a answer
	m := newMessage(msgGetSPDInfo, 0, 4)
	if err := b.with(ctx, func(s *socket) { a = s.exchange([]message{m})[0] }); err != nil {
		return Thresholds{}, err
	}
	if a.err != nil {
		return Thresholds{}, explain(a.err, "SPD thresholds", "read the SPD's thresholds")
	}
	t, ok := decodeThresholds(a.msg)
	if !ok {
		return t, &xfrm.FeatureError{Feature: "SPD thresholds", Err: fmt.Errorf("the kernel tells none: %w", xfrm.ErrUnsupported)}
	}
	return t, nil
}

func decodeThresholds(b []byte) (t Thresholds, ok bool) {
	attrs(tail(b, 4), func(typ uint16, v []byte) {
		if typ == spdThresholds6 && len(v) >= 2 {
			t, ok = Thresholds{Local: v[0], Remote: v[1]}, true
		}
	})
	return t, ok
}

// SetThresholds sets the thresholds of the SPD; the kernel sorts its policies anew.
func (b *Backend) SetThresholds(ctx context.Context, t Thresholds) error {
	if t.Local > 128 || t.Remote > 128 {
		return fmt.Errorf("%w: thresholds %d and %d, at most 128", ErrInvalid, t.Local, t.Remote)
	}
	m := newMessage(msgNewSPDInfo, 0, 4)
	v := m.attr(spdThresholds6, 2)
	v[0], v[1] = t.Local, t.Remote
	var a answer
	if err := b.with(ctx, func(s *socket) { a = s.exchange([]message{m})[0] }); err != nil {
		return err
	}
	return explain(a.err, "SPD thresholds", "set the SPD's thresholds")
}

// replaceThresholds remembers what was set, for Close.
func (b *Backend) replaceThresholds(t Thresholds) error {
	before, err := b.Thresholds(context.Background())
	if err != nil {
		return err
	}
	if err := b.SetThresholds(context.Background(), t); err != nil {
		return err
	}
	if before != t {
		b.saved = &before
	}
	return nil
}

// SavedThresholds are those that Close will restore, for a ledger; nil: none.
func (b *Backend) SavedThresholds() *Thresholds { return b.saved }
