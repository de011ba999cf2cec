package story

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// byHand is the seed's move: a new address is added to the same link, the old
// one is deleted later. Nothing may be lost.
func (s *story) byHand(ctx context.Context) error {
	n, err := s.mn.node(ctx)
	if err != nil {
		return err
	}
	old, link := n.CareOf, s.lab.Link()
	b := s.plan.Prefix(link).Addr().As16()
	b[15] = 0x50
	fresh := netip.AddrFrom16(b)
	d, err := s.datagrams(s.rate())
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			d.stop()
		}
	}()
	if err := d.sent(ctx, s.rate()/2, 10*time.Second); err != nil {
		return err
	}
	const name = "address by hand"
	var deleted time.Time
	r, err := s.make(ctx, move{kind: "by-hand", name: name, from: old, to: fresh, lossless: true, do: func(context.Context) (time.Time, time.Time, error) {
		at := time.Now()
		s.say("mn", "ip addr add %v/128 dev %s", fresh, lab.MNIface)
		return at, at, s.lab.AddAddr(lab.MN, lab.MNIface, host128(fresh))
	}, then: func(ctx context.Context) error {
		s.say("mn", "ip addr del %v/64 dev %s", old, lab.MNIface)
		deleted = time.Now()
		if err := s.lab.DelAddr(lab.MN, lab.MNIface, netip.PrefixFrom(old, 64)); err != nil {
			return err
		}
		if err := d.sent(ctx, s.rate(), 15*time.Second); err != nil {
			return err
		}
		stopped = true
		sentUp, lostUp, sentDown, lostDown := d.stop()
		s.check(fmt.Sprintf("%s: no datagram lost at %d a second in each direction", name, s.rate()), lostUp+lostDown == 0,
			"from the node %d of %d, to the node %d of %d", lostUp, sentUp, lostDown, sentDown)
		return nil
	}})
	if err != nil {
		return err
	}
	k, err := s.keys(ctx)
	if err != nil {
		return err
	}
	w := Window{deleted, time.Now()}
	ike, where, err := s.ikeMessages(w)
	if err != nil {
		return err
	}
	at, err := s.waitRegistered(ctx, fresh, 5*time.Second)
	s.check(name+": the old address deleted, nothing changes", err == nil && k == r.after && ike == 0 && at == fresh, "care-of address %v; %s %s", at, where, orFine(err, ""))
	return s.backToSLAAC(ctx, link, fresh)
}

// backToSLAAC lets the kernel form its own address again and takes the other away.
func (s *story) backToSLAAC(ctx context.Context, link lab.Link, extra netip.Addr) error {
	if err := s.solicited(ctx, link); err != nil {
		return err
	}
	if _, err := s.waitRegistered(ctx, s.plan.SLAAC(link), 15*time.Second); err != nil {
		return err
	}
	if err := s.gone(ctx, extra, 10*time.Second); err != nil {
		return err
	}
	if err := s.lab.DelAddr(lab.MN, lab.MNIface, host128(extra)); err != nil {
		return err
	}
	_, err := s.waitRegistered(ctx, s.plan.SLAAC(link), 5*time.Second)
	return err
}
