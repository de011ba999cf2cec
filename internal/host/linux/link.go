package linux

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// linkState is what a link message tells.
type linkState struct {
	host.Link
	downs uint32 // how often the carrier went (IFLA_CARRIER_DOWN_COUNT)
}

// parseLink reads a link message without its netlink header. ok is false for
// messages of another family than AF_UNSPEC: with AF_BRIDGE the kernel tells of
// bridge ports, and a "deleted" one only left its bridge.
func parseLink(b []byte) (l linkState, ok bool) {
	// Family, type, index, flags, change mask
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return l, false
	}
	l.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	arp, kind := binary.NativeEndian.Uint16(b[2:]), ""
	flags := binary.NativeEndian.Uint32(b[8:])
	// Running is the operational state, which 802.1X and the like hold down although
	// there is a carrier.
	const up = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	l.Up = flags&up == up
	eachAttr(b[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = string(bytes.TrimRight(v, "\x00"))
		case unix.IFLA_ADDRESS:
			l.HardAddr = bytes.Clone(v)
		case unix.IFLA_MTU:
			l.MTU = int(attr32(v))
		case unix.IFLA_CARRIER_DOWN_COUNT:
			l.downs = attr32(v)
		case unix.IFLA_LINKINFO:
			eachAttr(v, func(typ uint16, v []byte) {
				if typ == unix.IFLA_INFO_KIND {
					kind = string(bytes.TrimRight(v, "\x00"))
				}
			})
		}
	})
	l.Tunnel = isTunnel(arp, kind)
	return l, true
}

// isTunnel tells by its hardware type and its kind whether a link carries packets inside
// others. ARPHRD_NONE alone does not tell: modems have it too.
func isTunnel(arp uint16, kind string) bool {
	switch arp {
	case unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE:
		return true
	case unix.ARPHRD_NONE:
		return slices.Contains([]string{"tun", "wireguard", "xfrm", "ovpn"}, kind)
	}
	return false
}

func sameLink(a, b host.Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Up == b.Up && a.Tunnel == b.Tunnel && a.MTU == b.MTU &&
		a.LinkLocal == b.LinkLocal && bytes.Equal(a.HardAddr, b.HardAddr)
}

// addrState is what an address message tells.
type addrState struct {
	host.Addr
	proto uint8 // who put it there (IFA_PROTO, Linux 5.18)
}

const ifaProto = 11 // IFA_PROTO

// parseAddr reads an address message without its netlink header.
func parseAddr(b []byte) (a addrState, ok bool) {
	// Family, prefix length, flags, scope, index
	if len(b) < unix.SizeofIfAddrmsg || b[0] != unix.AF_INET6 {
		return a, false
	}
	bits, flags := int(b[1]), uint32(b[2])
	a.IfIndex = int(binary.NativeEndian.Uint32(b[4:]))
	var addr, local netip.Addr
	eachAttr(b[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_ADDRESS: // with IFA_LOCAL: the peer's
			addr = attrAddr(v)
		case unix.IFA_LOCAL:
			local = attrAddr(v)
		case unix.IFA_FLAGS: // all 32 bits; the octet in the header has the low eight
			flags = attr32(v)
		case ifaProto:
			if len(v) > 0 {
				a.proto = v[0]
			}
		case unix.IFA_CACHEINFO: // preferred, valid, created, updated
			if len(v) >= 8 {
				a.Preferred = time.Duration(attr32(v)) * time.Second
				a.Valid = time.Duration(attr32(v[4:])) * time.Second
			}
		}
	})
	if local.IsValid() {
		addr, bits = local, 128
	}
	a.Prefix = netip.PrefixFrom(addr, bits)
	a.setFlags(flags)
	return a, a.Prefix.IsValid()
}

func (a *addrState) setFlags(f uint32) {
	a.Tentative = f&unix.IFA_F_TENTATIVE != 0
	a.Optimistic = f&unix.IFA_F_OPTIMISTIC != 0
	a.DADFailed = f&unix.IFA_F_DADFAILED != 0
	a.Deprecated = f&unix.IFA_F_DEPRECATED != 0
	a.Temporary = f&unix.IFA_F_TEMPORARY != 0
	a.Home = f&unix.IFA_F_HOMEADDRESS != 0
	if a.Permanent = f&unix.IFA_F_PERMANENT != 0; a.Permanent {
		a.Valid, a.Preferred = 0, 0
	}
}

// links asks the kernel for all links.
func (r *rtnl) links() ([]linkState, error) {
	var out []linkState
	err := r.dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg),
		func() { out = out[:0] },
		func(b []byte) {
			if l, ok := parseLink(b); ok {
				out = append(out, l)
			}
		})
	return out, place("list links", err)
}

// addrs asks the kernel for the IPv6 addresses of one link, or of all for 0.
func (r *rtnl) addrs(ifIndex int) ([]addrState, error) {
	var out []addrState
	err := r.dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, addrHeader(0, 0, ifIndex),
		func() { out = out[:0] },
		func(b []byte) {
			if a, ok := parseAddr(b); ok && (ifIndex == 0 || a.IfIndex == ifIndex) {
				out = append(out, a)
			}
		})
	return out, place("list addresses", err)
}

// addrHeader is struct ifaddrmsg.
func addrHeader(bits int, flags uint8, ifIndex int) []byte {
	return binary.NativeEndian.AppendUint32([]byte{unix.AF_INET6, uint8(bits), flags, 0}, uint32(ifIndex))
}

// linkLocal picks the link-local address to send from: one that is not
// optimistic before one that is, in the kernel's order.
func linkLocal(addrs []addrState) (best addrState, ok bool) {
	for _, a := range addrs {
		if !a.Prefix.Addr().IsLinkLocalUnicast() || !a.Usable() {
			continue
		}
		if !ok || best.Tentative && !a.Tentative {
			best, ok = a, true
		}
	}
	return best, ok
}
