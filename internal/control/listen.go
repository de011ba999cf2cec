package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors of Listen; test with errors.Is.
var (
	ErrInUse   = errors.New("control: another daemon answers on this socket")
	ErrNoGroup = errors.New("control: no such group")
)

const errPermission = "not permitted: only root and the configured group may use this socket"

// Listen makes the socket at path, for root (or whoever runs this) and the members
// of group; "" stands for no group. A socket that a dead daemon left is replaced.
func Listen(path, group string, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		path: path, gid: -1, log: log, patience: workTimeout,
		slots: make(chan struct{}, maxConns), calls: make(chan struct{}, maxConns),
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("%w: %q", ErrNoGroup, group)
		}
		if s.gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, fmt.Errorf("%w: %q has the number %q", ErrNoGroup, group, g.Gid)
		}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := s.openDir(dir); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s.ln = ln
	mode := os.FileMode(0o600)
	if s.gid >= 0 {
		mode = 0o660
		err = os.Chown(path, -1, s.gid)
	}
	if err = errors.Join(err, os.Chmod(path, mode)); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	return s, nil
}

// openDir lets the group pass through a folder that is closed to it, as the state
// directory is. A folder that others may pass already stays as it is.
func (s *Server) openDir(dir string) error {
	var st unix.Stat_t
	if s.gid < 0 {
		return nil
	}
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	if st.Mode&0o001 != 0 || st.Mode&0o010 != 0 && int(st.Gid) == s.gid {
		return nil
	}
	return errors.Join(os.Chown(dir, -1, s.gid), os.Chmod(dir, os.FileMode(st.Mode&0o700|0o010)))
}

// removeStale removes a socket on which nobody answers.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("control: %s is there and is no socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w: %s", ErrInUse, path) // it is there, and busy
	}
	return os.Remove(path)
}

// Close stops listening and removes the socket.
func (s *Server) Close() error {
	err := s.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// permitted asks the kernel who is at the other end. The mode of the socket says the
// same; this holds where somebody changed it.
func (s *Server) permitted(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var groups []uint32
	var cerr, gerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if s.gid >= 0 {
			groups, gerr = peerGroups(int(fd))
		}
	}); err != nil {
		return err
	}
	if cerr != nil {
		return cerr
	}
	if cred.Uid == 0 || int(cred.Uid) == os.Geteuid() {
		return nil
	}
	if s.gid >= 0 && (int(cred.Gid) == s.gid || gerr == nil && slices.Contains(groups, uint32(s.gid))) {
		return nil
	}
	return fmt.Errorf("user %d, group %d, process %d", cred.Uid, cred.Gid, cred.Pid)
}

// peerGroups reads the supplementary groups of the peer (SO_PEERGROUPS, Linux 4.13).
func peerGroups(fd int) ([]uint32, error) {
	for n := 64; n <= 1<<16; n *= 4 {
		buf := make([]uint32, n)
		size := uint32(4 * n)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 {
			return buf[:size/4], nil
		}
		if errno != unix.ERANGE {
			return nil, errno
		}
	}
	return nil, unix.ERANGE
}
