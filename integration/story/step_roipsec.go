package story

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// roIPsec has SAs between home address and correspondent, by ESP and by AH, and then
// updates proved by a key that was agreed by hand.
func (s *story) roIPsec(ctx context.Context) error {
	for _, proto := range []string{"esp", "ah"} {
		if err := s.protected(ctx, proto); err != nil {
			return fmt.Errorf("%s: %w", proto, err)
		}
	}
	return s.staticKey(ctx)
}

// covered tells whether a direct packet has the header.
func covered(proto string, p lab.Seen) bool {
	return proto == "esp" && p.Proto == protoESP || proto == "ah" && p.AH
}

// protected plays one protocol: set up by IKE over the care-of address, data, a move.
func (s *story) protected(ctx context.Context, proto string) error {
	name := "roipsec " + proto
	if err := s.readyRO(ctx, roConf{protect: proto}); err != nil {
		return err
	}
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if p != nil {
			p.stop()
		}
	}()
	coa, cn := s.plan.SLAAC(lab.Foreign1), s.plan.CN
	if err := s.waitDirect(ctx, coa, 15*time.Second); err != nil {
		return err
	}
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	to := Window{s.inRO, time.Now()}
	if err := settle(ctx); err != nil {
		return err
	}
	ike, err := s.seen("core-cn0", to, lab.Seen.IsIKE)
	if err != nil {
		return err
	}
	good := 0
	for _, x := range ike {
		if x.Src == coa && x.Dst == cn || x.Src == cn && x.Dst == coa {
			good++
		}
	}
	s.check(name+": IKE between care-of address and correspondent", good >= 4 && good == len(ike), "%d messages, %d of them between %v and %v", len(ike), good, coa, cn)
	if err := s.checkCovered(ctx, name, proto, to, coa); err != nil {
		return err
	}
	return s.protectedMove(ctx, name, proto, p)
}

// checkCovered checks every packet that goes directly, and the states that protect it.
func (s *story) checkCovered(ctx context.Context, name, proto string, w Window, careOf netip.Addr) error {
	x := s.pair()
	file := s.capture("core-router0")
	packets, err := lab.ReadPackets(file, w.From, w.To, func(p lab.Seen) bool { return p.Direct(x.home) && (p.Src == x.cn || p.Dst == x.cn) })
	if err != nil {
		return err
	}
	var with, without, up, bu int
	for _, p := range packets {
		if !covered(proto, p.Seen) {
			without++
			continue
		}
		with++
		if p.HomeAddr == x.home && p.Src == careOf {
			up++
		}
		if p.Proto == protoMH && p.Type == mhBU {
			bu++
		}
	}
	s.check(name+": every direct packet is protected, and carries option or routing header", with > 50 && without == 0 && up > 20, "%d packets with %s, %d without; %d from the care-of address", with, strings.ToUpper(proto), without, up)
	tests, err := s.seen("core-cn0", w, func(p lab.Seen) bool {
		return p.Proto == protoMH && !p.AH && (p.Type == mhBU || p.Type == mhBA || p.Type == mhHoTI || p.Type == mhCoTI)
	})
	if err != nil {
		return err
	}
	s.check(name+": updates go under the SA, without return routability", len(tests) == 0 && (proto == "esp" || bu > 0), "%d messages outside it; %d updates seen behind AH", len(tests), bu)
	for _, host := range []string{lab.MN, lab.CN} {
		all, err := s.states(ctx, host)
		if err != nil {
			return err
		}
		n := 0
		for _, st := range all {
			if st.Proto == proto && st.Mode == "transport" && (st.Src == x.home && st.Dst == x.cn || st.Src == x.cn && st.Dst == x.home) {
				n++
			}
		}
		s.check(name+": transport SAs between home address and correspondent in the kernel of "+host, n == 2, "%d states", n)
	}
	if proto == "ah" {
		return s.checkICV(ctx, name, packets)
	}
	return nil
}

// checkICV computes every ICV anew.
func (s *story) checkICV(ctx context.Context, name string, packets []lab.Packet) error {
	all, err := s.states(ctx, lab.CN)
	if err != nil {
		return err
	}
	keys, err := parseAH(all)
	if err != nil {
		return err
	}
	right, wrong, unknown := 0, []string{}, 0
	for _, p := range packets {
		if !p.AH {
			continue
		}
		known := false
		for _, k := range keys {
			if k.spi != p.AHSPI {
				continue
			}
			known = true
			if err := k.verify(p.Data); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %v → %v: %v", s.at(p.Time), p.Src, p.Dst, err))
			} else {
				right++
			}
		}
		if !known {
			unknown++
		}
	}
	s.check(name+": integrity check values as RFC 4302 and RFC 6275 11.3.2 want them, computed anew", right > 50 && len(wrong) == 0 && unknown == 0, "%d right, %d wrong, %d of an SA that is not there any more\n%s", right, len(wrong), unknown, firstLines(wrong))
	return nil
}

// protectedMove moves: no IKE message, the same SAs, packets directly again.
func (s *story) protectedMove(ctx context.Context, name, proto string, p *pings) error {
	name += ", move"
	before, err := s.protoSPIs(ctx, proto)
	if err != nil {
		return err
	}
	w := Window{}
	var up time.Time
	if w.From, up, err = s.lab.Move(ctx, lab.Foreign2); err != nil {
		return err
	}
	coa := s.plan.SLAAC(lab.Foreign2)
	if err := s.waitDirect(ctx, coa, 20*time.Second); err != nil {
		return err
	}
	on := time.Now()
	if err := p.answered(ctx, time.Now(), 5*time.Second); err != nil {
		return err
	}
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	w.To = time.Now().Add(-200 * time.Millisecond)
	if err := settle(ctx); err != nil {
		return err
	}
	after, err := s.protoSPIs(ctx, proto)
	if err != nil {
		return err
	}
	n, where, err := s.ikeMessages(w)
	if err != nil {
		return err
	}
	s.check(name+": no IKE message, the same SAs", n == 0 && len(before) == 4 && same(before, after), "%s; %s", where, strings.Join(after, ", "))
	d, lost := p.outage(w)
	s.check(name+": directly again at once", on.Sub(up) < 2*time.Second && d < time.Second, "%.2f s after the carrier's return; outage %s ms, %d pings", on.Sub(up).Seconds(), ms(millis(d)), lost)
	if err := s.checkCovered(ctx, name, proto, w, coa); err != nil || proto != "esp" {
		return err
	}
	return s.protectedForgets(ctx, "roipsec "+proto, p)
}

// protoSPIs are the SPIs of transport SAs between the pair at both ends.
func (s *story) protoSPIs(ctx context.Context, proto string) ([]string, error) {
	var out []string
	for _, host := range []string{lab.MN, lab.CN} {
		all, err := s.states(ctx, host)
		if err != nil {
			return nil, err
		}
		for _, x := range all {
			if x.Proto == proto && (x.Src == s.plan.CN || x.Dst == s.plan.CN) {
				out = append(out, host+" "+x.SPI)
			}
		}
	}
	return out, nil
}

// staticKey proves updates by a key agreed by hand (RFC 4449): no tests at all.
func (s *story) staticKey(ctx context.Context) error {
	if err := s.readyRO(ctx, roConf{auth: "static"}); err != nil {
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
	if err := p.run(ctx, 50); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	w := Window{s.inRO, time.Now()}
	r, err := s.captured(w, s.pair())
	if err != nil {
		return err
	}
	key, err := hex.DecodeString(strings.TrimPrefix(staticKbm, "0x"))
	if err != nil {
		return err
	}
	bu, ba := proved(r.bu, key, r.bu.Src, s.plan.CN), proved(r.ba, key, r.ba.Dst, s.plan.CN)
	tests, err := s.seen("core-cn0", w, func(p lab.Seen) bool { return p.Proto == protoMH && (p.Type == mhHoTI || p.Type == mhCoTI) })
	if err != nil {
		return err
	}
	s.check("static key: update and acknowledgement by the key that was agreed, without tests", bu == nil && ba == nil && statusOf(r.ba) == 0 && len(tests) == 0, "status %d, %d tests %s %s", statusOf(r.ba), len(tests), orFine(bu, ""), orFine(ba, ""))
	return nil
}
