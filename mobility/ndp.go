package mobility

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// NDHopLimit is the hop limit of every neighbour discovery packet; others are to
// be discarded (RFC 4861 §6.1, §7.1).
const NDHopLimit = 255

// RouterFlags are the flags of a router advertisement, as they stand in its octet.
type RouterFlags uint8

const (
	RouterManaged   RouterFlags = 0x80 // M
	RouterOther     RouterFlags = 0x40 // O
	RouterHomeAgent RouterFlags = 0x20 // H, RFC 6275 §7.1
	knownRouterSet              = 0xfc // with the preference (RFC 4191 §2.2) and the proxy flag (RFC 4389 §4.1.3.3)
)

// Has tells whether all the flags of f are set.
func (r RouterFlags) Has(f RouterFlags) bool { return r&f == f }

// NeighborFlags are the flags of a neighbour advertisement, as they stand in its octet.
type NeighborFlags uint8

const (
	NeighborRouter    NeighborFlags = 0x80 // R
	NeighborSolicited NeighborFlags = 0x40 // S
	NeighborOverride  NeighborFlags = 0x20 // O
	knownNeighborSet                = NeighborRouter | NeighborSolicited | NeighborOverride
)

// Has tells whether all the flags of f are set.
func (n NeighborFlags) Has(f NeighborFlags) bool { return n&f == f }

// RouterSolicitation asks routers to advertise at once (RFC 4861 §4.1).
type RouterSolicitation struct{ Options NDOptions }

// RouterAdvertisement is what a router tells of itself and its link (RFC 4861
// §4.2, RFC 6275 §7.1).
type RouterAdvertisement struct {
	HopLimit       uint8
	Flags          RouterFlags
	RouterLifetime time.Duration // whole seconds, at most 65535; 0: not a default router
	Reachable      time.Duration // whole milliseconds; 0: unspecified
	Retrans        time.Duration // whole milliseconds; 0: unspecified
	Options        NDOptions
}

// NeighborSolicitation asks for the link-layer address of Target (RFC 4861 §4.3).
type NeighborSolicitation struct {
	Target  netip.Addr
	Options NDOptions
}

// NeighborAdvertisement tells the link-layer address of Target (RFC 4861 §4.4).
type NeighborAdvertisement struct {
	Flags   NeighborFlags
	Target  netip.Addr
	Options NDOptions
}

func (RouterSolicitation) ICMPType() ICMPType    { return ICMPRouterSol }
func (RouterAdvertisement) ICMPType() ICMPType   { return ICMPRouterAdv }
func (NeighborSolicitation) ICMPType() ICMPType  { return ICMPNeighborSol }
func (NeighborAdvertisement) ICMPType() ICMPType { return ICMPNeighborAdv }

// HomeAgent is the preference and lifetime of the sender as a home agent, with
// the defaults of RFC 6275 §7.4 where it did not tell them: preference 0, and
// the router lifetime. ok is the H bit.
func (m RouterAdvertisement) HomeAgent() (preference uint16, lifetime time.Duration, ok bool) {
	if !m.Flags.Has(RouterHomeAgent) {
		return 0, 0, false
	}
	if i, found := FindNDOption[HomeAgentInfo](m.Options); found {
		return i.Preference, i.Lifetime, true
	}
	return 0, m.RouterLifetime, true
}

func (m RouterSolicitation) appendBody(b []byte) ([]byte, error) {
	return m.Options.appendTo(append(b, 0, 0, 0, 0))
}

func (m RouterAdvertisement) appendBody(b []byte) ([]byte, error) {
	b = append(b, m.HopLimit, byte(m.Flags&knownRouterSet))
	b = binary.BigEndian.AppendUint16(b, uint16(clamp(m.RouterLifetime, time.Second, 0xffff)))
	b = binary.BigEndian.AppendUint32(b, clamp(m.Reachable, time.Millisecond, 0xffffffff))
	b = binary.BigEndian.AppendUint32(b, clamp(m.Retrans, time.Millisecond, 0xffffffff))
	return m.Options.appendTo(b)
}

func (m NeighborSolicitation) appendBody(b []byte) ([]byte, error) {
	return m.Options.appendTo(appendAddr(append(b, 0, 0, 0, 0), m.Target))
}

func (m NeighborAdvertisement) appendBody(b []byte) ([]byte, error) {
	b = append(b, byte(m.Flags&knownNeighborSet), 0, 0, 0)
	return m.Options.appendTo(appendAddr(b, m.Target))
}

// clamp is d in units, within 0 to most.
func clamp(d, unit time.Duration, most uint32) uint32 {
	return uint32(max(0, min(d/unit, time.Duration(most))))
}

func decodeRouterSol(b []byte) (ICMP, error) {
	o, err := decodeNDOptions(b, 8)
	return RouterSolicitation{Options: o}, err
}

func decodeRouterAdv(b []byte) (ICMP, error) {
	if len(b) < 16 {
		return nil, fmt.Errorf("%w: router advertisement of %d octets", ErrTruncated, len(b))
	}
	o, err := decodeNDOptions(b, 16)
	return RouterAdvertisement{
		HopLimit:       b[4],
		Flags:          RouterFlags(b[5]) & knownRouterSet,
		RouterLifetime: time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second,
		Reachable:      time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Millisecond,
		Retrans:        time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Millisecond,
		Options:        o,
	}, err
}

// target reads the target of a neighbour message and the options behind it.
// RFC 4861 §7.1: the target must not be multicast.
func target(b []byte) (netip.Addr, NDOptions, error) {
	if len(b) < 24 {
		return netip.Addr{}, nil, fmt.Errorf("%w: neighbor message of %d octets", ErrTruncated, len(b))
	}
	a := netip.AddrFrom16([16]byte(b[8:24]))
	if a.IsMulticast() {
		return a, nil, &FieldError{Err: ErrICMPField, Pointer: 8, Value: int(b[8])}
	}
	o, err := decodeNDOptions(b, 24)
	return a, o, err
}

func decodeNeighborSol(b []byte) (ICMP, error) {
	a, o, err := target(b)
	return NeighborSolicitation{Target: a, Options: o}, err
}

func decodeNeighborAdv(b []byte) (ICMP, error) {
	a, o, err := target(b)
	return NeighborAdvertisement{Flags: NeighborFlags(b[4]) & knownNeighborSet, Target: a, Options: o}, err
}
