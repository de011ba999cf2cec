package kernel

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// putSelector writes a struct xfrm_selector. The Mobility Header's or ICMPv6's
// message type stands in the source port, as the vocabulary has it.
func putSelector(b []byte, s xfrm.Selector) {
	c := s.Canonical()
	putAddr(b[0:16], c.Dst.Addr())
	putAddr(b[16:32], c.Src.Addr())
	wireOrder.PutUint16(b[32:], c.DstPort)
	wireOrder.PutUint16(b[34:], c.DstPortMask)
	wireOrder.PutUint16(b[36:], c.SrcPort)
	wireOrder.PutUint16(b[38:], c.SrcPortMask)
	host.PutUint16(b[40:], familyOf(c.Dst.Addr()))
	b[42] = uint8(c.Dst.Bits())
	b[43] = uint8(c.Src.Bits())
	b[44] = c.Proto
	host.PutUint32(b[48:], uint32(int32(c.IfIndex)))
}

// getSelector reads a struct xfrm_selector; b has 56 bytes. Host bits behind the
// prefix stay: the kernel keeps them and compares them when a policy is deleted.
func getSelector(b []byte) xfrm.Selector {
	family := host.Uint16(b[40:])
	return xfrm.Selector{
		Dst:         prefix(getAddr(b[0:16], family), b[42]),
		Src:         prefix(getAddr(b[16:32], family), b[43]),
		DstPort:     wireOrder.Uint16(b[32:]),
		DstPortMask: wireOrder.Uint16(b[34:]),
		SrcPort:     wireOrder.Uint16(b[36:]),
		SrcPortMask: wireOrder.Uint16(b[38:]),
		Proto:       b[44],
		IfIndex:     int(int32(host.Uint32(b[48:]))),
	}
}

// prefix is total: a length that the family does not have counts as the longest.
func prefix(a netip.Addr, bits uint8) netip.Prefix {
	return netip.PrefixFrom(a, min(int(bits), a.BitLen()))
}

// catchAll tells a selector that accepts every packet.
func catchAll(s xfrm.Selector) bool {
	s = s.Canonical()
	return s.Src.Bits() == 0 && s.Dst.Bits() == 0 && s.Proto == 0 &&
		s.SrcPortMask == 0 && s.DstPortMask == 0 && s.IfIndex == 0
}

const infinite = ^uint64(0) // XFRM_INF

// putLife writes a struct xfrm_lifetime_cfg (64 bytes). Times count from the
// making of the SA and are rounded up to seconds; zero is no limit.
func putLife(b []byte, l xfrm.Lifetimes) {
	limit := func(n uint64) uint64 {
		if n == 0 {
			return infinite
		}
		return n
	}
	host.PutUint64(b[0:], limit(l.SoftBytes))
	host.PutUint64(b[8:], limit(l.HardBytes))
	host.PutUint64(b[16:], limit(l.SoftPackets))
	host.PutUint64(b[24:], limit(l.HardPackets))
	host.PutUint64(b[32:], seconds(l.SoftTime))
	host.PutUint64(b[40:], seconds(l.HardTime))
}

func seconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d + time.Second - 1) / time.Second)
}

func getLife(b []byte) xfrm.Lifetimes {
	limit := func(b []byte) uint64 {
		if n := host.Uint64(b); n != infinite {
			return n
		}
		return 0
	}
	return xfrm.Lifetimes{
		SoftBytes:   limit(b[0:]),
		HardBytes:   limit(b[8:]),
		SoftPackets: limit(b[16:]),
		HardPackets: limit(b[24:]),
		SoftTime:    duration(host.Uint64(b[32:])),
		HardTime:    duration(host.Uint64(b[40:])),
	}
}

func duration(s uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Second)
	return time.Duration(min(s, most)) * time.Second
}

// getUsage reads a struct xfrm_lifetime_cur (32 bytes). The fourth number is the
// first use of an SA, but the last use of a policy.
func getUsage(b []byte) (s xfrm.Stats, used time.Time) {
	s = xfrm.Stats{Bytes: host.Uint64(b), Packets: host.Uint64(b[8:]), Added: unixTime(host.Uint64(b[16:]))}
	return s, unixTime(host.Uint64(b[24:]))
}

func unixTime(s uint64) time.Time {
	if s == 0 || s > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}

// markAttr appends XFRMA_MARK: value and mask.
func (m *message) markAttr(mark uint32) {
	if mark == 0 {
		return
	}
	b := m.attr(attrMark, 8)
	host.PutUint32(b, mark)
	host.PutUint32(b[4:], ^uint32(0))
}

func (m *message) addrAttr(typ uint16, a netip.Addr) { putAddr(m.attr(typ, 16), a) }

// typeAttr appends XFRMA_POLICY_TYPE; a message without one means Main.
func (m *message) typeAttr(t xfrm.PolicyType) {
	if t != xfrm.Main {
		m.attr(attrPolicyType, 6)[0] = uint8(t)
	}
}
