package story

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// roAttack lets a crafted node, which has addresses and keys of its own, try what must
// not work at the correspondent and at the node, while the real node's packets go directly.
func (s *story) roAttack(ctx context.Context) error {
	if err := s.readyRO(ctx, roConf{}); err != nil {
		return err
	}
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 15*time.Second); err != nil {
		return err
	}
	c, err := s.craft()
	if err != nil {
		return err
	}
	defer c.close()
	w := Window{From: time.Now()}
	for _, f := range []func(context.Context, *crafted) error{s.forgedUpdates, s.oldNonces, s.sequences, s.reflected, s.withoutBinding, s.liesToNode} {
		if err := f(ctx, c); err != nil {
			return err
		}
	}
	if err := s.flooded(ctx); err != nil {
		return err
	}
	w.To = time.Now()
	s.rec.Attacks = append(s.rec.Attacks, w)
	return nil
}

// cnTables are what of the correspondent's tables a binding of a home address shows in.
func (s *story) cnTables(ctx context.Context, home netip.Addr) (string, error) {
	out, err := s.lab.Host(lab.CN).Output(ctx, "ip", "xfrm", "policy")
	if err != nil {
		return "", err
	}
	all, err := s.states(ctx, lab.CN)
	if err != nil {
		return "", err
	}
	text := ""
	for _, part := range strings.Split(out, "\nsrc ") {
		if strings.Contains(part, home.String()+"/128") {
			text += part + "\n"
		}
	}
	for _, x := range all {
		if x.Src == home || x.Dst == home {
			coa, err := s.careOfIn(ctx, lab.CN, x.Proto, x.Src, x.Dst)
			if err != nil {
				return "", err
			}
			text += fmt.Sprintf("%v → %v %s %s %v\n", x.Src, x.Dst, x.Proto, x.SPI, coa)
		}
	}
	return text, nil
}

// forgedUpdates tries updates without the right authenticator.
func (s *story) forgedUpdates(ctx context.Context, c *crafted) error {
	hot, cot, err := c.tests(ctx)
	if err != nil {
		return err
	}
	own := kbm(tokenOf(hot), tokenOf(cot))
	good := update{seq: 40000, lifetime: time.Minute, homeNonce: nonceOf(hot), careOfNonce: nonceOf(cot), key: own}
	for _, a := range []struct {
		name string
		with func(*update)
	}{
		{"update with a forged authenticator", func(u *update) { u.wrong = true }},
		{"update without an authenticator", func(u *update) { u.noAuthorized = true }},
		{"update for the real node's home address, by the attacker's own key", func(u *update) { u.home = s.plan.HoA }},
		{"update for the real node's home address, by a forged authenticator", func(u *update) { u.home, u.wrong = s.plan.HoA, true }},
	} {
		u := good
		a.with(&u)
		home := u.home
		if !home.IsValid() {
			home = c.home
		}
		before, err := s.cnTables(ctx, home)
		if err != nil {
			return err
		}
		ba, answered, err := c.answer(ctx, u)
		if err != nil {
			return err
		}
		after, err := s.cnTables(ctx, home)
		if err != nil {
			return err
		}
		s.check("roattack: "+a.name, before == after && (!answered || statusOf(ba) >= 128), "acknowledged: %v; the correspondent's tables are as before: %v", answered, before == after)
	}
	return nil
}

// oldNonces tries the right key with nonces that are not good (any more).
func (s *story) oldNonces(ctx context.Context, c *crafted) error {
	hot, cot, err := c.tests(ctx)
	if err != nil {
		return err
	}
	u := update{seq: 41000, lifetime: time.Minute, key: kbm(tokenOf(hot), tokenOf(cot))}
	h, k := nonceOf(hot), nonceOf(cot)
	for _, x := range []struct {
		name         string
		home, careOf uint16
		status       int
	}{{"home", h - 100, k, 136}, {"care-of", h, k - 100, 137}, {"both", h - 100, k - 100, 138}} {
		u.seq++
		u.homeNonce, u.careOfNonce = x.home, x.careOf
		ba, answered, err := c.answer(ctx, u)
		if err != nil {
			return err
		}
		after, err := s.cnTables(ctx, c.home)
		if err != nil {
			return err
		}
		s.check(fmt.Sprintf("roattack: old nonce index, %s", x.name), answered && statusOf(ba) == x.status && after == "", "status %d, wanted %d; %d octets of tables", statusOf(ba), x.status, len(after))
	}
	return nil
}

// sequences takes the crafted node's numbers over the end of 16 bits.
func (s *story) sequences(ctx context.Context, c *crafted) error {
	hot, cot, err := c.tests(ctx)
	if err != nil {
		return err
	}
	u := update{lifetime: time.Minute, homeNonce: nonceOf(hot), careOfNonce: nonceOf(cot), key: kbm(tokenOf(hot), tokenOf(cot))}
	for _, x := range []struct {
		name   string
		seq    uint16
		status int
	}{{"before the wrap", 65500, 0}, {"the same again", 65500, 135}, {"over the wrap", 10, 0}, {"an old one after the wrap", 65500, 135}, {"on", 11, 0}} {
		u.seq = x.seq
		ba, answered, err := c.answer(ctx, u)
		if err != nil {
			return err
		}
		s.check(fmt.Sprintf("roattack: sequence numbers: %s (%d)", x.name, x.seq), answered && statusOf(ba) == x.status, "acknowledged %v, status %d, wanted %d, sequence %d", answered, statusOf(ba), x.status, seqOf(ba))
	}
	// Deregistration is proved by the home test alone (RFC 6275 §5.2.5).
	u.seq, u.lifetime, u.careOfNonce, u.key = 12, 0, 0, kbm(tokenOf(hot), nil)
	if _, _, err := c.answer(ctx, u); err != nil {
		return err
	}
	after, err := s.cnTables(ctx, c.home)
	s.check("roattack: the crafted node deregisters", err == nil && after == "", "%s", after)
	return err
}

// reflected sends the node a HoT that did not come by its tunnel: the captured one, and
// one with the cookie of nobody.
func (s *story) reflected(ctx context.Context, c *crafted) error {
	n, err := s.mn.node(ctx)
	if err != nil {
		return err
	}
	old, err := s.seen("core-ha0", Window{s.inRO, time.Now()}, func(p lab.Seen) bool { return p.Proto == protoMH && p.Type == mhHoT && p.Dst == s.plan.HoA })
	if err != nil || len(old) == 0 {
		return fmt.Errorf("no captured HoT (%v)", err)
	}
	before, err := s.stats(ctx, lab.MN)
	if err != nil {
		return err
	}
	pathBefore, err := s.careOfIn(ctx, lab.MN, "hao", s.plan.HoA, s.plan.CN)
	if err != nil {
		return err
	}
	captured := old[len(old)-1].MH
	foreign := append([]byte(nil), captured...)
	foreign[8] ^= 0xff
	w := Window{From: time.Now()}
	for _, mh := range [][]byte{captured, foreign} {
		// With a type 2 routing header to the care-of address; and in the clear to the home
		// address, as the last router could.
		h := s.plan.HoA.As16()
		whole := sealed(s.plan.CN, s.plan.CN, s.plan.HoA, protoMH, mh)[40:]
		rh2 := append(append([]byte{protoMH, 2, 2, 1, 0, 0, 0, 0}, h[:]...), whole...)
		if err := inject(s.lab.Host(lab.Core), ipv6(s.plan.CN, n.CareOf, 43, rh2)); err != nil {
			return err
		}
		// To the correspondent itself, from the crafted node.
		if err := c.say(sealed(c.careOf, c.careOf, s.plan.CN, protoMH, mh)); err != nil {
			return err
		}
	}
	if err := settle(ctx); err != nil {
		return err
	}
	w.To = time.Now()
	after, err := s.stats(ctx, lab.MN)
	if err != nil {
		return err
	}
	arrived, err := s.seen("mn-eth0", w, func(p lab.Seen) bool { return p.Proto == protoMH && p.Type == mhHoT && p.Type2 == s.plan.HoA })
	if err != nil {
		return err
	}
	said, err := s.seen("mn-eth0", w, func(p lab.Seen) bool { return p.Proto == protoMH && p.Src == n.CareOf })
	if err != nil {
		return err
	}
	path, err := s.careOfIn(ctx, lab.MN, "hao", s.plan.HoA, s.plan.CN)
	if err != nil {
		return err
	}
	s.check("roattack: a HoT that does not come by the tunnel", len(arrived) == 2 && len(said) == 0 && path == pathBefore, "%d reached the node, which sent %d Mobility Header messages for it; directly with %v as before; %s", len(arrived), len(said), path, risen(before, after))
	return nil
}
