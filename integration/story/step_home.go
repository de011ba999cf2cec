package story

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// home returns to the home link and leaves it again.
func (s *story) home(ctx context.Context) error {
	n, err := s.mn.node(ctx)
	if err != nil {
		return err
	}
	t, err := s.streams(ctx, 7021, 40_000)
	if err != nil {
		return err
	}
	defer func() {
		if t != nil {
			t.stop()
		}
	}()
	if err := t.progress(ctx, 20_000, 10*time.Second); err != nil {
		return err
	}
	// From the loss of carrier on the node is on its home link's wire.
	r, err := s.make(ctx, move{kind: "home", name: "return home", from: n.CareOf, to: s.plan.HoA, streams: t,
		do: func(ctx context.Context) (time.Time, time.Time, error) {
			s.away(false)
			return s.lab.Move(ctx, lab.Home)
		}})
	if err != nil {
		return err
	}
	if err := s.checkAtHome(ctx, r); err != nil {
		return err
	}
	return s.leave(ctx, t)
}

// checkAtHome checks the databases and the wire at home.
func (s *story) checkAtHome(ctx context.Context, r moved) error {
	for _, host := range []string{lab.MN, lab.HA} {
		out, err := s.lab.Host(host).Output(ctx, "ip", "xfrm", "policy")
		if err != nil {
			return err
		}
		s.check("at home: the tunnel's policies are off at "+host, !strings.Contains(out, "mode tunnel"), "ip xfrm policy has %d templates of mode tunnel", strings.Count(out, "mode tunnel"))
	}
	tunnel, err := s.childSPIs(ctx, "tunnel")
	if err != nil {
		return err
	}
	w := Window{From: time.Now()}
	p, err := s.ping()
	if err != nil {
		return err
	}
	perr := p.answered(ctx, w.From, 5*time.Second)
	if perr == nil {
		perr = p.run(ctx, 50)
	}
	up, down := p.stop()
	w.To = time.Now()
	esp, err := s.seen("links-home", w, func(p lab.Seen) bool { return p.Proto == protoESP })
	if err != nil {
		return err
	}
	plain, err := s.seen("links-home", w, func(p lab.Seen) bool { return p.Proto == 58 && p.Src == s.plan.HoA && p.Dst == s.plan.CN })
	if err != nil {
		return err
	}
	s.check("at home: payload goes without the tunnel, its SAs are kept unused", perr == nil && up.Lost()+down.Lost() == 0 && len(tunnel) == 4 && len(esp) == 0 && len(plain) > 0,
		"%d pings in the clear and %d ESP packets on the home link, %d lost; kept: %s", len(plain), len(esp), up.Lost()+down.Lost(), strings.Join(tunnel, ", "))
	proxies, err := s.lab.Host(lab.HA).Output(ctx, "ip", "-6", "neigh", "show", "proxy")
	if err != nil {
		return err
	}
	s.check("at home: the agent answers no more for the node", !strings.Contains(proxies, s.plan.HoA.String()), "ip neigh show proxy: %q", strings.TrimSpace(proxies))
	local, _, err := s.mn.ikeEnds(ctx)
	if err != nil {
		return err
	}
	_, remote, err := s.ha.ikeEnds(ctx)
	if err != nil {
		return err
	}
	s.check("at home: the IKE SA is at the home address", local == s.plan.HoA && remote == s.plan.HoA, "the node's end is %v, the agent sees %v", local, remote)
	for _, by := range []*daemon{s.mn, s.ha} {
		if err := s.exchangeAt(ctx, "at home", by, s.plan.HoA); err != nil {
			return fmt.Errorf("at home, rekey by %s: %w", by.host, err)
		}
	}
	return nil
}

// leave goes away again: a new binding.
func (s *story) leave(ctx context.Context, t *streams) error {
	to := lab.Foreign1
	r, err := s.make(ctx, move{kind: "away", name: "away again", from: s.plan.HoA, to: s.plan.SLAAC(to), streams: t, newBound: true,
		do: s.carrier(to)})
	if err != nil {
		return err
	}
	// Away begins with the binding update: before it nobody has decided that the node
	// is away, and the kernel may still look for its old neighbours by itself.
	bu, err := s.first("mn-eth0", r.window, isBU(s.plan.HoA))
	if err != nil {
		return err
	}
	early, err := s.seen("links-"+string(to), Window{r.window.From, bu}, func(p lab.Seen) bool { return p.Bare(s.plan.HoA) })
	if err != nil {
		return err
	}
	payload := 0
	for _, p := range early {
		if p.Proto != 58 || p.Type != icmpNS {
			payload++
		}
	}
	s.check("away again: no payload in the clear before the binding update", !bu.IsZero() && payload == 0,
		"%d packets of the home address on the new link before it, %d of them neighbour solicitations", len(early), len(early)-payload)
	s.awayFrom = bu
	dad, err := s.seen("ha-home0", r.window, func(p lab.Seen) bool { return p.Proto == 58 && p.Type == icmpNS && p.Src == netip.IPv6Unspecified() })
	if err != nil {
		return err
	}
	s.check("away again: the agent looks for duplicates of the home address", len(dad) > 0, "%d neighbour solicitations from :: on the home link", len(dad))
	for _, host := range []string{lab.MN, lab.HA} {
		out, err := s.lab.Host(host).Output(ctx, "ip", "xfrm", "policy")
		if err != nil {
			return err
		}
		s.check("away again: the tunnel's policies are back at "+host, strings.Contains(out, "mode tunnel"), "ip xfrm policy has %d templates of mode tunnel", strings.Count(out, "mode tunnel"))
	}
	return nil
}
