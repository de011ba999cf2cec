package mobility

import (
	"encoding/binary"
	"net/netip"
)

// Body is the fixed part of a Mobility Header message, after the checksum and
// before the options. The kinds are BindingRefreshRequest, HomeTestInit,
// CareOfTestInit, HomeTest, CareOfTest, BindingUpdate, BindingAck, BindingError
// and RawBody; all are values.
type Body interface {
	Type() Type
	appendFixed(b []byte) []byte
}

// Cookie is a home or care-of init cookie, Token a keygen token (RFC 6275 §5.2).
type (
	Cookie [8]byte
	Token  [8]byte
)

// BindingRefreshRequest asks a mobile node to renew its binding (RFC 6275 §6.1.2).
type BindingRefreshRequest struct{}

// HomeTestInit starts the home half of return routability (RFC 6275 §6.1.3).
type HomeTestInit struct{ Cookie Cookie }

// CareOfTestInit starts the care-of half of return routability (RFC 6275 §6.1.4).
type CareOfTestInit struct{ Cookie Cookie }

// HomeTest answers HomeTestInit (RFC 6275 §6.1.5).
type HomeTest struct {
	NonceIndex uint16
	Cookie     Cookie
	Token      Token
}

// CareOfTest answers CareOfTestInit (RFC 6275 §6.1.6).
type CareOfTest struct {
	NonceIndex uint16
	Cookie     Cookie
	Token      Token
}

// BindingUpdate tells a node's care-of address (RFC 6275 §6.1.7).
type BindingUpdate struct {
	Seq      uint16
	Flags    UpdateFlags
	Lifetime Units // 0: delete the binding
}

// BindingAck answers a BindingUpdate (RFC 6275 §6.1.8).
type BindingAck struct {
	Status   Status
	Flags    AckFlags
	Seq      uint16
	Lifetime Units
}

// BindingError tells of a home address option without a binding, or of a
// message type that is not known (RFC 6275 §6.1.9).
type BindingError struct {
	Status   ErrorStatus
	HomeAddr netip.Addr // unspecified, or not valid, where there was no home address option
}

// RawBody is a message of a type that this package does not know: all that
// follows the checksum.
type RawBody struct {
	T    Type
	Data []byte
}

func (BindingRefreshRequest) Type() Type { return TypeBRR }
func (HomeTestInit) Type() Type          { return TypeHoTI }
func (CareOfTestInit) Type() Type        { return TypeCoTI }
func (HomeTest) Type() Type              { return TypeHoT }
func (CareOfTest) Type() Type            { return TypeCoT }
func (BindingUpdate) Type() Type         { return TypeBU }
func (BindingAck) Type() Type            { return TypeBA }
func (BindingError) Type() Type          { return TypeBE }
func (r RawBody) Type() Type             { return r.T }

// fixedEnd is the offset at which the options of each type begin, from the start
// of the Mobility Header (RFC 6275 §6.1.2-§6.1.9).
var fixedEnd = [...]int{
	TypeBRR: 8, TypeHoTI: 16, TypeCoTI: 16, TypeHoT: 24, TypeCoT: 24, TypeBU: 12, TypeBA: 12, TypeBE: 24,
}

func (BindingRefreshRequest) appendFixed(b []byte) []byte { return append(b, 0, 0) }
func (m HomeTestInit) appendFixed(b []byte) []byte        { return append(append(b, 0, 0), m.Cookie[:]...) }
func (m CareOfTestInit) appendFixed(b []byte) []byte      { return append(append(b, 0, 0), m.Cookie[:]...) }

func (m HomeTest) appendFixed(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, m.NonceIndex)
	return append(append(b, m.Cookie[:]...), m.Token[:]...)
}

func (m CareOfTest) appendFixed(b []byte) []byte { return HomeTest(m).appendFixed(b) }

func (m BindingUpdate) appendFixed(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, uint16(m.Flags&knownUpdateSet))
	return binary.BigEndian.AppendUint16(b, uint16(m.Lifetime))
}

func (m BindingAck) appendFixed(b []byte) []byte {
	b = append(b, byte(m.Status), byte(m.Flags&knownAckSet))
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	return binary.BigEndian.AppendUint16(b, uint16(m.Lifetime))
}

func (m BindingError) appendFixed(b []byte) []byte {
	b = append(b, byte(m.Status), 0)
	return appendAddr(b, m.HomeAddr)
}

func (r RawBody) appendFixed(b []byte) []byte { return append(b, r.Data...) }

// decodeFixed reads the body of a known type; b is the whole header and holds at
// least fixedEnd[t] octets. Reserved fields are not looked at (RFC 6275 §6.1.1).
func decodeFixed(t Type, b []byte) Body {
	switch t {
	case TypeBRR:
		return BindingRefreshRequest{}
	case TypeHoTI:
		return HomeTestInit{Cookie: Cookie(b[8:16])}
	case TypeCoTI:
		return CareOfTestInit{Cookie: Cookie(b[8:16])}
	case TypeHoT:
		return HomeTest{NonceIndex: binary.BigEndian.Uint16(b[6:]), Cookie: Cookie(b[8:16]), Token: Token(b[16:24])}
	case TypeCoT:
		return CareOfTest{NonceIndex: binary.BigEndian.Uint16(b[6:]), Cookie: Cookie(b[8:16]), Token: Token(b[16:24])}
	case TypeBU:
		return BindingUpdate{
			Seq:      binary.BigEndian.Uint16(b[6:]),
			Flags:    UpdateFlags(binary.BigEndian.Uint16(b[8:])) & knownUpdateSet,
			Lifetime: Units(binary.BigEndian.Uint16(b[10:])),
		}
	case TypeBA:
		return BindingAck{
			Status:   Status(b[6]),
			Flags:    AckFlags(b[7]) & knownAckSet,
			Seq:      binary.BigEndian.Uint16(b[8:]),
			Lifetime: Units(binary.BigEndian.Uint16(b[10:])),
		}
	default: // TypeBE
		return BindingError{Status: ErrorStatus(b[6]), HomeAddr: netip.AddrFrom16([16]byte(b[8:24]))}
	}
}

// appendAddr appends 16 octets; an address that is not valid is the unspecified one.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(b, make([]byte, 16)...)
	}
	v := a.As16()
	return append(b, v[:]...)
}
