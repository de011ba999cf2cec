package mobility

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ICMPType is the type of an ICMPv6 message.
type ICMPType uint8

const (
	ICMPUnreachable    ICMPType = 1
	ICMPTooBig         ICMPType = 2
	ICMPTimeExceeded   ICMPType = 3
	ICMPParamProblem   ICMPType = 4
	ICMPRouterSol      ICMPType = 133
	ICMPRouterAdv      ICMPType = 134
	ICMPNeighborSol    ICMPType = 135
	ICMPNeighborAdv    ICMPType = 136
	ICMPHAADRequest    ICMPType = 144
	ICMPHAADReply      ICMPType = 145
	ICMPPrefixSol      ICMPType = 146
	ICMPPrefixAdv      ICMPType = 147
	icmpHeader                  = 4
	icmpChecksumOffset          = 2
)

// ICMP is one ICMPv6 message: ICMPError, RouterSolicitation,
// RouterAdvertisement, NeighborSolicitation, NeighborAdvertisement, HAADRequest,
// HAADReply, PrefixSolicitation or PrefixAdvertisement, all values.
type ICMP interface {
	ICMPType() ICMPType
	appendBody(b []byte) ([]byte, error)
}

// ICMPError is an ICMPv6 error message (RFC 4443 §3).
type ICMPError struct {
	Type   ICMPType
	Code   uint8
	Value  uint32 // the pointer of a Parameter Problem, the MTU of Packet Too Big
	Packet []byte // the beginning of the packet that caused it
}

// HAADRequest asks the home agents of a prefix for their addresses (RFC 6275 §6.5).
type HAADRequest struct {
	ID           uint16
	MobileRouter bool // RFC 3963 §4.4
}

// HAADReply lists home agents, the preferred one first (RFC 6275 §6.6).
type HAADReply struct {
	ID           uint16
	MobileRouter bool // RFC 3963 §4.4
	Addrs        []netip.Addr
}

// PrefixSolicitation asks the home agent for the home prefixes (RFC 6275 §6.7).
type PrefixSolicitation struct {
	ID      uint16
	Options NDOptions
}

// PrefixAdvertisement tells the home prefixes (RFC 6275 §6.8).
type PrefixAdvertisement struct {
	ID      uint16
	Flags   RouterFlags // RouterManaged and RouterOther only
	Options NDOptions
}

func (e ICMPError) ICMPType() ICMPType         { return e.Type }
func (HAADRequest) ICMPType() ICMPType         { return ICMPHAADRequest }
func (HAADReply) ICMPType() ICMPType           { return ICMPHAADReply }
func (PrefixSolicitation) ICMPType() ICMPType  { return ICMPPrefixSol }
func (PrefixAdvertisement) ICMPType() ICMPType { return ICMPPrefixAdv }

const routerBit = 0x8000

func (e ICMPError) appendBody(b []byte) ([]byte, error) {
	if e.Type == 0 || e.Type > ICMPParamProblem {
		return b, fmt.Errorf("%w: icmpv6 error of type %d", ErrEncode, e.Type)
	}
	b[len(b)-icmpHeader+1] = e.Code
	b = binary.BigEndian.AppendUint32(b, e.Value)
	// RFC 4443 §3: no more than fits the minimum MTU.
	return append(b, e.Packet[:min(len(e.Packet), MinMTU-ipv6Header-8)]...), nil
}

func (m HAADRequest) appendBody(b []byte) ([]byte, error) {
	return appendID(b, m.ID, m.MobileRouter), nil
}

func (m HAADReply) appendBody(b []byte) ([]byte, error) {
	b = appendID(b, m.ID, m.MobileRouter)
	for _, a := range m.Addrs {
		b = appendAddr(b, a)
	}
	return b, nil
}

func (m PrefixSolicitation) appendBody(b []byte) ([]byte, error) {
	return m.Options.appendTo(appendID(b, m.ID, false))
}

func (m PrefixAdvertisement) appendBody(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, m.ID)
	return m.Options.appendTo(append(b, byte(m.Flags&(RouterManaged|RouterOther)), 0))
}

func appendID(b []byte, id uint16, router bool) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	if router {
		return binary.BigEndian.AppendUint16(b, routerBit)
	}
	return append(b, 0, 0)
}

// AppendICMP appends m with a checksum of zero, which the kernel fills in on a
// raw ICMPv6 socket. The error wraps ErrEncode.
func AppendICMP(b []byte, m ICMP) ([]byte, error) {
	base := len(b)
	b, err := m.appendBody(append(b, byte(m.ICMPType()), 0, 0, 0))
	if err != nil {
		return b[:base], err
	}
	return b, nil
}

// AppendICMPWithChecksum is AppendICMP with the checksum filled in. src and dst
// are home addresses where the packet has a home address option or a type 2
// routing header.
func AppendICMPWithChecksum(b []byte, m ICMP, src, dst netip.Addr) ([]byte, error) {
	base := len(b)
	b, err := AppendICMP(b, m)
	if err != nil {
		return b, err
	}
	binary.BigEndian.PutUint16(b[base+icmpChecksumOffset:], Checksum(src, dst, ProtoICMPv6, b[base:]))
	return b, nil
}

// DecodeICMP reads the ICMPv6 message that b is. The checksum is not verified
// (VerifyChecksum does it), nor the hop limit of 255 that neighbour discovery
// asks for: the caller knows both. Other types are ErrICMPType.
func DecodeICMP(b []byte) (ICMP, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("%w: icmpv6 of %d octets", ErrTruncated, len(b))
	}
	t, code := ICMPType(b[0]), b[1]
	if t >= 1 && t <= ICMPParamProblem {
		return ICMPError{Type: t, Code: code, Value: binary.BigEndian.Uint32(b[4:]), Packet: append([]byte(nil), b[8:]...)}, nil
	}
	decode := icmpDecoder(t)
	if decode == nil {
		return nil, fmt.Errorf("%w: %d", ErrICMPType, t)
	}
	if code != 0 {
		return nil, fmt.Errorf("%w: type %d, code %d", ErrICMPCode, t, code)
	}
	return decode(b)
}

func icmpDecoder(t ICMPType) func(b []byte) (ICMP, error) {
	switch t {
	case ICMPRouterSol:
		return decodeRouterSol
	case ICMPRouterAdv:
		return decodeRouterAdv
	case ICMPNeighborSol:
		return decodeNeighborSol
	case ICMPNeighborAdv:
		return decodeNeighborAdv
	case ICMPHAADRequest:
		return decodeHAADRequest
	case ICMPHAADReply:
		return decodeHAADReply
	case ICMPPrefixSol:
		return decodePrefixSol
	case ICMPPrefixAdv:
		return decodePrefixAdv
	}
	return nil
}

func decodeHAADRequest(b []byte) (ICMP, error) {
	return HAADRequest{
		ID:           binary.BigEndian.Uint16(b[4:]),
		MobileRouter: binary.BigEndian.Uint16(b[6:])&routerBit != 0,
	}, nil
}

func decodeHAADReply(b []byte) (ICMP, error) {
	if (len(b)-8)%16 != 0 {
		return nil, fmt.Errorf("%w: home agent addresses", ErrTruncated)
	}
	m := HAADReply{
		ID:           binary.BigEndian.Uint16(b[4:]),
		MobileRouter: binary.BigEndian.Uint16(b[6:])&routerBit != 0,
	}
	for b = b[8:]; len(b) >= 16; b = b[16:] {
		m.Addrs = append(m.Addrs, netip.AddrFrom16([16]byte(b[:16])))
	}
	return m, nil
}

func decodePrefixSol(b []byte) (ICMP, error) {
	o, err := decodeNDOptions(b, 8)
	return PrefixSolicitation{ID: binary.BigEndian.Uint16(b[4:]), Options: o}, err
}

func decodePrefixAdv(b []byte) (ICMP, error) {
	o, err := decodeNDOptions(b, 8)
	return PrefixAdvertisement{
		ID:      binary.BigEndian.Uint16(b[4:]),
		Flags:   RouterFlags(b[6]) & (RouterManaged | RouterOther),
		Options: o,
	}, err
}
