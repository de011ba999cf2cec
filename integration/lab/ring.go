package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is a packet socket's memory-mapped receive ring (TPACKET_V3,
// Documentation/networking/packet_mmap.rst): the kernel fills blocks and hands
// each over when it is full or 50 ms old.
type ring struct {
	fd  int
	mem []byte
}

const (
	ringBlockSize = 128 << 10
	ringBlocks    = 64
	ringTimeoutMS = 50
	ringFrameSize = 2048

	// Offsets in struct tpacket_block_desc: version, offset to private data, then
	// tpacket_hdr_v1: status, number of packets, offset of the first.
	blockStatus = 8
	blockCount  = 12
	blockFirst  = 16
	// Offsets in struct tpacket3_hdr.
	pktNext = 0
	pktSec  = 4
	pktNsec = 8
	pktSnap = 12
	pktLen  = 16
	pktMac  = 24 // u16
)

// openRing opens a ring on the interface; to be called in the host's namespace.
func openRing(ifindex int) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: packet socket: %w", err)
	}
	r := &ring{fd: fd}
	if err := r.setup(ifindex); err != nil {
		r.close()
		return nil, fmt.Errorf("lab: packet ring: %w", err)
	}
	return r, nil
}

func (r *ring) setup(ifindex int) error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err
	}
	req := unix.TpacketReq3{
		Block_size: ringBlockSize, Block_nr: ringBlocks, Frame_size: ringFrameSize,
		Frame_nr: ringBlockSize / ringFrameSize * ringBlocks, Retire_blk_tov: ringTimeoutMS,
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return err
	}
	var err error
	if r.mem, err = unix.Mmap(r.fd, 0, ringBlockSize*ringBlocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	// A bridge shows what it forwards only when promiscuous.
	mr := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mr); err != nil {
		return err
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	return unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex})
}

func (r *ring) close() {
	if r.mem != nil {
		unix.Munmap(r.mem)
	}
	unix.Close(r.fd)
}

// read gives every packet to each, and calls flush after each block, until stop is
// set and the ring is empty.
func (r *ring) read(stop *atomic.Bool, each func(at time.Time, data []byte, size int) error, flush func() error) error {
	for n := 0; ; {
		block := r.mem[n*ringBlockSize : (n+1)*ringBlockSize]
		status := (*uint32)(unsafe.Pointer(&block[blockStatus]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			if stop.Load() {
				return nil
			}
			fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN | unix.POLLERR}}
			if _, err := unix.Poll(fds, ringTimeoutMS); err != nil && err != unix.EINTR {
				return os.NewSyscallError("poll", err)
			}
			continue
		}
		if err := eachPacket(block, each); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		n = (n + 1) % ringBlocks
	}
}

// eachPacket walks one block that the kernel handed over.
func eachPacket(block []byte, each func(at time.Time, data []byte, size int) error) error {
	ne := binary.NativeEndian
	at := int(ne.Uint32(block[blockFirst:]))
	for count := ne.Uint32(block[blockCount:]); count > 0; count-- {
		h := block[at:]
		when := time.Unix(int64(ne.Uint32(h[pktSec:])), int64(ne.Uint32(h[pktNsec:])))
		mac, snap := int(ne.Uint16(h[pktMac:])), int(ne.Uint32(h[pktSnap:]))
		if err := each(when, h[mac:mac+snap], int(ne.Uint32(h[pktLen:]))); err != nil {
			return err
		}
		at += int(ne.Uint32(h[pktNext:]))
	}
	return nil
}

// drops are the packets that the kernel could not put into the ring.
func (r *ring) drops() uint32 {
	st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return st.Drops
}
