package story

import (
	"context"
	"fmt"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// noSecondPassed bounds everything in a move that could hide a timer of seconds.
const noSecondPassed = 800 * time.Millisecond

// roMove moves from foreign link 1 to 2 and back while packets go directly: there the
// care-of test is new, back its token is still good.
func (s *story) roMove(ctx context.Context) error {
	if err := s.readyRO(ctx, roConf{}); err != nil {
		return err
	}
	if err := s.secondAddress(true); err != nil {
		return err
	}
	defer s.secondAddress(false)
	t, err := s.streams(ctx, 7211, 40_000)
	if err != nil {
		return err
	}
	defer func() {
		if t != nil {
			t.stop()
		}
	}()
	f, err := s.fourPings(pingEvery)
	if err != nil {
		return err
	}
	defer f.stop()
	if err := s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 15*time.Second); err != nil {
		return err
	}
	if err := f.direct.run(ctx, 60); err != nil {
		return err
	}
	for _, m := range []struct {
		name      string
		to        lab.Link
		coti, rtt int // messages and extra round trips that the move needs
	}{{"direct move 1→2", lab.Foreign2, 1, 1}, {"direct move 2→1, tokens fresh", lab.Foreign1, 0, 0}} {
		r, err := s.roMoveTo(ctx, f, m.to, [6]byte{})
		if err != nil {
			return err
		}
		s.say("mn", "%s: %v", m.name, &r)
		s.checkROMove(m.name, m.coti, m.rtt, &r)
		up, _ := t.up.Stall(r.w.From, r.w.To)
		down, _ := t.down.Stall(r.w.From, r.w.To)
		s.check(m.name+": the TCP connections go on", t.progress(ctx, 20_000, 15*time.Second) == nil && max(up, down) < r.direct+tcpPatience,
			"longest silence: from the node %d ms, to the node %d ms", up.Milliseconds(), down.Milliseconds())
	}
	up, down := t.stop()
	t = nil
	s.check("romove: one TCP connection in each direction over both moves", up.Survived && down.Survived, "errors %v %v; %d and %d segments sent again", up.Err, down.Err, up.Retransmits, down.Retransmits)
	return nil
}

// checkROMove checks one move's messages and times.
func (s *story) checkROMove(name string, coti, extra int, r *roMoved) {
	own := 3 * pingEvery
	if s.o.Slow { // an emulated processor that does everything at once; the benchmark measures this
		own = 10 * pingEvery
	}
	limit := r.tunnel + time.Duration(extra)*r.rtt + own
	// A pinger that waits for the processor is no outage: nothing was sent meanwhile.
	direct := min(r.direct, time.Duration(r.lost+1)*pingEvery)
	s.check(name+": the outage is the tunnel's and no more than what the tests take", direct <= limit,
		"directly %s ms, %d pings; by the tunnel %s ms; %d round trips of %s ms and %v of the pings' own are allowed for", ms(millis(r.direct)), r.lost, ms(millis(r.tunnel)), extra, ms(millis(r.rtt)), own)
	ok := r.count[mhCoTI] == coti && r.count[mhCoT] == coti && r.count[mhBU] == 1 && r.count[mhBA] == 1 && r.count[mhHoTI] == 0 && r.count[mhBE] == 0
	s.check(name+": the messages that it needs", ok, "CoTI %d, CoT %d, BU %d, BA %d, HoTI %d, HoT %d, errors %d; wanted: CoTI %d, one update, no home test; %d sent again before an answer came",
		r.count[mhCoTI], r.count[mhCoT], r.count[mhBU], r.count[mhBA], r.count[mhHoTI], r.count[mhHoT], r.count[mhBE], coti, r.repeated)
	back := max(r.dataUp.Sub(r.haBU), r.dataDown.Sub(r.haBU))
	s.check(name+": no timer of seconds", !r.dataUp.IsZero() && !r.dataDown.IsZero() && !r.haBU.IsZero() && back < noSecondPassed,
		"packets go directly both ways %s ms after the update to the agent; %v", ms(millis(back)), r)
	first, what := r.coti, "the care-of test"
	if coti == 0 {
		first, what = r.bu, "the update to the correspondent"
	}
	s.check(fmt.Sprintf("%s: %s does not wait for the agent", name, what), !first.IsZero() && !r.haBU.IsZero() && first.Before(r.haBA),
		"%s ms after the update to the agent, whose answer takes %s ms", ms(since(r.haBU, first)), ms(since(r.haBU, r.haBA)))
}
