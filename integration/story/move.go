package story

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/control"
)

// move is one change of attachment, as it is to be made and measured.
type move struct {
	kind string // as in Move.Kind
	name string // for the checks
	from netip.Addr
	to   netip.Addr // the new care-of address, or the home address
	// do makes the change: start when it began, up when the carrier was back (start
	// where it never was away).
	do       func(context.Context) (start, up time.Time, err error)
	streams  *streams // that must survive, or nil
	lossless bool     // no packet may be lost
	// then is done when the move is over, before the captures are read: what is to
	// be stopped by then, because reading takes the processor.
	then     func(context.Context) error
	newBound bool // the agent makes a new binding: policies are put, not migrated
}

// moved is what was measured.
type moved struct {
	Move
	Split
	window        Window
	up            time.Time
	before, after keys
	upEchoes      lab.Echoes
	downEchoes    lab.Echoes
}

// make makes the move with pings running and measures it. An error means that it
// did not come to its end.
func (s *story) make(ctx context.Context, m move) (r moved, err error) {
	if r.before, err = s.keys(ctx); err != nil {
		return r, err
	}
	p, err := s.ping()
	if err != nil {
		return r, err
	}
	stopped := false
	defer func() {
		if !stopped {
			p.stop()
		}
	}()
	if err = p.answered(ctx, time.Now(), 5*time.Second); err != nil {
		return r, fmt.Errorf("before the move: %w", err)
	}
	if err = p.run(ctx, 30); err != nil {
		return r, err
	}
	quiet, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	told, err := s.mn.notice(quiet, func(n control.Notice) bool {
		return n.Fields["state"] == "home" && m.to == s.plan.HoA || n.Fields["state"] == "registered" && n.Fields["careof"] == m.to.String()
	})
	if err != nil {
		return r, err
	}
	if r.window.From, r.up, err = m.do(ctx); err != nil {
		return r, err
	}
	<-told
	if m.to == s.plan.HoA {
		err = s.waitHome(ctx, 20*time.Second)
	} else {
		_, err = s.waitRegistered(ctx, m.to, 20*time.Second)
	}
	if err != nil {
		return r, err
	}
	if err = p.answered(ctx, time.Now(), 10*time.Second); err != nil {
		return r, err
	}
	survived := true
	if m.streams != nil {
		if m.streams.progress(ctx, 20_000, time.Second) != nil {
			s.silence(ctx, m.name)
		}
		survived = m.streams.progress(ctx, 20_000, 15*time.Second) == nil
	}
	if err = p.run(ctx, 30); err != nil {
		return r, err
	}
	// The move is over when nothing of the old address is left (the time of grace).
	if m.to != s.plan.HoA && m.from != s.plan.HoA {
		err = s.gone(ctx, m.from, 10*time.Second)
		s.check(m.name+": no state of the old care-of address is left", err == nil, "%s", orFine(err, "ip xfrm state of both hosts has no ESP state with "+m.from.String()))
	}
	r.window.To = time.Now()
	stopped = true
	r.upEchoes, r.downEchoes = p.stop()
	if r.after, err = s.keys(ctx); err != nil {
		return r, err
	}
	if m.then != nil {
		if err = m.then(ctx); err != nil {
			return r, err
		}
	}
	return r, s.evaluate(ctx, m, &r, survived)
}

// signalled finds the first binding update of a window and its acknowledgement,
// zero where there is none. At home they have neither home address option nor routing header.
func (s *story) signalled(ctx context.Context, iface string, w Window, home bool) (bu, ba time.Time, err error) {
	answer := isBA(s.plan.HoA)
	if home {
		answer = func(p lab.Seen) bool { return p.Proto == protoESP && p.Src == s.plan.HA && p.Dst == s.plan.HoA }
		bu, err = s.firstSPI(ctx, iface, w, s.plan.HoA, s.plan.HA)
	} else {
		bu, err = s.first(iface, w, isBU(s.plan.HoA))
	}
	if err != nil || bu.IsZero() {
		return bu, ba, err
	}
	ba, err = s.first(iface, Window{bu, w.To}, answer)
	return bu, ba, err
}

// evaluate takes the numbers of a move from captures and pings.
func (s *story) evaluate(ctx context.Context, m move, r *moved, survived bool) error {
	w := r.window
	r.Move = Move{From: m.from.String(), To: m.to.String(), Kind: m.kind, Start: seconds(w.From), End: seconds(w.To)}
	r.Split = Split{Kind: m.kind, DAD: string(s.plan.DAD), Carrier: -1, RA: -1, CoA: -1, BU: -1, BUBA: -1, First: -1}

	rtt := median(r.upEchoes.Between(time.Time{}, w.From))
	up, down := r.upEchoes.Between(w.From, w.To), r.downEchoes.Between(w.From, w.To)
	outage, _, _ := up.Outage()
	lost := up.Lost()
	if d, _, _ := down.Outage(); d > outage {
		outage, lost = d, down.Lost()
	}
	r.RTT, r.Move.Outage, r.Lost = ptr(millis(rtt)), ptr(millis(outage)), &lost
	r.Split.Outage, r.Split.RTTms = millis(outage), millis(rtt)
	r.Split.Carrier = millis(r.up.Sub(w.From))

	since := func(dst *float64, from, to time.Time) {
		if !from.IsZero() && !to.IsZero() {
			*dst = max(0, millis(to.Sub(from)))
		}
	}
	iface := "mn-eth0"
	ra, err := s.first(iface, w, func(p lab.Seen) bool { return p.Proto == 58 && p.Type == icmpRA })
	if err != nil {
		return err
	}
	coa := s.addrs.usable(m.to, r.up)
	bu, ba, err := s.signalled(ctx, iface, w, m.to == s.plan.HoA)
	if err != nil {
		return err
	}
	switch {
	case s.addrs.had(m.to, w.From):
		coa = later(ra, r.up) // it was there already: usable when the link was known
	case !bu.IsZero() && coa.After(bu):
		coa = bu // we were told later than the daemon
	}
	ready := coa
	if m.lossless {
		ra = time.Time{} // none is needed
	} else {
		since(&r.Split.RA, r.up, ra)
	}
	since(&r.Split.CoA, later(ra, r.up), coa)
	since(&r.Split.BU, ready, bu)
	since(&r.Split.BUBA, bu, ba)
	if lost > 0 && !ba.IsZero() {
		// The first packet through the tunnel may be there before the acknowledgement.
		got, err := s.first(iface, Window{bu, w.To}, func(p lab.Seen) bool {
			return p.Proto == protoESP && p.Src == s.plan.HA && p.Dst == m.to && !p.Type2.IsValid()
		})
		if err != nil {
			return err
		}
		since(&r.Split.First, ba, got)
	}
	set := func(dst **float64, v float64) {
		if v >= 0 {
			*dst = ptr(v)
		}
	}
	set(&r.Move.RA, r.Split.RA)
	set(&r.Move.CoA, r.Split.CoA)
	set(&r.Move.BUBA, r.Split.BUBA)
	ike, where, err := s.ikeMessages(w)
	if err != nil {
		return err
	}
	kept := r.before == r.after
	r.IKEMessages, r.SPIsKept = &ike, &kept
	if m.streams != nil {
		r.TCPSurvived = &survived
	}
	s.rec.Report.Moves = append(s.rec.Report.Moves, r.Move)
	s.rec.Splits = append(s.rec.Splits, r.Split)
	s.tell(m, r)
	s.checkMove(m, r, where)
	return nil
}

// first is the time of the first packet of a capture that a filter wants; zero: none.
func (s *story) first(name string, w Window, want func(lab.Seen) bool) (time.Time, error) {
	found, err := s.seen(name, w, want)
	if err != nil || len(found) == 0 {
		return time.Time{}, err
	}
	return found[0].Time, nil
}

// firstSPI is the first ESP packet from one address to another.
func (s *story) firstSPI(_ context.Context, name string, w Window, from, to netip.Addr) (time.Time, error) {
	return s.first(name, w, func(p lab.Seen) bool { return p.Proto == protoESP && p.Src == from && p.Dst == to })
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func orFine(err error, fine string) string {
	if err != nil {
		return err.Error()
	}
	return fine
}

// tell prints the move's line of the timeline.
func (s *story) tell(m move, r *moved) {
	s.say("mn", "moved %v → %v (%s, DAD %s): %d pings lost, outage %s ms, round trip %s ms", m.from, m.to, m.kind, s.plan.DAD, *r.Lost, ms(*r.Move.Outage), ms(*r.RTT))
	if !m.lossless {
		s.say("mn", "  carrier away %s → RA %s → address usable %s → BU %s → BA %s → first packet %s ms", ms(r.Split.Carrier), ms(r.Split.RA),
			ms(r.Split.CoA), ms(r.Split.BU), ms(r.Split.BUBA), ms(r.Split.First))
		return
	}
	s.say("mn", "  address usable → BU %s → BA %s ms", ms(r.Split.BU), ms(r.Split.BUBA))
}

// tcpPatience is how long a TCP connection may be silent beyond a move's outage.
const tcpPatience = 2 * time.Second

// checkMove files the checks that every move has.
func (s *story) checkMove(m move, r *moved, ike string) {
	s.check(m.name+": SPIs of ESP and IKE as before", *r.SPIsKept, "%s", keysDetail(r))
	s.check(m.name+": no IKE message", *r.IKEMessages == 0, "%s", ike)
	s.check(m.name+": binding update and acknowledgement on the wire", r.Split.BUBA >= 0, "BU → BA %s ms, round trip %s ms", ms(r.Split.BUBA), ms(*r.RTT))
	if m.to != s.plan.HoA && !m.newBound {
		s.checkMigrations(m, r)
	}
	if m.streams != nil {
		up, _ := m.streams.up.Stall(r.window.From, r.window.To)
		down, _ := m.streams.down.Stall(r.window.From, r.window.To)
		// Behind the outage TCP waits for its own timer, which doubles from 0.2 s. More
		// is a segment that was held back on its own host.
		limit := tcpPatience + time.Duration(*r.Move.Outage*float64(time.Millisecond))
		s.check(m.name+": the TCP connections survive", *r.TCPSurvived && max(up, down) < limit,
			"longest silence: from the node %d ms, to the node %d ms", up.Milliseconds(), down.Milliseconds())
	}
	upLost, downLost := r.upEchoes.Between(r.window.From, r.window.To).Lost(), r.downEchoes.Between(r.window.From, r.window.To).Lost()
	if m.lossless {
		s.check(m.name+": no ping lost", upLost+downLost == 0, "from the node %d, to the node %d lost", upLost, downLost)
	}
}

func keysDetail(r *moved) string {
	if r.before == r.after {
		return r.after.String()
	}
	return fmt.Sprintf("before: %v after: %v", r.before, r.after)
}

// silence notes what the kernels say of TCP connections that are silent after a move.
func (s *story) silence(ctx context.Context, name string) {
	for _, host := range []string{lab.MN, lab.CN} {
		h := s.lab.Host(host)
		text := ""
		for _, argv := range [][]string{{"ss", "-tieno"}, {"cat", "/proc/net/xfrm_stat"}, {"cat", "/proc/net/netstat"}, {"ip", "-6", "route", "show", "table", "all"}, {"ip", "-6", "neigh"}, {"ip", "xfrm", "policy"}, {"ip", "xfrm", "state"}} {
			out, err := h.Output(ctx, argv[0], argv[1:]...)
			text += fmt.Sprintf("== %v %s\n%s\n", argv, orFine(err, ""), out)
		}
		file := fmt.Sprintf("%s-silent-after-%s.txt", host, strings.ReplaceAll(name, " ", "-"))
		os.WriteFile(filepath.Join(s.o.Dir, file), []byte(text), 0o644)
	}
}
