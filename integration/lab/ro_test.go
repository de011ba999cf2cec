package lab

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/internal/pcap"
)

// sendRaw sends a whole IPv6 packet from a host.
func sendRaw(t *testing.T, h *Host, b []byte) {
	t.Helper()
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Addr: [16]byte(b[24:40])})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// problem waits for an ICMPv6 Parameter Problem in the correspondent's capture.
func problem(t *testing.T, l *Lab, to netip.Addr, code uint8, since time.Time) []Packet {
	t.Helper()
	var found []Packet
	err := poll(t.Context(), 3*time.Second, "a parameter problem", func() (err error) {
		found, err = ReadPackets(l.path("pcap/cn-eth0.pcapng"), since, time.Now(), func(s Seen) bool { return s.Proto == 58 && s.Type == 4 && s.Dst == to && s.Code == code })
		if errors.Is(err, pcap.ErrFormat) || err == nil && len(found) == 0 { // nothing is in the file yet
			err = errNotYet
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestNoMIPv6 checks what a correspondent without Mobile IPv6 answers: the kernel by
// itself to a Mobility Header that nobody listens for, the stand-in to a home address option.
func TestNoMIPv6(t *testing.T) {
	ctx, l := start(t, DefaultPlan())
	p := l.Plan
	caps, err := l.Capture(l.path("pcap"))
	if err != nil {
		t.Fatal(err)
	}
	coa := soliciteAddr(ctx, t, l, Foreign1)
	begin := time.Now()
	// A care-of test init: MH type 2.
	coti := []byte{59, 1, 2, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	binary.BigEndian.PutUint16(coti[4:], sumOf(coa, p.CN, 135, coti))
	sendRaw(t, l.Host(MN), packet(coa, p.CN, 135, coti...))
	got := problem(t, l, coa, 1, begin)
	if at := binary.BigEndian.Uint32(got[0].Data[44:]); at != 6 {
		t.Errorf("the kernel points to octet %d, want 6 (next header)", at)
	}
	s, err := l.StandIn(ctx, CN, CNIface, p.CN)
	if err != nil {
		t.Fatal(err)
	}
	h := p.HoA.As16()
	option := append([]byte{58, 2, 1, 2, 0, 0, 201, 16}, h[:]...)
	echo := []byte{128, 0, 0, 0, 0, 1, 0, 1}
	binary.BigEndian.PutUint16(echo[2:], sumOf(p.HoA, p.CN, 58, echo))
	begin = time.Now()
	for range 3 {
		sendRaw(t, l.Host(MN), packet(coa, p.CN, 60, append(option, echo...)...))
	}
	got = problem(t, l, coa, 2, begin)
	if at := binary.BigEndian.Uint32(got[0].Data[44:]); at != 46 {
		t.Errorf("the stand-in points to octet %d, want 46 (the option)", at)
	}
	seen, answers, err := s.Stop(ctx)
	if err != nil || seen != 3 || answers != 1 {
		t.Errorf("%d packets seen, %d answers, %v", seen, answers, err)
	}
	replies, err := ReadPackets(l.path("pcap/cn-eth0.pcapng"), begin, time.Now(), func(s Seen) bool { return s.Proto == 58 && s.Type == 129 })
	if err != nil || len(replies) != 0 {
		t.Errorf("%d echo replies, %v", len(replies), err)
	}
	if err := caps.Stop(); err != nil {
		t.Error(err)
	}
	out, err := ReadPackets(l.path("pcap/mn-eth0.pcapng"), begin, time.Now(), func(s Seen) bool { return s.Direct(p.HoA) })
	if err != nil || len(out) != 3 || out[0].BadSum || out[0].HomeAddr != p.HoA || out[0].Proto != 58 {
		t.Errorf("%+v %v", out, err)
	}
}

// sumOf is the checksum of an upper-layer message whose own field is zero.
func sumOf(src, dst netip.Addr, proto byte, b []byte) uint16 {
	a, c := src.As16(), dst.As16()
	all := append(append(append([]byte(nil), a[:]...), c[:]...), 0, 0, 0, byte(len(b)), 0, 0, 0, proto)
	sum := 0
	for all = append(all, b...); len(all) > 1; all = all[2:] {
		sum += int(all[0])<<8 | int(all[1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// TestJoin takes a second mobile node onto a link and to another, and checks the two
// ways' round trips while the one to the agent is delayed.
func TestJoin(t *testing.T) {
	ctx, l := start(t, DefaultPlan())
	caps, err := l.Capture(l.path("pcap"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Join(ctx, Foreign2); err != nil {
		t.Fatal(err)
	}
	if err := l.Solicit(ctx, MN2, MNIface); err != nil {
		t.Fatal(err)
	}
	a, err := l.WaitAddr(ctx, MN2, MNIface, l.Plan.F2Prefix, 5*time.Second)
	if err != nil || a != l.Plan.SLAACOf(MN2, Foreign2) || a == l.Plan.SLAAC(Foreign2) {
		t.Fatal(a, err)
	}
	if l.Link() != Foreign1 || l.LinkOf(MN2) != Foreign2 {
		t.Errorf("%s, %s", l.Link(), l.LinkOf(MN2))
	}
	rtt := func(to netip.Addr) time.Duration {
		ping, err := l.Ping(MN2, a, to, 10*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if err := ping.WaitAnswer(ctx, time.Now(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		best := time.Hour
		for _, e := range ping.Stop(100 * time.Millisecond) {
			if e.RTT > 0 {
				best = min(best, e.RTT)
			}
		}
		return best
	}
	if err := l.DelayHA(15 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	cn, ha := rtt(l.Plan.CN), rtt(l.Plan.HA)
	if cn < 20*time.Millisecond || cn > 30*time.Millisecond || ha < 50*time.Millisecond || ha > 60*time.Millisecond {
		t.Errorf("to the correspondent %v, to the agent %v", cn, ha)
	}
	if err := l.DelayHA(0); err != nil {
		t.Fatal(err)
	}
	if ha := rtt(l.Plan.HA); ha > 30*time.Millisecond {
		t.Errorf("without the delay %v", ha)
	}
	if err := caps.Stop(); err != nil {
		t.Error(err)
	}
	found, err := ReadPackets(l.path("pcap/mn2-eth0.pcapng"), time.Time{}, time.Now(), func(s Seen) bool { return s.Proto == 58 && s.Type == 129 })
	if err != nil || len(found) == 0 {
		t.Errorf("%d echo replies in the capture of mn2, %v", len(found), err)
	}
}
