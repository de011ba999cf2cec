// Package message encodes and decodes IKEv2 messages (RFC 7296 §3).
//
// Decoders are total: they never panic, never allocate by a length read from
// the wire and never look at anything but their argument. Encoders append to a
// caller's slice.
package message

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
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

// IDType is the kind of an identity (RFC 7296 §3.5).
type IDType uint8

// Identity types.
const (
	IDIPv4   IDType = 1
	IDFQDN   IDType = 2
	IDRFC822 IDType = 3
	IDIPv6   IDType = 5
	IDDERDN  IDType = 9
	IDKeyID  IDType = 11
)

// Identity is the body of an IDi or IDr payload. It is comparable, so that it
// serves as a map key. Data holds the raw octets: text for FQDN and RFC822, 4
// or 16 octets for addresses, DER for a distinguished name.
type Identity struct {
	Type IDType
	Data string
}

// FQDN returns an identity of type ID_FQDN.
func FQDN(name string) Identity { return Identity{IDFQDN, name} }

// AddrIdentity returns an ID_IPV6_ADDR or ID_IPV4_ADDR identity.
func AddrIdentity(a netip.Addr) Identity {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return Identity{IDIPv4, string(b[:])}
	}
	b := a.As16()
	return Identity{IDIPv6, string(b[:])}
}

// ParseIdentity reads an identity as it is written in configuration: an IP
// address, user@host (RFC822), "keyid:HEX", "dn:HEX" (DER), or a host name.
func ParseIdentity(s string) (Identity, error) {
	switch {
	case s == "":
		return Identity{}, fmt.Errorf("%w: empty identity", ErrSyntax)
	case strings.HasPrefix(s, "keyid:"), strings.HasPrefix(s, "dn:"):
		kind, body, _ := strings.Cut(s, ":")
		raw, err := hex.DecodeString(body)
		if err != nil || len(raw) == 0 {
			return Identity{}, fmt.Errorf("%w: %s wants hexadecimal octets", ErrSyntax, kind)
		}
		if kind == "dn" {
			return Identity{IDDERDN, string(raw)}, nil
		}
		return Identity{IDKeyID, string(raw)}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return AddrIdentity(a), nil
	}
	if strings.Contains(s, "@") {
		return Identity{IDRFC822, s}, nil
	}
	return Identity{IDFQDN, s}, nil
}

// Addr returns the address of an address identity.
func (id Identity) Addr() (netip.Addr, bool) {
	if id.Type != IDIPv4 && id.Type != IDIPv6 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice([]byte(id.Data))
}

// Fold makes identities that mean the same equal: host names and the domain of a
// mail address know no case.
func (id Identity) Fold() Identity {
	switch id.Type {
	case IDFQDN:
		id.Data = strings.ToLower(id.Data)
	case IDRFC822:
		if i := strings.LastIndexByte(id.Data, '@'); i >= 0 {
			id.Data = id.Data[:i] + strings.ToLower(id.Data[i:])
		}
	}
	return id
}

// IsZero says whether no identity is set.
func (id Identity) IsZero() bool { return id == Identity{} }

// String gives the form that ParseIdentity reads.
func (id Identity) String() string {
	switch id.Type {
	case IDFQDN, IDRFC822:
		return printable(id.Data)
	case IDIPv4, IDIPv6:
		if a, ok := id.Addr(); ok {
			return a.String()
		}
	case IDDERDN:
		return "dn:" + hex.EncodeToString([]byte(id.Data))
	case IDKeyID:
		return "keyid:" + hex.EncodeToString([]byte(id.Data))
	case 0:
		return ""
	}
	return fmt.Sprintf("id%d:%s", id.Type, hex.EncodeToString([]byte(id.Data)))
}

// printable keeps text of a peer from smuggling control characters into a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}

// Selector is one traffic selector (RFC 7296 §3.13.1): an address range, a
// protocol (0: any) and a range of ports. For protocol 135 (Mobility Header)
// and ICMPv6 the message type is in the upper octet of the port (RFC 4877
// §7.2.1); 0-65535 means any. OPAQUE is StartPort 65535, EndPort 0.
type Selector struct {
	Protocol           uint8
	StartPort, EndPort uint16
	Start, End         netip.Addr
}

// PrefixSelector returns a selector for all of a prefix, protocol (0: any), all ports.
func PrefixSelector(p netip.Prefix, protocol uint8) Selector {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Selector{Protocol: protocol, EndPort: 65535, Start: p.Addr(), End: end}
}

// Prefix returns the address range as a prefix, if it is exactly one.
func (s Selector) Prefix() (netip.Prefix, bool) {
	bits := s.Start.BitLen()
	for n := 0; n <= bits; n++ {
		p := netip.PrefixFrom(s.Start, n)
		if p.Masked().Addr() != s.Start {
			continue
		}
		q := PrefixSelector(p, 0)
		if q.End == s.End {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// AnyPort says whether the selector covers every port.
func (s Selector) AnyPort() bool { return s.StartPort == 0 && s.EndPort == 65535 }

func (s Selector) String() string {
	var b strings.Builder
	if p, ok := s.Prefix(); ok {
		b.WriteString(p.String())
	} else {
		fmt.Fprintf(&b, "%s-%s", s.Start, s.End)
	}
	if s.Protocol != 0 || !s.AnyPort() {
		fmt.Fprintf(&b, "[%d", s.Protocol)
		switch {
		case s.AnyPort():
		case s.StartPort == s.EndPort:
			fmt.Fprintf(&b, "/0x%04x", s.StartPort)
		default:
			fmt.Fprintf(&b, "/0x%04x-0x%04x", s.StartPort, s.EndPort)
		}
		b.WriteByte(']')
	}
	return b.String()
}

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

// NotifyType is the type of a Notify payload (RFC 7296 §3.10.1). Below 16384 it is an error.
type NotifyType uint16

// Notify types.
const (
	UnsupportedCriticalPayload NotifyType = 1
	InvalidIKESPI              NotifyType = 4
	InvalidMajorVersion        NotifyType = 5
	InvalidSyntax              NotifyType = 7
	InvalidMessageID           NotifyType = 9
	InvalidSPI                 NotifyType = 11
	NoProposalChosen           NotifyType = 14
	InvalidKEPayload           NotifyType = 17
	AuthenticationFailed       NotifyType = 24
	SinglePairRequired         NotifyType = 34
	NoAdditionalSAs            NotifyType = 35
	InternalAddressFailure     NotifyType = 36
	FailedCPRequired           NotifyType = 37
	TSUnacceptable             NotifyType = 38
	InvalidSelectors           NotifyType = 39
	UseAssignedHoA             NotifyType = 42 // RFC 5026
	TemporaryFailure           NotifyType = 43
	ChildSANotFound            NotifyType = 44

	InitialContact            NotifyType = 16384
	SetWindowSize             NotifyType = 16385
	AdditionalTSPossible      NotifyType = 16386
	NATDetectionSource        NotifyType = 16388
	NATDetectionDestination   NotifyType = 16389
	Cookie                    NotifyType = 16390
	UseTransportMode          NotifyType = 16391
	RekeySA                   NotifyType = 16393
	ESPTFCPaddingNotSupported NotifyType = 16394
	NonFirstFragmentsAlso     NotifyType = 16395
	SignatureHashAlgorithms   NotifyType = 16431 // RFC 7427
)

// IsError says whether the type reports an error rather than a status.
func (n NotifyType) IsError() bool { return n != 0 && n < 16384 }

var notifyNames = map[NotifyType]string{
	UnsupportedCriticalPayload: "UNSUPPORTED_CRITICAL_PAYLOAD", InvalidIKESPI: "INVALID_IKE_SPI",
	InvalidMajorVersion: "INVALID_MAJOR_VERSION", InvalidSyntax: "INVALID_SYNTAX",
	InvalidMessageID: "INVALID_MESSAGE_ID", InvalidSPI: "INVALID_SPI",
	NoProposalChosen: "NO_PROPOSAL_CHOSEN", InvalidKEPayload: "INVALID_KE_PAYLOAD",
	AuthenticationFailed: "AUTHENTICATION_FAILED", SinglePairRequired: "SINGLE_PAIR_REQUIRED",
	NoAdditionalSAs: "NO_ADDITIONAL_SAS", InternalAddressFailure: "INTERNAL_ADDRESS_FAILURE",
	FailedCPRequired: "FAILED_CP_REQUIRED", TSUnacceptable: "TS_UNACCEPTABLE",
	InvalidSelectors: "INVALID_SELECTORS", UseAssignedHoA: "USE_ASSIGNED_HoA",
	TemporaryFailure: "TEMPORARY_FAILURE", ChildSANotFound: "CHILD_SA_NOT_FOUND",
	InitialContact: "INITIAL_CONTACT", SetWindowSize: "SET_WINDOW_SIZE",
	AdditionalTSPossible: "ADDITIONAL_TS_POSSIBLE", NATDetectionSource: "NAT_DETECTION_SOURCE_IP",
	NATDetectionDestination: "NAT_DETECTION_DESTINATION_IP", Cookie: "COOKIE",
	UseTransportMode: "USE_TRANSPORT_MODE", RekeySA: "REKEY_SA",
	ESPTFCPaddingNotSupported: "ESP_TFC_PADDING_NOT_SUPPORTED",
	NonFirstFragmentsAlso:     "NON_FIRST_FRAGMENTS_ALSO", SignatureHashAlgorithms: "SIGNATURE_HASH_ALGORITHMS",
}

func (n NotifyType) String() string {
	if s, ok := notifyNames[n]; ok {
		return s
	}
	return fmt.Sprintf("notify %d", uint16(n))
}
