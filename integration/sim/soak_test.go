package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn"
)

// seeds are those of the soak: MIP6_SIM_SEEDS says how many, or "7" with a leading
// colon (":7") which one.
func seeds(t *testing.T) (list []uint64) {
	n := uint64(100)
	if v := os.Getenv("MIP6_SIM_SEEDS"); v != "" {
		x, err := strconv.ParseUint(strings.TrimPrefix(v, ":"), 10, 32)
		if err != nil {
			t.Fatalf("MIP6_SIM_SEEDS: %v", err)
		}
		if n = x; v[0] == ':' {
			return []uint64{x}
		}
	}
	for s := range n {
		list = append(list, s)
	}
	return list
}

// soak is one life of a few hosts: random events, then rest, twice.
type soak struct {
	*World
	r    *rand.Rand
	done []string
}

func (s *soak) say(format string, a ...any) {
	s.done = append(s.done, fmt.Sprintf("%v ", s.Now.Sub(start))+fmt.Sprintf(format, a...))
	s.logf(format, a...)
}

func soakOptions(seed uint64, r *rand.Rand) Options {
	o := Options{Seed: seed, Nodes: 1 + r.IntN(3)}
	refuse, dad := r.IntN(8), mn.DADMode(r.IntN(3))
	o.HA = func(c *ha.Config) { c.RefuseK = refuse == 0; c.NoDAD = refuse == 1 }
	o.MN = func(n int, c *mn.Config) {
		c.DAD = dad
		c.NoKeyMobility = refuse == 2 && n == 0
		if refuse == 3 {
			c.Lifetime = 20 * time.Second
		}
	}
	short := r.IntN(3) == 0
	o.Conn = func(c *ike.Conn) {
		if short {
			fastLives(c)
		}
	}
	return o
}

// event does something at random.
func (s *soak) event() {
	nodes := s.Nodes()
	h := nodes[s.r.IntN(len(nodes))]
	any := s.Hosts[s.r.IntN(len(s.Hosts))]
	switch k := s.r.IntN(20); {
	case k < 9:
		l := s.Links[s.r.IntN(len(s.Links))]
		i := wlan + s.r.IntN(2)
		s.say("%s interface %d to %s", h.Name, i, l.Name)
		s.Attach(h, i, l)
	case k < 12:
		i := wlan + s.r.IntN(2)
		s.say("%s interface %d off", h.Name, i)
		s.Detach(h, i)
	case k < 15:
		if any.Node == nil {
			return
		}
		s.say("%s crash", any.Name)
		any.Crash()
		s.After(s.jitter(s.pause()*3), func() {
			if any.Node == nil {
				any.Start()
			}
		})
	case k < 17:
		if any.Node == nil {
			return
		}
		ev := couple.Rekey{}
		if list := any.IKE.Snapshot(); len(list) > 0 {
			ev.SA = list[s.r.IntN(len(list))].SA
		}
		if spis := any.SPIs(); len(spis) > 0 && s.r.IntN(3) > 0 {
			ev.SPI = spis[s.r.IntN(len(spis))]
		}
		s.say("%s rekey %+v", any.Name, ev)
		any.Post(ev)
	case k < 18:
		s.Loss = []float64{0, 0, 0.1, 0.5, 1}[s.r.IntN(5)]
		s.say("loss %v", s.Loss)
	case k < 19:
		s.Dup, s.Jitter = s.r.Float64()/4, time.Duration(s.r.IntN(50))*time.Millisecond
		s.say("dup %.2f jitter %v", s.Dup, s.Jitter)
	default:
		s.Delay = time.Duration(1+s.r.IntN(100)) * time.Millisecond
		s.say("delay %v", s.Delay)
	}
}

// pause is mostly short: events shall meet what is under way.
func (s *soak) pause() time.Duration {
	longest := []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}[s.r.IntN(5)]
	return 1 + time.Duration(s.r.Int64N(int64(longest)))
}

// rest ends all trouble and waits until nothing is under way.
func (s *soak) rest(t *testing.T) {
	s.Loss, s.Dup, s.Jitter = 0, 0, 0
	for _, h := range s.Hosts {
		if h.Node == nil {
			h.Start()
		}
		if away, home := h.place(); !away && !home && !h.fixed {
			s.Attach(h, wlan, s.Links[s.r.IntN(len(s.Links))])
		}
	}
	s.say("rest")
	var err error
	for range 100 {
		s.Run(7 * time.Second)
		if err = s.Check(); err == nil {
			return
		}
	}
	t.Fatalf("seed %d is not at rest at %v:\n%v\nafter:\n%s\ncounts %+v", s.seed, s.Now.Sub(start), err,
		strings.Join(s.done, "\n"), s.Count)
}

// TestSoak: whatever happens to moving nodes, once it ceases to happen everything fits
// together: see Check.
func TestSoak(t *testing.T) {
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := soakWorld(t, seed)
			for range 2 {
				for range 10 + s.r.IntN(20) {
					s.event()
					s.Run(s.pause())
				}
				s.rest(t)
			}
			s.stopAll(t)
		})
	}
}

func soakWorld(t *testing.T, seed uint64) *soak {
	r := rand.New(rand.NewPCG(seed, 6275))
	s := &soak{World: New(soakOptions(seed, r)), r: r}
	s.Log = trace(t)
	s.Start()
	return s
}

// stopAll ends every program in a random order: nothing may be left.
func (s *soak) stopAll(t *testing.T) {
	for _, n := range s.r.Perm(len(s.Hosts)) {
		s.Hosts[n].Stop()
		s.Run(s.pause())
	}
	s.Run(larvalTime + 5*time.Second)
	if f := s.Faults(); len(f) > 0 { // the world stands still
		t.Fatalf("seed %d: %s\nafter:\n%s", s.seed, f, strings.Join(s.done, "\n"))
	}
	for _, h := range s.Hosts {
		if db := h.db(); !h.Stopped || len(db.SAs)+len(db.Policies) != 0 || h.leftOvers() != "" {
			t.Errorf("seed %d: %s stopped %v, has left %+v %s\nafter:\n%s", s.seed, h.Name, h.Stopped, *db, h.leftOvers(),
				strings.Join(s.done, "\n"))
		}
	}
}

// TestSameSeedSameRun: a run can be repeated, event by event.
func TestSameSeedSameRun(t *testing.T) {
	run := func() (log []string) {
		s := soakWorld(t, 3)
		s.Log = func(line string) { log = append(log, line) }
		for range 15 {
			s.event()
			s.Run(s.pause())
		}
		return log
	}
	a, b := run(), run()
	if len(a) < 50 || !slices.Equal(a, b) {
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d differs:\n%s\n%s", i, a[i], b[i])
			}
		}
		t.Fatalf("%d and %d lines", len(a), len(b))
	}
}
