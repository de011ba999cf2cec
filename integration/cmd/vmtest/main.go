// Command vmtest runs the tests of packages inside a real Linux kernel.
//
//	vmtest [-kernel uml|6.12|6.1|host] [-run REGEXP] [-json] [-timeout 5m] PACKAGE...
//
// Every package's test binary is built here, then run as root in a guest of its
// own with MIP6_KERNEL=1, in the package's folder. Tests that need a kernel with
// MIP6 skip where that variable is not set. The project's programs are built here
// too, and their folder is in MIP6_BIN. A package whose tests wait long has a line
// "//vmtest:timeout 15m" in a test file, and its guest has at least that time; with
// "//vmtest:speed N" all clocks of its guest run N times as fast in user-mode Linux. Output is that of go test -v, or with -json that of go test -json. Status 1: a test failed; 2: a package does
// not build or its guest did not run it to the end.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mip6/mip6/integration/vm"
)

// flags are the command line's.
type flags struct {
	kernel, run, mem string
	json, short      bool
	timeout          time.Duration
}

func main() {
	var f flags
	flag.StringVar(&f.kernel, "kernel", vm.UML, "kernel: uml, 6.12, 6.1 or host")
	flag.StringVar(&f.run, "run", "", "only tests that match this regular expression")
	flag.StringVar(&f.mem, "mem", "", "memory of the guest (default 768M)")
	flag.BoolVar(&f.json, "json", false, "write test2json lines, as go test -json does")
	flag.BoolVar(&f.short, "short", false, "tell the tests to be short")
	flag.DurationVar(&f.timeout, "timeout", 5*time.Minute, "kill a guest after this time")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "vmtest: no packages; usage: vmtest [flags] PACKAGE...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := run(ctx, f, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		status = max(status, 2)
	}
	os.Exit(status)
}

// run tests all packages and gives the exit status.
func run(ctx context.Context, f flags, patterns []string) (int, error) {
	root, err := output("go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return 2, err
	}
	listed, err := output("go", append([]string{"list", "-f", "{{.ImportPath}} {{.Dir}} {{len .TestGoFiles}}{{len .XTestGoFiles}}"}, patterns...)...)
	if err != nil {
		return 2, err
	}
	bin, err := programs(ctx, root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest: tests that run the programs will fail:", err)
	}
	if bin != "" {
		defer os.RemoveAll(bin)
	}
	status := 0
	var summary []string
	for _, line := range strings.Split(listed, "\n") {
		var pkg, dir, files string
		if n, _ := fmt.Sscan(line, &pkg, &dir, &files); n != 3 || files == "00" {
			continue
		}
		start := time.Now()
		exit, err := testPackage(ctx, f, root, pkg, dir)
		verdict := "ok  "
		switch {
		case err != nil:
			verdict, status = "FAIL", 2
			fmt.Fprintf(os.Stderr, "vmtest: %s: %v\n", pkg, err)
		case exit != 0:
			verdict, status = "FAIL", max(status, 1)
		}
		summary = append(summary, fmt.Sprintf("vmtest: %s %s on %s (%.1f s)", verdict, pkg, f.kernel, time.Since(start).Seconds()))
		if ctx.Err() != nil {
			return 2, ctx.Err()
		}
	}
	fmt.Fprintln(os.Stderr, strings.Join(summary, "\n"))
	return status, nil
}

// envBin names the folder of the programs, for tests that run them.
const envBin = "MIP6_BIN"

// programs builds the project's programs as they are now, in a folder for this run
// alone, and gives its path. Where that fails the folder is empty: no test must run
// yesterday's.
func programs(ctx context.Context, root string) (string, error) {
	if os.Getenv(envBin) != "" {
		return "", nil
	}
	cache := filepath.Join(root, ".cache", "vmtest")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "bin-")
	if err != nil {
		return "", err
	}
	os.Setenv(envBin, dir)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir+string(filepath.Separator), "./cmd/...")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return dir, fmt.Errorf("the programs do not build: %w", err)
	}
	return dir, nil
}

// testPackage builds one package's tests and runs them in a guest.
func testPackage(ctx context.Context, f flags, root, pkg, dir string) (int, error) {
	out := filepath.Join(root, ".cache", "vmtest")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return 2, err
	}
	rel, _ := filepath.Rel(root, dir)
	bin := filepath.Join(out, strings.ReplaceAll(rel, string(filepath.Separator), "_")+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", bin, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return 2, fmt.Errorf("the tests do not build: %w", err)
	}
	verbose := "-test.v"
	if f.json {
		verbose = "-test.v=test2json"
	}
	speed, timeout, err := wishes(dir)
	if err != nil {
		return 2, err
	}
	if f.kernel != vm.UML {
		speed = 1
	}
	timeout = max(timeout, f.timeout)
	limit := time.Duration(speed) * (timeout - timeout/10)
	o := vm.Options{
		Kernel: f.kernel, Mem: f.mem, Dir: dir, Shares: []string{root}, Timeout: timeout,
		Command: []string{bin, verbose, "-test.paniconexit0", "-test.timeout=" + limit.String()},
		Speed:   speed, Env: passedOn(), Stdout: os.Stdout, Stderr: os.Stderr, Log: os.Stderr,
	}
	if f.run != "" {
		o.Command = append(o.Command, "-test.run="+f.run)
	}
	if f.short {
		o.Command = append(o.Command, "-test.short")
	}
	if !f.json {
		return vm.Run(ctx, o)
	}
	return runJSON(ctx, o, pkg)
}

// wish is how a package asks for faster clocks, or more time.
var wish = regexp.MustCompile(`(?m)^//vmtest:(speed|timeout) ([0-9]+m?)$`)

// wishes are what the tests of a folder ask for: how fast the clocks shall run, and
// how long the guest may.
func wishes(dir string) (speed int, timeout time.Duration, err error) {
	speed = 1
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return speed, 0, err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return speed, 0, err
		}
		for _, m := range wish.FindAllSubmatch(b, -1) {
			if string(m[1]) == "speed" {
				speed, err = strconv.Atoi(string(m[2]))
			} else {
				timeout, err = time.ParseDuration(string(m[2]))
			}
			if err != nil {
				return 1, 0, fmt.Errorf("%s: %s: %w", name, m[0], err)
			}
		}
	}
	return speed, timeout, nil
}

// runJSON runs the guest with its output converted to the lines of go test -json.
func runJSON(ctx context.Context, o vm.Options, pkg string) (int, error) {
	conv := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", pkg)
	conv.Stdout, conv.Stderr = os.Stdout, os.Stderr
	in, err := conv.StdinPipe()
	if err != nil {
		return 2, err
	}
	if err := conv.Start(); err != nil {
		return 2, err
	}
	o.Stdout = in
	o.Stderr = io.MultiWriter(in, os.Stderr)
	exit, err := vm.Run(ctx, o)
	if err != nil {
		// The converter turns this into the package's failure.
		fmt.Fprintf(in, "vmtest: %v\nFAIL\n", err)
	}
	in.Close()
	if cerr := conv.Wait(); err == nil {
		err = cerr
	}
	return exit, err
}

// passedOn are the variables of this project, which tests read.
func passedOn() []string {
	var env []string
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "MIP6_") && !strings.HasPrefix(e, vm.EnvKernel+"=") {
			env = append(env, e)
		}
	}
	return env
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(b)), nil
}
