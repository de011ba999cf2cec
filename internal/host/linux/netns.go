package linux

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNetNS names the network namespace of the calling thread.
const threadNetNS = "/proc/thread-self/ns/net"

// namespace is a network namespace. Sockets stay in the one that they were made
// in, but /proc/sys and new sockets follow the calling thread.
type namespace struct {
	f        *os.File
	dev, ino uint64
}

func currentNamespace() (*namespace, error) {
	f, err := os.Open(threadNetNS)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	return &namespace{f: f, dev: uint64(st.Dev), ino: st.Ino}, nil
}

func (n *namespace) close() { n.f.Close() }

// do runs f on a thread that is in the namespace. In a program that has one
// namespace that is the calling thread.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	var st unix.Stat_t
	err := unix.Stat(threadNetNS, &st)
	if err == nil && uint64(st.Dev) == n.dev && st.Ino == n.ino {
		defer runtime.UnlockOSThread()
		return f()
	}
	runtime.UnlockOSThread()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, as its namespace is not the program's.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- place("enter the network namespace", err)
			return
		}
		done <- f()
	}()
	return <-done
}
