package story

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/control"
)

// optimise turns the direct way on and off under load and follows every message and
// packet of it in the captures.
func (s *story) optimise(ctx context.Context) error {
	rate := 1000
	if s.o.Slow {
		rate = 100
	}
	// By the tunnel for two seconds, so that both ways can be compared.
	c := roConf{packets: 2 * rate}
	if err := s.readyRO(ctx, c); err != nil {
		return err
	}
	begin := s.inRO
	t, err := s.streams(ctx, 7201, 40_000)
	if err != nil {
		return err
	}
	d, err := s.datagrams(rate)
	if err != nil {
		t.stop()
		return err
	}
	defer func() {
		if d != nil {
			d.stop()
			t.stop()
		}
	}()
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if p != nil {
			p.stop()
		}
	}()
	coa := s.plan.SLAAC(lab.Foreign1)
	if err := s.waitDirect(ctx, coa, 15*time.Second); err != nil {
		return err
	}
	on := time.Now()
	s.say("mn", "both kernels send directly")
	if err := d.sent(ctx, 2*rate, 20*time.Second); err != nil {
		return err
	}
	if err := s.shown(ctx); err != nil {
		return err
	}
	off := time.Now()
	s.say("mn", "mip6d is told not to optimise any more (SIGHUP)")
	if err := s.mn.reload(ctx, s.mnRO(roConf{off: true})); err != nil {
		return err
	}
	if err := s.waitTunnel(ctx, 10*time.Second); err != nil {
		return err
	}
	gone := time.Now()
	if err := d.sent(ctx, rate, 20*time.Second); err != nil {
		return err
	}
	end := time.Now()
	up, down := p.stop()
	p = nil
	tu, td := t.stop()
	sentUp, lostUp, sentDown, lostDown := d.stop()
	d = nil
	s.check(fmt.Sprintf("optimise: no datagram lost at %d a second in each direction, on and off", rate), lostUp+lostDown == 0,
		"from the node %d of %d, to the node %d of %d", lostUp, sentUp, lostDown, sentDown)
	s.check("optimise: TCP survives on and off", tu.Survived && td.Survived, "longest silence: from the node %d ms, to the node %d ms; %d and %d segments sent again",
		tu.Stall.Milliseconds(), td.Stall.Milliseconds(), tu.Retransmits, td.Retransmits)
	s.check("optimise: no ping lost", up.Lost()+down.Lost() == 0, "from the node %d of %d, to the node %d of %d", up.Lost(), len(up), down.Lost(), len(down))
	if err := settle(ctx); err != nil {
		return err
	}
	if err := s.checkTests(Window{begin, on}); err != nil {
		return err
	}
	// One round trip of the longer way after the switch all that was under way has arrived.
	quiet := Window{on.Add(4 * (s.plan.Delay + haDelay)), off}
	if err := s.checkDirect(quiet); err != nil {
		return err
	}
	slow, fast := median(up.Between(begin, s.firstDirect(Window{begin, on}))), median(up.Between(quiet.From, quiet.To))
	s.check("optimise: the round trip is that of the direct way", fast > 0 && fast < slow-haDelay, "by the tunnel %s ms, directly %s ms", ms(millis(slow)), ms(millis(fast)))
	return s.checkOff(Window{off, gone}, Window{gone.Add(100 * time.Millisecond), end})
}

// firstDirect is when the first packet went directly in a window; its end without one.
func (s *story) firstDirect(w Window) time.Time {
	at, err := s.first("core-router0", w, s.pair().direct)
	if err != nil || at.IsZero() {
		return w.To
	}
	return at
}

// reload gives a running daemon another configuration.
func (d *daemon) reload(ctx context.Context, config string) error {
	if _, err := d.s.writeConfig(d.host, config); err != nil {
		return err
	}
	d.config = config
	return d.proc.Signal(syscall.SIGHUP)
}

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
	for _, p := range all {
		switch {
		case p.Type == mhHoTI && p.Src == x.home, p.Type == mhCoTI:
			asked[p.Type] = append(asked[p.Type], p)
		case p.Type == mhHoT && p.Dst == x.home && r.bu.MH == nil:
			r.hot = p
		case p.Type == mhCoT && r.bu.MH == nil:
			r.cot = p
		case p.Type == mhBU && p.HomeAddr == x.home && r.bu.MH == nil:
			r.bu = p
		case p.Type == mhBA && p.Type2 == x.home && r.bu.MH != nil && seqOf(p) == seqOf(r.bu):
			r.ba = p
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

// checkDirect checks the data of a window in which all goes directly.
func (s *story) checkDirect(w Window) error {
	x, coa := s.pair(), s.plan.SLAAC(lab.Foreign1)
	all, err := s.seen("core-router0", w, every)
	if err != nil {
		return err
	}
	var up, down, wrong, bad, esp int
	for _, p := range all {
		switch {
		case x.up(p) && p.Src == coa, x.down(p) && p.Dst == coa:
			if x.up(p) {
				up++
			} else {
				down++
			}
			if p.BadSum {
				bad++
			}
		case x.direct(p):
			wrong++
		case p.Proto == protoESP:
			esp++
		}
	}
	s.check("optimise: data goes between care-of address and correspondent, with home address option and type 2 routing header", up > 50 && down > 50 && wrong == 0, "%d from the node, %d to the node, %d between other addresses", up, down, wrong)
	s.check("optimise: their checksums are right for the home address", bad == 0 && up > 0, "%d of %d wrong, computed anew", bad, up+down)
	byHA, err := s.seen("ha-core0", w, func(p lab.Seen) bool { return x.bare(p) && p.Proto != protoMH })
	if err != nil {
		return err
	}
	// Signalling with the agent, and home tests, may fall into the window.
	s.check("optimise: none goes by the home agent any more", len(byHA) == 0 && esp <= 20, "%d packets of the pair at the agent, %d ESP packets beside %d direct ones", len(byHA), esp, up+down)
	return nil
}

// checkOff checks the deregistration and that all goes by the tunnel again.
func (s *story) checkOff(w, after Window) error {
	x := s.pair()
	bu, err := s.seen("core-cn0", w, func(p lab.Seen) bool {
		return p.Type == mhBU && p.HomeAddr == x.home && p.Proto == protoMH && lifetimeOf(p) == 0
	})
	if err != nil {
		return err
	}
	s.check("optimise: turned off, the node deregisters at the correspondent", len(bu) > 0, "%d updates with lifetime 0", len(bu))
	direct, err := s.seen("core-router0", after, x.direct)
	if err != nil {
		return err
	}
	byHA, err := s.seen("ha-core0", after, x.bare)
	if err != nil {
		return err
	}
	s.check("optimise: turned off, all goes by the tunnel again", len(direct) == 0 && len(byHA) > 50, "%d packets directly, %d by the agent", len(direct), len(byHA))
	return nil
}

// noted is what mip6ctl told while packets went directly.
type noted struct {
	route control.Route
	atCN  control.Binding
	text  map[string]string // of mip6ctl bindings by host, and "ro" of the node
}

func (s *story) shown(ctx context.Context) (err error) {
	n := noted{text: map[string]string{}}
	for _, d := range []*daemon{s.mn, s.ha, s.cn} {
		if n.text[d.host], err = d.ctl(ctx, "bindings"); err != nil {
			return err
		}
	}
	if n.text["ro"], err = s.mn.ctl(ctx, "ro"); err != nil {
		return err
	}
	if n.route, err = s.mn.route(ctx, s.plan.CN); err != nil {
		return err
	}
	n.atCN, _, err = s.cn.binding(ctx, s.plan.HoA)
	s.noted = n
	return err
}

// route is what a node's daemon tells of a correspondent; the zero Route: nothing.
func (d *daemon) route(ctx context.Context, remote netip.Addr) (control.Route, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := control.Call[control.Routes](ctx, d.socket, control.Request{Cmd: control.CmdRO})
	for _, x := range r.Routes {
		if x.Remote == remote {
			return x, err
		}
	}
	return control.Route{}, err
}
