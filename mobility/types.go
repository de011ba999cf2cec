package mobility

import (
	"fmt"
	"time"
)

// Type is the type of a Mobility Header message (RFC 6275 §6.1.1).
type Type uint8

const (
	TypeBRR  Type = 0 // Binding Refresh Request
	TypeHoTI Type = 1 // Home Test Init
	TypeCoTI Type = 2 // Care-of Test Init
	TypeHoT  Type = 3 // Home Test
	TypeCoT  Type = 4 // Care-of Test
	TypeBU   Type = 5 // Binding Update
	TypeBA   Type = 6 // Binding Acknowledgement
	TypeBE   Type = 7 // Binding Error
)

var typeNames = [...]string{"BRR", "HoTI", "CoTI", "HoT", "CoT", "BU", "BA", "BE"}

// String is the message's short name in the RFC.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("MH type %d", uint8(t))
}

// UpdateFlags are the flags of a Binding Update, as they stand in its 16 bits.
type UpdateFlags uint16

const (
	FlagAck        UpdateFlags = 0x8000 // A
	FlagHome       UpdateFlags = 0x4000 // H
	FlagLinkLocal  UpdateFlags = 0x2000 // L
	FlagKey        UpdateFlags = 0x1000 // K, key management mobility capability
	FlagMAP        UpdateFlags = 0x0800 // M, RFC 4140
	FlagRouter     UpdateFlags = 0x0400 // R, RFC 3963
	FlagProxy      UpdateFlags = 0x0200 // P, RFC 5213
	FlagForceUDP   UpdateFlags = 0x0100 // F, RFC 5555
	knownUpdateSet             = FlagAck | FlagHome | FlagLinkLocal | FlagKey | FlagMAP | FlagRouter | FlagProxy | FlagForceUDP
)

// Has tells whether all the flags of f are set.
func (u UpdateFlags) Has(f UpdateFlags) bool { return u&f == f }

// String is the letters of the flags that are set.
func (u UpdateFlags) String() string { return letters(uint16(u), "AHLKMRPF") }

// AckFlags are the flags of a Binding Acknowledgement, as they stand in its octet.
type AckFlags uint8

const (
	AckKey      AckFlags = 0x80 // K
	AckRouter   AckFlags = 0x40 // R, RFC 3963
	AckProxy    AckFlags = 0x20 // P, RFC 5213
	knownAckSet          = AckKey | AckRouter | AckProxy
)

// Has tells whether all the flags of f are set.
func (a AckFlags) Has(f AckFlags) bool { return a&f == f }

// String is the letters of the flags that are set.
func (a AckFlags) String() string { return letters(uint16(a)<<8, "KRP") }

func letters(bits uint16, names string) string {
	out := make([]byte, 0, len(names))
	for i := 0; i < len(names); i++ {
		if bits&(0x8000>>i) != 0 {
			out = append(out, names[i])
		}
	}
	return string(out)
}

// Units is a time in the units of 4 seconds of binding lifetimes and refresh
// intervals (RFC 6275 §6.1.7, §6.2.4).
type Units uint16

const unit = 4 * time.Second

// Duration is the time as a duration.
func (u Units) Duration() time.Duration { return time.Duration(u) * unit }

// UnitsOf is d in units of 4 seconds, rounded down so that a lifetime never
// exceeds what was meant; below zero it is 0, above the field's range the
// greatest value (72 h 49 min).
func UnitsOf(d time.Duration) Units {
	switch n := d / unit; {
	case n <= 0:
		return 0
	case n > 0xffff:
		return 0xffff
	default:
		return Units(n)
	}
}

// SequenceAfter tells whether a Binding Update with the sequence number seq is
// acceptable after one with last: numbers are compared modulo 2^16, and the
// 32768 numbers up to and including last count as old, so that 15 is followed by
// 16 to 32782 (RFC 6275 §9.5.1).
func SequenceAfter(last, seq uint16) bool {
	d := seq - last
	return d != 0 && d < 0x8000
}
