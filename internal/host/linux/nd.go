package linux

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/sockbypass"
	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// openND opens the socket that sends neighbour discovery: whole IPv6 packets,
// given to the link as they are. An ordinary raw socket cannot send from the
// unspecified address, and one that takes whole packets cannot either as long as
// the link has no address at all. Routing and IPsec policies have no say.
func openND() (*socket, error) {
	// Protocol 0: it receives nothing.
	return newSocket(unix.AF_PACKET, unix.SOCK_DGRAM, 0, "neighbour discovery")
}

// bypass keeps IPsec policies away from a socket. A kernel without XFRM has none.
func bypass(fd int) error { return bypassFamily(fd, unix.AF_INET6) }

func bypassFamily(fd, family int) error {
	if err := sockbypass.Set(fd, family); err != nil && !sockbypass.Missing(err) {
		return place("bypass IPsec policies", err)
	}
	return nil
}

// sendND sends a neighbour discovery message to a multicast group on a link,
// with hop limit 255 (RFC 4861 §4).
func (h *Host) sendND(ifIndex int, src, group netip.Addr, m mobility.ICMP) error {
	what := fmt.Sprintf("send ICMPv6 type %d to %v", m.ICMPType(), group)
	b := make([]byte, 40, 128)
	b[0] = 6 << 4 // Version
	// Payload Length below; Next Header, Hop Limit
	b[6], b[7] = mobility.ProtoICMPv6, mobility.NDHopLimit
	s, d := src.As16(), group.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	b, err := mobility.AppendICMPWithChecksum(b, m, src, group)
	if err != nil {
		return fmt.Errorf("linux: %s: %w", what, err)
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	// On Ethernet a group is 33:33 and its last four octets (RFC 2464 §7); links
	// without link-layer addresses do not look at it.
	to := &unix.SockaddrLinklayer{Protocol: bigEndian16(unix.ETH_P_IPV6), Ifindex: ifIndex, Halen: 6}
	copy(to.Addr[:], []byte{0x33, 0x33, d[12], d[13], d[14], d[15]})
	return sending(what, h.nd.send(b, nil, to))
}

// bigEndian16 is v in network order, as struct sockaddr_ll holds the protocol.
func bigEndian16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// solicitRouter sends a router solicitation. It comes from the link-local
// address with our link-layer address, so that the router may answer us alone
// and at once (RFC 4861 §6.2.6). From an optimistic address it must not tell the
// link-layer address (RFC 4429 §3.2), from the unspecified one neither.
func (h *Host) solicitRouter(o host.SolicitRouter) error {
	addrs, err := h.dumps.addrs(o.IfIndex)
	if err != nil {
		return err
	}
	var rs mobility.RouterSolicitation
	src := netip.IPv6Unspecified()
	if ll, ok := linkLocal(addrs); ok {
		src = ll.Prefix.Addr()
		if !ll.Tentative {
			hard, err := h.hardAddr(o.IfIndex)
			if err != nil {
				return err
			}
			if len(hard) > 0 {
				rs.Options = mobility.NDOptions{mobility.SourceLinkLayer{Addr: hard}}
			}
		}
	}
	return h.sendND(o.IfIndex, src, mobility.AllRouters, rs)
}

// advertiseNeighbour comes from the link-local address, or from the target where
// that is ours and no link-local address is usable.
func (h *Host) advertiseNeighbour(o host.AdvertiseNeighbour) error {
	addrs, err := h.dumps.addrs(o.IfIndex)
	if err != nil {
		return err
	}
	var src netip.Addr
	for _, a := range addrs {
		if a.Prefix.Addr() == o.Target && a.Usable() {
			src = o.Target
		}
	}
	if ll, ok := linkLocal(addrs); ok {
		src = ll.Prefix.Addr()
	}
	if !src.IsValid() {
		return fmt.Errorf("%w: no link-local address to advertise %v from", ErrSource, o.Target)
	}
	hard, err := h.hardAddr(o.IfIndex)
	if err != nil {
		return err
	}
	na := mobility.NeighborAdvertisement{Target: o.Target}
	if o.Override {
		na.Flags |= mobility.NeighborOverride
	}
	if o.Router {
		na.Flags |= mobility.NeighborRouter
	}
	if len(hard) > 0 {
		na.Options = mobility.NDOptions{mobility.TargetLinkLayer{Addr: hard}}
	}
	return h.sendND(o.IfIndex, src, mobility.AllNodes, na)
}

// hardAddr is the link-layer address of a link; empty where links have none.
func (h *Host) hardAddr(ifIndex int) ([]byte, error) {
	links, err := h.dumps.links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Index == ifIndex {
			return l.HardAddr, nil
		}
	}
	return nil, fmt.Errorf("%w: index %d", host.ErrNoLink, ifIndex)
}
