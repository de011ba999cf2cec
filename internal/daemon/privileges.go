package daemon

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the capabilities that the daemon goes on with: the databases, routes,
// addresses and sysctls of the network; raw sockets.
const kept = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// dropPrivileges gives up all capabilities that are not needed any more once everything is open, in
// every thread, so that a fault in a parser is worth less to whoever finds it. It
// changes nothing where there is less to begin with. A binary built with cgo
// cannot do this (errors.ErrUnsupported); ours are built without.
func dropPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	if errno != 0 {
		return fmt.Errorf("give up privileges: %w", errno)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&hdr, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	want := [2]unix.CapUserData{{Effective: have[0].Effective & kept, Permitted: have[0].Permitted & kept}}
	// pid 0 is the calling thread: the call is made in each of them.
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&want[0])), 0)
	if errno != 0 {
		return fmt.Errorf("give up capabilities: %w", errno)
	}
	return nil
}
