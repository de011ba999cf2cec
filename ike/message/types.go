// Package message encodes and decodes IKEv2 messages (RFC 7296 §3).
//
// Decoders are total: they never panic, never allocate by a length read from
// the wire and never look at anything but their argument. Encoders append to a
// caller's slice.
package message

import (
	"errors"
	"fmt"
)

// Errors of the decoders. Each is wrapped with what was wrong.
var (
	ErrShort       = errors.New("ike/message: truncated")
	ErrSyntax      = errors.New("ike/message: invalid syntax")
	ErrVersion     = errors.New("ike/message: unsupported major version")
	ErrTooMany     = errors.New("ike/message: too many elements")
	ErrUnsupported = errors.New("ike/message: unsupported critical payload")
)

// ExchangeType is the exchange a message belongs to (RFC 7296 §3.1).
type ExchangeType uint8

// Exchange types.
const (
	IKESAInit     ExchangeType = 34
	IKEAuth       ExchangeType = 35
	CreateChildSA ExchangeType = 36
	Informational ExchangeType = 37

	IKEIntermediate ExchangeType = 43 // RFC 9242
	IKEFollowupKE   ExchangeType = 44 // RFC 9370
)

func (x ExchangeType) String() string {
	switch x {
	case IKESAInit:
		return "IKE_SA_INIT"
	case IKEAuth:
		return "IKE_AUTH"
	case CreateChildSA:
		return "CREATE_CHILD_SA"
	case Informational:
		return "INFORMATIONAL"
	case IKEIntermediate:
		return "IKE_INTERMEDIATE"
	case IKEFollowupKE:
		return "IKE_FOLLOWUP_KE"
	}
	return fmt.Sprintf("exchange %d", uint8(x))
}

// Protocol is a security protocol identifier (RFC 7296 §3.3.1).
type Protocol uint8

// Security protocols.
const (
	ProtoNone Protocol = 0
	ProtoIKE  Protocol = 1
	ProtoAH   Protocol = 2
	ProtoESP  Protocol = 3
)

// Attribute is one configuration attribute of a CP payload (RFC 7296 §3.15.1).
type Attribute struct {
	Type  uint16
	Value []byte
}

// Configuration attribute types.
const (
	AttrInternalIP6Address uint16 = 8
	AttrMIP6HomePrefix     uint16 = 16
)
