package linux

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// mhHopLimit is Linux's own default (RFC 8200 leaves it to the node).
const mhHopLimit = 64

// openExplicit opens the socket for packets whose headers are all our own. With ancillary data
// (RFC 3542 §7) the kernel would look for policies between home addresses, and a type
// 2 routing header would need a kernel with MIP6. The socket receives nothing that exists.
func openExplicit() (*socket, error) {
	// IPPROTO_RAW implies IPV6_HDRINCL. The policies are asked for the protocol that the
	// destination's "port" names.
	s, err := newSocket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW, "explicit mobility header")
	if err != nil {
		return nil, err
	}
	err = s.set("set up the explicit mobility header socket", option{unix.SOL_SOCKET, unix.SO_RCVBUF, 0, true})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// sendExplicit sends a message with a care-of address: see host.SendMH.
func (h *Host) sendExplicit(m host.MH) error {
	b, err := appendExplicit(nil, m)
	if err != nil {
		return err
	}
	src, dst := explicitAddrs(m)
	to := sockaddr(dst, m.IfIndex)
	to.Port = mobility.ProtoMobility
	return sending(fmt.Sprintf("send mobility header from %v to %v", src, dst),
		h.explicit.send(b, appendPktInfo(nil, src, m.IfIndex), to))
}

// explicitAddrs are the addresses of the IPv6 header.
func explicitAddrs(m host.MH) (src, dst netip.Addr) {
	if m.RouteHeader {
		return m.Src, m.CareOf
	}
	return m.CareOf, m.Dst
}

// appendExplicit appends the whole packet: IPv6, one extension header, the message with its
// checksum over the home address (RFC 6275 §6.1.1).
func appendExplicit(b []byte, m host.MH) ([]byte, error) {
	for _, a := range []netip.Addr{m.Src, m.Dst, m.CareOf} {
		if !a.Is6() || a.Is4In6() || a.IsUnspecified() {
			return b, fmt.Errorf("linux: send mobility header with a care-of address: %v as one of its addresses", a)
		}
	}
	if len(m.Data) < 8 || len(m.Data) > 2048 {
		return b, fmt.Errorf("linux: send mobility header with a care-of address: %d octets", len(m.Data))
	}
	src, dst := explicitAddrs(m)
	base := len(b)
	next := byte(mobility.ProtoDestOpts)
	if m.RouteHeader {
		next = mobility.ProtoRouting
	}
	// Version, traffic class, flow label, payload length, next header, hop limit, source, destination
	b = append(b, 0x60, 0, 0, 0, 0, 0, next, mhHopLimit)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	ext := len(b)
	if m.RouteHeader {
		b, _ = (&mobility.Routing2{NextHeader: mobility.ProtoMobility, HomeAddr: m.Dst}).AppendTo(b) // its address is valid
	} else {
		b = mobility.AppendHomeAddr(b, mobility.ProtoMobility, m.Src)
	}
	mh := len(b)
	b = append(b, m.Data...)
	binary.BigEndian.PutUint16(b[base+4:], uint16(len(b)-ext))
	sum := b[mh+mobility.ChecksumOffset:][:2]
	sum[0], sum[1] = 0, 0
	binary.BigEndian.PutUint16(sum, mobility.Checksum(m.Src, m.Dst, mobility.ProtoMobility, b[mh:]))
	return b, nil
}
