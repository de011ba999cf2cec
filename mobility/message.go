package mobility

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

const (
	headerLen      = 6    // Payload Proto to Checksum
	minMessage     = 8    // Header Len 0
	maxMessage     = 2048 // Header Len 255
	checksumOffset = 4
)

// ChecksumOffset is the offset of the checksum in the Mobility Header, as the
// socket option IPV6_CHECKSUM wants it (RFC 3542 §3.1).
const ChecksumOffset = checksumOffset

// Message is one Mobility Header message (RFC 6275 §6.1).
type Message struct {
	Body     Body
	Options  Options
	Checksum uint16 // as received; not used when sending
}

// Type is the message's type.
func (m *Message) Type() Type { return m.Body.Type() }

// Decode reads a Mobility Header from the start of b into m; octets behind the
// length that the header tells are ignored. The checksum is not verified: raw
// sockets have done it.
//
// With ErrUnknownType m holds a RawBody, with ErrAuthPlace the whole message;
// with any other error m is not to be used.
func (m *Message) Decode(b []byte) error {
	*m = Message{}
	mh, err := header(b)
	if err != nil {
		return err
	}
	return m.decode(mh)
}

// DecodeVerified is Decode, but first it verifies the checksum. src is the home
// address where the packet had a home address option, dst is the home address
// where it had a type 2 routing header (RFC 6275 §6.1.1).
func (m *Message) DecodeVerified(b []byte, src, dst netip.Addr) error {
	*m = Message{}
	mh, err := header(b)
	if err != nil {
		return err
	}
	if !VerifyChecksum(src, dst, ProtoMobility, mh) {
		return ErrChecksum
	}
	return m.decode(mh)
}

// header cuts b to the length that the header tells.
func header(b []byte) ([]byte, error) {
	if len(b) < minMessage {
		return nil, fmt.Errorf("%w: %d octets", ErrTruncated, len(b))
	}
	n := 8 * (int(b[1]) + 1)
	if n > len(b) {
		return nil, fmt.Errorf("%w: %d octets of %d", ErrTruncated, len(b), n)
	}
	return b[:n], nil
}

// decode checks in the order of RFC 6275 §9.2: type, payload proto, header length.
func (m *Message) decode(mh []byte) error {
	t := Type(mh[2])
	m.Checksum = binary.BigEndian.Uint16(mh[checksumOffset:])
	if int(t) >= len(fixedEnd) {
		m.Body = RawBody{T: t, Data: append([]byte(nil), mh[headerLen:]...)}
		return &FieldError{Err: ErrUnknownType, Pointer: 2, Value: int(t)}
	}
	// Payload Proto
	if mh[0] != ProtoNone {
		return &FieldError{Err: ErrPayloadProto, Pointer: 0, Value: int(mh[0])}
	}
	// Header Len
	if len(mh) < fixedEnd[t] {
		return &FieldError{Err: ErrHeaderLen, Pointer: 1, Value: int(mh[1])}
	}
	// Message Data
	m.Body = decodeFixed(t, mh)
	// Mobility Options
	var err error
	m.Options, err = decodeOptions(mh, fixedEnd[t])
	return err
}

// AppendTo appends the message to b with a checksum of zero, which the kernel
// fills in on a socket with IPV6_CHECKSUM. Options are aligned and padded as
// RFC 6275 §6.2 asks, authorization data is placed last wherever it stands in
// Options. The error wraps ErrEncode.
func (m *Message) AppendTo(b []byte) ([]byte, error) {
	if m.Body == nil {
		return b, fmt.Errorf("%w: no body", ErrEncode)
	}
	base := len(b)
	// Payload Proto, Header Len, MH Type, Reserved, Checksum
	b = append(b, ProtoNone, 0, byte(m.Body.Type()), 0, 0, 0)
	b = m.Body.appendFixed(b)
	if _, raw := m.Body.(RawBody); raw && (len(b)-base)%8 != 0 {
		return b[:base], fmt.Errorf("%w: raw body ends at %d", ErrEncode, len(b)-base)
	}
	b, err := m.Options.appendTo(b, base)
	if err != nil {
		return b[:base], err
	}
	n := len(b) - base
	if n < minMessage || n > maxMessage || n%8 != 0 {
		return b[:base], fmt.Errorf("%w: length %d", ErrEncode, n)
	}
	b[base+1] = byte(n/8 - 1)
	return b, nil
}

// AppendWithChecksum is AppendTo with the checksum filled in; src and dst as in
// DecodeVerified.
func (m *Message) AppendWithChecksum(b []byte, src, dst netip.Addr) ([]byte, error) {
	base := len(b)
	b, err := m.AppendTo(b)
	if err != nil {
		return b, err
	}
	c := Checksum(src, dst, ProtoMobility, b[base:])
	binary.BigEndian.PutUint16(b[base+checksumOffset:], c)
	return b, nil
}
