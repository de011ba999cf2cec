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

// UDP ports of IKE (RFC 7296 §2), and of IKE and ESP together where there are NATs (RFC 3948).
const (
	IKEPort = 500
	NATPort = 4500
)

// marker is before IKE messages on a port that has ESP too: no SPI is zero (RFC 3948 §2.2).
const marker = "\x00\x00\x00\x00"

// IKEOptions say where to listen.
type IKEOptions struct {
	Addr   netip.Addr // zero: all IPv6 addresses, also those that come later; or with IPv4 all of those
	IPv4   bool       // IPv4 in place of IPv6
	Port   uint16     // 0: IKEPort, or with Encap NATPort
	Encap  bool       // the kernel takes ESP out of UDP on this port; IKE messages have a non-ESP marker
	Device string     // only packets of this interface; empty: all
	// Control, if not nil, sets further options before the socket is bound.
	Control func(fd int) error
}

// IKESocket is a UDP socket over IPv6 or IPv4 that IPsec policies leave alone. It tells
// to which address a message came, and sends from the address that it is told.
type IKESocket struct {
	conn  *net.UDPConn
	port  uint16
	ipv4  bool
	encap bool
	oob   [128]byte // of the one reader

	mu  sync.Mutex
	out []byte // control message of the one writer
	msg []byte // its message, behind a marker
}

// ListenIKE opens a socket in the network namespace of the calling thread. The
// error wraps ErrPortInUse or host.ErrPermission.
func ListenIKE(o IKEOptions) (*IKESocket, error) {
	network := "udp6"
	if o.Port == 0 {
		o.Port = IKEPort
		if o.Encap {
			o.Port = NATPort
		}
	}
	if o.IPv4 {
		network = "udp4"
	}
	if !o.Addr.IsValid() {
		o.Addr = netip.IPv6Unspecified()
		if o.IPv4 {
			o.Addr = netip.IPv4Unspecified()
		}
	}
	var inner error
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		err := rc.Control(func(fd uintptr) { inner = o.setUp(int(fd)) })
		return errors.Join(err, inner)
	}}
	pc, err := lc.ListenPacket(context.Background(), network, netip.AddrPortFrom(o.Addr, o.Port).String())
	switch {
	case inner != nil:
		return nil, inner
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("%w: port %d", ErrPortInUse, o.Port)
	case err != nil:
		return nil, place(fmt.Sprintf("listen on UDP port %d", o.Port), err)
	}
	return &IKESocket{conn: pc.(*net.UDPConn), port: o.Port, ipv4: o.IPv4, encap: o.Encap,
		out: make([]byte, 0, max(pktInfoSpace, pktInfo4Space))}, nil
}

func (o IKEOptions) setUp(fd int) error {
	family, level, name := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	if o.IPv4 {
		family, level, name = unix.AF_INET, unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	if err := bypassFamily(fd, family); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
		return place("ask for destination addresses", err)
	}
	if o.Encap {
		if err := encapsulate(fd); err != nil {
			return err
		}
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
// it came. What does not fit buf is dropped without a word, and so are keepalives
// and, where the kernel does not take it, ESP. One goroutine reads. After Close the error wraps net.ErrClosed.
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
		if s.encap {
			if n <= len(marker) || string(buf[:len(marker)]) != marker {
				continue // one octet 0xFF is a keepalive (RFC 3948 §2.3)
			}
			n = copy(buf, buf[len(marker):n])
		}
		to, index := s.destination(s.oob[:oobn])
		return n, netip.AddrPortFrom(to, s.port), from, index, nil
	}
}

// destination is where a message came to, and on which interface.
func (s *IKESocket) destination(oob []byte) (to netip.Addr, index int) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			to, index = pktInfo(data)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			to, index = pktInfo4(data)
		}
		oob = rest
	}
	return to, index
}

// Write sends data from local's address; its port is that of the socket. An
// invalid local leaves the choice to the kernel. A link-local remote needs its
// interface as zone. Several goroutines may call it.
func (s *IKESocket) Write(data []byte, local, remote netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.encap {
		s.msg = append(append(s.msg[:0], marker...), data...)
		data = s.msg
	}
	return s.write(data, local, remote)
}

// Keepalive sends one octet 0xFF, which has a NAT keep its mapping and is for nobody (RFC 3948 §2.3).
func (s *IKESocket) Keepalive(local, remote netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.msg = append(s.msg[:0], 0xff)
	return s.write(s.msg, local, remote)
}

func (s *IKESocket) write(data []byte, local, remote netip.AddrPort) error {
	oob := s.out[:0]
	switch a := local.Addr(); {
	case !a.IsValid() || a.IsUnspecified():
	case s.ipv4:
		oob = appendPktInfo4(oob, a)
	default:
		oob = appendPktInfo(oob, a, 0)
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
