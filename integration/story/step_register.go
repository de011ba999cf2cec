package story

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// register checks the first registration, which ready has brought about.
func (s *story) register(ctx context.Context) error {
	coa, err := s.waitRegistered(ctx, s.plan.SLAAC(lab.Foreign1), 10*time.Second)
	if err != nil {
		return err
	}
	b, _, err := s.ha.binding(ctx, s.plan.HoA)
	if err != nil {
		return err
	}
	s.say("ha", "binding %v → %v, lifetime %v s, sequence %d", b.Home, b.CareOf, time.Duration(b.Lifetime).Seconds(), b.Sequence)
	if err := s.checkDatabases(ctx, coa); err != nil {
		return err
	}
	begin := time.Now()
	p, err := s.ping()
	if err != nil {
		return err
	}
	err = p.answered(ctx, begin, 5*time.Second)
	if err == nil {
		err = p.run(ctx, 100)
	}
	up, down := p.stop()
	s.check("registered: ping from the node to the correspondent and back", err == nil && up.Lost() == 0 && down.Lost() == 0,
		"from the node %d of %d lost, to the node %d of %d lost, round trip %s ms %s", up.Lost(), len(up), down.Lost(), len(down), ms(millis(median(up))), orFine(err, ""))
	w := Window{s.begin, time.Now()}
	return s.checkHandshake(w, coa)
}

// checkHandshake checks from the captures that IKE ran over the care-of address,
// and that the binding update came protected after it.
func (s *story) checkHandshake(w Window, coa netip.Addr) error {
	ike, err := s.seen("core-router0", w, lab.Seen.IsIKE)
	if err != nil {
		return err
	}
	n := 0
	for _, p := range ike {
		if (p.Src == coa && p.Dst == s.plan.HA) || (p.Src == s.plan.HA && p.Dst == coa) {
			n++
		}
	}
	s.check("registered: IKE ran between care-of address and home agent", n >= 4 && n == len(ike), "%d IKE messages between router and core, %d between %v and %v", len(ike), n, coa, s.plan.HA)
	bu, err := s.first("core-router0", w, isBU(s.plan.HoA))
	if err != nil {
		return err
	}
	ba, err := s.first("core-router0", w, isBA(s.plan.HoA))
	if err != nil {
		return err
	}
	ok := !bu.IsZero() && ba.After(bu) && len(ike) >= 4 && bu.After(ike[3].Time)
	s.check("registered: the binding update came in ESP with a home address option, the acknowledgement with a type 2 routing header", ok,
		"IKE_AUTH answered at %s, BU %s, BA %s s", s.at(timeOf(ike, 3)), s.at(bu), s.at(ba))
	return nil
}

// at is a time on the story's clock.
func (s *story) at(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.3f", t.Sub(s.begin).Seconds())
}

func timeOf(all []lab.Seen, i int) time.Time {
	if i >= len(all) {
		return time.Time{}
	}
	return all[i].Time
}

// checkDatabases checks the states that registration leaves in both kernels.
func (s *story) checkDatabases(ctx context.Context, coa netip.Addr) error {
	for _, host := range []string{lab.MN, lab.HA} {
		all, err := s.states(ctx, host)
		if err != nil {
			return err
		}
		var transport, tunnel, plain int
		for _, x := range all {
			if x.Proto != "esp" {
				continue
			}
			switch {
			case x.Mode == "tunnel" && (x.Src == coa && x.Dst == s.plan.HA || x.Src == s.plan.HA && x.Dst == coa):
				tunnel++
			case x.Mode == "transport" && (x.Src == s.plan.HoA && x.Dst == s.plan.HA || x.Src == s.plan.HA && x.Dst == s.plan.HoA):
				transport++
			}
			if !strings.Contains(x.Text, "rfc4106(gcm(aes))") {
				plain++
			}
		}
		s.check("registered: ESP states in the kernel of "+host, transport == 2 && tunnel == 2 && plain == 0,
			"%d transport states between home address and agent, %d tunnel states between care-of address and agent, %d without AES-GCM", transport, tunnel, plain)
	}
	return nil
}
