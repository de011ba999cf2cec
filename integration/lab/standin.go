package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// StandIn answers in place of a host whose kernel knows nothing of Mobile IPv6. All
// hosts of the lab share one kernel, which has Mobile IPv6, so this is the lab's own
// doing: rules of tc drop packets with destination options or a routing header
// before the kernel's IPv6 reads them, and this answers what RFC 8200 §4.2 asks of a host
// that does not know the home address option: ICMPv6 Parameter Problem, code 2. To
// Mobility Headers the kernel itself answers with Parameter Problem, code 1, as long
// as no program has a socket for them: no stand-in is needed for that.
type StandIn struct {
	h       *Host
	iface   string
	addr    netip.Addr
	fd      int
	stop    atomic.Bool
	done    sync.WaitGroup
	seen    atomic.Uint64
	answers atomic.Uint64
}

// standInGap keeps errors rare, as RFC 4443 §2.4 (f) asks for.
const standInGap = 50 * time.Millisecond

// StandIn starts a stand-in for packets to an address of a host.
func (l *Lab) StandIn(ctx context.Context, host, iface string, addr netip.Addr) (*StandIn, error) {
	h := l.Host(host)
	s := &StandIn{h: h, iface: iface, addr: addr, fd: -1}
	link, err := h.NL.LinkByName(iface)
	if err != nil {
		return nil, err
	}
	// Of all protocols: a socket for IPv6 alone would see only what tc lets through.
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	err = h.Do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err == nil {
		err = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	}
	if err == nil {
		err = unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	}
	match := func(next int) string {
		return fmt.Sprintf("filter add dev %s parent ffff: protocol ipv6 prio 1 u32 match u8 %d 0xff at 6 match ip6 dst %s/128 action drop", iface, next, addr)
	}
	for _, rule := range []string{"qdisc add dev " + iface + " ingress", match(unix.IPPROTO_ROUTING)} {
		if err == nil {
			_, err = h.Output(ctx, "tc", strings.Fields(rule)...)
		}
	}
	s.done.Add(1)
	go s.run()
	if err == nil { // the last one: from now on packets are dropped, and each has its answer
		_, err = h.Output(ctx, "tc", strings.Fields(match(unix.IPPROTO_DSTOPTS))...)
	}
	if err != nil {
		s.stop.Store(true)
		s.done.Wait()
		unix.Close(s.fd)
		return nil, fmt.Errorf("lab: stand-in on %s: %w", host, err)
	}
	return s, nil
}

// Stop ends the stand-in; it gives the number of packets with a home address option that
// came, and of its answers.
func (s *StandIn) Stop(ctx context.Context) (seen, answers uint64, err error) {
	s.stop.Store(true)
	s.done.Wait()
	unix.Close(s.fd)
	_, err = s.h.Output(ctx, "tc", "qdisc", "del", "dev", s.iface, "ingress")
	return s.seen.Load(), s.answers.Load(), err
}

func (s *StandIn) run() {
	defer s.done.Done()
	buf := make([]byte, 65536)
	var last time.Time
	for !s.stop.Load() {
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil {
			continue // the time-out
		}
		b := buf[:n]
		at, ok := homeAddressAt(b)
		if !ok || netip.AddrFrom16([16]byte(b[24:])) != s.addr {
			continue
		}
		s.seen.Add(1)
		if now := time.Now(); now.Sub(last) >= standInGap && s.answer(b, at) == nil {
			last = now
			s.answers.Add(1)
		}
	}
}

// homeAddressAt is where a packet has the type octet of a home address option (RFC
// 6275 §6.3) in a destination options header that directly follows the IPv6 header.
func homeAddressAt(b []byte) (int, bool) {
	const head, option = 40, 201
	if len(b) < head+8 || b[6] != unix.IPPROTO_DSTOPTS {
		return 0, false
	}
	end := min(len(b), head+8+int(b[head+1])*8)
	for at := head + 2; at+1 < end; {
		switch b[at] {
		case 0:
			at++
		case option:
			return at, true
		default:
			at += 2 + int(b[at+1])
		}
	}
	return 0, false
}

// answer sends Parameter Problem, code 2 (RFC 4443 §3.4): as much of the packet as
// fits into 1280 octets follows.
func (s *StandIn) answer(packet []byte, at int) error {
	packet = packet[:min(len(packet), 1280-48)]
	msg := append([]byte{4, 2, 0, 0}, binary.BigEndian.AppendUint32(nil, uint32(at))...)
	msg = append(msg, packet...)
	return s.h.Do(func() error {
		// The kernel fills in header and checksum.
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: s.addr.As16()}); err != nil {
			return err
		}
		return unix.Sendto(fd, msg, 0, &unix.SockaddrInet6{Addr: [16]byte(packet[8:24])})
	})
}
