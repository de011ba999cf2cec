package message

import (
	"encoding/binary"
	"fmt"
)

// HeaderLen is the length of the IKE header.
const HeaderLen = 28

// Flags of the header (RFC 7296 §3.1).
const (
	FlagInitiator uint8 = 0x08
	FlagVersion   uint8 = 0x10
	FlagResponse  uint8 = 0x20
)

// version2 is major version 2, minor version 0.
const version2 = 0x20

// PayloadType identifies a payload (RFC 7296 §3.2).
type PayloadType uint8

// Payload types.
const (
	NoNext      PayloadType = 0
	TypeSA      PayloadType = 33
	TypeKE      PayloadType = 34
	TypeIDi     PayloadType = 35
	TypeIDr     PayloadType = 36
	TypeCert    PayloadType = 37
	TypeCertReq PayloadType = 38
	TypeAuth    PayloadType = 39
	TypeNonce   PayloadType = 40
	TypeNotify  PayloadType = 41
	TypeDelete  PayloadType = 42
	TypeVendor  PayloadType = 43
	TypeTSi     PayloadType = 44
	TypeTSr     PayloadType = 45
	TypeSK      PayloadType = 46
	TypeCP      PayloadType = 47
	TypeEAP     PayloadType = 48
	TypeSKF     PayloadType = 53 // RFC 7383
)

// Header is the IKE header. SPIs are in network order as numbers.
type Header struct {
	SPIi, SPIr uint64
	Next       PayloadType
	Exchange   ExchangeType
	Flags      uint8
	ID         uint32 // message ID
}

// Response says whether the response flag is set.
func (h Header) Response() bool { return h.Flags&FlagResponse != 0 }

// FromInitiator says whether the sender is the original initiator of the IKE SA.
func (h Header) FromInitiator() bool { return h.Flags&FlagInitiator != 0 }

// ParseHeader reads the header of a datagram that must be exactly one IKE
// message. The header is filled in even where ErrVersion is returned, because
// the answer to a foreign version needs it. Reserved flags and the minor
// version are ignored (RFC 7296 §2.5).
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("%w: header of %d octets", ErrShort, len(b))
	}
	h := Header{
		SPIi:     binary.BigEndian.Uint64(b[0:]),
		SPIr:     binary.BigEndian.Uint64(b[8:]),
		Next:     PayloadType(b[16]),
		Exchange: ExchangeType(b[18]),
		Flags:    b[19],
		ID:       binary.BigEndian.Uint32(b[20:]),
	}
	if major := b[17] >> 4; major != 2 {
		return h, fmt.Errorf("%w: %d", ErrVersion, major)
	}
	if n := binary.BigEndian.Uint32(b[24:]); uint64(n) != uint64(len(b)) {
		return h, fmt.Errorf("%w: length field %d, datagram %d", ErrSyntax, n, len(b))
	}
	return h, nil
}

// Append appends the header with the length of the whole message, in octets.
func (h Header) Append(dst []byte, length int) []byte {
	dst = binary.BigEndian.AppendUint64(dst, h.SPIi)
	dst = binary.BigEndian.AppendUint64(dst, h.SPIr)
	dst = append(dst, byte(h.Next), version2, byte(h.Exchange), h.Flags)
	dst = binary.BigEndian.AppendUint32(dst, h.ID)
	return binary.BigEndian.AppendUint32(dst, uint32(length))
}

// Body is one payload to be sent: its type and what follows the generic header.
type Body struct {
	Type PayloadType
	Data []byte
}

// AppendChain appends payloads with their generic headers and returns the type
// of the first. The critical bit is never set: all our payloads are defined in
// RFC 7296, for which it must be zero (§2.5).
func AppendChain(dst []byte, ps []Body) ([]byte, PayloadType) {
	if len(ps) == 0 {
		return dst, NoNext
	}
	for i, p := range ps {
		next := NoNext
		if i+1 < len(ps) {
			next = ps[i+1].Type
		}
		dst = append(dst, byte(next), 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(4+len(p.Data)))
		dst = append(dst, p.Data...)
	}
	return dst, ps[0].Type
}

// Plain encodes a whole unprotected message.
func Plain(h Header, ps []Body) []byte {
	chain, first := AppendChain(nil, ps)
	h.Next = first
	return append(h.Append(make([]byte, 0, HeaderLen+len(chain)), HeaderLen+len(chain)), chain...)
}

// AppendSKHeader appends the generic header of an SK payload whose body has n octets.
func AppendSKHeader(dst []byte, inner PayloadType, n int) []byte {
	dst = append(dst, byte(inner), 0)
	return binary.BigEndian.AppendUint16(dst, uint16(4+n))
}
