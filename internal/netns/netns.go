// Package netns runs something in a network namespace, from whatever thread.
// Sockets stay in the namespace that they were made in, but new ones, and
// /proc/sys, follow the calling thread.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// thread names the network namespace of the calling thread.
const thread = "/proc/thread-self/ns/net"

// Namespace is a network namespace.
type Namespace struct {
	f        *os.File
	dev, ino uint64
}

// Current is the calling thread's namespace.
func Current() (*Namespace, error) {
	f, err := os.Open(thread)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("look at the network namespace: %w", err)
	}
	return &Namespace{f: f, dev: uint64(st.Dev), ino: st.Ino}, nil
}

// Fd is a descriptor of the namespace, as netlink wants to be told it.
func (n *Namespace) Fd() int { return int(n.f.Fd()) }

// Close gives the handle back.
func (n *Namespace) Close() { n.f.Close() }

// Enter moves the calling thread into the namespace, for good.
func (n *Namespace) Enter() error {
	if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}

// Do runs f on a thread that is in the namespace. In a program that has one
// namespace that is the calling thread, and no privilege is needed; otherwise it
// takes CAP_SYS_ADMIN to enter.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	var st unix.Stat_t
	err := unix.Stat(thread, &st)
	if err == nil && uint64(st.Dev) == n.dev && st.Ino == n.ino {
		defer runtime.UnlockOSThread()
		return f()
	}
	runtime.UnlockOSThread()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, as its namespace is not the program's.
		runtime.LockOSThread()
		if err := n.Enter(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}
