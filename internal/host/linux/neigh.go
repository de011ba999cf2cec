package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// Attribute and flag of a neighbour (uapi linux/neighbour.h).
const (
	ndaLLAddr = 2
	ntfRouter = 0x80
)

// putNeighbour makes a reachable entry, or turns the one that is there into that.
func (h *Host) putNeighbour(o host.PutNeighbour) error {
	b := make([]byte, ndmsgLen, 64)
	b[0] = unix.AF_INET6
	binary.NativeEndian.PutUint32(b[4:], uint32(o.IfIndex))
	binary.NativeEndian.PutUint16(b[8:], unix.NUD_REACHABLE)
	b[10] = ntfRouter
	b = appendAttr(appendAttrAddr(b, ndaDst, o.Addr), ndaLLAddr, o.HardAddr)
	err := h.reqs.do(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
	return place(fmt.Sprintf("record neighbour %v", o.Addr), err)
}

// dropUnresolved deletes the incomplete entries of a link's neighbour cache. The
// kernel drops the packets that waited there.
func (h *Host) dropUnresolved(o host.DropUnresolved) error {
	var waiting []netip.Addr
	header := make([]byte, ndmsgLen)
	header[0] = unix.AF_INET6
	err := h.dumps.dump(unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, header, func() { waiting = nil }, func(b []byte) {
		if len(b) < ndmsgLen || b[0] != unix.AF_INET6 || int(binary.NativeEndian.Uint32(b[4:])) != o.IfIndex ||
			binary.NativeEndian.Uint16(b[8:])&unix.NUD_INCOMPLETE == 0 {
			return
		}
		eachAttr(b[ndmsgLen:], func(typ uint16, v []byte) {
			if a := attrAddr(v); typ == ndaDst && a.IsValid() && a != o.Keep.WithZone("") {
				waiting = append(waiting, a)
			}
		})
	})
	if err != nil {
		return place("list neighbours", err)
	}
	for _, a := range waiting {
		b := append([]byte(nil), header...)
		binary.NativeEndian.PutUint32(b[4:], uint32(o.IfIndex))
		err := h.reqs.do(unix.RTM_DELNEIGH, 0, appendAttrAddr(b, ndaDst, a))
		if err != nil && !errors.Is(err, unix.ENOENT) { // it was resolved or given up meanwhile
			return place(fmt.Sprintf("forget neighbour %v", a), err)
		}
	}
	return nil
}
