package mobility

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// OptionType is the type of a mobility option (RFC 6275 §6.2).
type OptionType uint8

const (
	OptPad1             OptionType = 0
	OptPadN             OptionType = 1
	OptRefreshAdvice    OptionType = 2
	OptAlternateCareOf  OptionType = 3
	OptNonceIndices     OptionType = 4
	OptAuthorization    OptionType = 5
	optMobilePrefix     OptionType = 6  // RFC 3963 §4.3
	optMessageAuth      OptionType = 9  // RFC 4285 §5
	optReplayProtection OptionType = 10 // RFC 4285 §6
	optHomePrefix       OptionType = 22 // RFC 5213 §8.3
	optLinkLocal        OptionType = 26 // RFC 5213 §8.7
	optTimestamp        OptionType = 27 // RFC 5213 §8.8
	optRestartCounter   OptionType = 28 // RFC 5847 §3.5
)

// Option is one mobility option: RefreshAdvice, AlternateCareOf, NonceIndices,
// Authorization or RawOption, all values. Padding is not an option here: it is
// dropped when decoding and made anew when encoding.
type Option interface {
	OptionType() OptionType
	dataLen() int
	appendData(b []byte) []byte
}

// RefreshAdvice is the home agent's advice when to refresh (RFC 6275 §6.2.4).
type RefreshAdvice struct{ Interval Units }

// AlternateCareOf is the care-of address to use in place of the packet's source
// address (RFC 6275 §6.2.5).
type AlternateCareOf struct{ Addr netip.Addr }

// NonceIndices tells which nonces the authorization was made with (RFC 6275 §6.2.6).
type NonceIndices struct{ Home, CareOf uint16 }

// Authorization is the Binding Authorization Data (RFC 6275 §6.2.7). With return
// routability the authenticator has 12 octets; it is the last part of the
// message, so it can be computed over the encoded message without it and be
// written there.
type Authorization struct{ Authenticator []byte }

// RawOption is an option that this package does not know.
type RawOption struct {
	Type OptionType
	Data []byte
}

func (RefreshAdvice) OptionType() OptionType   { return OptRefreshAdvice }
func (AlternateCareOf) OptionType() OptionType { return OptAlternateCareOf }
func (NonceIndices) OptionType() OptionType    { return OptNonceIndices }
func (Authorization) OptionType() OptionType   { return OptAuthorization }
func (o RawOption) OptionType() OptionType     { return o.Type }

func (RefreshAdvice) dataLen() int   { return 2 }
func (AlternateCareOf) dataLen() int { return 16 }
func (NonceIndices) dataLen() int    { return 4 }
func (o Authorization) dataLen() int { return len(o.Authenticator) }
func (o RawOption) dataLen() int     { return len(o.Data) }

func (o RefreshAdvice) appendData(b []byte) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(o.Interval))
}
func (o AlternateCareOf) appendData(b []byte) []byte { return appendAddr(b, o.Addr) }
func (o NonceIndices) appendData(b []byte) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, o.Home), o.CareOf)
}
func (o Authorization) appendData(b []byte) []byte { return append(b, o.Authenticator...) }
func (o RawOption) appendData(b []byte) []byte     { return append(b, o.Data...) }

// Options are the options of a message, without padding, in wire order.
type Options []Option

func find[T Option](o Options) (v T, ok bool) {
	for _, x := range o {
		if v, ok = x.(T); ok {
			return v, true
		}
	}
	return v, false
}

// AlternateCareOf is the first alternate care-of address.
func (o Options) AlternateCareOf() (netip.Addr, bool) {
	v, ok := find[AlternateCareOf](o)
	return v.Addr, ok
}

// RefreshAdvice is the first refresh interval.
func (o Options) RefreshAdvice() (Units, bool) {
	v, ok := find[RefreshAdvice](o)
	return v.Interval, ok
}

// NonceIndices is the first nonce indices option.
func (o Options) NonceIndices() (NonceIndices, bool) { return find[NonceIndices](o) }

// Authenticator is the content of the binding authorization data.
func (o Options) Authenticator() ([]byte, bool) {
	v, ok := find[Authorization](o)
	return v.Authenticator, ok
}

// decodeOptions reads the options of mh from offset off on. Unknown
// ones are kept and the rest is read on (RFC 6275 §6.2.1); known ones of a wrong
// length are an error.
func decodeOptions(mh []byte, off int) (Options, error) {
	var out Options
	var misplaced error
	auth := false
	for off < len(mh) {
		// RFC 6275 §6.2.7: nothing, not even padding, may follow.
		if auth {
			misplaced = &FieldError{Err: ErrAuthPlace, Pointer: off, Value: int(mh[off])}
		}
		t := OptionType(mh[off])
		if t == OptPad1 {
			off++
			continue
		}
		if len(mh)-off < 2 || len(mh)-off-2 < int(mh[off+1]) {
			return out, &FieldError{Err: ErrOption, Pointer: off, Value: int(t)}
		}
		n := int(mh[off+1])
		data := mh[off+2 : off+2+n]
		if t != OptPadN { // its content is ignored (§6.2.3)
			o, ok := decodeOption(t, data)
			if !ok {
				return out, &FieldError{Err: ErrOption, Pointer: off + 1, Value: n}
			}
			out = append(out, o)
		}
		auth = auth || t == OptAuthorization
		off += 2 + n
	}
	return out, misplaced
}

func decodeOption(t OptionType, d []byte) (Option, bool) {
	switch t {
	case OptRefreshAdvice:
		if len(d) != 2 {
			return nil, false
		}
		return RefreshAdvice{Interval: Units(binary.BigEndian.Uint16(d))}, true
	case OptAlternateCareOf:
		if len(d) != 16 {
			return nil, false
		}
		return AlternateCareOf{Addr: netip.AddrFrom16([16]byte(d))}, true
	case OptNonceIndices:
		if len(d) != 4 {
			return nil, false
		}
		return NonceIndices{Home: binary.BigEndian.Uint16(d), CareOf: binary.BigEndian.Uint16(d[2:])}, true
	case OptAuthorization:
		return Authorization{Authenticator: append([]byte(nil), d...)}, true
	}
	return RawOption{Type: t, Data: append([]byte(nil), d...)}, true
}

// alignment is the place of an option: offset ≡ y modulo x.
func alignment(t OptionType) (x, y int) {
	switch t {
	case OptRefreshAdvice, OptNonceIndices:
		return 2, 0
	case OptAlternateCareOf, optLinkLocal:
		return 8, 6
	case OptAuthorization, optReplayProtection, optTimestamp:
		return 8, 2
	case optMobilePrefix, optHomePrefix:
		return 8, 4
	case optMessageAuth:
		return 4, 1
	case optRestartCounter:
		return 4, 2
	}
	return 1, 0
}

// appendTo appends the options of a message that begins at b[base], padded to a
// multiple of 8 octets.
func (o Options) appendTo(b []byte, base int) ([]byte, error) {
	last := -1
	for i, x := range o {
		if x == nil || x.dataLen() > 255 || x.OptionType() <= OptPadN {
			return b, fmt.Errorf("%w: option %d", ErrEncode, i)
		}
		if x.OptionType() == OptAuthorization {
			if last >= 0 {
				return b, fmt.Errorf("%w: authorization data twice", ErrEncode)
			}
			last = i
			continue
		}
		b = appendOption(b, base, x)
	}
	if last < 0 {
		return appendPad(b, (8-(len(b)-base)%8)%8), nil
	}
	b = appendOption(b, base, o[last])
	if (len(b)-base)%8 != 0 { // no padding may follow
		return b, fmt.Errorf("%w: authenticator of %d octets", ErrEncode, o[last].dataLen())
	}
	return b, nil
}

func appendOption(b []byte, base int, o Option) []byte {
	x, y := alignment(o.OptionType())
	b = appendPad(b, padding(len(b)-base, x, y))
	b = append(b, byte(o.OptionType()), byte(o.dataLen()))
	return o.appendData(b)
}

// padding is the number of octets from off to the next place with off ≡ y modulo x.
func padding(off, x, y int) int { return ((y-off)%x + x) % x }

// appendPad appends n octets of padding: Pad1 for one, PadN for more. Mobility
// options and destination options share their form (RFC 6275 §6.2.2, RFC 8200 §4.2).
func appendPad(b []byte, n int) []byte {
	switch {
	case n <= 0:
		return b
	case n == 1:
		return append(b, 0)
	}
	b = append(b, byte(OptPadN), byte(n-2))
	return append(b, make([]byte, n-2)...)
}
