package story

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// strangers lets a node try with a wrong key and with somebody else's home address.
func (s *story) strangers(ctx context.Context) error {
	for _, x := range []struct {
		name   string
		mn, ha conf
		words  string // in a warning of either log
	}{
		{"wrong key", conf{psk: "0x" + strings.Repeat("66", 32)}, conf{}, `(?i)authentication|AUTHENTICATION_FAILED`},
		{"home address of somebody else", conf{home: otherHome(s.plan).String()}, conf{}, `(?i)TS_UNACCEPTABLE|home address`},
	} {
		if err := s.stranger(ctx, x.name, x.mn, x.ha, x.words); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

// stranger runs a node with a configuration that the agent must refuse. What is
// compared are the kernels' tables before the node came and after it went.
func (s *story) stranger(ctx context.Context, name string, mn, ha conf, words string) error {
	if err := s.mn.end(); err != nil {
		return err
	}
	s.away(false)
	if text := s.haConfig(ha); !s.ha.running() || s.ha.config != text {
		if err := s.ha.end(); err != nil {
			return err
		}
		if err := s.ha.start(ctx, text); err != nil {
			return err
		}
	}
	if err := s.unbound(ctx); err != nil {
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
	w := Window{From: time.Now()}
	mnMark, haMark := s.mn.mark(), s.ha.mark()
	s.say("mn", "mip6d starts with: %s", name)
	if err := s.mn.start(ctx, s.mnConfig(mn)); err != nil {
		return err
	}
	const loud = `level=(WARN|ERROR).*`
	mnLine, mnErr := s.mn.waitLog(ctx, mnMark, 10*time.Second, loud+words)
	haLine, haErr := s.ha.waitLog(ctx, haMark, 5*time.Second, loud+words)
	s.check(name+": refused, the node's log says why", mnErr == nil, "%s", orFine(mnErr, shortLog(mnLine)))
	s.check(name+": refused, the agent's log says why", haErr == nil, "%s", orFine(haErr, shortLog(haLine)))
	_, binding, err := s.ha.binding(ctx, s.plan.HoA)
	if err != nil {
		return err
	}
	_, other, err := s.ha.binding(ctx, otherHome(s.plan))
	if err != nil {
		return err
	}
	binding = binding || other
	w.To = time.Now()
	esp, err := s.seen("core-router0", w, func(p lab.Seen) bool { return p.Proto == protoESP || p.Proto == protoMH })
	if err != nil {
		return err
	}
	s.check(name+": no binding, no protected packet", !binding && len(esp) == 0, "%d ESP or Mobility Header packets between router and core", len(esp))
	if err := s.mn.end(); err != nil {
		return err
	}
	for _, host := range []string{lab.MN, lab.HA} {
		var diff string
		host := host
		err := wait(ctx, 5*time.Second, "the tables of "+host+" as before", func() error {
			now, err := s.lab.Dump(ctx, host)
			if err != nil {
				return err
			}
			if diff = before[host].Diff(now, "addresses", "routes", "sysctl"); diff != "" {
				return errNotYet
			}
			return nil
		})
		s.check(name+": nothing is left behind at "+host, err == nil, "%s", orFine(err, "policies, states, rules, proxies as before")+" "+diff)
	}
	return nil
}

// unbound waits until the agent has nothing of the node: what it had is the other
// node's doing, and goes a little after its keys.
func (s *story) unbound(ctx context.Context) error {
	return wait(ctx, 20*time.Second, "no binding, no SA and no policy of the node at the agent", func() error {
		if _, ok, err := s.ha.binding(ctx, s.plan.HoA); err != nil || ok {
			return notYet(fmt.Errorf("there is a binding (%v)", err))
		}
		all, err := s.states(ctx, lab.HA)
		if err != nil {
			return err
		}
		if left := spis(all); len(left) > 0 {
			return notYet(fmt.Errorf("there are SAs: %v", left))
		}
		out, err := s.lab.Host(lab.HA).Output(ctx, "ip", "xfrm", "policy")
		if err == nil && strings.Contains(out, s.plan.HoA.String()+"/128") {
			return notYet(errors.New("there are policies for the home address"))
		}
		return err
	})
}

var logTime = regexp.MustCompile(`^time=\S+ `)

// shortLog is a line of the log without its time.
func shortLog(line string) string { return logTime.ReplaceAllString(line, "") }
