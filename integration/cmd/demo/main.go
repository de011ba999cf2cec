// Command demo plays the main job of mip6 on this machine and checks it.
//
//	demo [-kernel auto|host|uml|6.1|6.12] [-quick] [-steps LIST] [-dad off|on|optimistic] [-out DIR]
//
// It needs root. Where the host's kernel lacks Mobile IPv6 or ESP it plays inside
// user-mode Linux. Exit status: 0 every check passed, 1 a check failed, 2 the demo
// could not be played.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/integration/story"
	"github.com/mip6/mip6/integration/vm"
)

// flags are the command line's.
type flags struct {
	kernel, steps, dad, out, bin string
	quick, inside, slow          bool
	timeout                      time.Duration
}

func main() {
	var f flags
	flag.StringVar(&f.kernel, "kernel", story.Auto, "where to play: auto, host, uml, 6.1 or 6.12")
	flag.StringVar(&f.steps, "steps", "", "steps, separated by commas: "+strings.Join(story.StepNames(), ","))
	flag.BoolVar(&f.quick, "quick", false, "play "+strings.Join(story.Quick, ", ")+" only")
	flag.StringVar(&f.dad, "dad", string(lab.DADOff), "duplicate address detection of the node's kernel: off, on or optimistic")
	flag.StringVar(&f.out, "out", "out/demo", "folder for captures, logs and report.json; emptied first")
	flag.StringVar(&f.bin, "bin", "", "folder with mip6d and mip6ctl (default: that of this program)")
	flag.DurationVar(&f.timeout, "timeout", 15*time.Minute, "give up after this time")
	flag.BoolVar(&f.inside, "inside", false, "play right here (what demo runs inside the kernel it boots)")
	flag.BoolVar(&f.slow, "slow", false, "less traffic (what demo asks for under qemu)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := run(ctx, f)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	os.Exit(status)
}

const (
	statusFailed  = 1
	statusNotDone = 2
)

func run(ctx context.Context, f flags) (int, error) {
	if flag.NArg() > 0 {
		return statusNotDone, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if os.Geteuid() != 0 {
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
		return play(ctx, f)
	}
	for _, name := range []string{"mip6d", "mip6ctl"} {
		if _, err := os.Stat(filepath.Join(f.bin, name)); err != nil {
			return statusNotDone, fmt.Errorf("%s is not in %s: run make build first", name, f.bin)
		}
	}
	if err := story.Empty(f.out); err != nil {
		return statusNotDone, err
	}
	status, err := boot(ctx, f)
	if err != nil {
		return statusNotDone, err
	}
	report, err := story.Finish(ctx, f.out, os.Stdout)
	if err != nil {
		return statusNotDone, err
	}
	if _, failed := report.Passed(); failed > 0 && status == 0 {
		status = statusFailed
	}
	return status, nil
}

// play plays the story in the kernel that runs this.
func play(ctx context.Context, f flags) (int, error) {
	o := story.Options{Dir: f.out, Bin: f.bin, DAD: lab.DAD(f.dad), Slow: f.slow, Out: os.Stdout}
	switch {
	case f.steps != "":
		o.Steps = strings.Split(f.steps, ",")
	case f.quick:
		o.Steps = story.Quick
	}
	rec, err := story.Run(ctx, o)
	if err != nil {
		return statusNotDone, err
	}
	if _, failed := rec.Report.Passed(); failed > 0 {
		return statusFailed, nil
	}
	return 0, nil
}

// boot plays the story in the kernel that was asked for, or that will do.
func boot(ctx context.Context, f flags) (int, error) {
	if f.kernel == vm.Qemu && f.steps == "" && !f.quick {
		f.steps = strings.Join(story.Modern, ",")
		fmt.Println("This kernel runs under qemu without hardware support, slowly: fewer steps.")
	}
	args := []string{"-inside", "-out", f.out, "-bin", f.bin, "-dad", f.dad}
	if f.steps != "" {
		args = append(args, "-steps", f.steps)
	}
	if f.quick {
		args = append(args, "-quick")
	}
	if f.slow || f.kernel == vm.Qemu || f.kernel == vm.Qemu61 {
		args = append(args, "-slow")
	}
	return story.Boot{Kernel: f.kernel, Args: args, Out: f.out, Timeout: f.timeout,
		Here: func(ctx context.Context) (int, error) { return play(ctx, f) }}.Run(ctx)
}
