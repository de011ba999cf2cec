package story

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

func (s *story) pingNodes() (*pings, error) {
	up, err := s.lab.Ping(lab.MN, s.plan.HoA, s.plan.HoA2, pingEvery)
	if err != nil {
		return nil, err
	}
	down, err := s.lab.Ping(lab.MN2, s.plan.HoA2, s.plan.HoA, pingEvery)
	if err != nil {
		up.Stop(0)
		return nil, err
	}
	return &pings{up, down}, nil
}

// roNodes has two nodes, each the other's correspondent: packets carry both headers, and
// both may move at once.
func (s *story) roNodes(ctx context.Context) error {
	c := roConf{mn2: true, noCN: true}
	if err := s.readyRO(ctx, c); err != nil {
		return err
	}
	if s.mn2 == nil {
		if err := s.lab.Join(ctx, lab.Foreign2); err != nil {
			return err
		}
		s.mn2 = s.newDaemon(lab.MN2)
	}
	s.say("mn2", "mip6d starts, home address %v", s.plan.HoA2)
	if err := s.mn2.start(ctx, s.mn2RO(c)); err != nil {
		return err
	}
	at2 := s.plan.SLAACOf(lab.MN2, lab.Foreign2)
	if err := s.registered2(ctx, at2); err != nil {
		return err
	}
	p, err := s.pingNodes()
	if err != nil {
		return err
	}
	defer func() {
		if p != nil {
			p.stop()
		}
	}()
	if err := p.answered(ctx, time.Now(), 10*time.Second); err != nil {
		return err
	}
	at := s.plan.SLAAC(lab.Foreign1)
	if err := s.waitBoth(ctx, at, at2, 15*time.Second); err != nil {
		return err
	}
	on := time.Now()
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	quiet := Window{on.Add(2 * (s.plan.Delay + haDelay) * 2), time.Now()}
	if err := settle(ctx); err != nil {
		return err
	}
	if err := s.checkNodes("both nodes away", quiet, at, at2, p); err != nil {
		return err
	}
	return s.bothMove(ctx, p)
}

func (s *story) registered2(ctx context.Context, careOf netip.Addr) error {
	return wait(ctx, 20*time.Second, "registration of mn2", func() error {
		n, err := s.mn2.node(ctx)
		if err != nil || n.State != "registered" || n.CareOf != careOf {
			return notYet(fmt.Errorf("mn2 is %s at %v %v", n.State, n.CareOf, err))
		}
		return nil
	})
}

// waitBoth waits until both kernels have both headers' states for the pair.
func (s *story) waitBoth(ctx context.Context, at, at2 netip.Addr, limit time.Duration) error {
	a, b := s.plan.HoA, s.plan.HoA2
	return wait(ctx, limit, "packets directly between both nodes", func() error {
		for _, x := range []struct {
			host, proto string
			src, dst    netip.Addr
			want        netip.Addr
		}{{lab.MN, "hao", a, b, at}, {lab.MN, "route2", a, b, at2}, {lab.MN2, "hao", b, a, at2}, {lab.MN2, "route2", b, a, at}} {
			got, err := s.careOfIn(ctx, x.host, x.proto, x.src, x.dst)
			if err != nil {
				return err
			}
			if got != x.want {
				return notYet(fmt.Errorf("%s has %s with %v, wanted %v", x.host, x.proto, got, x.want))
			}
		}
		return nil
	})
}

// checkNodes checks the packets between the two nodes in a window in which all is direct.
func (s *story) checkNodes(name string, w Window, at, at2 netip.Addr, p *pings) error {
	a, b := s.plan.HoA, s.plan.HoA2
	both := func(src, dst, home, to netip.Addr) func(lab.Seen) bool {
		return func(p lab.Seen) bool {
			return p.Src == src && p.Dst == dst && p.HomeAddr == home && p.Type2 == to && p.Proto == 58
		}
	}
	there, err := s.seen("links-f1", w, both(at, at2, a, b))
	if err != nil {
		return err
	}
	back, err := s.seen("links-f1", w, both(at2, at, b, a))
	if err != nil {
		return err
	}
	bad := 0
	for _, x := range append(append([]lab.Seen(nil), there...), back...) {
		if x.BadSum {
			bad++
		}
	}
	s.check(name+": both headers in one packet, each way", len(there) > 50 && len(back) > 50 && bad == 0, "%d packets %v → %v, %d back, %d wrong checksums", len(there), at, at2, len(back), bad)
	byHA, err := s.seen("core-ha0", w, func(x lab.Seen) bool { return x.Proto == protoESP && !x.HomeAddr.IsValid() && !x.Type2.IsValid() })
	if err != nil {
		return err
	}
	fast := median(p.up.Echoes().Between(w.From, w.To))
	s.check(name+": nothing of it goes by the home agent", len(byHA) <= 10 && fast > 0 && fast < s.plan.RTT(), "%d ESP packets at the agent beside %d direct ones; round trip %s ms", len(byHA), len(there)+len(back), ms(millis(fast)))
	return nil
}

// bothMove moves both nodes at once: each tells the other by an address that the other has left.
func (s *story) bothMove(ctx context.Context, p *pings) error {
	const name = "both nodes move at once"
	w := Window{From: time.Now()}
	errs := make(chan error, 1)
	go func() {
		_, _, err := s.lab.MoveNode(ctx, lab.MN2, lab.Foreign1)
		errs <- err
	}()
	_, up, err := s.lab.Move(ctx, lab.Foreign2)
	if merr := <-errs; err == nil {
		err = merr
	}
	if err != nil {
		return err
	}
	at, at2 := s.plan.SLAAC(lab.Foreign2), s.plan.SLAACOf(lab.MN2, lab.Foreign1)
	if err := p.answered(ctx, time.Now(), 20*time.Second); err != nil {
		return err
	}
	err = s.waitBoth(ctx, at, at2, 20*time.Second)
	s.check(name+": directly again", err == nil, "%s", orFine(err, fmt.Sprintf("%.2f s after the carrier's return", time.Since(up).Seconds())))
	if err != nil {
		return nil
	}
	on := time.Now()
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	w.To = time.Now().Add(-200 * time.Millisecond)
	if err := settle(ctx); err != nil {
		return err
	}
	d, lost := p.outage(w)
	s.check(name+": the outage is below a second", d < time.Second, "outage %s ms, %d pings lost", ms(millis(d)), lost)
	return s.checkNodes(name, Window{on.Add(100 * time.Millisecond), w.To}, at, at2, p)
}
