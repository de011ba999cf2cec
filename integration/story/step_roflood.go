package story

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// withoutBinding spoofs home addresses by option: echo requests that nobody may answer.
func (s *story) withoutBinding(ctx context.Context, c *crafted) error {
	echo := func(src, home netip.Addr, i int) []byte {
		return sealed(src, home, s.plan.CN, 58, binary.BigEndian.AppendUint16([]byte{128, 0, 0, 0, 0x77, 0x77}, uint16(i)))
	}
	for _, x := range []struct {
		name   string
		src    func(i int) netip.Addr
		home   netip.Addr
		errors int // at most, of status 1, in two seconds
	}{
		{"for the real node's home address", func(int) netip.Addr { return c.careOf }, s.plan.HoA, 4},
		{"for a home address of nobody", func(int) netip.Addr { return c.careOf }, netip.MustParseAddr("2001:db8:1::99"), 4},
		{"from many addresses", func(i int) netip.Addr { return scattered(0xbad1, i) }, s.plan.HoA, 320},
	} {
		w := Window{From: time.Now()}
		n, err := flood(ctx, c.host, 200, 2*time.Second, func(i int) []byte { return echo(x.src(i), x.home, i) })
		if err != nil {
			return err
		}
		if err := settle(ctx); err != nil {
			return err
		}
		w.To = time.Now()
		all, err := s.seen("core-cn0", w, func(p lab.Seen) bool { return p.Src == s.plan.CN })
		if err != nil {
			return err
		}
		var be, others, replies int
		for _, p := range all {
			switch {
			case p.Proto == protoMH && p.Type == mhBE && statusOf(p) == 1:
				be++
			case p.Proto == protoMH && p.Type == mhBE:
				others++
			case p.Proto == 58 && p.Type == 129 && p.Type2 != s.plan.HoA && p.Dst != s.plan.HoA:
				replies++
			}
		}
		s.check("roattack: home address option without a binding, "+x.name, be > 0 && be <= x.errors && others == 0 && replies == 0,
			"%d packets, %d Binding Errors 1 (at most %d are fit), %d others, %d echo replies", n, be, x.errors, others, replies)
	}
	return nil
}

// scattered is an address of the i-th of many prefixes of 64 bits.
func scattered(net uint16, i int) netip.Addr {
	b := netip.MustParseAddr("2001:db8::1").As16()
	binary.BigEndian.PutUint16(b[4:], net)
	binary.BigEndian.PutUint16(b[6:], uint16(i))
	binary.BigEndian.PutUint32(b[8:], uint32(i)*2654435761)
	return netip.AddrFrom16(b)
}

// normalRate is what a correspondent of fifty nodes sees in a second, of which each moves
// every ten seconds. A hundred times that is what all hosts of the lab together can send, carry,
// capture and answer on one emulated processor; more would measure its queues.
const normalRate = 5

// flooded sends care-of tests at a hundred times the normal rate. The correspondent keeps nothing
// of them, and a real node that moves meanwhile is served.
func (s *story) flooded(ctx context.Context) error {
	rate, d := 100*normalRate, 4*time.Second
	core := s.lab.Host(lab.Core)
	pid := s.cn.proc.Pid()
	round := func(net uint16) (n int, kib float64, err error) {
		n, err = flood(ctx, core, rate, d, func(i int) []byte {
			a := scattered(net, i)
			return sealed(a, a, s.plan.CN, protoMH, testInit(mhCoTI, uint64(i)))
		})
		if err == nil {
			kib, err = resident(pid)
		}
		return n, kib, err
	}
	begin := time.Now()
	n1, first, err := round(0xbad2)
	if err != nil {
		return err
	}
	// The second round under way, the node moves.
	type result struct {
		n   int
		kib float64
		err error
	}
	done := make(chan result, 1)
	moved := time.Now()
	go func() {
		n, kib, err := round(0xbad3)
		done <- result{n, kib, err}
	}()
	_, up, err := s.lab.Move(ctx, lab.Foreign2)
	if err == nil {
		err = s.waitDirect(ctx, s.plan.SLAAC(lab.Foreign2), 15*time.Second)
	}
	served := time.Since(up)
	r := <-done
	over := time.Now()
	if err != nil || r.err != nil {
		return fmt.Errorf("%v %v", err, r.err)
	}
	_, last, err := round(0xbad4)
	if err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	answers, err := s.seen("core-cn0", Window{begin, time.Now()}, func(p lab.Seen) bool { return p.Proto == protoMH && p.Type == mhCoT })
	if err != nil {
		return err
	}
	s.check(fmt.Sprintf("roattack: CoTI at %d a second: memory stays", rate), last-first < 2048 && last < 256<<10, "resident memory of mip6d after %d, %d and %d more: %.0f, %.0f, %.0f KiB; %d answers", n1, r.n, r.n, first, r.kib, last, len(answers))
	s.check(fmt.Sprintf("roattack: CoTI at %d a second: a real node is served", rate), served < 5*time.Second && up.Before(over), "the node moved in the midst of it, %s ms after it began, and packets went directly %s ms after its carrier's return", ms(since(moved, up)), ms(millis(served)))
	return nil
}
