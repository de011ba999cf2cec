package daemon

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPrivilegesAreDropped runs itself again, because what is given up cannot be
// had back, and looks at every thread of the process as the kernel shows it.
func TestPrivilegesAreDropped(t *testing.T) {
	if os.Getenv("MIP6_TEST_DROP") == "" {
		if os.Getuid() != 0 {
			t.Skip("only root has something to give up")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestPrivilegesAreDropped$", "-test.v")
		cmd.Env = append(os.Environ(), "MIP6_TEST_DROP=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := dropPrivileges(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this test binary is built with cgo, where privileges cannot be dropped in all threads")
	} else if err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			t.Fatal(err)
		}
		// CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13.
		if !strings.Contains(string(b), "CapEff:\t0000000000003000\n") || !strings.Contains(string(b), "NoNewPrivs:\t1\n") {
			t.Errorf("thread %s:\n%s", task.Name(), b)
		}
	}
}
