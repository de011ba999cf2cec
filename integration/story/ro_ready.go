package story

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// haDelay is what the way by the agent takes more each way while route optimization is
// played, so that it can be told from the direct one.
const haDelay = 15 * time.Millisecond

// readyRO brings about what a step of route optimization begins with: the agent, the
// correspondent and the node with these configurations, all started anew (no step
// inherits tokens, refusals or bindings of another), the node registered on foreign link 1.
func (s *story) readyRO(ctx context.Context, c roConf) error {
	if err := s.leaveRO(ctx); err != nil {
		return err
	}
	if s.cn == nil {
		found, err := s.lab.Dump(ctx, lab.CN)
		if err != nil {
			return err
		}
		s.found[lab.CN] = found
		s.cn = s.newDaemon(lab.CN)
	}
	if err := s.endBoth(); err != nil { // ends the time in which nothing is seen in the clear, too
		return err
	}
	s.inRO = time.Now()
	if err := s.lab.DelayHA(haDelay); err != nil {
		return err
	}
	s.say("", "from now on %v more each way between core and the home agent", haDelay)
	if err := s.ha.start(ctx, s.haRO()); err != nil {
		return err
	}
	if !c.noCN {
		if err := s.cn.start(ctx, s.cnRO(c)); err != nil {
			return err
		}
		s.say("cn", "mip6d starts as a correspondent")
	}
	if s.lab.Link() != lab.Foreign1 {
		if _, _, err := s.lab.Move(ctx, lab.Foreign1); err != nil {
			return err
		}
	}
	s.say("mn", "mip6d starts")
	if err := s.mn.start(ctx, s.mnRO(c)); err != nil {
		return err
	}
	_, err := s.waitRegistered(ctx, s.plan.SLAAC(lab.Foreign1), 20*time.Second)
	return err
}

// leaveRO ends what readyRO began, so that other steps find what they know.
func (s *story) leaveRO(ctx context.Context) error {
	if s.inRO.IsZero() {
		return nil
	}
	// The node first: it deregisters everywhere.
	errs := []error{s.mn.end(), s.mn2.endIfThere(), s.cn.end(), s.ha.end(), s.lab.DelayHA(0)}
	s.rec.Optimised = append(s.rec.Optimised, Window{s.inRO, time.Now()})
	s.inRO = time.Time{}
	if s.standIn != nil {
		_, _, err := s.standIn.Stop(ctx)
		s.standIn = nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *daemon) endIfThere() error {
	if d == nil {
		return nil
	}
	return d.end()
}

// uncovered checks what was seen in the clear while route optimization was played:
// the home test never, and other packets of the home address only between it and its correspondents.
func (s *story) uncovered() {
	if len(s.rec.Optimised) == 0 {
		return
	}
	homes := []netip.Addr{s.plan.HoA, s.plan.HoA2}
	var tests, others []string
	direct := 0
	for _, name := range between {
		for _, w := range s.rec.Optimised {
			all, err := s.seen(name, w, every)
			if err != nil {
				others = append(others, err.Error())
			}
			for _, p := range all {
				line := fmt.Sprintf("%s at %s: %v → %v protocol %d type %d", name, s.at(p.Time), p.Src, p.Dst, p.Proto, p.Type)
				switch {
				case s.forged(p):
				case p.Proto == protoMH && (p.Type == mhHoTI || p.Type == mhHoT):
					tests = append(tests, line)
				case p.Proto == protoMH: // the care-of test, and what goes to and from the care-of address with it
				case p.Direct(homes[0]) || p.Direct(homes[1]):
					direct++
				case p.Bare(homes[0]) || p.Bare(homes[1]):
					others = append(others, line)
				}
			}
		}
	}
	s.check("route optimization: no home test outside ESP between node and agent", len(tests) == 0 && direct > 0, "%d messages beside %d direct packets\n%s", len(tests), direct, firstLines(tests))
	s.check("route optimization: no packet of a home address in the clear that does not go directly", len(others) == 0 && direct > 0,
		"%d packets beside %d direct ones\n%s", len(others), direct, firstLines(others))
}
