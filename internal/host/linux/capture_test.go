package linux

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// capture is a packet socket in a namespace.
type capture struct {
	t *testing.T
	s *socket
}

// capture listens to the IPv6 packets that come in on a link.
func (n *space) capture(dev string) *capture {
	n.t.Helper()
	const ipv6 = 0x86dd
	index := n.index(dev)
	var s *socket
	var err error
	n.in(func() {
		if s, err = newSocket(unix.AF_PACKET, unix.SOCK_RAW, int(bigEndian16(ipv6)), "capture"); err == nil {
			err = s.control(func(fd int) error {
				return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian16(ipv6), Ifindex: index})
			})
		}
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(s.close)
	return &capture{t: n.t, s: s}
}

// wait gives the next incoming frame for which ok holds.
func (c *capture) wait(what string, ok func(frame []byte) bool) []byte {
	c.t.Helper()
	c.s.f.SetReadDeadline(time.Now().Add(patience))
	for {
		p, err := c.s.receive(make([]byte, 4096), nil)
		if err != nil {
			c.t.Fatalf("no packet: %s: %v", what, err)
		}
		if sa, is := p.from.(*unix.SockaddrLinklayer); is && sa.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if len(p.data) > 14+40 && ok(p.data) {
			return p.data
		}
	}
}

// send sends an IPv6 packet as it stands to a multicast group on the link.
func (c *capture) send(index int, packet []byte) {
	c.t.Helper()
	to := &unix.SockaddrLinklayer{Protocol: bigEndian16(0x86dd), Ifindex: index, Halen: 6}
	copy(to.Addr[:], append([]byte{0x33, 0x33}, packet[36:40]...))
	// An Ethernet header: group, a source that is nobody's, type
	frame := append(append([]byte{}, to.Addr[:6]...), 2, 0, 0, 0, 0, 9, 0x86, 0xdd)
	if err := c.s.send(append(frame, packet...), nil, to); err != nil {
		c.t.Fatal(err)
	}
}
