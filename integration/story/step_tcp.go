package story

import (
	"context"
	"fmt"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// tcp sends full-size segments both ways through the tunnel. The tunnel's overhead
// makes the path's MTU smaller than the links': whoever learns that wrongly
// fragments, sends too small, or stalls.
func (s *story) tcp(ctx context.Context) error {
	coa, err := s.waitRegistered(ctx, s.plan.SLAAC(lab.Foreign1), 10*time.Second)
	if err != nil {
		return err
	}
	begin := time.Now()
	rate, size := 400_000, int64(1_500_000)
	if s.o.Slow {
		rate, size = 60_000, 250_000
	}
	t, err := s.streams(ctx, 7001, rate)
	if err != nil {
		return err
	}
	perr := t.progress(ctx, size, 30*time.Second)
	up, down := t.stop()
	s.check(fmt.Sprintf("tcp: %d kB in each direction", size/1000), perr == nil && up.Survived && down.Survived, "from the node %d bytes, longest silence %d ms, MSS %d; to the node %d bytes, longest silence %d ms, MSS %d %s",
		up.Bytes, up.Stall.Milliseconds(), up.MSS, down.Bytes, down.Stall.Milliseconds(), down.MSS, orFine(perr, ""))
	if err := wait(ctx, 5*time.Second, "captures", func() error { // a block of the ring is written after 50 ms
		if time.Since(begin) < 300*time.Millisecond {
			return errNotYet
		}
		return nil
	}); err != nil {
		return err
	}
	w := Window{begin, time.Now()}
	largest := func(fromNode bool) (size, packets int, err error) {
		all, err := s.seen("core-router0", w, func(p lab.Seen) bool {
			return p.Proto == protoESP && (fromNode && p.Src == coa || !fromNode && p.Dst == coa)
		})
		for _, p := range all {
			size = max(size, p.Length-ethernetHeader)
		}
		return size, len(all), err
	}
	for _, dir := range []struct {
		fromNode bool
		name     string
		mss      uint32
	}{{true, "from the node", up.MSS}, {false, "to the node", down.MSS}} {
		size, n, err := largest(dir.fromNode)
		if err != nil {
			return err
		}
		// ESP adds 40 of the outer header, 8 + 8 + 2 + 16 and padding to multiples of
		// four: full-size segments fill the link but for that padding.
		s.check("tcp: segments as large as the path allows, "+dir.name, size > s.plan.MTU-8 && size <= s.plan.MTU,
			"the largest of %d ESP packets has %d of %d octets; MSS %d", n, size, s.plan.MTU, dir.mss)
	}
	return nil
}

const ethernetHeader = 14
