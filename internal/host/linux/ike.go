package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// IKEPort is the UDP port of IKE (RFC 7296 §2).
const IKEPort = 500

// IKEOptions say where to listen.
type IKEOptions struct {
	Addr   netip.Addr // zero: all IPv6 addresses, also those that come later
	Port   uint16     // 0: IKEPort
	Device string     // only packets of this interface; empty: all
	// Control, if not nil, sets further options before the socket is bound.
	Control func(fd int) error
}

// IKESocket is a UDP socket over IPv6 that IPsec policies leave alone. It tells
// to which address a message came, and sends from the address that it is told.
type IKESocket struct {
	conn *net.UDPConn
	port uint16
	oob  [128]byte // of the one reader

	mu  sync.Mutex
	out []byte // control message of the one writer
}

// ListenIKE opens a socket in the network namespace of the calling thread. The
// error wraps ErrPortInUse or host.ErrPermission.
func ListenIKE(o IKEOptions) (*IKESocket, error) {
	if o.Port == 0 {
		o.Port = IKEPort
	}
	if !o.Addr.IsValid() {
		o.Addr = netip.IPv6Unspecified()
	}
	var inner error
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		err := rc.Control(func(fd uintptr) { inner = o.setUp(int(fd)) })
		return errors.Join(err, inner)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp6", netip.AddrPortFrom(o.Addr, o.Port).String())
	switch {
	case inner != nil:
		return nil, inner
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("%w: port %d", ErrPortInUse, o.Port)
	case err != nil:
		return nil, place(fmt.Sprintf("listen on UDP port %d", o.Port), err)
	}
	return &IKESocket{conn: pc.(*net.UDPConn), port: o.Port, out: make([]byte, 0, pktInfoSpace)}, nil
}

func (o IKEOptions) setUp(fd int) error {
	if err := bypass(fd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
		return place("ask for destination addresses", err)
	}
	for _, b := range receiveBuffer(4 << 20) { // as much as is allowed: bursts after a restart
		unix.SetsockoptInt(fd, b.level, b.name, b.value)
	}
	if o.Device != "" {
		if err := unix.BindToDevice(fd, o.Device); err != nil {
			return place("bind to "+o.Device, err)
		}
	}
	if o.Control != nil {
		return o.Control(fd)
	}
	return nil
}

// Read waits for one message, and tells to which address and on which interface
// it came. What does not fit buf is dropped without a word. One goroutine reads.
// After Close the error wraps net.ErrClosed.
func (s *IKESocket) Read(buf []byte) (n int, local, remote netip.AddrPort, ifIndex int, err error) {
	for {
		n, oobn, flags, from, err := s.conn.ReadMsgUDPAddrPort(buf, s.oob[:])
		if err != nil && transient(err) {
			continue
		}
		if err != nil {
			return 0, local, remote, 0, err
		}
		if flags&unix.MSG_TRUNC != 0 {
			continue
		}
		to, index := netip.Addr{}, 0
		for oob := s.oob[:oobn]; len(oob) >= unix.CmsgLen(0); {
			h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
			if err != nil {
				break
			}
			if h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO {
				to, index = pktInfo(data)
			}
			oob = rest
		}
		return n, netip.AddrPortFrom(to, s.port), from, index, nil
	}
}

// Write sends data from local's address; its port is that of the socket. An
// invalid local leaves the choice to the kernel. A link-local remote needs its
// interface as zone. Several goroutines may call it.
func (s *IKESocket) Write(data []byte, local, remote netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	oob := s.out[:0]
	if local.Addr().IsValid() && !local.Addr().IsUnspecified() {
		oob = appendPktInfo(oob, local.Addr(), 0)
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(data, oob, remote)
	if err == nil {
		return nil
	}
	return sending("send to "+remote.String(), err)
}

// Port is the port that the socket is bound to.
func (s *IKESocket) Port() uint16 { return s.port }

// Close ends Read.
func (s *IKESocket) Close() error { return s.conn.Close() }
