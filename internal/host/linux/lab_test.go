package linux

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// patience is what the kernel may take for anything that a test waits for.
const patience = 10 * time.Second

// space is a network namespace of a test.
type space struct {
	t *testing.T
	f *os.File
}

// needRoot skips where namespaces cannot be made.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip command of iproute2")
	}
}

// thread runs f on a thread of its own, which ends with it.
func thread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

func newNetNS(t *testing.T) *space {
	t.Helper()
	needRoot(t)
	n := &space{t: t}
	var err error
	thread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.f, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	if err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { n.f.Close() })
	n.ip("link set lo up")
	return n
}

// in runs f on a thread in the namespace.
func (n *space) in(f func()) {
	n.t.Helper()
	var err error
	thread(func() {
		if err = unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err == nil {
			f()
		}
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// run runs a command in the namespace and gives its output.
func (n *space) run(line string) (out string, err error) {
	n.in(func() {
		w := strings.Fields(line)
		var b []byte
		b, err = exec.Command(w[0], w[1:]...).CombinedOutput()
		out = string(b)
	})
	return out, err
}

// ip runs ip -6 in the namespace.
func (n *space) ip(args string) string {
	n.t.Helper()
	out, err := n.run("ip -6 " + args)
	if err != nil {
		n.t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
	return out
}

// sysctl reads a value in the namespace.
func (n *space) sysctl(key string) string {
	n.t.Helper()
	var b []byte
	var err error
	n.in(func() { b, err = os.ReadFile("/proc/sys/" + key) })
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (n *space) setSysctl(key, value string) {
	n.t.Helper()
	var err error
	n.in(func() { err = os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
	if err != nil {
		n.t.Fatal(err)
	}
}

// pair makes two namespaces with a veth between them, va in the first and vb
// in the second, both down.
func pair(t *testing.T) (a, b *space) {
	t.Helper()
	a, b = newNetNS(t), newNetNS(t)
	a.ip(fmt.Sprintf("link add va type veth peer name vb netns /proc/%d/fd/%d", os.Getpid(), b.f.Fd()))
	return a, b
}

// up sets the veth up with no duplicate address detection, so that link-local
// addresses are usable at once.
func up(t *testing.T, a, b *space) {
	t.Helper()
	for dev, n := range map[string]*space{"va": a, "vb": b} {
		for _, conf := range []string{"all", dev} {
			n.setSysctl("net/ipv6/conf/"+conf+"/accept_dad", "0")
		}
	}
	a.ip("link set va up")
	b.ip("link set vb up")
}

// open opens a Host in the namespace.
func (n *space) open(o Options) *Host {
	n.t.Helper()
	var h *Host
	var err error
	n.in(func() { h, err = Open(o) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { h.Close() })
	return h
}

// index is the interface index of a link in the namespace.
func (n *space) index(name string) int {
	n.t.Helper()
	var i int
	n.in(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		if r, err := unix.NewIfreq(name); err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r) == nil {
			i = int(r.Uint32())
		}
	})
	if i == 0 {
		n.t.Fatalf("no link %s", name)
	}
	return i
}

// must applies operations that have to succeed.
func must(t *testing.T, h *Host, ops ...host.Op) {
	t.Helper()
	for i, err := range h.Apply(context.Background(), ops) {
		if err != nil {
			t.Fatalf("%#v: %v", ops[i], err)
		}
	}
}

// log collects the events of a Watch.
type log struct {
	t      *testing.T
	mu     sync.Mutex
	events []host.Event
	at     int // the next event that wait looks at
	more   chan struct{}
}

// watch starts a Watch, which ends with the test.
func watch(t *testing.T, h *Host) *log {
	t.Helper()
	l := &log{t: t, more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Watch(ctx, l.add) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Watch: %v", err)
			}
		case <-time.After(patience):
			t.Error("Watch did not end with its context")
		}
	})
	return l
}

func (l *log) add(e host.Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// wait gives the next event for which ok holds; earlier ones are passed over.
func wait[E host.Event](l *log, what string, ok func(E) bool) E {
	l.t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		for l.at < len(l.events) {
			e, is := l.events[l.at].(E)
			l.at++
			if is && ok(e) {
				l.mu.Unlock()
				return e
			}
		}
		l.mu.Unlock()
		select {
		case <-l.more:
		case <-timeout:
			l.mu.Lock()
			defer l.mu.Unlock()
			l.t.Fatalf("no event: %s; seen: %+v", what, l.events)
		}
	}
}

// dropCaps drops all capabilities of the calling thread, which is to end.
func dropCaps() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&hdr, &make([]unix.CapUserData, 2)[0])
}

func deadline() time.Time { return time.Now().Add(patience) }
