package story

import (
	"context"
	"fmt"
	"net/netip"
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
	// By the tunnel for two seconds (a second where the kernel cannot count), so that both
	// ways can be compared.
	if err := s.readyRO(ctx, roConf{packets: 2 * rate}); err != nil {
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
	p, err := s.pingAnswered(ctx)
	if err != nil {
		t.stop()
		d.stop()
		return err
	}
	on, off, gone, err := s.onAndOff(ctx, d, rate)
	end := time.Now()
	up, down := p.stop()
	tu, td := t.stop()
	sentUp, lostUp, sentDown, lostDown := d.stop()
	if err != nil {
		return err
	}
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
	slow, fast := best(up.Between(begin, s.firstDirect(Window{begin, on}))), best(up.Between(quiet.From, quiet.To))
	s.check("optimise: the round trip is that of the direct way", fast > 0 && fast < slow-haDelay, "at best: by the tunnel %s ms, directly %s ms", ms(millis(slow)), ms(millis(fast)))
	return s.checkOff(Window{off, gone}, Window{gone.Add(100 * time.Millisecond), end})
}

// onAndOff waits until packets go directly (on), notes what mip6ctl tells, turns route
// optimization off (off), waits for the tunnel (gone), and for packets in each state.
func (s *story) onAndOff(ctx context.Context, d *datagrams, rate int) (on, off, gone time.Time, err error) {
	if err = s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign1), 15*time.Second); err != nil {
		return
	}
	on = time.Now()
	s.say("mn", "both kernels send directly")
	if err = d.sent(ctx, 2*rate, 20*time.Second); err != nil {
		return
	}
	if err = s.shown(ctx); err != nil {
		return
	}
	off = time.Now()
	s.say("mn", "mip6d is told not to optimise any more (SIGHUP)")
	if err = s.mn.reload(ctx, s.mnRO(roConf{off: true})); err != nil {
		return
	}
	if err = s.waitTunnel(ctx, 10*time.Second); err != nil {
		return
	}
	gone = time.Now()
	err = d.sent(ctx, rate, 20*time.Second)
	return
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
