package story

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/control"
)

// attacks sends what must not make a binding: binding updates without ESP, and one
// that was seen before.
func (s *story) attacks(ctx context.Context) error {
	// There must be an update by the present keys with an older care-of address.
	for range 2 {
		if err := s.moveSomewhere(ctx); err != nil {
			return err
		}
	}
	cn, hoa, ha := s.plan.CN, s.plan.HoA, s.plan.HA
	nobody := netip.MustParseAddr("2001:db8:1::99")
	for _, a := range []struct {
		name      string
		src, home netip.Addr
	}{
		{"BU without ESP, with a home address option", cn, hoa},
		{"BU without ESP, from the home address itself", hoa, hoa},
		{"BU without ESP, for a home address of nobody", cn, nobody},
	} {
		packet, err := plainBU(a.src, a.home, ha, cn, 60000)
		if err != nil {
			return err
		}
		if err := s.refused(ctx, a.name, a.home, func() error { return inject(s.lab.Host(lab.CN), packet) }); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	packet, from, err := s.oldUpdate(ctx)
	if err != nil {
		return err
	}
	s.say("router", "sends the binding update of care-of address %v once more, as captured", from)
	return s.refused(ctx, "BU replayed", hoa, func() error { return inject(s.lab.Host(lab.Router), packet) })
}

// moveSomewhere moves to the other foreign link, without checks.
func (s *story) moveSomewhere(ctx context.Context) error {
	to := lab.Foreign1
	if s.lab.Link() == to {
		to = lab.Foreign2
	}
	if _, _, err := s.lab.Move(ctx, to); err != nil {
		return err
	}
	at, err := s.waitRegistered(ctx, s.plan.SLAAC(to), 20*time.Second)
	if err == nil {
		s.say("mn", "moved to %v", at)
	}
	return err
}

// oldUpdate is a captured binding update with another care-of address than the
// present one.
func (s *story) oldUpdate(ctx context.Context) ([]byte, netip.Addr, error) {
	n, err := s.mn.node(ctx)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	now, err := s.spiSet(ctx, lab.HA)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	all, err := s.seen("router-core0", Window{s.begin, time.Now()}, isBU(s.plan.HoA))
	if err != nil {
		return nil, netip.Addr{}, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		// One of a state that is still there: else it is unknown, not replayed.
		if all[i].Src != n.CareOf && now[fmt.Sprintf("0x%08x", all[i].SPI)] {
			b, err := packetAt(s.capture("router-core0"), all[i].Time)
			return b, all[i].Src, err
		}
	}
	return nil, netip.Addr{}, fmt.Errorf("none of %d captured binding updates has another care-of address than %v", len(all), n.CareOf)
}

func (s *story) spiSet(ctx context.Context, host string) (map[string]bool, error) {
	all, err := s.states(ctx, host)
	set := map[string]bool{}
	for _, x := range all {
		set[x.SPI] = true
	}
	return set, err
}

// refused lets a packet loose and checks that the agent's kernel counts it and that
// nothing changes.
func (s *story) refused(ctx context.Context, name string, home netip.Addr, send func() error) error {
	before, err := s.stats(ctx, lab.HA)
	if err != nil {
		return err
	}
	had, was, err := s.ha.binding(ctx, home)
	if err != nil {
		return err
	}
	tables, err := s.agentTables(ctx)
	if err != nil {
		return err
	}
	w := Window{From: time.Now()}
	if err := send(); err != nil {
		return err
	}
	var after lab.Dump
	werr := wait(ctx, 3*time.Second, "a counter of /proc/net/xfrm_stat that rises", func() error {
		if after, err = s.stats(ctx, lab.HA); err != nil {
			return err
		}
		if after["xfrm_stat"] == before["xfrm_stat"] {
			return errNotYet
		}
		return nil
	})
	up := risen(before, after)
	s.check(name+": the kernel counts it", werr == nil, "%s", up)
	now, is, err := s.ha.binding(ctx, home)
	if err != nil {
		return err
	}
	tablesNow, err := s.agentTables(ctx)
	if err != nil {
		return err
	}
	w.To = time.Now()
	s.rec.Attacks = append(s.rec.Attacks, w)
	diff := tables.Diff(tablesNow)
	unchanged := was == is && had.CareOf == now.CareOf && had.Sequence == now.Sequence && diff == ""
	s.check(name+": no binding comes of it", unchanged, "%s %s", bindingText(now, is), diff)
	return s.explained(ctx, name, up)
}

// agentTables are those of the agent's tables that a binding shows in; all of them
// take seconds to read under qemu.
func (s *story) agentTables(ctx context.Context) (lab.Dump, error) {
	d := lab.Dump{}
	for _, args := range []string{"xfrm policy", "-6 rule", "-6 neigh show proxy", "-6 route show table all proto 135"} {
		out, err := s.lab.Host(lab.HA).Output(ctx, "ip", strings.Fields(args)...)
		if err != nil {
			return nil, err
		}
		d[args] = out
	}
	all, err := s.states(ctx, lab.HA)
	for _, x := range all {
		d["states"] += fmt.Sprintf("%v → %v %s %s %s\n", x.Src, x.Dst, x.Proto, x.SPI, x.Mode)
	}
	return d, err
}

func bindingText(b control.Binding, there bool) string {
	if !there {
		return "no binding"
	}
	return fmt.Sprintf("binding %v → %v, sequence %d, as before", b.Home, b.CareOf, b.Sequence)
}

// explained checks that mip6ctl status tells of the counter and what it means.
func (s *story) explained(ctx context.Context, name, up string) error {
	st, err := s.ha.status(ctx)
	if err != nil {
		return err
	}
	text, err := s.ha.ctl(ctx, "status")
	if err != nil {
		return err
	}
	counter, _, _ := strings.Cut(up, " ")
	for _, x := range st.XfrmStat {
		if x.Name == counter {
			ok := x.Meaning != "" && x.Delta > 0 && strings.Contains(text, counter)
			s.check(name+": mip6ctl status explains it", ok, "%s: %s", x.Name, x.Meaning)
			return nil
		}
	}
	s.check(name+": mip6ctl status explains it", false, "it does not tell of %s", counter)
	return nil
}
