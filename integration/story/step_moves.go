package story

import (
	"context"
	"fmt"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// carrier is a move to a link by loss of carrier.
func (s *story) carrier(to lab.Link) func(context.Context) (time.Time, time.Time, error) {
	return func(ctx context.Context) (time.Time, time.Time, error) { return s.lab.Move(ctx, to) }
}

// foreign makes the move to a foreign link, with all its checks.
func (s *story) foreign(ctx context.Context, name string, to lab.Link, t *streams) (moved, error) {
	from, err := s.mn.node(ctx)
	if err != nil {
		return moved{}, err
	}
	r, err := s.make(ctx, move{kind: "foreign", name: name, from: from.CareOf, to: s.plan.SLAAC(to), do: s.carrier(to), streams: t})
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return r, err
}

// moves goes from foreign link 1 to 2 and back, with TCP connections all the way.
func (s *story) moves(ctx context.Context) error {
	if s.lab.Link() != lab.Foreign1 {
		if _, err := s.foreign(ctx, "move 2→1 beforehand", lab.Foreign1, nil); err != nil {
			return err
		}
	}
	t, err := s.streams(ctx, 7011, 40_000)
	if err != nil {
		return err
	}
	defer func() {
		if t != nil {
			t.stop()
		}
	}()
	if err := t.progress(ctx, 20_000, 10*time.Second); err != nil {
		return err
	}
	if _, err := s.foreign(ctx, "move 1→2", lab.Foreign2, t); err != nil {
		return err
	}
	if _, err := s.foreign(ctx, "move 2→1", lab.Foreign1, t); err != nil {
		return err
	}
	up, down := t.stop()
	t = nil
	s.check("moves: one TCP connection in each direction over both moves", up.Survived && down.Survived, "from the node %d bytes, %d segments sent again, error %v; to the node %d bytes, %d segments sent again, error %v",
		up.Bytes, up.Retransmits, up.Err, down.Bytes, down.Retransmits, down.Err)
	return nil
}
