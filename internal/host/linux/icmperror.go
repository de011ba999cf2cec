package linux

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// maxQuoted is what an ICMPv6 error can hold of a packet within the least MTU (RFC 4443 §3).
const maxQuoted = 1280 - 40 - 8

// Codes of a Parameter Problem (RFC 4443 §3.4).
const (
	erroneousField    = 0
	unknownNextHeader = 1
	unknownOption     = 2
)

// readError reads an ICMPv6 error about a packet of Mobile IPv6: see host.ICMPError. Behind
// ESP the Mobility Header is not seen, but the options and headers before it are. An error
// that came to somebody else than the sender of the packet in it is made up.
func readError(m icmpPacket) (e host.ICMPError, ok bool) {
	// Type, code, checksum, a field of 32 bits, then the packet in error (RFC 4443 §3)
	if len(m.data) < 8 || m.data[0] < byte(mobility.ICMPUnreachable) || m.data[0] > byte(mobility.ICMPParamProblem) {
		return e, false
	}
	quoted := m.data[8:min(len(m.data), 8+maxQuoted)]
	var p mobility.Packet
	if err := p.Walk(quoted); err != nil && !errors.Is(err, mobility.ErrTruncated) {
		return e, false
	}
	mh := p.Proto == mobility.ProtoMobility
	if !mh && !p.HomeAddr.IsValid() && !p.RoutingAddr.IsValid() {
		return e, false
	}
	if m.dst != p.Src && m.dst != p.HomeAddr {
		return e, false
	}
	e = host.ICMPError{
		Type: m.data[0],
		Code: m.data[1],
		From: m.src,
		Src:  p.Src,
		Dst:  p.Dst,
		Home: p.HomeAddr,
		MH:   mh,
		Data: bytes.Clone(quoted),
	}
	if p.RoutingAddr.IsValid() {
		e.Final = p.TransportDst()
	}
	if mobility.ICMPType(e.Type) == mobility.ICMPParamProblem {
		e.Pointer = binary.BigEndian.Uint32(m.data[4:])
		e.Refuses = refuses(&p, e.Code, uint64(e.Pointer))
	}
	return e, true
}

// refuses tells whether a Parameter Problem is about what only Mobile IPv6 has in p.
func refuses(p *mobility.Packet, code uint8, pointer uint64) bool {
	switch code {
	case unknownNextHeader:
		return p.Proto == mobility.ProtoMobility && pointer == uint64(nextHeader(p))
	case unknownOption:
		return p.HomeAddr.IsValid() && pointer == uint64(p.HomeOffset)
	case erroneousField:
		// The Routing Type is the third octet; a node that knows it has no quarrel with it.
		for _, h := range p.Headers() {
			if h.Proto == mobility.ProtoRouting && p.RoutingAddr.IsValid() && pointer == uint64(h.Offset+2) {
				return true
			}
		}
	}
	return false
}

// nextHeader is the offset of the Next Header field that tells p.Proto: the first octet of the
// last extension header, or that of the IPv6 header.
func nextHeader(p *mobility.Packet) int {
	if h := p.Headers(); len(h) > 0 {
		return h[len(h)-1].Offset
	}
	return 6
}
