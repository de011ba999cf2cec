package story

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/pcap"
	"github.com/mip6/mip6/mobility"
)

// inject sends a whole IPv6 packet, header included, from a host.
func inject(h *lab.Host, packet []byte) error {
	if len(packet) < 40 {
		return fmt.Errorf("story: no IPv6 packet")
	}
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet6{Addr: [16]byte(packet[24:40])}
		return os.NewSyscallError("sendto", unix.Sendto(fd, packet, 0, to))
	})
}

// plainBU is a binding update without ESP: from src, for the home address (in an
// option unless src is it), to the agent.
func plainBU(src, home, agent, careOf netip.Addr, seq uint16) ([]byte, error) {
	m := mobility.Message{
		Body:    mobility.BindingUpdate{Seq: seq, Flags: mobility.FlagAck | mobility.FlagHome | mobility.FlagKey, Lifetime: mobility.UnitsOf(10 * time.Minute)},
		Options: mobility.Options{mobility.AlternateCareOf{Addr: careOf}},
	}
	mh, err := m.AppendWithChecksum(nil, home, agent)
	if err != nil {
		return nil, err
	}
	next, payload := byte(protoMH), mh
	if src != home {
		next, payload = 60, append(mobility.AppendHomeAddr(nil, protoMH, home), mh...)
	}
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	s, d := src.As16(), agent.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(b, payload...), nil
}

// packetAt is the IPv6 packet that a capture has at that time.
func packetAt(file string, at time.Time) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := pcap.ReadAll(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if b, ok := p.IPv6(); ok && p.Time.Equal(at) {
			return append([]byte(nil), b...), nil
		}
	}
	return nil, fmt.Errorf("story: no packet at %v in %s", at, file)
}

// migration is a MIGRATE message with KMADDRESS, put together here by hand, as
// another Mobile IPv6 daemon would send it (linux/xfrm.h).
type migration struct {
	src, dst       netip.Addr // of the selector, both /128
	proto          byte
	dir            byte // 0 in, 1 out
	reqID          uint32
	newSrc, newDst netip.Addr // of the transport template; the old ones are ::
	local, remote  netip.Addr // KMADDRESS
}

// send sends it from a host and returns what the kernel answers.
func (m migration) send(h *lab.Host) error {
	ne := binary.NativeEndian
	const head, sel, entry, km = 16, 56, 80, 44
	b := make([]byte, head+64+entry+km)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], xfrmMigrate)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	ne.PutUint32(b[8:], 1)
	put := func(at int, a netip.Addr) { x := a.As16(); copy(b[at:], x[:]) }
	// struct xfrm_userpolicy_id: selector (daddr, saddr, ports, family, lengths, proto), index, dir
	put(head, m.dst)
	put(head+16, m.src)
	ne.PutUint16(b[head+40:], unix.AF_INET6)
	b[head+42], b[head+43], b[head+44] = 128, 128, m.proto
	b[head+sel+4] = m.dir
	// XFRMA_MIGRATE: struct xfrm_user_migrate
	a := b[head+64:]
	ne.PutUint16(a, entry)
	ne.PutUint16(a[2:], xfrmaMigrate)
	off := head + 64 + 4
	put(off+32, m.newDst)
	put(off+48, m.newSrc)
	b[off+64] = protoESP
	ne.PutUint32(b[off+68:], m.reqID)
	ne.PutUint16(b[off+72:], unix.AF_INET6)
	ne.PutUint16(b[off+74:], unix.AF_INET6)
	// XFRMA_KMADDRESS: struct xfrm_user_kmaddress
	k := head + 64 + entry
	ne.PutUint16(b[k:], km)
	ne.PutUint16(b[k+2:], xfrmaKMAddress)
	put(k+4, m.local)
	put(k+20, m.remote)
	ne.PutUint16(b[k+40:], unix.AF_INET6)
	return h.Do(func() error { return ask(b) })
}

// ask sends a netlink request and gives the kernel's verdict.
func ask(b []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_XFRM)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < 20 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("story: the kernel's answer is not understood")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// Numbers of linux/xfrm.h.
const (
	xfrmMigrate    = 0x21
	xfrmaMigrate   = 17
	xfrmaKMAddress = 19
)
