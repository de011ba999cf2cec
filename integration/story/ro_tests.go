package story

import (
	"fmt"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// roundTrip is a whole return routability procedure with its update, as captured.
type roundTrip struct {
	hoti, coti, hot, cot, bu, ba lab.Seen
	apart                        time.Duration // from the first HoTI to the first CoTI
}

// captured finds the procedure that ended with the first acknowledged update of a window: at the
// correspondent, whose wire carries every message in the clear. Of tests that were sent
// again it gives the ones that belong to the answers.
func (s *story) captured(w Window, x pair) (r roundTrip, err error) {
	all, err := s.seen("core-cn0", w, func(p lab.Seen) bool { return p.Proto == protoMH && (p.Src == x.cn || p.Dst == x.cn) })
	if err != nil {
		return r, err
	}
	asked := map[uint8][]lab.Seen{}
	updates := map[uint16]lab.Seen{} // by sequence number: one that was sent again has another
	for _, p := range all {
		first := len(updates) == 0
		switch {
		case p.Type == mhHoTI && p.Src == x.home, p.Type == mhCoTI:
			asked[p.Type] = append(asked[p.Type], p)
		case p.Type == mhHoT && p.Dst == x.home && first:
			r.hot = p
		case p.Type == mhCoT && first:
			r.cot = p
		case p.Type == mhBU && p.HomeAddr == x.home:
			updates[seqOf(p)] = p
		case p.Type == mhBA && p.Type2 == x.home && updates[seqOf(p)].MH != nil:
			r.bu, r.ba = updates[seqOf(p)], p
			for _, t := range []struct {
				dst    *lab.Seen
				answer lab.Seen
				typ    uint8
			}{{&r.hoti, r.hot, mhHoTI}, {&r.coti, r.cot, mhCoTI}} {
				for _, q := range asked[t.typ] {
					if cookieOf(q) == cookieOf(t.answer) {
						*t.dst = q
					}
				}
			}
			if len(asked[mhHoTI]) > 0 && len(asked[mhCoTI]) > 0 {
				r.apart = asked[mhCoTI][0].Time.Sub(asked[mhHoTI][0].Time)
			}
			return r, nil
		}
	}
	return r, fmt.Errorf("no acknowledged binding update among %d Mobility Header messages at the correspondent", len(all))
}

// checkTests checks the return routability procedure and the update that it proves.
func (s *story) checkTests(w Window) error {
	x, coa := s.pair(), s.plan.SLAAC(lab.Foreign1)
	r, err := s.captured(w, x)
	s.check("optimise: HoTI, CoTI, HoT, CoT, BU and BA at the correspondent", err == nil && r.hoti.MH != nil && r.coti.MH != nil && r.hot.MH != nil && r.cot.MH != nil,
		"HoTI %s, CoTI %s, HoT %s, CoT %s, BU %s, BA %s s %s", s.at(r.hoti.Time), s.at(r.coti.Time), s.at(r.hot.Time), s.at(r.cot.Time), s.at(r.bu.Time), s.at(r.ba.Time), orFine(err, ""))
	if err != nil {
		return err
	}
	// The home test inside ESP: never bare between node and agent, and ESP of the tunnel just before.
	bare := 0
	for _, name := range between {
		found, err := s.seen(name, w, func(p lab.Seen) bool { return p.Proto == protoMH && (p.Type == mhHoTI || p.Type == mhHoT) })
		if err != nil {
			return err
		}
		bare += len(found)
	}
	atHA, err := s.seen("ha-core0", w, func(p lab.Seen) bool {
		return p.Proto == protoMH && (p.Type == mhHoTI && p.Src == x.home || p.Type == mhHoT && p.Dst == x.home)
	})
	if err != nil {
		return err
	}
	s.check("optimise: the home test goes by the agent, inside ESP on the node's side", bare == 0 && len(atHA) >= 2, "%d of its messages between agent and correspondent, %d outside ESP in %d captures of the other side", len(atHA), bare, len(between))
	direct, err := s.seen("core-router0", w, func(p lab.Seen) bool { return p.Proto == protoMH && (p.Type == mhCoTI || p.Type == mhCoT) })
	if err != nil {
		return err
	}
	viaHA, err := s.seen("ha-core0", w, func(p lab.Seen) bool { return p.Proto == protoMH && (p.Type == mhCoTI || p.Type == mhCoT) })
	if err != nil {
		return err
	}
	s.check("optimise: the care-of test goes directly", len(direct) >= 2 && len(viaHA) == 0 && r.coti.Src == coa && r.cot.Dst == coa, "%d messages on the direct way, %d by the agent, %v → %v", len(direct), len(viaHA), r.coti.Src, r.coti.Dst)
	s.check("optimise: both tests begin at the same time", r.apart.Abs() < 2*haDelay+20*time.Millisecond, "HoTI reaches the correspondent %s ms after CoTI; its way is %s ms longer", ms(-millis(r.apart)), ms(2*millis(haDelay)))
	s.checkProof(r, x)
	s.checkTold(r)
	return nil
}

// checkProof computes keys and authenticators anew from the captured tokens.
func (s *story) checkProof(r roundTrip, x pair) {
	cookies := cookieOf(r.hoti) == cookieOf(r.hot) && cookieOf(r.coti) == cookieOf(r.cot) && cookieOf(r.hoti) != cookieOf(r.coti)
	s.check("optimise: cookies come back, one for each test", cookies, "home %x, care-of %x", cookieOf(r.hoti), cookieOf(r.coti))
	h, c, ok := noncesOf(r.bu)
	s.check("optimise: the update names the nonces of both tests", ok && h == nonceOf(r.hot) && c == nonceOf(r.cot), "home %d, care-of %d", h, c)
	key := kbm(tokenOf(r.hot), tokenOf(r.cot))
	bu, ba := proved(r.bu, key, r.bu.Src, x.cn), proved(r.ba, key, r.ba.Dst, x.cn)
	s.check("optimise: authenticators of update and acknowledgement, computed anew from the tokens", bu == nil && ba == nil && statusOf(r.ba) == 0 && !r.bu.BadSum && !r.ba.BadSum,
		"status %d, lifetime %v asked for, %v granted %s %s", statusOf(r.ba), lifetimeOf(r.bu), lifetimeOf(r.ba), orFine(bu, ""), orFine(ba, ""))
}

// checkTold compares what mip6ctl told while packets went directly.
func (s *story) checkTold(r roundTrip) {
	n, home, coa := s.noted, s.plan.HoA, r.bu.Src
	s.check("optimise: mip6ctl bindings at the correspondent agrees with the captures",
		n.atCN.Home == home && n.atCN.CareOf == coa && n.atCN.Sequence == seqOf(r.bu) && strings.Contains(n.text[lab.CN], coa.String()),
		"sequence %d on the wire, %d told; %s", seqOf(r.bu), n.atCN.Sequence, n.text[lab.CN])
	s.check("optimise: mip6ctl ro at the node agrees with the captures",
		n.route.Remote == s.plan.CN && n.route.State == "optimised" && n.route.CareOf == coa && n.route.Sequence == seqOf(r.bu) &&
			n.route.HomeNonce == nonceOf(r.hot) && n.route.CareOfNonce == nonceOf(r.cot) && strings.Contains(n.text["ro"], "optimised"),
		"sequence %d, nonces %d and %d on the wire, %d, %d and %d told; %s", seqOf(r.bu), nonceOf(r.hot), nonceOf(r.cot), n.route.Sequence, n.route.HomeNonce, n.route.CareOfNonce, n.text["ro"])
	for _, host := range []string{lab.MN, lab.HA} {
		s.check("optimise: mip6ctl bindings at "+host, strings.Contains(n.text[host], home.String()) && strings.Contains(n.text[host], coa.String()), "%s", n.text[host])
	}
}
