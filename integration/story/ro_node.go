package story

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/integration/lab"
)

// crafted is a mobile node made of bytes on the router's host: its home address is on
// foreign link 1, its care-of address on foreign link 2. It knows its keys, and says what the
// story wants it to say. What it gets it reads from the captures.
type crafted struct {
	s            *story
	host         *lab.Host
	home, careOf netip.Addr
	socket       int // swallows what comes, so that the kernel does not answer for us
}

func (s *story) craft() (*crafted, error) {
	c := &crafted{s: s, host: s.lab.Host(lab.Router), socket: -1}
	for _, x := range []struct {
		link lab.Link
		dst  *netip.Addr
	}{{lab.Foreign1, &c.home}, {lab.Foreign2, &c.careOf}} {
		b := s.plan.Prefix(x.link).Addr().As16()
		b[15] = 0x99
		*x.dst = netip.AddrFrom16(b)
		link, err := c.host.NL.LinkByName(string(x.link))
		if err != nil {
			return nil, err
		}
		a := &netlink.Addr{IPNet: netlink.NewIPNet(x.dst.AsSlice()), Flags: unix.IFA_F_NODAD}
		if err := c.host.NL.AddrReplace(link, a); err != nil {
			return nil, err
		}
	}
	err := c.host.Do(func() (err error) {
		c.socket, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protoMH)
		return os.NewSyscallError("socket", err)
	})
	return c, err
}

func (c *crafted) close() {
	if c.socket >= 0 {
		unix.Close(c.socket)
	}
	for _, x := range []struct {
		link lab.Link
		addr netip.Addr
	}{{lab.Foreign1, c.home}, {lab.Foreign2, c.careOf}} {
		if link, err := c.host.NL.LinkByName(string(x.link)); err == nil {
			c.host.NL.AddrDel(link, &netlink.Addr{IPNet: netlink.NewIPNet(x.addr.AsSlice())})
		}
	}
}

// mhMessage is a Mobility Header message without its checksum, padded (RFC 6275 §6.1.1).
func mhMessage(typ byte, fields ...byte) []byte {
	b := append([]byte{59, 0, typ, 0, 0, 0}, fields...)
	switch pad := (8 - len(b)%8) % 8; pad {
	case 0:
	case 1:
		b = append(b, 0)
	default:
		b = append(append(b, 1, byte(pad-2)), make([]byte, pad-2)...)
	}
	b[1] = byte(len(b)/8 - 1)
	return b
}

// sealed puts the checksum in, for the addresses that the upper layers see, and
// the IPv6 headers before it; home is put into an option unless it is src.
func sealed(src, home, dst netip.Addr, proto byte, upper []byte) []byte {
	b := append([]byte(nil), upper...)
	at := 4 // Mobility Header
	if proto == 58 {
		at = 2
	}
	b[at], b[at+1] = 0, 0
	h, d := home.As16(), dst.As16()
	sum := 0
	n := len(b)
	all := append(append(append(h[:], d[:]...), 0, 0, byte(n>>8), byte(n), 0, 0, 0, proto), b...)
	for ; len(all) > 1; all = all[2:] {
		sum += int(all[0])<<8 | int(all[1])
	}
	if len(all) == 1 {
		sum += int(all[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum))
	next := proto
	if src != home {
		h := home.As16()
		b = append(append([]byte{proto, 2, 1, 2, 0, 0, 201, 16}, h[:]...), b...)
		next = 60
	}
	return ipv6(src, dst, next, b)
}

func ipv6(src, dst netip.Addr, next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(b, payload...)
}

// testInit is a HoTI or CoTI.
func testInit(typ byte, cookie uint64) []byte {
	return mhMessage(typ, binary.BigEndian.AppendUint64([]byte{0, 0}, cookie)...)
}

// update is a binding update to say.
type update struct {
	home         netip.Addr // zero: the crafted node's own
	seq          uint16
	lifetime     time.Duration
	homeNonce    uint16
	careOfNonce  uint16
	key          []byte
	wrong        bool // spoil the authenticator
	noAuthorized bool // no authenticator at all
}

// packet puts it together, from the crafted node's care-of address.
func (c *crafted) packet(u update) []byte {
	home := u.home
	if !home.IsValid() {
		home = c.home
	}
	be := binary.BigEndian
	f := be.AppendUint16(nil, u.seq)
	f = append(f, 0x80, 0) // A
	f = be.AppendUint16(f, uint16(u.lifetime/(4*time.Second)))
	f = append(f, optNonces, 4)
	f = be.AppendUint16(be.AppendUint16(f, u.homeNonce), u.careOfNonce)
	if !u.noAuthorized {
		f = append(append(f, optAuth, 12), make([]byte, 12)...)
	}
	m := mhMessage(mhBU, f...)
	registered := c.careOf
	if u.lifetime == 0 { // what stands in its place in a deregistration (RFC 6275 §6.2.7)
		registered = home
	}
	if o, ok := options(m)[optAuth]; ok {
		copy(m[o[0]:], authenticator(u.key, registered, c.s.plan.CN, m, o[0]))
		if u.wrong {
			m[o[0]] ^= 1
		}
	}
	return sealed(c.careOf, home, c.s.plan.CN, protoMH, m)
}

// say sends a packet.
func (c *crafted) say(packet []byte) error { return inject(c.host, packet) }

// hear waits for a packet to the crafted node at the correspondent's wire.
func (c *crafted) hear(ctx context.Context, since time.Time, limit time.Duration, what string, want func(lab.Seen) bool) (p lab.Seen, err error) {
	err = wait(ctx, limit, what, func() error {
		found, err := c.s.seen("core-cn0", Window{since, time.Now()}, func(p lab.Seen) bool { return p.Src == c.s.plan.CN && want(p) })
		if err == nil && len(found) == 0 {
			return errNotYet
		}
		if err == nil {
			p = found[0]
		}
		return err
	})
	return p, err
}

// tests runs both tests and gives the answers.
func (c *crafted) tests(ctx context.Context) (hot, cot lab.Seen, err error) {
	begin := time.Now()
	cn := c.s.plan.CN
	cookie := uint64(begin.UnixNano())
	for _, p := range [][]byte{sealed(c.home, c.home, cn, protoMH, testInit(mhHoTI, cookie)), sealed(c.careOf, c.careOf, cn, protoMH, testInit(mhCoTI, ^cookie))} {
		if err := c.say(p); err != nil {
			return hot, cot, err
		}
	}
	if hot, err = c.hear(ctx, begin, 3*time.Second, "HoT", func(p lab.Seen) bool { return p.Proto == protoMH && p.Type == mhHoT && p.Dst == c.home }); err != nil {
		return hot, cot, err
	}
	cot, err = c.hear(ctx, begin, 3*time.Second, "CoT", func(p lab.Seen) bool { return p.Proto == protoMH && p.Type == mhCoT && p.Dst == c.careOf })
	return hot, cot, err
}

// answer sends an update and waits for its acknowledgement; ok is false when none
// came within half a second.
func (c *crafted) answer(ctx context.Context, u update) (ba lab.Seen, ok bool, err error) {
	begin := time.Now()
	if err := c.say(c.packet(u)); err != nil {
		return ba, false, err
	}
	ba, err = c.hear(ctx, begin, 500*time.Millisecond, "BA", func(p lab.Seen) bool { return p.Proto == protoMH && p.Type == mhBA && p.Dst == c.careOf })
	if ctx.Err() == nil && err != nil {
		return ba, false, nil
	}
	return ba, err == nil, err
}

// flood sends perSecond packets for a time from a host, by one socket; it gives how many.
func flood(ctx context.Context, h *lab.Host, perSecond int, d time.Duration, packet func(i int) []byte) (n int, err error) {
	err = h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		start := time.Now()
		for n = 0; time.Since(start) < d && ctx.Err() == nil; n++ {
			if wait := time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(perSecond))); wait > 0 {
				time.Sleep(wait)
			}
			b := packet(n)
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Addr: [16]byte(b[24:40])}); err != nil {
				return fmt.Errorf("story: flood: %w", err)
			}
		}
		return nil
	})
	return n, err
}
