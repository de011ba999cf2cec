// Command testreport runs the project's tests, stage after stage, and ends with
// their number:
//
//	testreport unit|test|check
//
// unit: go test of every package. test: also the packages with tests for a real
// kernel, in user-mode Linux, and the quick story. check: the same on kernel 6.12, many
// seeds of the simulator, and the whole story. A line a package tells the progress, failures are shown in
// full, skipped tests with their reason. The last line is "N passed, N failed, N
// skipped", alone; a test that one stage skips and another runs counts as run.
// The exit status is 0 only if nothing failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stage is one command and how its outcome is told.
type stage struct {
	name    string
	argv    []string
	env     []string
	timeout time.Duration
	report  string // a story's report.json; empty: the command speaks test2json
	needs   string // a program without which it is skipped; empty: none
}

func main() {
	mode := "test"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stages, err := stagesOf(mode)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	r := newReport(os.Stdout)
	start := time.Now()
	for _, s := range stages {
		run(ctx, r, s)
	}
	fmt.Printf("all stages in %v\n", time.Since(start).Round(time.Second))
	if r.summary() > 0 {
		os.Exit(1)
	}
}

// stagesOf are the stages of a mode.
func stagesOf(mode string) ([]stage, error) {
	stages := []stage{{name: "unit tests", argv: []string{"go", "test", "-json", "./..."}, timeout: 10 * time.Minute}}
	if mode == "unit" {
		return stages, nil
	}
	if mode != "test" && mode != "check" {
		return nil, fmt.Errorf("unknown mode %q (unit, test or check)", mode)
	}
	kernel, err := kernelPackages()
	if err != nil {
		return nil, err
	}
	onKernel := func(name string, timeout time.Duration) stage {
		var env []string
		if mode == "test" { // the rest takes minutes
			env = []string{"MIP6_INTEROP=quick"}
		}
		return stage{
			name: "tests on kernel " + name, timeout: timeout, env: env,
			argv: append([]string{"go", "run", "./integration/cmd/vmtest", "-json", "-kernel", name}, kernel...),
		}
	}
	stages = append(stages, onKernel("uml", 15*time.Minute), story("quick story", "out/test", "-quick"))
	if mode == "test" {
		main := story("main path on kernel 6.12", "out/test-6.12", "-kernel", "6.12", "-steps", "register,optimise")
		main.needs = "qemu-system-x86_64" // tools/install-deps --all
		stages = append(stages, main)
	}
	if mode == "check" {
		soak := stage{name: "simulator, many seeds", timeout: 20 * time.Minute, env: []string{"MIP6_SIM_SEEDS=2000"},
			argv: []string{"go", "test", "-json", "-count=1", "-timeout", "20m", "-run", "Soak", "./integration/sim"}}
		stages = append(stages, soak, onKernel("6.12", time.Hour), story("story", "out/check"),
			story("story on kernel 6.12", "out/check-6.12", "-kernel", "6.12"))
	}
	return stages, nil
}

// story is a run of the demo.
func story(name, out string, flags ...string) stage {
	return stage{
		name: name, timeout: 20 * time.Minute, report: filepath.Join(out, "report.json"),
		argv: append([]string{"bin/mip6-demo", "-out", out}, flags...), // with the programs beside it
	}
}

// kernelMarks are what a test file says that has tests for a real kernel: it reads
// the variable, or names vmtest in the reason of a skip.
var kernelMarks = []string{"MIP6_" + "KERNEL", "vm.EnvKernel", "integration/cmd/" + "vmtest"}

// kernelPackages are the packages whose tests ask for a real kernel.
func kernelPackages() ([]string, error) {
	seen := map[string]bool{}
	var dirs []string
	err := filepath.WalkDir(".", func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || path == "out") {
			return filepath.SkipDir
		}
		dir := "./" + filepath.Dir(path)
		if !strings.HasSuffix(path, "_test.go") || seen[dir] {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, mark := range kernelMarks {
			if strings.Contains(string(b), mark) && !seen[dir] {
				seen[dir] = true
				dirs = append(dirs, dir)
			}
		}
		return err
	})
	return dirs, err
}

// run runs one stage and adds its outcome to the report.
func run(ctx context.Context, r *report, s stage) {
	start := time.Now()
	if s.needs != "" {
		if _, err := exec.LookPath(s.needs); err != nil {
			r.result(s.name, "", skip, s.needs+" is not installed (tools/install-deps --all)")
			return
		}
	}
	fmt.Printf("== %s: %s\n", s.name, strings.Join(s.argv, " "))
	if s.report != "" {
		os.Remove(s.report) // an old one must not speak for this run
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.argv[0], s.argv[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	// A group of its own, so that nothing of a stage outlives its time.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stderr = os.Stderr
	if s.report != "" {
		cmd.Stdout = os.Stdout
	} else {
		cmd.Stdout = r.test2json()
	}
	failed := r.failures()
	err := cmd.Run()
	if s.report != "" {
		if rerr := r.addStory(s.name, s.report); rerr != nil {
			r.result(s.name, "", fail, rerr.Error())
		}
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("stopped after %v", s.timeout)
	}
	// A command that fails without a failed test: it did not get so far.
	if err != nil && r.failures() == failed {
		r.result(s.name, "", fail, err.Error())
	}
	fmt.Printf("== %s: %v\n", s.name, time.Since(start).Round(time.Second))
}

// addStory reads the checks of a story's report.
func (r *report) addStory(name, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the story left no report: %w", err)
	}
	var story struct {
		Checks []struct {
			Name   string `json:"name"`
			Pass   bool   `json:"pass"`
			Detail string `json:"detail"`
		} `json:"checks"`
	}
	if err := json.Unmarshal(b, &story); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(story.Checks) == 0 {
		return fmt.Errorf("%s has no checks", file)
	}
	for _, c := range story.Checks {
		state := pass
		if !c.Pass {
			state = fail
		}
		r.result(name, c.Name, state, c.Detail)
	}
	return nil
}
