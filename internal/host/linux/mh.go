package linux

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// openMH opens the raw socket for the Mobility Header. It has no policy of its
// own: the policies of the host decide what its messages travel with. With MIP6
// the kernel has already answered a header too short or with a bad payload proto.
func openMH() (*socket, error) {
	s, err := newSocket(unix.AF_INET6, unix.SOCK_RAW, mobility.ProtoMobility, "mobility header")
	if err != nil {
		return nil, err
	}
	err = s.set("set up the mobility header socket", append(receiveBuffer(4<<20),
		// The kernel fills and verifies it; its default for this protocol as well (RFC 6275 §6.1.1).
		option{unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, mobility.ChecksumOffset, false},
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, false},
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVDSTOPTS, 1, false},
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVRTHDR, 1, false})...)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// watchMH tells of Mobility Headers.
func (h *Host) watchMH(emit func(host.Event)) error {
	// An extension header has at most 2048 octets; there may be a few of them.
	return h.mh.each(make([]byte, 1<<16), make([]byte, 8<<10), func(p packet) {
		m, ok := readMH(p)
		if !ok {
			h.stats.BadMH.Add(1)
			return
		}
		m.Data = bytes.Clone(m.Data)
		emit(host.MHReceived{MH: m})
	})
}

// readMH reads a message and where it came from. The source that a raw socket
// tells is the home address; the kernel put the care-of address into the slot of
// the home address option in its stead (RFC 6275 §9.3.1 asks upper layers to see
// it so). Data is part of p.
func readMH(p packet) (m host.MH, ok bool) {
	if p.flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return m, false // without all the headers we cannot tell what protected it
	}
	m = host.MH{Src: p.source(), Data: p.data}
	ok = true
	eachControl(p.oob, func(typ int, data []byte) {
		switch typ {
		case unix.IPV6_PKTINFO:
			m.Dst, m.IfIndex = pktInfo(data)
		case unix.IPV6_DSTOPTS:
			ok = ok && readHomeOption(data, &m.CareOf)
		case unix.IPV6_RTHDR:
			// Next Header, Hdr Ext Len, Routing Type; others than 2 say nothing of a home address
			if len(data) >= 4 && data[2] == 2 {
				m.RouteHeader = true
			}
		}
	})
	return m, ok && m.Dst.IsValid() && m.Src.IsValid()
}

// readHomeOption finds the address in the home address option of a destination
// options header, if it has one.
func readHomeOption(header []byte, addr *netip.Addr) bool {
	if len(header) < 2 {
		return false
	}
	// Next Header, Hdr Ext Len, options
	return mobility.WalkOptions(header[2:], 2, func(_ int, typ uint8, data []byte) error {
		if typ != mobility.OptHomeAddr {
			return nil
		}
		if len(data) != 16 {
			return mobility.ErrHomeAddrLen
		}
		*addr = netip.AddrFrom16([16]byte(data))
		return nil
	}) == nil
}

// sendMH sends a message without a care-of address from the address that the message names, which has to be one of
// this host's and not tentative; a zero one leaves the choice to the kernel.
func (h *Host) sendMH(m host.MH) error {
	if m.CareOf.IsValid() {
		return h.sendExplicit(m)
	}
	what := fmt.Sprintf("send mobility header to %v", m.Dst)
	if !m.Dst.Is6() || len(m.Data) < 8 {
		return fmt.Errorf("linux: %s: no IPv6 destination or less than 8 octets", what)
	}
	var oob []byte
	if m.Src.IsValid() || m.IfIndex != 0 {
		oob = appendPktInfo(nil, m.Src, m.IfIndex)
	}
	return sending(what, h.mh.send(m.Data, oob, sockaddr(m.Dst, m.IfIndex)))
}
