package conformance

import (
	"context"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mip6/mip6/integration/vm"
	"github.com/mip6/mip6/internal/vectors"
)

// The longest cases wait for seven minutes: see vmtest.
//
//vmtest:speed 4
//vmtest:timeout 15m

const (
	// atOnce is how many cases run at the same time beside those that only wait, and
	// starting how many daemons begin at the same time: in user-mode Linux all of them
	// share one processor.
	atOnce, starting = 8, 3
	// startLimit is how long all before a case may take.
	startLimit = 4 * time.Minute
)

// TestMain lets all cases be under way at the same time, whatever the number of
// processors: almost all their time is waiting.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "200"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestCN runs the correspondent's cases against mip6d, in a kernel with MIP6.
func TestCN(t *testing.T) {
	if os.Getenv(vm.EnvKernel) == "" {
		t.Skip("needs a kernel with MIP6: go run ./integration/cmd/vmtest ./integration/conformance")
	}
	mip6d := program(t)
	slots, starts := make(chan struct{}, atOnce), make(chan struct{}, starting)
	var first sync.WaitGroup // the cases that wait long and have yet to begin
	for _, c := range byWait(all(cnCases, cnRules)) {
		t.Run(c.ID, func(t *testing.T) {
			if end, ok := t.Deadline(); ok && time.Until(end) < c.Wait+startLimit/4 {
				t.Skipf("waits for %v, which is longer than the tests may take here (vmtest -timeout)", c.Wait)
			}
			long := c.Wait > atLength
			if long {
				first.Add(1)
			}
			t.Parallel()
			if !long {
				first.Wait()
				slots <- struct{}{}
				defer func() { <-slots }()
			}
			starts <- struct{}{}
			h, err := startCN(t, mip6d, c.ID)
			<-starts
			if long {
				first.Done()
			}
			if err != nil {
				t.Fatal(err)
			}
			// Before the Tester's own end, so that it comes after it.
			t.Cleanup(func() {
				if err := h.Close(); err != nil {
					t.Errorf("%v\n%s", err, h.Log())
				}
			})
			c.Run(t, NewTester(t, h))
		})
	}
}

// startCN starts a correspondent for one case.
func startCN(t *testing.T, mip6d, id string) (*Host, error) {
	o := HostOptions{Mip6d: mip6d, Config: "[cn]\n", Dir: t.TempDir(), Prefixes: []netip.Prefix{link0}}
	if id == "CN-2-4-2" {
		o.Prefixes = append(o.Prefixes, link0b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	return NewHost(ctx, o)
}

// program is mip6d, from the folder that MIP6_BIN names or the module's bin.
func program(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("MIP6_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin")
	}
	path, err := filepath.Abs(filepath.Join(dir, "mip6d"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v (make build makes it)", err)
	}
	return path
}

// byWait puts the cases that wait longest first.
func byWait(cases []Case) []Case {
	cases = slices.Clone(cases)
	slices.SortStableFunc(cases, func(a, b Case) int { return int(b.Wait - a.Wait) })
	return cases
}

// TestCNComplete sees that every case of the suite is here, and none twice.
func TestCNComplete(t *testing.T) { complete(t, "tahi/ct-mipv6-cn.json", cnCases) }

func complete(t *testing.T, file string, cases []Case) {
	var suite struct {
		Tests []struct{ ID string }
	}
	if err := json.Unmarshal(vectors.Read(t, file), &suite); err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, c := range cases {
		have[c.ID]++
	}
	for _, c := range suite.Tests {
		if have[c.ID] != 1 {
			t.Errorf("%s is here %d times", c.ID, have[c.ID])
		}
		delete(have, c.ID)
	}
	for id := range have {
		t.Errorf("%s is in no suite", id)
	}
	if len(suite.Tests) == 0 {
		t.Error("the suite is empty")
	}
}
