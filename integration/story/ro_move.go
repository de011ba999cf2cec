package story

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mip6/mip6/integration/lab"
)

// plainCN is a second address of the correspondent that no rule optimises: packets to it
// go by the tunnel all the time, over the same moves.
func plainCN(p lab.Plan) netip.Addr {
	b := p.CN.As16()
	b[15]++
	return netip.AddrFrom16(b)
}

// fourPings are pings of both directions, by either way: the difference of what they lose
// in one move is what route optimization costs.
type fourPings struct{ direct, tunnel *pings }

func (s *story) fourPings(interval time.Duration) (*fourPings, error) {
	f := &fourPings{}
	for _, x := range []struct {
		to  netip.Addr
		dst **pings
	}{{s.plan.CN, &f.direct}, {plainCN(s.plan), &f.tunnel}} {
		up, err := s.lab.Ping(lab.MN, s.plan.HoA, x.to, interval)
		if err != nil {
			f.stop()
			return nil, err
		}
		down, err := s.lab.Ping(lab.CN, x.to, s.plan.HoA, interval)
		if err != nil {
			up.Stop(0)
			f.stop()
			return nil, err
		}
		*x.dst = &pings{up, down}
	}
	return f, nil
}

func (f *fourPings) stop() {
	for _, p := range []*pings{f.direct, f.tunnel} {
		if p != nil {
			p.stop()
		}
	}
}

// outage is the worse direction's in a window.
func (p *pings) outage(w Window) (d time.Duration, lost int) {
	for _, one := range []*lab.Pinger{p.up, p.down} {
		e := one.Echoes().Between(w.From, w.To)
		if x, _, _ := e.Outage(); x >= d {
			d, lost = x, e.Lost()
		}
	}
	return d, lost
}

// roMoved is what was measured of a move on the direct way.
type roMoved struct {
	w              Window
	up             time.Time
	careOf         netip.Addr
	direct, tunnel time.Duration // outages
	lost           int           // pings of the direct pair
	rtt            time.Duration // to the correspondent, directly
	count          [mhBE + 1]int // messages on the node's wire and at the correspondent, by type, without repetitions
	repeated       int           // messages sent again before an answer came
	// times on the node's wire, after the carrier's return: update to the agent, its
	// acknowledgement, care-of test, update to the correspondent, its acknowledgement,
	// the first data sent directly and come directly with the new care-of address
	haBU, haBA, coti, cot, bu, ba, dataUp, dataDown time.Time
}

// moveRenewed moves to a link with another MAC address: the care-of address is one that
// the node never had, without a token.
func (s *story) moveRenewed(ctx context.Context, to lab.Link, mac [6]byte) (start, up time.Time, careOf netip.Addr, err error) {
	if start, _, err = s.lab.Move(ctx, lab.None); err != nil {
		return
	}
	h := s.lab.Host(lab.MN)
	link, err := h.NL.LinkByName(lab.MNIface)
	if err != nil {
		return
	}
	if err = h.NL.LinkSetHardwareAddr(link, net.HardwareAddr(mac[:])); err != nil {
		return
	}
	// An address that is left of an earlier visit would be taken up again.
	if err = s.forgetAddrs(ctx, to); err != nil {
		return
	}
	_, up, err = s.lab.Move(ctx, to)
	b := s.plan.Prefix(to).Addr().As16()
	copy(b[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return start, up, netip.AddrFrom16(b), err
}

// forgetAddrs deletes the addresses that the node's kernel still has of a link.
func (s *story) forgetAddrs(ctx context.Context, of lab.Link) error {
	out, err := s.lab.Host(lab.MN).Output(ctx, "ip", "-6", "-o", "addr", "show", "dev", lab.MNIface, "scope", "global")
	if err != nil {
		return err
	}
	for _, f := range strings.Fields(out) {
		if p, err := netip.ParsePrefix(f); err == nil && s.plan.Prefix(of).Contains(p.Addr()) {
			if err := s.lab.DelAddr(lab.MN, lab.MNIface, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// roMoveTo moves the node while pings go both ways and waits until all is as before: the pair's packets
// go directly with the new care-of address. mac is zero for the node's own.
func (s *story) roMoveTo(ctx context.Context, f *fourPings, to lab.Link, mac [6]byte) (r roMoved, err error) {
	if mac != [6]byte{} {
		r.w.From, r.up, r.careOf, err = s.moveRenewed(ctx, to, mac)
	} else {
		r.careOf = s.plan.SLAAC(to)
		r.w.From, r.up, err = s.lab.Move(ctx, to)
	}
	if err != nil {
		return r, err
	}
	r.rtt = median(f.direct.up.Echoes().Between(r.w.From.Add(-3*time.Second), r.w.From))
	if r.rtt == 0 {
		return r, fmt.Errorf("no ping was answered in the 3 s before the move to %s", to)
	}
	if err := s.waitDirect(ctx, r.careOf, 20*time.Second); err != nil {
		return r, fmt.Errorf("after the move to %s: %w", to, err)
	}
	for _, p := range []*pings{f.direct, f.tunnel} {
		if err := p.answered(ctx, time.Now(), 10*time.Second); err != nil {
			return r, err
		}
	}
	if err := f.direct.run(ctx, 30); err != nil {
		return r, err
	}
	r.w.To = time.Now()
	if err := settle(ctx); err != nil { // what was sent by then is answered meanwhile
		return r, err
	}
	r.direct, r.lost = f.direct.outage(r.w)
	r.tunnel, _ = f.tunnel.outage(r.w)
	return r, s.readMove(&r)
}

// unread is how long an answer may lie on the node before its daemon reads it.
const unread = 50 * time.Millisecond

// readMove takes messages and times from the captures.
func (s *story) readMove(r *roMoved) error {
	x := s.pair()
	// On the node's wire, so that an answer that is late on a busy machine is told from one that
	// is not given; the home test, which goes inside ESP there, at the correspondent.
	all, err := s.seen("mn-eth0", r.w, func(p lab.Seen) bool { return p.Proto == protoMH && p.Type != mhHoTI && p.Type != mhHoT })
	if err != nil {
		return err
	}
	home, err := s.seen("core-cn0", r.w, func(p lab.Seen) bool { return p.Proto == protoMH && (p.Type == mhHoTI || p.Type == mhHoT) })
	all = append(all, home...)
	if err != nil {
		return err
	}
	asks := map[uint8]uint8{mhHoT: mhHoTI, mhCoT: mhCoTI, mhBA: mhBU} // by their answers
	open := map[uint8]bool{}                                          // asked, not answered
	answered := map[uint8]time.Time{}
	for _, p := range all {
		if int(p.Type) >= len(r.count) {
			continue
		}
		ask, answer := asks[p.Type]
		if open[p.Type] || p.Time.Sub(answered[p.Type]) < unread || answer && !open[ask] {
			r.repeated++ // sent again, or the answer to that
			continue
		}
		if answer {
			open[ask], answered[ask] = false, p.Time
		}
		r.count[p.Type]++
		open[p.Type] = p.Type == mhHoTI || p.Type == mhCoTI || p.Type == mhBU
	}
	here := r.w // the carrier's return may be noted behind what followed from it
	for _, m := range []struct {
		dst  *time.Time
		want func(lab.Seen) bool
	}{
		{&r.haBU, func(p lab.Seen) bool {
			return p.Proto == protoESP && p.HomeAddr == x.home && p.Dst == s.plan.HA && p.Src == r.careOf
		}},
		{&r.haBA, func(p lab.Seen) bool {
			return p.Proto == protoESP && p.Type2 == x.home && p.Src == s.plan.HA && p.Dst == r.careOf
		}},
		{&r.coti, func(p lab.Seen) bool { return x.mh(mhCoTI)(p) && p.Src == r.careOf }},
		{&r.cot, func(p lab.Seen) bool { return x.mh(mhCoT)(p) && p.Dst == r.careOf }},
		{&r.bu, func(p lab.Seen) bool { return x.mh(mhBU)(p) && p.Src == r.careOf }},
		{&r.ba, func(p lab.Seen) bool { return x.mh(mhBA)(p) && p.Dst == r.careOf }},
		{&r.dataUp, func(p lab.Seen) bool { return x.up(p) && p.Src == r.careOf }},
		{&r.dataDown, func(p lab.Seen) bool { return x.down(p) && p.Dst == r.careOf }},
	} {
		if *m.dst, err = s.first("mn-eth0", here, m.want); err != nil {
			return err
		}
	}
	return nil
}

// since is the time between two events in milliseconds, negative where one is missing.
func since(from, to time.Time) float64 {
	if from.IsZero() || to.IsZero() {
		return -1
	}
	return millis(to.Sub(from))
}

func (r *roMoved) String() string {
	return fmt.Sprintf("outage directly %s ms, by the tunnel %s ms, round trip %s ms; after the carrier: BU to the agent %s, BA %s, CoTI %s, CoT %s, BU to the correspondent %s, BA %s, data directly from the node %s, to the node %s ms",
		ms(millis(r.direct)), ms(millis(r.tunnel)), ms(millis(r.rtt)), ms(since(r.up, r.haBU)), ms(since(r.up, r.haBA)), ms(since(r.up, r.coti)), ms(since(r.up, r.cot)),
		ms(since(r.up, r.bu)), ms(since(r.up, r.ba)), ms(since(r.up, r.dataUp)), ms(since(r.up, r.dataDown)))
}

// secondAddress gives the correspondent its second address, or takes it away.
func (s *story) secondAddress(there bool) error {
	h := s.lab.Host(lab.CN)
	link, err := h.NL.LinkByName(lab.CNIface)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: plainCN(s.plan).AsSlice(), Mask: net.CIDRMask(64, 128)}}
	if there {
		return h.NL.AddrReplace(link, a)
	}
	return h.NL.AddrDel(link, a)
}
