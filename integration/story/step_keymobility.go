package story

import (
	"context"
	"fmt"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// keyMobility moves with an agent that refuses the K bit (RFC 6275 §6.1.8): the node
// discards its IKE SA without a Delete and sets up a new one over the new care-of
// address; the old children carry until the new ones are in.
func (s *story) keyMobility(ctx context.Context) error {
	if err := s.endBoth(); err != nil {
		return err
	}
	s.say("ha", "mip6d starts with key_mobility = false")
	if err := s.ha.start(ctx, s.haConfig(conf{noKMob: true})); err != nil {
		return err
	}
	s.away(true)
	if err := s.mn.start(ctx, s.mnConfig(conf{})); err != nil {
		return err
	}
	if _, err := s.waitRegistered(ctx, s.plan.SLAAC(s.lab.Link()), 20*time.Second); err != nil {
		return err
	}
	to := lab.Foreign1
	if s.lab.Link() == to {
		to = lab.Foreign2
	}
	old, err := s.allSPIs(ctx)
	if err != nil {
		return err
	}
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			p.stop()
		}
	}()
	w := Window{}
	if w.From, _, err = s.lab.Move(ctx, to); err != nil {
		return err
	}
	careOf := s.plan.SLAAC(to)
	rerr := s.renewed(ctx, old, 10*time.Second)
	if _, err := s.waitRegistered(ctx, careOf, 10*time.Second); err != nil {
		return err
	}
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	w.To = time.Now()
	stopped = true
	up, down := p.stop()
	const name = "move without K"
	s.check(name+": all SPIs of ESP are new", rerr == nil, "%s", orFine(rerr, "none of the old ones is left at either end"))

	ike, err := s.seen("mn-eth0", w, lab.Seen.IsIKE)
	if err != nil {
		return err
	}
	here := 0
	for _, x := range ike {
		if x.Src == careOf || x.Dst == careOf {
			here++
		}
	}
	s.check(name+": a new IKE SA over the new care-of address", here >= 4 && here == len(ike) && ike[0].Src == careOf, "%d IKE messages, %d of them from or to %v", len(ike), here, careOf)
	for _, d := range []*daemon{s.mn, s.ha} {
		st, err := d.status(ctx)
		if err != nil {
			return err
		}
		text := ""
		for _, sa := range st.IKE {
			text += fmt.Sprintf("%v ... %v %s; ", sa.Local.Addr(), sa.Remote.Addr(), sa.State)
		}
		ok := len(st.IKE) == 1 && (st.IKE[0].Local.Addr() == careOf || st.IKE[0].Remote.Addr() == careOf)
		s.check(name+": one IKE SA at "+d.host, ok, "%s", text)
	}
	ba, err := s.first("mn-eth0", w, isBA(s.plan.HoA))
	if err != nil {
		return err
	}
	upLost, downLost := up.Between(ba, w.To).Lost(), down.Between(ba, w.To).Lost()
	s.check(name+": nothing is lost after the acknowledgement, while the keys change", !ba.IsZero() && upLost+downLost == 0,
		"from the node %d, to the node %d pings lost; in the move itself %d and %d", upLost, downLost, up.Lost()-upLost, down.Lost()-downLost)
	return s.endBoth()
}
