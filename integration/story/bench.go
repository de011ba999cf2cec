package story

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// Result is one figure of the benchmark; docs/performance.md defines each name.
type Result struct {
	Name  string
	Value float64
	Unit  string
}

// bench is a running benchmark.
type bench struct {
	o     Options
	moves int
	all   []Result
}

// BenchParts are the parts of the benchmark, in order: with duplicate address detection off and on,
// and route optimization.
var BenchParts = []string{"dad-off", "dad-on", "ro"}

// Bench measures the parts (all of them where none is named) and returns the figures. What it does
// goes to o.Out; the story's own timeline and captures to o.Dir, of the last part.
func Bench(ctx context.Context, o Options, moves int, parts ...string) ([]Result, error) {
	b := &bench{o: o, moves: moves}
	for _, p := range parts {
		if !slices.Contains(BenchParts, p) {
			return nil, fmt.Errorf("%w: %q (there are %s)", ErrSteps, p, strings.Join(BenchParts, ", "))
		}
	}
	for _, p := range BenchParts {
		if len(parts) > 0 && !slices.Contains(parts, p) {
			continue
		}
		var err error
		switch p {
		case "dad-off":
			err = b.part(ctx, lab.DADOff)
		case "dad-on":
			err = b.part(ctx, lab.DADOn)
		case "ro":
			err = b.direct(ctx)
		}
		if err != nil {
			return b.all, fmt.Errorf("%s: %w", p, err)
		}
	}
	return b.all, nil
}

func (b *bench) add(name string, v float64, unit string) {
	b.all = append(b.all, Result{name, v, unit})
	fmt.Fprintf(b.o.Out, "  %-34s %10.3f %s\n", name, v, unit)
}

// play gives a story that stands to f, and ends it.
func (b *bench) play(ctx context.Context, dad lab.DAD, f func(*story) error) (err error) {
	if err := Empty(b.o.Dir); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(b.o.Dir, "timeline.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s := newStory(Options{Dir: b.o.Dir, Bin: b.o.Bin, DAD: dad, Out: log})
	defer func() {
		if cerr := s.close(ctx); err == nil {
			err = cerr
		}
	}()
	if err := s.setup(ctx); err != nil {
		return err
	}
	return f(s)
}

// part measures with one way of duplicate address detection.
func (b *bench) part(ctx context.Context, dad lab.DAD) error {
	fmt.Fprintf(b.o.Out, "\nduplicate address detection of the node's kernel %s: registration and %d moves\n", dad, b.moves)
	return b.play(ctx, dad, func(s *story) error { return b.parts(ctx, s, dad) })
}

func (b *bench) parts(ctx context.Context, s *story, dad lab.DAD) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if dad == lab.DADOff {
		if err := b.registration(ctx, s); err != nil {
			return err
		}
	}
	if err := b.foreign(ctx, s, dad); err != nil {
		return err
	}
	if dad != lab.DADOff {
		return nil
	}
	for _, f := range []func(context.Context, *story) error{b.byHand, b.processor, b.throughput} {
		if err := f(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// registration takes the first registration apart.
func (b *bench) registration(ctx context.Context, s *story) error {
	w := Window{s.begin, time.Now()}
	var ike []lab.Seen
	var bu, ba time.Time
	err := wait(ctx, 5*time.Second, "the registration in the capture", func() (err error) {
		w.To = time.Now()
		if ike, err = s.seen("mn-eth0", w, lab.Seen.IsIKE); err != nil {
			return err
		}
		if bu, err = s.first("mn-eth0", w, isBU(s.plan.HoA)); err != nil {
			return err
		}
		if ba, err = s.first("mn-eth0", w, isBA(s.plan.HoA)); err == nil && (ba.IsZero() || len(ike) < 4) {
			err = errNotYet
		}
		return err
	})
	if err != nil {
		return err
	}
	b.add("ike_handshake_ms", millis(ike[3].Time.Sub(ike[0].Time)), "ms")
	b.add("registration_ms", millis(ba.Sub(ike[0].Time)), "ms")
	b.add("first_bu_ba_ms", millis(ba.Sub(bu)), "ms")
	return nil
}

// foreign makes the moves between the foreign links.
func (b *bench) foreign(ctx context.Context, s *story, dad lab.DAD) error {
	var outage, lost, ra, coa, bu, buba, over, rtt, sets []float64
	for i := range b.moves {
		if err := s.forgetOther(ctx); err != nil {
			return err
		}
		to := lab.Foreign2
		if s.lab.Link() == to {
			to = lab.Foreign1
		}
		r, err := s.foreign(ctx, fmt.Sprintf("move %d", i+1), to, nil)
		if err != nil {
			return err
		}
		x := r.Split
		outage, lost, ra, coa = append(outage, x.Outage), append(lost, float64(*r.Lost)), append(ra, x.RA), append(coa, x.CoA)
		bu, buba, rtt, over = append(bu, x.BU), append(buba, x.BUBA), append(rtt, x.RTTms), append(over, x.BUBA-x.RTTms)
		if all := s.mon[lab.HA].Migrations(r.window.From, r.window.To); len(all) > 1 {
			sets = append(sets, millis(all[len(all)-1].Time.Sub(all[0].Time)))
		}
	}
	suffix := "_dad_" + string(dad)
	b.add("outage_ms"+suffix, middle(outage), "ms")
	b.add("outage_max_ms"+suffix, slices.Max(outage), "ms")
	b.add("lost_pings"+suffix, middle(lost), "")
	b.add("ra_ms"+suffix, middle(ra), "ms")
	b.add("coa_ms"+suffix, middle(coa), "ms")
	b.add("bu_ms"+suffix, middle(bu), "ms")
	b.add("bu_ba_ms"+suffix, middle(buba), "ms")
	b.add("rtt_ms"+suffix, middle(rtt), "ms")
	if dad == lab.DADOff {
		b.add("bu_ba_over_rtt_ms", middle(over), "ms")
		b.add("migrate_set_ms", middle(sets), "ms")
	}
	return nil
}

// forgetOther deletes the address that the kernel still has of the foreign link where
// the node is not, so that it is formed anew, with duplicate address detection.
func (s *story) forgetOther(ctx context.Context) error {
	for _, l := range []lab.Link{lab.Foreign1, lab.Foreign2} {
		a := s.plan.SLAAC(l)
		out, err := s.lab.Host(lab.MN).Output(ctx, "ip", "-6", "addr", "show", "dev", lab.MNIface)
		if err != nil {
			return err
		}
		if l != s.lab.Link() && strings.Contains(out, a.String()+"/64") {
			if err := s.lab.DelAddr(lab.MN, lab.MNIface, netip.PrefixFrom(a, 64)); err != nil {
				return err
			}
		}
	}
	return nil
}

// byHand counts what the seed's move loses at 500 packets a second each way.
func (b *bench) byHand(ctx context.Context, s *story) error {
	before := len(s.rec.Report.Checks)
	if err := s.byHand(ctx); err != nil {
		return err
	}
	lost := 0.0
	for _, c := range s.rec.Report.Checks[before:] {
		var up, down, of1, of2 int
		if n, _ := fmt.Sscanf(c.Detail, "from the node %d of %d, to the node %d of %d", &up, &of1, &down, &of2); n == 4 {
			lost = float64(up + down)
		}
	}
	b.add("by_hand_lost", lost, "of 500 datagrams a second each way")
	return nil
}

// rekeys is over how many of them the processor's time is taken.
const rekeys = 20

// processor measures the processor's time of both daemons for new keys.
func (b *bench) processor(ctx context.Context, s *story) error {
	for _, kind := range []struct{ child, mode string }{{"payload", "tunnel"}} {
		before, err := cpu(s.mn, s.ha)
		if err != nil {
			return err
		}
		for range rekeys {
			old, err := s.childSPIs(ctx, kind.mode)
			if err != nil {
				return err
			}
			if err := s.mn.rekey(ctx, s.plan.HoA, kind.child); err != nil {
				return err
			}
			err = wait(ctx, 10*time.Second, "new SPIs", func() error {
				now, err := s.childSPIs(ctx, kind.mode)
				if err == nil && (len(now) != len(old) || same(now, old)) {
					err = errNotYet
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		after, err := cpu(s.mn, s.ha)
		if err != nil {
			return err
		}
		b.add("child_rekey_cpu_ms", millis(after-before)/rekeys, "ms")
	}
	for _, d := range []*daemon{s.mn, s.ha} {
		kib, err := resident(d.proc.Pid())
		if err != nil {
			return err
		}
		b.add("rss_mib_"+d.host, kib/1024, "MiB")
	}
	return nil
}

// cpu is the time on the processor of all threads of the daemons.
func cpu(daemons ...*daemon) (time.Duration, error) {
	var sum time.Duration
	for _, d := range daemons {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.proc.Pid()))
		if err != nil {
			return 0, err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue // a thread that has just ended
			}
			// Behind the name in parentheses: state is field 3, utime 14, stime 15.
			rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
			for _, i := range []int{11, 12} {
				ticks, err := strconv.Atoi(rest[i])
				if err != nil {
					return 0, err
				}
				sum += time.Duration(ticks) * (time.Second / 100)
			}
		}
	}
	return sum, nil
}

func resident(pid int) (kib float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib, nil
		}
	}
	return 0, fmt.Errorf("story: no VmRSS of process %d", pid)
}

// throughput sends TCP through the tunnel without limit, one direction at a time,
// without captures.
func (b *bench) throughput(ctx context.Context, s *story) error {
	if err := s.caps.Stop(); err != nil {
		return err
	}
	const bytes = 20_000_000
	for _, dir := range []struct {
		name string
		down bool
	}{{"tcp_up_mbit", false}, {"tcp_down_mbit", true}} {
		t, err := s.lab.Stream(ctx, lab.MN, s.plan.HoA, lab.CN, s.plan.CN, 7031, dir.down, 0)
		if err != nil {
			return err
		}
		err = t.WaitProgress(ctx, bytes/20, 30*time.Second) // past slow start
		begin, had := time.Now(), t.Bytes()
		if err == nil {
			err = t.WaitProgress(ctx, bytes, time.Minute)
		}
		took, got := time.Since(begin), t.Bytes()-had
		t.Stop()
		if err != nil {
			return err
		}
		b.add(dir.name, float64(got)*8/1e6/took.Seconds(), "Mbit/s")
	}
	return nil
}

// middle is the median; 0 of nothing.
func middle(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Table prints figures for people.
func Table(w io.Writer, all []Result) {
	fmt.Fprintln(w)
	for _, r := range all {
		fmt.Fprintf(w, "  %-28s %12.3f %s\n", r.Name, r.Value, r.Unit)
	}
}

// WriteResults writes the figures as a flat object, name to number.
func WriteResults(file string, all []Result) error {
	flat := map[string]float64{}
	for _, r := range all {
		flat[r.Name] = r.Value
	}
	return writeJSON(file, flat)
}
