package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// rtnl is a socket for rtnetlink requests. Calls from several goroutines take turns.
type rtnl struct {
	sockets map[int]*nl.SocketHandle
}

func openRTNL() (*rtnl, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, place("open a netlink socket", err)
	}
	s.SetExtAck(true) // errors with the kernel's words, where it has any
	// Filters in dump requests are obeyed by the kernel (Linux 5.0), not by us alone.
	unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &rtnl{sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (r *rtnl) close() { r.sockets[unix.NETLINK_ROUTE].Close() }

// do makes a change and waits for its acknowledgement.
func (r *rtnl) do(typ, flags int, body []byte) error {
	req := nl.NewNetlinkRequest(typ, flags|unix.NLM_F_ACK)
	req.AddRawData(body)
	req.Sockets = r.sockets
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// dumpTries bounds how often a dump is repeated that changes interrupted.
const dumpTries = 8

// dump calls each for every message of type answer. Where a change interrupted
// the kernel's walk it begins anew, after reset.
func (r *rtnl) dump(typ int, answer uint16, body []byte, reset func(), each func([]byte)) error {
	var err error
	for range dumpTries {
		reset()
		req := nl.NewNetlinkRequest(typ, unix.NLM_F_DUMP)
		req.AddRawData(body)
		req.Sockets = r.sockets
		err = req.ExecuteIter(unix.NETLINK_ROUTE, answer, func(b []byte) bool {
			each(b)
			return true
		})
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// The fixed parts of rtnetlink messages, and attributes behind them.

func appendAttr(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(v)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, v...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, typ uint16, v uint32) []byte {
	return appendAttr(b, typ, binary.NativeEndian.AppendUint32(nil, v))
}

func appendAttrAddr(b []byte, typ uint16, a netip.Addr) []byte {
	v := a.As16()
	return appendAttr(b, typ, v[:])
}

// eachAttr calls each for every attribute of b; a malformed rest is left out.
func eachAttr(b []byte, each func(typ uint16, v []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&nlaTypeMask, b[unix.SizeofRtAttr:n])
		b = b[min(len(b), (n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
}

const nlaTypeMask = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

func attr32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(v)
}

func attrAddr(v []byte) netip.Addr {
	if len(v) != 16 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(v))
}

// check6 refuses what is not an IPv6 prefix before it reaches the kernel.
func check6(p netip.Prefix) error {
	if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() {
		return fmt.Errorf("linux: %v is not an IPv6 prefix", p)
	}
	return nil
}
