package story

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// rekey makes new child SAs, asked for by either side, under traffic.
func (s *story) rekey(ctx context.Context) error {
	for _, by := range []*daemon{s.mn, s.ha} {
		for _, child := range []struct{ name, mode string }{{"payload", "tunnel"}, {"mh", "transport"}} {
			if err := s.rekeyChild(ctx, by, child.name, child.mode); err != nil {
				return fmt.Errorf("rekey of %s by %s: %w", child.name, by.host, err)
			}
		}
	}
	return nil
}

func (s *story) rekeyChild(ctx context.Context, by *daemon, child, mode string) error {
	name := fmt.Sprintf("rekey of %s by %s", child, by.host)
	before, err := s.childSPIs(ctx, mode)
	if err != nil {
		return err
	}
	d, err := s.datagrams(s.rate())
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			d.stop()
		}
	}()
	if err := d.sent(ctx, s.rate()/3, 10*time.Second); err != nil {
		return err
	}
	w := Window{From: time.Now()}
	if err := by.rekey(ctx, s.plan.HoA, child); err != nil {
		return err
	}
	var after []string
	err = wait(ctx, 10*time.Second, "new SPIs of "+child+", and the old ones gone, at both ends", func() error {
		if after, err = s.childSPIs(ctx, mode); err != nil {
			return err
		}
		for _, x := range before {
			if slices.Contains(after, x) {
				return notYet(fmt.Errorf("%s is still there", x))
			}
		}
		if len(after) != len(before) {
			return notYet(fmt.Errorf("before %v, now %v", before, after))
		}
		return nil
	})
	if serr := d.sent(ctx, s.rate()/2, 10*time.Second); serr != nil {
		return serr
	}
	w.To = time.Now()
	stopped = true
	sentUp, lostUp, sentDown, lostDown := d.stop()
	s.check(name+": new SPIs at both ends, the old ones gone", err == nil, "%s → %s %s", strings.Join(before, ", "), strings.Join(after, ", "), orFine(err, ""))
	s.check(fmt.Sprintf("%s: no datagram lost at %d a second in each direction", name, s.rate()), lostUp+lostDown == 0, "from the node %d of %d, to the node %d of %d", lostUp, sentUp, lostDown, sentDown)
	n, where, err := s.ikeMessages(w)
	if err != nil {
		return err
	}
	s.check(name+": by a CREATE_CHILD_SA exchange and a Delete", n == 4, "%s", where)
	return nil
}

// childSPIs are the SPIs of one mode at both ends.
func (s *story) childSPIs(ctx context.Context, mode string) ([]string, error) {
	var out []string
	for _, host := range []string{lab.MN, lab.HA} {
		all, err := s.states(ctx, host)
		if err != nil {
			return nil, err
		}
		for _, x := range spis(all) {
			if m, spi, _ := strings.Cut(x, " "); m == mode {
				out = append(out, host+" "+spi)
			}
		}
	}
	return out, nil
}
