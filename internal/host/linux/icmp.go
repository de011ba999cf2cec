package linux

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// openICMP opens a raw ICMPv6 socket that receives only the given types. It gets
// what the host receives, all-nodes multicast included; other groups have to be
// joined.
func openICMP(name string, types ...mobility.ICMPType) (*socket, error) {
	s, err := newSocket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, name)
	if err != nil {
		return nil, err
	}
	var f unix.ICMPv6Filter // a set bit blocks its type (RFC 3542 §3.2)
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	for _, t := range types {
		f.Data[t>>5] &^= 1 << (t & 31)
	}
	err = s.control(func(fd int) error {
		if err := unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f); err != nil {
			return place("filter ICMPv6", err)
		}
		return bypass(fd)
	})
	if err == nil {
		err = s.set("set up the ICMPv6 socket", append(receiveBuffer(1<<20),
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, false},
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1, false})...)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// icmpPacket is a received ICMPv6 message; data lives until the next receive.
type icmpPacket struct {
	src, dst netip.Addr
	ifIndex  int
	hopLimit int
	data     []byte
}

func readICMP(p packet) icmpPacket {
	m := icmpPacket{src: p.source(), data: p.data}
	eachControl(p.oob, func(typ int, data []byte) {
		switch typ {
		case unix.IPV6_PKTINFO:
			m.dst, m.ifIndex = pktInfo(data)
		case unix.IPV6_HOPLIMIT:
			if len(data) >= 4 {
				m.hopLimit = int(binary.NativeEndian.Uint32(data))
			}
		}
	})
	return m
}

// watchICMP tells of router advertisements and ICMPv6 errors.
func (h *Host) watchICMP(emit func(host.Event)) error {
	return h.icmp.each(make([]byte, 1<<16), make([]byte, 256), func(p packet) {
		m := readICMP(p)
		if len(m.data) == 0 {
			return
		}
		if mobility.ICMPType(m.data[0]) == mobility.ICMPRouterAdv {
			if r, ok := readRouter(m); ok {
				emit(host.RouterSeen{Router: r})
			} else {
				h.stats.BadAdverts.Add(1)
			}
			return
		}
		if e, ok := readError(m); ok {
			emit(e)
		} else {
			h.stats.OtherErrors.Add(1)
		}
	})
}

// readRouter validates and reads a router advertisement (RFC 4861 §6.1.2: hop
// limit 255, a link-local source, code 0, well-formed options). The kernel
// verified the checksum.
func readRouter(m icmpPacket) (r host.Router, ok bool) {
	if m.hopLimit != mobility.NDHopLimit || !m.src.IsLinkLocalUnicast() {
		return r, false
	}
	msg, err := mobility.DecodeICMP(m.data)
	ra, is := msg.(mobility.RouterAdvertisement)
	if err != nil || !is {
		return r, false
	}
	r = host.Router{
		IfIndex:   m.ifIndex,
		Addr:      m.src,
		Lifetime:  ra.RouterLifetime,
		HomeAgent: ra.Flags.Has(mobility.RouterHomeAgent),
		Managed:   ra.Flags.Has(mobility.RouterManaged),
	}
	if o, ok := mobility.FindNDOption[mobility.SourceLinkLayer](ra.Options); ok {
		r.HardAddr = o.Addr
	}
	if o, ok := mobility.FindNDOption[mobility.AdvertisementInterval](ra.Options); ok {
		r.Interval = time.Duration(o)
	}
	if preference, lifetime, ok := ra.HomeAgent(); ok {
		// A signed number, higher is better (RFC 6275 §7.4).
		r.HomeAgentPreference, r.HomeAgentLifetime = int16(preference), lifetime
	}
	for _, p := range ra.Options.Prefixes() {
		rp := host.RouterPrefix{
			Prefix:    p.Prefix(),
			OnLink:    p.Flags.Has(mobility.PrefixOnLink),
			Auto:      p.Flags.Has(mobility.PrefixAutonomous),
			Valid:     p.Valid,
			Preferred: p.Preferred,
		}
		if a, ok := p.RouterAddr(); ok {
			rp.RouterAddr = a
		}
		r.Prefixes = append(r.Prefixes, rp)
	}
	return r, true
}
