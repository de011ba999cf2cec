// Package mobility is the wire codec of Mobile IPv6 (RFC 6275): the Mobility
// Header and its options, the home address option, the type 2 routing header,
// ICMPv6 types 144-147, and the parts of neighbour discovery that a mobile node
// and its home agent use.
//
// It holds no policy, no clock and no socket. Decoders are total: any input
// gives a value or an error that wraps one of the package's sentinels, and what
// they return never aliases the input. Encoders append to a slice, and place and
// align everything relative to the end of what the slice already held.
package mobility

// Protocol numbers of the headers this package reads (RFC 8200 §4, RFC 6275 §14).
const (
	ProtoHopByHop = 0
	ProtoIPv6     = 41
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoESP      = 50
	ProtoAH       = 51
	ProtoICMPv6   = 58
	ProtoNone     = 59
	ProtoDestOpts = 60
	ProtoMobility = 135
)

// MinMTU is the smallest link MTU of IPv6 (RFC 8200 §5). Home agent address
// discovery replies have to fit it (RFC 6275 §10.5.1).
const MinMTU = 1280
