package linux

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a non-blocking socket in the runtime's poller.
type socket struct {
	f  *os.File
	rc syscall.RawConn
}

func newSocket(domain, typ, proto int, name string) (*socket, error) {
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, place("open the "+name+" socket", err)
	}
	f := os.NewFile(uintptr(fd), name)
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &socket{f: f, rc: rc}, nil
}

func (s *socket) close() { s.f.Close() }

// stop makes a reader return os.ErrDeadlineExceeded, until resume.
func (s *socket) stop()   { s.f.SetReadDeadline(time.Unix(1, 0)) }
func (s *socket) resume() { s.f.SetReadDeadline(time.Time{}) }

func (s *socket) control(f func(fd int) error) error {
	var inner error
	if err := s.rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// option is an integer socket option; soft ones may be missing.
type option struct {
	level, name, value int
	soft               bool
}

func (s *socket) set(what string, opts ...option) error {
	return s.control(func(fd int) error {
		for _, o := range opts {
			if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil && !o.soft {
				return place(what, err)
			}
		}
		return nil
	})
}

// receiveBuffer asks for n octets of socket buffer, beyond the system's limit where that is allowed.
func receiveBuffer(n int) []option {
	return []option{
		{unix.SOL_SOCKET, unix.SO_RCVBUF, n, true},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n, true},
	}
}

// packet is what one recvmsg gave; its slices live until the next call.
type packet struct {
	data, oob []byte
	flags     int
	from      unix.Sockaddr
}

// receive waits for one packet.
func (s *socket) receive(buf, oob []byte) (packet, error) {
	var n, oobn, flags int
	var from unix.Sockaddr
	var inner error
	err := s.rc.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, from, inner = unix.Recvmsg(int(fd), buf, oob, 0)
			if inner != unix.EINTR {
				return inner != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return packet{}, os.ErrClosed // the poller has an error of its own for that
	case err == nil:
		err = inner
	}
	if err != nil {
		return packet{}, err
	}
	return packet{data: buf[:n], oob: oob[:oobn], flags: flags, from: from}, nil
}

// each gives every packet to got, until stop; then it returns nil.
func (s *socket) each(buf, oob []byte, got func(packet)) error {
	for {
		p, err := s.receive(buf, oob)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil && transient(err):
			continue
		case err != nil:
			return err
		}
		got(p)
	}
}

// send sends without waiting: EAGAIN is an answer here, as XFRM gives it too.
func (s *socket) send(data, oob []byte, to unix.Sockaddr) error {
	return s.control(func(fd int) error {
		for {
			_, err := unix.SendmsgN(fd, data, oob, to, unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err
			}
		}
	})
}

// transient tells of a receive error that says something about one packet or
// one interface, and not about the socket.
func transient(err error) bool {
	for _, e := range []unix.Errno{unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EHOSTDOWN,
		unix.ECONNREFUSED, unix.EPROTO, unix.EMSGSIZE, unix.EACCES, unix.EPERM, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// source is the address that the packet came from.
func (p packet) source() netip.Addr {
	if a, ok := p.from.(*unix.SockaddrInet6); ok {
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}

// eachControl calls each for every control message of the IPv6 level.
func eachControl(oob []byte, each func(typ int, data []byte)) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		if h.Level == unix.IPPROTO_IPV6 {
			each(int(h.Type), data)
		}
		oob = rest
	}
}

// pktInfo reads struct in6_pktinfo (RFC 3542 §6): address, interface index.
func pktInfo(data []byte) (netip.Addr, int) {
	if len(data) < unix.SizeofInet6Pktinfo {
		return netip.Addr{}, 0
	}
	return netip.AddrFrom16([16]byte(data[:16])), int(binary.NativeEndian.Uint32(data[16:]))
}

// appendPktInfo appends a control message with struct in6_pktinfo.
func appendPktInfo(oob []byte, src netip.Addr, ifIndex int) []byte {
	start := len(oob)
	oob = append(oob, make([]byte, pktInfoSpace)...)
	h := oob[start:]
	putCmsgLen(h, unix.CmsgLen(unix.SizeofInet6Pktinfo))
	off := unix.CmsgLen(0)
	binary.NativeEndian.PutUint32(h[off-8:], unix.IPPROTO_IPV6)
	binary.NativeEndian.PutUint32(h[off-4:], unix.IPV6_PKTINFO)
	if src.IsValid() {
		a := src.As16()
		copy(h[off:], a[:])
	}
	binary.NativeEndian.PutUint32(h[off+16:], uint32(ifIndex))
	return oob
}

var pktInfoSpace = unix.CmsgSpace(unix.SizeofInet6Pktinfo)

// putCmsgLen writes cmsg_len, a size_t.
func putCmsgLen(h []byte, n int) {
	if unix.CmsgLen(0) == 16 {
		binary.NativeEndian.PutUint64(h, uint64(n))
		return
	}
	binary.NativeEndian.PutUint32(h, uint32(n))
}

// sockaddr is the socket address of a; link-local ones and multicast need ifIndex.
func sockaddr(a netip.Addr, ifIndex int) *unix.SockaddrInet6 {
	sa := &unix.SockaddrInet6{Addr: a.As16()}
	if a.IsLinkLocalUnicast() || a.IsMulticast() {
		sa.ZoneId = uint32(ifIndex)
	}
	return sa
}
