package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// needUML skips a test that boots user-mode Linux where that cannot be.
func needUML(t *testing.T) {
	t.Helper()
	if os.Getenv(EnvKernel) != "" {
		t.Skip("this is a guest already")
	}
	if testing.Short() {
		t.Skip("boots a kernel; not with -short")
	}
	if _, err := exec.LookPath("linux.uml"); err != nil {
		t.Skip("user-mode-linux is not installed")
	}
}

// TestGuest boots user-mode Linux once and checks all that Run promises of it.
func TestGuest(t *testing.T) {
	needUML(t)
	dir := t.TempDir()
	var out, errs, log bytes.Buffer
	script := `echo out; echo err >&2; uname -r; pwd; echo written > file; touch /etc/mip6-must-not-be 2>/dev/null && echo wrote /etc
grep -c . /sys/module/mip6/refcnt; printf 'a\r\n'; echo "$MIP6_KERNEL $X"; exit 7`
	exit, err := Run(context.Background(), Options{
		Dir: dir, Command: []string{"sh", "-c", script}, Env: []string{"X=it's"},
		Stdout: &out, Stderr: &errs, Log: &log, Timeout: time.Minute,
	})
	if err != nil || exit != 7 {
		t.Fatalf("exit %d, error %v\n%s", exit, err, log.String())
	}
	want := []string{"out", "6.1.", dir, "1", "a\r", "1 it's"}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("output %q, want the lines %q", out.String(), want)
	}
	for i := range want {
		if lines[i] != want[i] && !(i == 1 && strings.HasPrefix(lines[i], want[i])) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want[i])
		}
	}
	if errs.String() != "err\n" {
		t.Errorf("standard error %q", errs.String())
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "written\n" {
		t.Errorf("the file written in the guest: %q, %v", b, err)
	}
}

// TestSpeed: all clocks of a guest run faster, the kernel's and its timers' alike.
func TestSpeed(t *testing.T) {
	needUML(t)
	var out bytes.Buffer
	script := `a=$(date +%s); read u x </proc/uptime; sleep 40; b=$(date +%s); read v x </proc/uptime; echo $((b-a)) $((${v%.*}-${u%.*}))`
	start := time.Now()
	exit, err := Run(context.Background(), Options{Dir: t.TempDir(), Command: []string{"sh", "-c", script}, Stdout: &out, Speed: 10, Timeout: time.Minute})
	took := time.Since(start)
	if err != nil || exit != 0 {
		t.Fatalf("exit %d, error %v", exit, err)
	}
	var wall, up int
	if n, _ := fmt.Sscan(out.String(), &wall, &up); n != 2 || wall < 40 || up < 39 {
		t.Errorf("the guest saw %q, want 40 s on both clocks", out.String())
	}
	if took >= 40*time.Second {
		t.Errorf("40 s of the guest took %v", took)
	}
	if _, err := Run(context.Background(), Options{Kernel: Host, Speed: 2, Command: []string{"true"}}); !errors.Is(err, ErrKernel) {
		t.Errorf("another speed on the host: %v", err)
	}
}

func TestHangIsKilled(t *testing.T) {
	needUML(t)
	start := time.Now()
	_, err := Run(context.Background(), Options{Dir: t.TempDir(), Command: []string{"sleep", "600"}, Timeout: 4 * time.Second})
	if !errors.Is(err, ErrTimeout) {
		t.Fatalf("error %v, want ErrTimeout", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestMistakes(t *testing.T) {
	if _, err := Run(context.Background(), Options{Kernel: "2.4", Command: []string{"true"}}); !errors.Is(err, ErrKernel) {
		t.Errorf("unknown kernel: %v", err)
	}
	if _, err := Run(context.Background(), Options{}); err == nil {
		t.Error("no command: no error")
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Run(context.Background(), Options{Command: []string{"true"}}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("no linux.uml: %v", err)
	}
}

func TestHost(t *testing.T) {
	var out bytes.Buffer
	exit, err := Run(context.Background(), Options{Kernel: Host, Command: []string{"sh", "-c", "echo hi; exit 3"}, Stdout: &out})
	if err != nil || exit != 3 || out.String() != "hi\n" {
		t.Errorf("exit %d, error %v, output %q", exit, err, out.String())
	}
}
