package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of a test's own.
type netns struct {
	namespace
	t testing.TB
}

// newNetns makes a network namespace, or skips the test where we may not.
func newNetns(t testing.TB) *netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := currentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer before.close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	here, err := currentNamespace()
	if e := before.Enter(); e != nil {
		t.Fatal(e) // the thread stays locked to a strange namespace: the test must end
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(here.close)
	ns := &netns{namespace: here, t: t}
	ns.ip("link set lo up")
	return ns
}

// open opens a backend in the namespace.
func (ns *netns) backend(o Options) (b *Backend, err error) {
	if e := ns.do(func() { b, err = Open(o) }); e != nil {
		return nil, e
	}
	if err == nil {
		ns.t.Cleanup(func() { b.Close() })
	}
	return b, err
}

func (ns *netns) mustBackend(o Options) *Backend {
	ns.t.Helper()
	b, err := ns.backend(o)
	if err != nil {
		ns.t.Fatal(err)
	}
	return b
}

// run runs a program in the namespace and gives its output.
func (ns *netns) run(name string, args ...string) (string, error) {
	var out []byte
	var err error
	e := ns.do(func() {
		// A child inherits the namespace of the thread that forks it: this one.
		out, err = exec.Command(name, args...).CombinedOutput()
	})
	if e != nil {
		return "", e
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// ip runs ip(8); the test ends where it fails.
func (ns *netns) ip(command string) string {
	ns.t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		ns.t.Skip("needs ip(8) (apt-get install iproute2)")
	}
	out, err := ns.run("ip", strings.Fields(command)...)
	if err != nil {
		ns.t.Fatal(err)
	}
	return out
}
