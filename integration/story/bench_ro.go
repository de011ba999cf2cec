package story

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// benchPingEvery is a little finer than in the story: what is looked for is about a round trip. Four
// pingers at still shorter intervals would measure the queues of an emulated processor.
const benchPingEvery = 8 * time.Millisecond

// direct measures moves on the direct way against the tunnel: each move is both, for pings
// go at the same time to the correspondent's optimised and to its other address.
func (b *bench) direct(ctx context.Context) error {
	fmt.Fprintf(b.o.Out, "\nroute optimization: %d moves with a care-of test, %d with tokens still good\n", b.moves, b.moves)
	return b.play(ctx, lab.DADOff, func(s *story) error {
		if err := s.readyRO(ctx, roConf{}); err != nil {
			return err
		}
		// The home agent is as far as the correspondent, as in the other figures.
		if err := s.lab.DelayHA(0); err != nil {
			return err
		}
		defer s.lab.DelayHA(haDelay) // leaveRO ends it
		if err := s.secondAddress(true); err != nil {
			return err
		}
		defer s.secondAddress(false)
		s.caps.Keep("mn-eth0", "core-cn0") // all that readMove reads
		f, err := s.fourPings(benchPingEvery)
		if err != nil {
			return err
		}
		defer f.stop()
		if err := s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 15*time.Second); err != nil {
			return err
		}
		for _, x := range []struct {
			suffix string
			fresh  bool
		}{{"", false}, {"_fresh_tokens", true}} {
			if err := b.directMoves(ctx, s, f, x.suffix, x.fresh); err != nil {
				return err
			}
		}
		return nil
	})
}

// directMoves makes the moves of one kind. Without fresh tokens each goes to a care-of address
// that the node never had; with them it goes back and forth between two.
func (b *bench) directMoves(ctx context.Context, s *story, f *fourPings, suffix string, fresh bool) error {
	var extra, outage, tunnel []float64
	skip := 0
	if fresh {
		skip = 2 // to either link once, so that there is a token for each address
	}
	for i := 0; i < b.moves+skip; i++ {
		to := lab.Foreign2
		if s.lab.Link() == to {
			to = lab.Foreign1
		}
		mac := [6]byte{0x02, 0, 0, 0, 1, byte(i)}
		if fresh {
			mac = [6]byte{0x02, 0, 0, 0, 1, 0xff}
		}
		r, err := s.roMoveTo(ctx, f, to, mac)
		if err != nil {
			return fmt.Errorf("move %d: %w", i+1, err)
		}
		if i < skip {
			continue
		}
		if fresh != (r.count[mhCoTI] == 0) {
			return fmt.Errorf("move %d had %d care-of tests", i+1, r.count[mhCoTI])
		}
		s.say("mn", "move %d%s: %v", i+1, suffix, &r)
		extra = append(extra, float64(r.direct-r.tunnel)/float64(r.rtt))
		outage, tunnel = append(outage, millis(r.direct)), append(tunnel, millis(r.tunnel))
	}
	b.add("ro_handover_extra_rtt"+suffix, middle(extra), "round trips")
	b.add("ro_handover_extra_rtt_max"+suffix, slices.Max(extra), "round trips")
	b.add("ro_outage_ms"+suffix, middle(outage), "ms")
	b.add("ro_tunnel_outage_ms"+suffix, middle(tunnel), "ms")
	return nil
}
