package story

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// roFallback takes Mobile IPv6 away from the correspondent in all ways: packets go on by
// the tunnel within a round trip of the sign that tells so.
func (s *story) roFallback(ctx context.Context) error {
	for _, f := range []struct {
		name string
		run  func(context.Context) error
	}{{"stopped", s.cnStops}, {"forgotten", s.cnForgets}, {"never known", s.cnWithout}, {"unlearned", s.cnUnlearns}} {
		if err := f.run(ctx); err != nil {
			return fmt.Errorf("correspondent %s: %w", f.name, err)
		}
	}
	return nil
}

// load is what runs while the correspondent changes.
type load struct {
	d    *datagrams
	from time.Time
}

// underLoad begins with packets that go directly: a fresh start and a stream of datagrams.
func (s *story) underLoad(ctx context.Context, c roConf) (*load, error) {
	if err := s.readyRO(ctx, c); err != nil {
		return nil, err
	}
	d, err := s.datagrams(s.rate())
	if err != nil {
		return nil, err
	}
	if !c.noCN {
		if err := s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 15*time.Second); err != nil {
			d.stop()
			return nil, err
		}
	}
	if err := d.sent(ctx, s.rate()/2, 10*time.Second); err != nil {
		d.stop()
		return nil, err
	}
	return &load{d, time.Now()}, nil
}

// cnStops ends the correspondent's daemon in order.
func (s *story) cnStops(ctx context.Context) error {
	l, err := s.underLoad(ctx, roConf{})
	if err != nil {
		return err
	}
	s.say("cn", "SIGTERM to mip6d")
	w := Window{From: time.Now()}
	err = s.cn.end()
	return s.fellBack(ctx, "correspondent stops", l, w, err, isBE(s, 1), "Binding Error 1")
}

// cnForgets kills the daemon; its kernel goes on as it was. Started again, it knows no binding.
func (s *story) cnForgets(ctx context.Context) error {
	l, err := s.underLoad(ctx, roConf{})
	if err != nil {
		return err
	}
	s.say("cn", "mip6d is killed (SIGKILL)")
	killed := time.Now()
	s.cn.proc.Kill()
	if err := l.d.sent(ctx, s.rate()/2, 10*time.Second); err != nil {
		l.d.stop()
		return err
	}
	_, lost := l.d.up.Count(killed, time.Now().Add(-200*time.Millisecond))
	_, lostDown := l.d.down.Count(killed, time.Now().Add(-200*time.Millisecond))
	s.check("correspondent killed: packets go on without a daemon", lost+lostDown == 0, "%d lost from the node, %d to the node", lost, lostDown)
	s.say("cn", "mip6d starts again")
	w := Window{From: time.Now()}
	err = s.cn.start(ctx, s.cn.config)
	if err := s.fellBack(ctx, "correspondent forgets", l, w, err, isBE(s, 1), "Binding Error 1"); err != nil {
		return err
	}
	// It knows Mobile IPv6 as before, so the node tries anew.
	p, err := s.ping()
	if err != nil {
		return err
	}
	defer p.stop()
	err = s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 20*time.Second)
	s.check("correspondent forgets: the direct way again later", err == nil, "%s", orFine(err, fmt.Sprintf("%.1f s after the daemon's start", time.Since(w.From).Seconds())))
	return nil
}

func isBE(s *story, status int) func(lab.Seen) bool {
	return func(p lab.Seen) bool {
		return p.Proto == protoMH && p.Type == mhBE && p.Src == s.plan.CN && statusOf(p) == status
	}
}

func isProblem(s *story, code uint8) func(lab.Seen) bool {
	return func(p lab.Seen) bool {
		return p.Proto == 58 && p.Type == icmpParameterProblem && p.Code == code && p.Src == s.plan.CN
	}
}

// fellBack waits for the tunnel and checks by the node's own wire how long after the sign the
// first packet took it, and that none went directly any more.
func (s *story) fellBack(ctx context.Context, name string, l *load, w Window, err error, sign func(lab.Seen) bool, signName string) error {
	if err == nil {
		err = s.waitTunnelAtNode(ctx, 10*time.Second)
	}
	if err == nil {
		err = l.d.sent(ctx, s.rate()/2, 10*time.Second)
	}
	quiet := time.Now()
	if err == nil {
		err = l.d.sent(ctx, s.rate()/2, 10*time.Second)
	}
	end := time.Now()
	sentUp, lostUp, sentDown, lostDown := l.d.stop()
	if err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	w.To = end
	at, err := s.first("mn-eth0", w, sign)
	if err != nil {
		return err
	}
	s.check(name+": told by "+signName, !at.IsZero(), "at %s", s.at(at))
	if at.IsZero() {
		return nil
	}
	if err := s.checkWithin(name, at, end); err != nil {
		return err
	}
	direct, err := s.seen("mn-eth0", Window{at.Add(2 * s.plan.RTT()), quiet}, s.pair().up)
	if err != nil {
		return err
	}
	rtt := s.plan.RTT() + 2*haDelay
	// What was under way directly when the correspondent changed cannot be saved: a one-way
	// delay of packets before the sign, and one after it.
	allowed := int(float64(s.rate()) * (s.plan.RTT() + 50*time.Millisecond).Seconds())
	s.check(name+": little is lost, nothing later", lostUp+lostDown <= allowed, "from the node %d of %d, to the node %d of %d datagrams; a round trip is %v, by the agent %v, %d datagrams are allowed for",
		lostUp, sentUp, lostDown, sentDown, s.plan.RTT(), rtt, allowed)
	s.say("mn", "%s: %d packets directly after it", name, len(direct))
	return nil
}

// checkWithin: the first packet by the tunnel within a round trip after the sign.
func (s *story) checkWithin(name string, at, end time.Time) error {
	coa := s.plan.SLAAC(s.lab.Link())
	first, err := s.first("mn-eth0", Window{at, end}, func(p lab.Seen) bool { return s.tunnelled(true)(p) && p.Src == coa && p.Length > 250 })
	if err != nil {
		return err
	}
	last := time.Time{}
	direct, err := s.seen("mn-eth0", Window{at, end}, s.pair().up)
	if err != nil {
		return err
	}
	if len(direct) > 0 {
		last = direct[len(direct)-1].Time
	}
	limit := s.plan.RTT()
	s.check(name+": packets go by the tunnel within a round trip of it", !first.IsZero() && first.Sub(at) <= limit,
		"first packet by the tunnel %s ms after it, round trip %v; %d packets directly after it, the last %s ms", ms(since(at, first)), limit, len(direct), ms(since(at, last)))
	return nil
}

// waitTunnelAtNode waits until the node's kernel sends by the tunnel.
func (s *story) waitTunnelAtNode(ctx context.Context, limit time.Duration) error {
	return wait(ctx, limit, "the tunnel at the node", func() error {
		a, err := s.careOfIn(ctx, lab.MN, "hao", s.plan.HoA, s.plan.CN)
		if err == nil && a.IsValid() {
			err = notYet(fmt.Errorf("its kernel sends directly from %v", a))
		}
		return err
	})
}

// cnWithout has a correspondent that runs nothing: its kernel answers the tests with
// Parameter Problem, code 1. No packet may be lost for it.
func (s *story) cnWithout(ctx context.Context) error {
	const name = "correspondent without Mobile IPv6"
	begin := time.Now()
	l, err := s.underLoad(ctx, roConf{noCN: true})
	if err != nil {
		return err
	}
	err = l.d.sent(ctx, 2*s.rate(), 15*time.Second)
	sentUp, lostUp, sentDown, lostDown := l.d.stop()
	if err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	w := Window{begin, time.Now()}
	problems, err := s.seen("cn-eth0", w, isProblem(s, 1))
	if err != nil {
		return err
	}
	tests, err := s.seen("cn-eth0", w, func(p lab.Seen) bool { return p.Proto == protoMH && p.Dst == s.plan.CN })
	if err != nil {
		return err
	}
	s.check(name+": its kernel answers the tests with Parameter Problem", len(problems) > 0 && len(tests) > 0, "%d answers to %d Mobility Header messages", len(problems), len(tests))
	s.check(name+": no datagram is lost for it", lostUp+lostDown == 0, "from the node %d of %d, to the node %d of %d", lostUp, sentUp, lostDown, sentDown)
	if len(problems) > 0 {
		later, err := s.seen("cn-eth0", Window{problems[len(problems)-1].Time.Add(s.plan.RTT()), w.To}, func(p lab.Seen) bool { return p.Proto == protoMH && p.Dst == s.plan.CN })
		if err != nil {
			return err
		}
		direct, err := s.seen("core-cn0", w, s.pair().direct)
		if err != nil {
			return err
		}
		s.check(name+": the node leaves it alone", len(tests) <= 6 && len(later) == 0 && len(direct) == 0, "%d messages in all, %d a round trip after the last answer; %d packets directly", len(tests), len(later), len(direct))
	}
	r, err := s.mn.route(ctx, s.plan.CN)
	if err != nil {
		return err
	}
	text, err := s.mn.ctl(ctx, "ro")
	if err != nil {
		return err
	}
	s.check(name+": mip6ctl ro says why it is not optimised", r.State == "refused" && r.Why != "" && strings.Contains(text, r.Why), "%s", text)
	return nil
}

// cnUnlearns turns a correspondent with a binding into a host that does not know the home
// address option, as after a start with another kernel: the lab's stand-in answers Parameter Problem, code 2.
func (s *story) cnUnlearns(ctx context.Context) error {
	l, err := s.underLoad(ctx, roConf{})
	if err != nil {
		return err
	}
	s.cn.proc.Kill()
	w := Window{From: time.Now()}
	if s.standIn, err = s.lab.StandIn(ctx, lab.CN, lab.CNIface, s.plan.CN); err != nil {
		l.d.stop()
		return err
	}
	s.say("cn", "mip6d is killed, and the lab's stand-in answers as a host without Mobile IPv6")
	cn := s.lab.Host(lab.CN)
	for _, what := range []string{"policy", "state"} {
		if _, err := cn.Output(ctx, "ip", "xfrm", what, "flush"); err != nil {
			l.d.stop()
			return err
		}
	}
	return s.fellBack(ctx, "correspondent unlearns", l, w, nil, isProblem(s, 2), "Parameter Problem, code 2")
}
