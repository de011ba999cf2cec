// Command bench measures mip6 on a real kernel.
//
//	bench [-kernel auto|host|uml|6.1|6.12] [-moves 10] [-parts LIST] [-out DIR]
//
// It needs root. It prints a table and writes results.json, name to number;
// docs/performance.md defines each name. Exit status: 0 all was measured, 2 not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mip6/mip6/integration/story"
)

// flags are the command line's.
type flags struct {
	kernel, out, bin string
	parts            string
	moves            int
	inside           bool
	timeout          time.Duration
}

const statusNotDone = 2

func main() {
	var f flags
	flag.StringVar(&f.kernel, "kernel", story.Auto, "where to measure: auto, host, uml, 6.1 or 6.12")
	flag.IntVar(&f.moves, "moves", 10, "moves between the foreign links, for each way of duplicate address detection")
	flag.StringVar(&f.parts, "parts", "", "parts, separated by commas: "+strings.Join(story.BenchParts, ",")+" (default: all)")
	flag.StringVar(&f.out, "out", "out/bench", "folder for results.json, captures and logs")
	flag.StringVar(&f.bin, "bin", "", "folder with mip6d and mip6ctl (default: that of this program)")
	flag.DurationVar(&f.timeout, "timeout", 15*time.Minute, "give up after this time")
	flag.BoolVar(&f.inside, "inside", false, "measure right here (what bench runs inside the kernel it boots)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := run(ctx, f)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(status)
}

func run(ctx context.Context, f flags) (int, error) {
	switch {
	case flag.NArg() > 0:
		return statusNotDone, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case f.moves < 1:
		return statusNotDone, errors.New("-moves must be at least 1")
	case os.Geteuid() != 0:
		return statusNotDone, errors.New("needs root, for network namespaces and IPsec: run it by sudo")
	}
	self, err := os.Executable()
	if err != nil {
		return statusNotDone, err
	}
	if f.bin == "" {
		f.bin = filepath.Dir(self)
	}
	for _, dir := range []*string{&f.bin, &f.out} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return statusNotDone, err
		}
	}
	if f.inside {
		return measure(ctx, f)
	}
	if _, err := os.Stat(filepath.Join(f.bin, "mip6d")); err != nil {
		return statusNotDone, fmt.Errorf("mip6d is not in %s: run make build first", f.bin)
	}
	if err := story.Empty(f.out); err != nil {
		return statusNotDone, err
	}
	status, err := story.Boot{
		Kernel: f.kernel, Out: f.out, Timeout: f.timeout,
		Args: []string{"-inside", "-out", f.out, "-bin", f.bin, "-moves", strconv.Itoa(f.moves), "-parts", f.parts},
		Here: func(ctx context.Context) (int, error) { return measure(ctx, f) },
	}.Run(ctx)
	if err != nil {
		return statusNotDone, err
	}
	return status, nil
}

// measure measures in the kernel that runs this. What was measured before a fault
// is written all the same.
func measure(ctx context.Context, f flags) (int, error) {
	var parts []string
	if f.parts != "" {
		parts = strings.Split(f.parts, ",")
	}
	all, err := story.Bench(ctx, story.Options{Dir: f.out, Bin: f.bin, Out: os.Stdout}, f.moves, parts...)
	file := filepath.Join(f.out, "results.json")
	if werr := story.WriteResults(file, all); werr != nil {
		return statusNotDone, errors.Join(err, werr)
	}
	if err != nil {
		return statusNotDone, err
	}
	story.Table(os.Stdout, all)
	fmt.Printf("\nwritten to %s; docs/performance.md says what each name means\n", file)
	return 0, nil
}
