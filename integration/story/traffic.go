package story

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// pings are two pingers at 10 ms: from the home address to the correspondent, and
// back.
type pings struct{ up, down *lab.Pinger }

const pingEvery = 10 * time.Millisecond

func (s *story) ping() (*pings, error) {
	up, err := s.lab.Ping(lab.MN, s.plan.HoA, s.plan.CN, pingEvery)
	if err != nil {
		return nil, err
	}
	down, err := s.lab.Ping(lab.CN, s.plan.CN, s.plan.HoA, pingEvery)
	if err != nil {
		up.Stop(0)
		return nil, err
	}
	return &pings{up, down}, nil
}

// answered waits until both have an answer to an echo sent after t.
func (p *pings) answered(ctx context.Context, t time.Time, limit time.Duration) error {
	return errors.Join(p.up.WaitAnswer(ctx, t, limit), p.down.WaitAnswer(ctx, t, limit))
}

// run waits until both have sent n echoes more: the time that a look needs.
func (p *pings) run(ctx context.Context, n int) error {
	want := len(p.up.Echoes()) + n
	return wait(ctx, time.Duration(n)*pingEvery*5+5*time.Second, "pings", func() error {
		if len(p.up.Echoes()) < want {
			return errNotYet
		}
		return nil
	})
}

func (p *pings) stop() (up, down lab.Echoes) {
	down = p.down.Stop(200 * time.Millisecond)
	return p.up.Stop(0), down
}

// median of the round trips.
func median(e lab.Echoes) time.Duration {
	var all []time.Duration
	for _, x := range e {
		if x.RTT > 0 {
			all = append(all, x.RTT)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// best is the shortest round trip: what the way takes when nothing waits.
func best(e lab.Echoes) (d time.Duration) {
	for _, x := range e {
		if x.RTT > 0 && (d == 0 || x.RTT < d) {
			d = x.RTT
		}
	}
	return d
}

// streams are two TCP connections between the home address and the correspondent,
// one for each direction of data.
type streams struct{ up, down *lab.Stream }

func (s *story) streams(ctx context.Context, port uint16, rate int) (*streams, error) {
	up, err := s.lab.Stream(ctx, lab.MN, s.plan.HoA, lab.CN, s.plan.CN, port, false, rate)
	if err != nil {
		return nil, err
	}
	down, err := s.lab.Stream(ctx, lab.CN, s.plan.CN, lab.MN, s.plan.HoA, port+1, false, rate)
	if err != nil {
		up.Stop()
		return nil, err
	}
	return &streams{up, down}, nil
}

// progress waits for n bytes more in both directions.
func (t *streams) progress(ctx context.Context, n int64, limit time.Duration) error {
	return errors.Join(t.up.WaitProgress(ctx, n, limit), t.down.WaitProgress(ctx, n, limit))
}

func (t *streams) stop() (up, down lab.StreamReport) { return t.up.Stop(), t.down.Stop() }

// rate is how many datagrams a second are sent in each direction.
func (s *story) rate() int {
	if s.o.Slow {
		return 100
	}
	return 500
}

// datagrams are numbered UDP packets in both directions.
type datagrams struct{ up, down *lab.Datagrams }

func (s *story) datagrams(perSecond int) (*datagrams, error) {
	up, err := s.lab.Datagrams(lab.MN, s.plan.HoA, lab.CN, s.plan.CN, 7101, perSecond, 200)
	if err != nil {
		return nil, err
	}
	down, err := s.lab.Datagrams(lab.CN, s.plan.CN, lab.MN, s.plan.HoA, 7102, perSecond, 200)
	if err != nil {
		up.Stop()
		return nil, err
	}
	return &datagrams{up, down}, nil
}

// sent waits until n more were sent in each direction.
func (d *datagrams) sent(ctx context.Context, n int, limit time.Duration) error {
	from := time.Now()
	return wait(ctx, limit, "datagrams", func() error {
		up, _ := d.up.Count(from, time.Now())
		down, _ := d.down.Count(from, time.Now())
		if up < n || down < n {
			return errNotYet
		}
		return nil
	})
}

// stop gives what was sent and lost upwards (from the node) and downwards.
func (d *datagrams) stop() (sentUp, lostUp, sentDown, lostDown int) {
	sentUp, lostUp, _ = d.up.Stop()
	sentDown, lostDown, _ = d.down.Stop()
	return
}

// pingAnswered starts pings and returns when one was answered each way.
func (s *story) pingAnswered(ctx context.Context) (*pings, error) {
	p, err := s.ping()
	if err != nil {
		return nil, err
	}
	if err := p.answered(ctx, time.Now(), 5*time.Second); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}
