package story

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// stop ends both daemons by SIGTERM and compares the hosts with how they were. Over
// the whole story the node's kernel has learned addresses and routes of other links;
// so those are compared over one more short life, in one place.
func (s *story) stop(ctx context.Context) error {
	s.say("", "SIGTERM to both")
	if err := s.endBoth(); err != nil {
		return err
	}
	for _, host := range []string{lab.MN, lab.HA} {
		diff, err := s.differs(ctx, host, s.found[host], "addresses", "routes", "links")
		if err != nil {
			return err
		}
		s.check("stopped: "+host+" as it was before the story", diff == "", "%s", orSame(diff, "policies, states, thresholds, rules, proxies, tunnels, sysctls"))
	}
	if s.cn != nil {
		diff, err := s.differs(ctx, lab.CN, s.found[lab.CN])
		if err != nil {
			return err
		}
		s.check("stopped: cn as it was before its daemon", diff == "", "%s", orSame(diff, "addresses, routes, links, policies, states, thresholds, rules, proxies, tunnels, sysctls"))
	}
	if s.lab.Link() != lab.Foreign1 {
		if _, _, err := s.lab.Move(ctx, lab.Foreign1); err != nil {
			return err
		}
	}
	if err := s.solicited(ctx, lab.Foreign1); err != nil {
		return err
	}
	before := map[string]lab.Dump{}
	for _, host := range []string{lab.MN, lab.HA} {
		d, err := s.lab.Dump(ctx, host)
		if err != nil {
			return err
		}
		before[host] = d
	}
	if err := s.startBoth(ctx, conf{}); err != nil {
		return err
	}
	if _, err := s.waitRegistered(ctx, s.plan.SLAAC(lab.Foreign1), 20*time.Second); err != nil {
		return err
	}
	if err := s.endBoth(); err != nil {
		return err
	}
	for _, host := range []string{lab.MN, lab.HA} {
		diff, err := s.differs(ctx, host, before[host])
		if err != nil {
			return err
		}
		s.check("stopped: "+host+" as it was before registration", diff == "", "%s", orSame(diff, "addresses, routes, links, policies, states, thresholds, rules, proxies, tunnels, sysctls"))
	}
	for _, d := range []*daemon{s.mn, s.ha} {
		err := d.proc.Err()
		s.check("stopped: mip6d of "+d.host+" ended in order", err == nil, "%s", orFine(err, "exit status 0"))
	}
	return nil
}

// differs is what of a host is not as before, after a moment for what the kernel does
// by itself (routes are freed late).
func (s *story) differs(ctx context.Context, host string, before lab.Dump, ignore ...string) (diff string, err error) {
	werr := wait(ctx, 3*time.Second, host+" as before", func() error {
		now, err := s.lab.Dump(ctx, host)
		if err != nil {
			return err
		}
		if diff = before.Diff(now, ignore...); diff != "" {
			return errNotYet
		}
		return nil
	})
	if diff != "" {
		return diff, nil
	}
	return "", werr
}

func orSame(diff, what string) string {
	if diff == "" {
		return what + " are the same"
	}
	return fmt.Sprintf("%d lines differ:\n%s", strings.Count(diff, "\n"), diff)
}
