package story

import (
	"context"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// certificates does the main job with ECDSA certificates, and turns away one of an
// authority that the agent does not know.
func (s *story) certificates(ctx context.Context) error {
	good := func(name string) conf { return conf{auth: "cert", cert: s.certs[name], ca: s.ca.path()} }
	ha := good("ha")
	if err := s.stranger(ctx, "wrong certificate", good("rogue"), ha, `(?i)certificate|authority|authentication|AUTHENTICATION_FAILED`); err != nil {
		return err
	}
	if err := s.ha.end(); err != nil {
		return err
	}
	s.say("ha", "mip6d starts with certificates")
	if err := s.ha.start(ctx, s.haConfig(ha)); err != nil {
		return err
	}
	s.away(true)
	s.say("mn", "mip6d starts with certificates")
	if err := s.mn.start(ctx, s.mnConfig(good("mn"))); err != nil {
		return err
	}
	at, err := s.waitRegistered(ctx, s.plan.SLAAC(s.lab.Link()), 20*time.Second)
	s.check("certificates: registered", err == nil, "%s", orFine(err, "at "+at.String()))
	if err != nil {
		return err
	}
	to := lab.Foreign1
	if s.lab.Link() == to {
		to = lab.Foreign2
	}
	if _, err := s.foreign(ctx, "move with certificates", to, nil); err != nil {
		return err
	}
	return s.endBoth()
}
