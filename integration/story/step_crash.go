package story

import (
	"context"
	"fmt"
	"time"
)

// crash kills either daemon by SIGKILL and starts it again.
func (s *story) crash(ctx context.Context) error {
	if err := s.crashHA(ctx); err != nil {
		return err
	}
	return s.crashMN(ctx)
}

// renewed waits until both ends have other ESP SPIs than before, the old ones gone.
func (s *story) renewed(ctx context.Context, before []string, limit time.Duration) error {
	return wait(ctx, limit, "new keys at both ends, the old ones gone", func() error {
		for _, mode := range []string{"transport", "tunnel"} {
			now, err := s.childSPIs(ctx, mode)
			if err != nil {
				return err
			}
			for _, x := range now {
				for _, y := range before {
					if x == y {
						return notYet(fmt.Errorf("%s is still there", x))
					}
				}
			}
			if len(now) < 4 {
				return notYet(fmt.Errorf("%s: %v", mode, now))
			}
		}
		return nil
	})
}

func (s *story) allSPIs(ctx context.Context) ([]string, error) {
	a, err := s.childSPIs(ctx, "transport")
	if err != nil {
		return nil, err
	}
	b, err := s.childSPIs(ctx, "tunnel")
	return append(a, b...), err
}

// crashHA: payload never stops, new keys within 5 s, the binding is still there.
func (s *story) crashHA(ctx context.Context) error {
	before, err := s.allSPIs(ctx)
	if err != nil {
		return err
	}
	had, _, err := s.ha.binding(ctx, s.plan.HoA)
	if err != nil {
		return err
	}
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			p.stop()
		}
	}()
	s.say("ha", "mip6d is killed (SIGKILL)")
	killed := time.Now()
	s.ha.proc.Kill()
	if err := p.run(ctx, 50); err != nil { // half a second without a daemon
		return err
	}
	again := time.Now()
	s.say("ha", "mip6d starts again")
	if err := s.ha.start(ctx, s.ha.config); err != nil {
		return err
	}
	b, there, err := s.ha.binding(ctx, s.plan.HoA)
	if err != nil {
		return err
	}
	s.check("home agent killed: the binding is still there", there && b.CareOf == had.CareOf, "%s", bindingText(b, there))
	rerr := s.renewed(ctx, before, 10*time.Second)
	took := time.Since(again)
	s.check("home agent killed: new keys within 5 s", rerr == nil && took <= 5*time.Second, "%.1f s after the start %s", took.Seconds(), orFine(rerr, ""))
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	end := time.Now()
	stopped = true
	up, down := p.stop()
	up, down = up.Between(killed, end), down.Between(killed, end)
	s.check("home agent killed: payload never stops", up.Lost()+down.Lost() == 0, "from the node %d of %d pings lost, to the node %d of %d", up.Lost(), len(up), down.Lost(), len(down))
	_, err = s.waitRegistered(ctx, had.CareOf, 10*time.Second)
	s.check("home agent killed: the node is registered as before", err == nil, "%s", orFine(err, "at "+had.CareOf.String()))
	return nil
}

// crashMN: payload again within 3 s of the start.
func (s *story) crashMN(ctx context.Context) error {
	n, err := s.mn.node(ctx)
	if err != nil {
		return err
	}
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			p.stop()
		}
	}()
	s.say("mn", "mip6d is killed (SIGKILL)")
	killed := time.Now()
	s.mn.proc.Kill()
	if err := p.run(ctx, 50); err != nil {
		return err
	}
	again := time.Now()
	s.say("mn", "mip6d starts again")
	if err := s.mn.start(ctx, s.mn.config); err != nil {
		return err
	}
	_, rerr := s.waitRegistered(ctx, n.CareOf, 15*time.Second)
	took := time.Since(again)
	s.check("node killed: registered again", rerr == nil, "%.1f s after the start %s", took.Seconds(), orFine(rerr, ""))
	perr := p.answered(ctx, time.Now(), 5*time.Second)
	if err := p.run(ctx, 50); err != nil {
		return err
	}
	end := time.Now()
	stopped = true
	up, down := p.stop()
	up, down = up.Between(killed, end), down.Between(killed, end)
	worst, _, _ := up.Outage()
	if d, _, _ := down.Outage(); d > worst {
		worst = d
	}
	s.check("node killed: payload again within 3 s", perr == nil && worst <= 3*time.Second, "longest outage %s ms; from the node %d of %d pings lost, to the node %d of %d",
		ms(millis(worst)), up.Lost(), len(up), down.Lost(), len(down))
	return rerr
}
