package story

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// poolPrefix is the part of the home prefix that the agent gives addresses of.
var poolPrefix = netip.MustParsePrefix("2001:db8:1::1000/120")

// pool has the node ask the agent for its home address, and does the main job with it.
func (s *story) pool(ctx context.Context) error {
	if err := s.endBoth(); err != nil {
		return err
	}
	ha := strings.NewReplacer(
		`home_link = "home0"`, `home_link = "home0"`+"\nhome_address_from = \"pool\"",
		`[[ha.home_prefix]]`, fmt.Sprintf("[ha.pool]\nprefix = %q\n\n[[ha.home_prefix]]", poolPrefix),
		fmt.Sprintf("identity = %q", mnID), `identity = "dave@example.org"`, // the list goes before the pool
	).Replace(s.haConfig(conf{}))
	mn := strings.Replace(s.mnConfig(conf{}), fmt.Sprintf(`"%s/64"`, s.plan.HoA), `"agent"`, 1)
	s.say("ha", "mip6d starts with the pool %v", poolPrefix)
	if err := s.ha.start(ctx, ha); err != nil {
		return err
	}
	begin := time.Now()
	home, err := s.given(ctx, mn)
	if err != nil {
		return err
	}
	usual := s.plan.HoA
	s.plan.HoA = home // for all that looks at the home address
	defer func() { s.plan.HoA = usual }()
	at, err := s.waitRegistered(ctx, s.plan.SLAAC(s.lab.Link()), 20*time.Second)
	s.check("pool: registered", err == nil, "%s", orFine(err, fmt.Sprintf("%v at %v", home, at)))
	if err != nil {
		return err
	}
	to := lab.Foreign1
	if s.lab.Link() == to {
		to = lab.Foreign2
	}
	if _, err := s.foreign(ctx, "move with an address of the pool", to, nil); err != nil {
		return err
	}
	// The agent gives the same address to the same identity.
	if err := s.mn.end(); err != nil {
		return err
	}
	again, err := s.given(ctx, mn)
	s.check("pool: the same home address after a restart", err == nil && again == home, "%v, was %v %s", again, home, orFine(err, ""))
	if err != nil {
		return err
	}
	if _, err := s.waitRegistered(ctx, netip.Addr{}, 20*time.Second); err != nil {
		return err
	}
	bare := 0
	for _, name := range between {
		seen, err := s.seen(name, Window{begin, time.Now()}, func(p lab.Seen) bool { return p.Bare(home) })
		if err != nil {
			return err
		}
		bare += len(seen)
	}
	s.check("pool: no packet of the home address outside ESP", bare == 0, "%d packets in %d captures", bare, len(between))
	return s.endBoth()
}

// given starts the node and waits until it has a home address.
func (s *story) given(ctx context.Context, config string) (netip.Addr, error) {
	s.away(true)
	s.say("mn", "mip6d starts and asks for a home address")
	if err := s.mn.start(ctx, config); err != nil {
		return netip.Addr{}, err
	}
	var home netip.Prefix
	err := wait(ctx, 20*time.Second, "a home address from the agent", func() error {
		n, err := s.mn.node(ctx)
		if err != nil || !n.Home.IsValid() {
			return notYet(fmt.Errorf("the node is %s: %s %v", n.State, n.Reason, err))
		}
		home = n.Home
		if n.HomeFrom != "agent" || !poolPrefix.Contains(home.Addr()) || home.Bits() != s.plan.HomePrefix.Bits() {
			return fmt.Errorf("%v by %s is not of the pool %v", home, n.HomeFrom, poolPrefix)
		}
		return nil
	})
	if err == nil {
		s.say("mn", "home address %v, given by the agent", home)
	}
	return home.Addr(), err
}
