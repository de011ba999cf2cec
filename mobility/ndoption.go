package mobility

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// NDOptionType is the type of a neighbour discovery option.
type NDOptionType uint8

const (
	NDSourceLinkLayer       NDOptionType = 1
	NDTargetLinkLayer       NDOptionType = 2
	NDPrefixInfo            NDOptionType = 3
	NDMTU                   NDOptionType = 5
	NDAdvertisementInterval NDOptionType = 7 // RFC 6275 §7.3
	NDHomeAgentInfo         NDOptionType = 8 // RFC 6275 §7.4
)

// InfiniteLifetime is the lifetime of a prefix that never ends (RFC 4861 §4.6.2).
const InfiniteLifetime = 0xffffffff * time.Second

// NDOption is one neighbour discovery option: SourceLinkLayer, TargetLinkLayer,
// PrefixInfo, LinkMTU, AdvertisementInterval, HomeAgentInfo or RawNDOption, all
// values.
type NDOption interface {
	NDType() NDOptionType
	appendData(b []byte) []byte // what follows type and length
}

// NDOptions are the options of a message in wire order.
type NDOptions []NDOption

// FindNDOption is the first option of the kind T.
func FindNDOption[T NDOption](o NDOptions) (v T, ok bool) {
	for _, x := range o {
		if v, ok = x.(T); ok {
			return v, true
		}
	}
	return v, false
}

// Prefixes are the prefix information options.
func (o NDOptions) Prefixes() []PrefixInfo {
	var out []PrefixInfo
	for _, x := range o {
		if p, ok := x.(PrefixInfo); ok {
			out = append(out, p)
		}
	}
	return out
}

// SourceLinkLayer and TargetLinkLayer hold a link-layer address. Its length is
// not on the wire: decoded, it is all the octets of the option, 6 for Ethernet.
type (
	SourceLinkLayer struct{ Addr []byte }
	TargetLinkLayer struct{ Addr []byte }
)

// PrefixFlags are the flags of a prefix information option.
type PrefixFlags uint8

const (
	PrefixOnLink     PrefixFlags = 0x80 // L
	PrefixAutonomous PrefixFlags = 0x40 // A
	PrefixRouter     PrefixFlags = 0x20 // R, RFC 6275 §7.2
	knownPrefixSet               = PrefixOnLink | PrefixAutonomous | PrefixRouter
)

// Has tells whether all the flags of f are set.
func (p PrefixFlags) Has(f PrefixFlags) bool { return p&f == f }

// PrefixInfo is a prefix of the link (RFC 4861 §4.6.2, RFC 6275 §7.2).
type PrefixInfo struct {
	Addr      netip.Addr // the router's whole address with PrefixRouter, else the prefix
	Bits      uint8      // 0 to 128
	Flags     PrefixFlags
	Valid     time.Duration // whole seconds, or InfiniteLifetime
	Preferred time.Duration // whole seconds, or InfiniteLifetime
}

// Prefix is the prefix.
func (p PrefixInfo) Prefix() netip.Prefix {
	return netip.PrefixFrom(p.Addr, int(p.Bits)).Masked()
}

// RouterAddr is the router's own address, where the option holds it.
func (p PrefixInfo) RouterAddr() (netip.Addr, bool) { return p.Addr, p.Flags.Has(PrefixRouter) }

// LinkMTU is the MTU of the link in octets (RFC 4861 §4.6.4).
type LinkMTU uint32

// AdvertisementInterval is the longest time between two unsolicited router
// advertisements, in whole milliseconds on the wire (RFC 6275 §7.3).
type AdvertisementInterval time.Duration

// HomeAgentInfo ranks a home agent (RFC 6275 §7.4).
type HomeAgentInfo struct {
	Preference uint16        // higher is better
	Lifetime   time.Duration // whole seconds, 1 to 65535
}

// RawNDOption is an option that is not known, or a known one of a wrong length:
// what follows type and length. Its length plus 2 is a multiple of 8.
type RawNDOption struct {
	Type NDOptionType
	Data []byte
}

func (SourceLinkLayer) NDType() NDOptionType       { return NDSourceLinkLayer }
func (TargetLinkLayer) NDType() NDOptionType       { return NDTargetLinkLayer }
func (PrefixInfo) NDType() NDOptionType            { return NDPrefixInfo }
func (LinkMTU) NDType() NDOptionType               { return NDMTU }
func (AdvertisementInterval) NDType() NDOptionType { return NDAdvertisementInterval }
func (HomeAgentInfo) NDType() NDOptionType         { return NDHomeAgentInfo }
func (o RawNDOption) NDType() NDOptionType         { return o.Type }

func (o SourceLinkLayer) appendData(b []byte) []byte { return appendLinkLayer(b, o.Addr) }
func (o TargetLinkLayer) appendData(b []byte) []byte { return appendLinkLayer(b, o.Addr) }
func (o RawNDOption) appendData(b []byte) []byte     { return append(b, o.Data...) }

func appendLinkLayer(b, addr []byte) []byte {
	return append(append(b, addr...), make([]byte, padding(len(addr), 8, 6))...)
}

func (p PrefixInfo) appendData(b []byte) []byte {
	a := p.Addr
	if !p.Flags.Has(PrefixRouter) { // bits behind the prefix are zero (RFC 4861 §4.6.2)
		a = p.Prefix().Addr()
	}
	b = append(b, p.Bits, byte(p.Flags&knownPrefixSet))
	b = binary.BigEndian.AppendUint32(b, clamp(p.Valid, time.Second, 0xffffffff))
	b = binary.BigEndian.AppendUint32(b, clamp(p.Preferred, time.Second, 0xffffffff))
	return appendAddr(append(b, 0, 0, 0, 0), a)
}

func (o LinkMTU) appendData(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0), uint32(o))
}

func (o AdvertisementInterval) appendData(b []byte) []byte {
	ms := clamp(time.Duration(o), time.Millisecond, 0xffffffff)
	return binary.BigEndian.AppendUint32(append(b, 0, 0), ms)
}

func (o HomeAgentInfo) appendData(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0, 0), o.Preference)
	return binary.BigEndian.AppendUint16(b, uint16(clamp(o.Lifetime, time.Second, 0xffff)))
}

func (o NDOptions) appendTo(b []byte) ([]byte, error) {
	for i, x := range o {
		if x == nil {
			return b, fmt.Errorf("%w: neighbor discovery option %d", ErrEncode, i)
		}
		start := len(b)
		b = x.appendData(append(b, byte(x.NDType()), 0))
		n := len(b) - start
		if n%8 != 0 || n > 8*255 {
			return b, fmt.Errorf("%w: neighbor discovery option %d of %d octets", ErrEncode, i, n)
		}
		b[start+1] = byte(n / 8)
	}
	return b, nil
}

// decodeNDOptions reads the options of the message b from offset off on. A
// length of zero or beyond the end discards the message (RFC 4861 §6.1).
func decodeNDOptions(b []byte, off int) (NDOptions, error) {
	var out NDOptions
	for off < len(b) {
		if len(b)-off < 2 {
			return nil, &FieldError{Err: ErrNDOption, Pointer: off, Value: int(b[off])}
		}
		n := 8 * int(b[off+1])
		if n == 0 || n > len(b)-off {
			return nil, &FieldError{Err: ErrNDOption, Pointer: off + 1, Value: int(b[off+1])}
		}
		out = append(out, decodeNDOption(NDOptionType(b[off]), b[off+2:off+n]))
		off += n
	}
	return out, nil
}

// decodeNDOption reads one option without type and length; d has 8n-2 octets.
func decodeNDOption(t NDOptionType, d []byte) NDOption {
	switch {
	case t == NDSourceLinkLayer:
		return SourceLinkLayer{Addr: append([]byte(nil), d...)}
	case t == NDTargetLinkLayer:
		return TargetLinkLayer{Addr: append([]byte(nil), d...)}
	case t == NDPrefixInfo && len(d) == 30 && d[0] <= 128:
		p := PrefixInfo{
			Addr:      netip.AddrFrom16([16]byte(d[14:30])),
			Bits:      d[0],
			Flags:     PrefixFlags(d[1]) & knownPrefixSet,
			Valid:     time.Duration(binary.BigEndian.Uint32(d[2:])) * time.Second,
			Preferred: time.Duration(binary.BigEndian.Uint32(d[6:])) * time.Second,
		}
		if !p.Flags.Has(PrefixRouter) {
			p.Addr = p.Prefix().Addr()
		}
		return p
	case t == NDMTU && len(d) == 6:
		return LinkMTU(binary.BigEndian.Uint32(d[2:]))
	case t == NDAdvertisementInterval && len(d) == 6:
		return AdvertisementInterval(time.Duration(binary.BigEndian.Uint32(d[2:])) * time.Millisecond)
	case t == NDHomeAgentInfo && len(d) == 6:
		return HomeAgentInfo{
			Preference: binary.BigEndian.Uint16(d[2:]),
			Lifetime:   time.Duration(binary.BigEndian.Uint16(d[4:])) * time.Second,
		}
	}
	return RawNDOption{Type: t, Data: append([]byte(nil), d...)}
}
