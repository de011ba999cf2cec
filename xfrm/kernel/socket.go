package kernel

import (
	"context"
	"errors"
	"fmt"

	in "github.com/mip6/mip6/internal/netns"
	"golang.org/x/sys/unix"
)

// socket is one request socket. The kernel works synchronously: when sendmsg
// returns, every message in it was carried out and its acknowledgement queued. So
// one goroutine at a time uses a socket, and the backend has several.
type socket struct {
	fd  int
	seq uint32
	buf []byte
}

// What one sendmsg may hold: the acknowledgements must fit the receive buffer.
const (
	batchMessages = 64
	batchBytes    = 64 << 10
	recvBuffer    = 4 << 20
)

// answer is what came back for one message.
type answer struct {
	err error  // nil: acknowledged
	msg []byte // the payload of a message that answered, if one did
}

// openSocket opens a NETLINK_XFRM socket with a receive buffer of so many bytes in
// the network namespace of the calling thread.
func openSocket(buffer int, groups ...int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_XFRM)
	if err != nil {
		return nil, &errnoError{call: "open a socket", errno: errnoOf(err)}
	}
	// More room than the default where we may; less is no failure, the kernel tells
	// of an overrun. Short errors (without the request) and texts where it has them.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	tv := unix.Timeval{Sec: 5} // never reached: see above
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, &errnoError{call: "bind a socket", errno: errnoOf(err)}
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			unix.Close(fd)
			return nil, &errnoError{call: fmt.Sprintf("join multicast group %d", g), errno: errnoOf(err)}
		}
	}
	return &socket{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (s *socket) close() { unix.Close(s.fd) }

// exchange sends the messages in order, in as few system calls as fit, and gives
// one answer for each.
func (s *socket) exchange(msgs []message) []answer {
	out := make([]answer, len(msgs))
	for start := 0; start < len(msgs); {
		end, size := start, 0
		for end < len(msgs) && end-start < batchMessages && (end == start || size+len(msgs[end]) <= batchBytes) {
			size += align(len(msgs[end]))
			end++
		}
		s.exchangeBatch(msgs[start:end], out[start:end], size)
		start = end
	}
	return out
}

var errNoAnswer = errors.New("xfrm/kernel: the kernel did not answer")

func (s *socket) exchangeBatch(msgs []message, out []answer, size int) {
	first := s.seq + 1
	packet := make([]byte, 0, size)
	for i, m := range msgs {
		s.seq++
		host.PutUint16(m[6:], host.Uint16(m[6:])|unix.NLM_F_ACK)
		m.seal(s.seq)
		packet = append(packet, m...)
		out[i].err = errNoAnswer
	}
	fail := func(call string, err error) {
		for i := range out {
			if out[i].err == errNoAnswer {
				out[i].err = &errnoError{call: call, errno: errnoOf(err)}
			}
		}
	}
	if err := unix.Sendto(s.fd, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		fail("send", err)
		return
	}
	for acked := 0; acked < len(msgs); {
		n, err := s.receive(func(h header, body []byte) error {
			i := int(h.seq - first)
			if i < 0 || i >= len(out) {
				return nil // left over from before
			}
			if h.typ == unix.NLMSG_ERROR {
				out[i].err = ackError(h.flags, body)
				acked++
				return nil
			}
			out[i].msg = append([]byte(nil), body...)
			return nil
		})
		if err != nil || n == 0 {
			fail("receive", err)
			return
		}
	}
}

type header struct {
	typ, flags uint16
	seq        uint32
}

// receive reads one packet and hands its messages on; n is the packet's length.
func (s *socket) receive(each func(h header, body []byte) error) (n int, err error) {
	for {
		n, _, err = unix.Recvfrom(s.fd, s.buf, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	return n, messages(s.buf[:n], each)
}

// messages walks the messages of a packet; it stops at one that is cut short.
func messages(b []byte, each func(h header, body []byte) error) error {
	for len(b) >= sizeHeader {
		n := host.Uint32(b)
		if n < sizeHeader || uint64(n) > uint64(len(b)) {
			return nil
		}
		h := header{typ: host.Uint16(b[4:]), flags: host.Uint16(b[6:]), seq: host.Uint32(b[8:])}
		if err := each(h, b[sizeHeader:n]); err != nil {
			return err
		}
		if align(int(n)) >= len(b) {
			return nil
		}
		b = b[align(int(n)):]
	}
	return nil
}

// dump sends one request and hands on the bodies of the messages that answer.
func (s *socket) dump(ctx context.Context, m message, each func(typ uint16, body []byte) error) error {
	s.seq++
	host.PutUint16(m[6:], host.Uint16(m[6:])|unix.NLM_F_DUMP)
	m.seal(s.seq)
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return &errnoError{call: "send", errno: errnoOf(err)}
	}
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := s.receive(func(h header, body []byte) error {
			switch {
			case h.seq != s.seq:
				return nil
			case h.typ == unix.NLMSG_DONE, h.typ == unix.NLMSG_ERROR:
				done = true
				return ackError(h.flags, body)
			}
			return each(h.typ, body)
		})
		if errors.As(err, new(unix.Errno)) {
			return &errnoError{call: "receive a dump", errno: errnoOf(err)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namespace is the network namespace in which sockets are opened.
type namespace struct{ *in.Namespace }

// currentNamespace is the calling thread's.
func currentNamespace() (namespace, error) {
	n, err := in.Current()
	if err != nil {
		return namespace{}, &errnoError{call: "open the network namespace", errno: errnoOf(err)}
	}
	return namespace{n}, nil
}

func (ns namespace) close() { ns.Close() }

// do runs f on a thread in the namespace.
func (ns namespace) do(f func()) error {
	err := ns.Do(func() error { f(); return nil })
	if err != nil {
		return &errnoError{call: "enter the network namespace", errno: errnoOf(err)}
	}
	return nil
}

// open opens a socket in the namespace.
func (ns namespace) open(buffer int, groups ...int) (s *socket, err error) {
	if e := ns.do(func() { s, err = openSocket(buffer, groups...) }); e != nil {
		return nil, e
	}
	return s, err
}
