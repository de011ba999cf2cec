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
	}{{"stopped", s.cnStops}, {"forgotten", s.cnForgets}, {"never known", s.cnWithout}, {"unlearned", s.cnUnlearns}, {"there, node killed", s.nodeKilled}} {
		if err := f.run(ctx); err != nil {
			return fmt.Errorf("correspondent %s: %w", f.name, err)
		}
	}
	return nil
}

// fallbackRate is how many datagrams a second go each way: the first one after a sign tells
// when the way changed, and the emulated processor must not be what it waits for.
const fallbackRate = 200

// load is what runs while the correspondent changes.
type load struct {
	d *datagrams
	p *pings
}

func (l *load) stop() (sentUp, lostUp, sentDown, lostDown int, rtt time.Duration) {
	up, _ := l.p.stop()
	sentUp, lostUp, sentDown, lostDown = l.d.stop()
	return sentUp, lostUp, sentDown, lostDown, median(up)
}

// underLoad begins with packets that go directly: a fresh start and a stream of datagrams.
func (s *story) underLoad(ctx context.Context, c roConf) (*load, error) {
	if err := s.readyRO(ctx, c); err != nil {
		return nil, err
	}
	d, err := s.datagrams(fallbackRate)
	if err != nil {
		return nil, err
	}
	p, err := s.ping()
	if err != nil {
		d.stop()
		return nil, err
	}
	l := &load{d, p}
	if !c.noCN {
		err = s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 15*time.Second)
	}
	if err == nil {
		err = d.sent(ctx, fallbackRate, 10*time.Second)
	}
	if err != nil {
		l.stop()
		return nil, err
	}
	return l, nil
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
	if err := l.d.sent(ctx, fallbackRate, 10*time.Second); err != nil {
		l.stop()
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

// fellBack waits for the sign and checks by the node's own wire how long after it the first
// packet took the tunnel.
func (s *story) fellBack(ctx context.Context, name string, l *load, w Window, err error, sign func(lab.Seen) bool, signName string) error {
	var at time.Time
	if err == nil {
		err = wait(ctx, 20*time.Second, signName, func() (err error) {
			if at, err = s.first("mn-eth0", Window{w.From, time.Now()}, sign); err == nil && at.IsZero() {
				err = errNotYet
			}
			return err
		})
		s.check(name+": told by "+signName, err == nil, "%s s after it %s", ms(since(w.From, at)/1000), orFine(err, ""))
	}
	if err == nil {
		err = l.d.sent(ctx, 2*fallbackRate, 10*time.Second)
	}
	end := time.Now()
	sentUp, lostUp, sentDown, lostDown, rtt := l.stop()
	if err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	rtt = max(rtt, s.plan.RTT())
	if err := s.checkWithin(name, l.d.up, at, end, rtt); err != nil {
		return err
	}
	// What was under way when the correspondent changed cannot be saved, nor what is sent until the
	// sign has come; what is sent a round trip later is.
	_, lateUp := l.d.up.Count(at.Add(rtt), end)
	_, lateDown := l.d.down.Count(at.Add(rtt), end)
	s.check(name+": nothing is lost from a round trip after it on", lateUp+lateDown == 0 && lostUp+lostDown <= fallbackRate/3,
		"%d datagrams from the node and %d to the node; in all %d of %d and %d of %d", lateUp, lateDown, lostUp, sentUp, lostDown, sentDown)
	return nil
}

// slack is how late a packet may be on the wire after its program sent it.
const slack = 5 * time.Millisecond

// checkWithin: the first packet by the tunnel within a round trip after the sign, or as soon as one
// was sent at all, where the sender itself had to wait for the processor; none directly after that.
func (s *story) checkWithin(name string, d *lab.Datagrams, at, end time.Time, rtt time.Duration) error {
	coa := s.plan.SLAAC(s.lab.Link())
	first, err := s.first("mn-eth0", Window{at, end}, func(p lab.Seen) bool { return s.tunnelled(true)(p) && p.Src == coa && p.Length > 250 })
	if err != nil {
		return err
	}
	direct, err := s.seen("mn-eth0", Window{at, later(first, at)}, s.pair().up)
	if err != nil {
		return err
	}
	by := first
	if by.IsZero() { // the direct way was there again before the sender was
		later, err := s.seen("mn-eth0", Window{at.Add(rtt), end}, s.pair().up)
		if err != nil {
			return err
		}
		by = timeOf(later, 0)
	}
	late := by.Sub(at) > rtt && d.SentIn(at.Add(rtt), by.Add(-slack))
	s.check(name+": packets go by the tunnel within a round trip of it", !by.IsZero() && !late,
		"the first datagram by the tunnel %s ms after it, %d packets directly in between; round trip %s ms", ms(since(at, first)), len(direct), ms(millis(rtt)))
	return nil
}

// cnWithout has a correspondent that runs nothing: its kernel answers the tests with
// Parameter Problem, code 1. No packet may be lost for it.
func (s *story) cnWithout(ctx context.Context) error {
	const name = "correspondent without Mobile IPv6"
	l, err := s.underLoad(ctx, roConf{noCN: true})
	if err != nil {
		return err
	}
	err = l.d.sent(ctx, 4*fallbackRate, 15*time.Second)
	sentUp, lostUp, sentDown, lostDown, _ := l.stop()
	if err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	w := Window{s.inRO, time.Now()}
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
		l.stop()
		return err
	}
	s.say("cn", "mip6d is killed, and the lab's stand-in answers as a host without Mobile IPv6")
	cn := s.lab.Host(lab.CN)
	for _, what := range []string{"policy", "state"} {
		if _, err := cn.Output(ctx, "ip", "xfrm", what, "flush"); err != nil {
			l.stop()
			return err
		}
	}
	return s.fellBack(ctx, "correspondent unlearns", l, w, nil, isProblem(s, 2), "Parameter Problem, code 2")
}
