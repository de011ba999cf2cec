package mobility

import (
	"errors"
	"fmt"
)

// Errors of the Mobility Header. What the receiver owes the sender for each of
// them is in RFC 6275 §9.2, named beside it.
var (
	ErrTruncated    = errors.New("mobility: header is longer than the packet")     // silent
	ErrChecksum     = errors.New("mobility: bad checksum")                         // silent
	ErrUnknownType  = errors.New("mobility: unknown mobility header type")         // Binding Error, status 2
	ErrPayloadProto = errors.New("mobility: payload proto is not 59")              // Parameter Problem at the octet
	ErrHeaderLen    = errors.New("mobility: header length too short for the type") // Parameter Problem at the octet
	ErrOption       = errors.New("mobility: malformed option")                     // silent
	ErrAuthPlace    = errors.New("mobility: authorization data is not last")       // silent (§6.2.7)
	ErrEncode       = errors.New("mobility: cannot be encoded")                    // a mistake of the caller
)

// Errors of the extension headers.
var (
	ErrHomeAddrTwice   = errors.New("mobility: second home address option")             // RFC 6275 §6.3
	ErrHomeAddrLen     = errors.New("mobility: home address option length is not 16")   // RFC 6275 §6.3
	ErrHomeAddr        = errors.New("mobility: home address is not unicast routable")   // RFC 6275 §9.3.1
	ErrRoutingType     = errors.New("mobility: routing header is not type 2")           // RFC 6275 §6.4.1
	ErrRoutingLen      = errors.New("mobility: type 2 routing header length is not 2")  // RFC 6275 §6.4.1
	ErrRoutingSegments = errors.New("mobility: type 2 routing header segments not 1")   // RFC 6275 §6.4.1
	ErrRoutingAddr     = errors.New("mobility: routing header address is not routable") // RFC 6275 §6.4.1
	ErrNotIPv6         = errors.New("mobility: not an IPv6 packet")
	ErrTooManyHeaders  = errors.New("mobility: too many extension headers")
)

// Errors of ICMPv6.
var (
	ErrICMPType  = errors.New("mobility: unknown icmpv6 type")
	ErrICMPCode  = errors.New("mobility: icmpv6 code is not 0")
	ErrICMPField = errors.New("mobility: icmpv6 field not allowed")
	ErrNDOption  = errors.New("mobility: malformed neighbor discovery option")
)

// FieldError is an error at one octet of a header.
type FieldError struct {
	Err     error
	Pointer int // offset of the octet from the start of the header that was decoded
	Value   int // what stood there
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%v (octet %d is %d)", e.Err, e.Pointer, e.Value)
}

func (e *FieldError) Unwrap() error { return e.Err }

// ParameterProblem tells whether err asks for an ICMPv6 Parameter Problem, code
// 0, and the offset that its pointer has from the start of the header that was
// decoded (RFC 6275 §9.2). The caller adds the offset of the header.
func ParameterProblem(err error) (pointer int, ok bool) {
	var f *FieldError
	if !errors.As(err, &f) {
		return 0, false
	}
	return f.Pointer, errors.Is(err, ErrPayloadProto) || errors.Is(err, ErrHeaderLen) ||
		errors.Is(err, ErrHomeAddrLen) || errors.Is(err, ErrRoutingSegments) || errors.Is(err, ErrRoutingLen)
}
