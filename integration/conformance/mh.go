package conformance

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
)

// Types of the Mobility Header (RFC 6275 §6.1).
const (
	typeBRR  = 0
	typeHoTI = 1
	typeCoTI = 2
	typeHoT  = 3
	typeCoT  = 4
	typeBU   = 5
	typeBA   = 6
	typeBE   = 7
)

// Flags of a Binding Update (RFC 6275 §6.1.7).
const (
	flagA = 0x8000
	flagH = 0x4000
	flagL = 0x2000
	flagK = 0x1000
)

// option is a mobility option with its alignment, mul*n+off (RFC 6275 §6.2).
type option struct {
	typ      byte
	data     []byte
	mul, off int
}

func pad(n int) option { return option{typ: 1, data: make([]byte, n-2), mul: 1} }

func nonceIndices(home, careOf uint16) option {
	b := binary.BigEndian.AppendUint16(nil, home)
	return option{typ: 4, data: binary.BigEndian.AppendUint16(b, careOf), mul: 2}
}

func alternate(a netip.Addr) option {
	b := a.As16()
	return option{typ: 3, data: b[:], mul: 8, off: 6}
}

func refreshAdvice(units uint16) option {
	return option{typ: 2, data: binary.BigEndian.AppendUint16(nil, units), mul: 2}
}

// authorization holds the place of an authenticator, which sign fills in.
func authorization() option { return option{typ: 5, data: make([]byte, 12), mul: 8, off: 2} }

// mobilityHeader puts a message together: its body is what follows the checksum.
func mobilityHeader(typ byte, body []byte, options ...option) []byte {
	b := append([]byte{protoNone, 0, typ, 0, 0, 0}, body...)
	for _, o := range options {
		b = padTo(b, o.mul, o.off)
		b = append(append(b, o.typ, byte(len(o.data))), o.data...)
	}
	b = padTo(b, 8, 0)
	b[1] = byte(len(b)/8 - 1)
	return b
}

// padTo pads to mul*n+off by Pad1 or PadN (RFC 6275 §6.2.2, §6.2.3).
func padTo(b []byte, mul, off int) []byte {
	n := (off - len(b)%mul + mul) % mul
	switch n {
	case 0:
		return b
	case 1:
		return append(b, 0)
	}
	b = append(b, 1, byte(n-2))
	return append(b, make([]byte, n-2)...)
}

// kbm is a binding management key (RFC 6275 §5.2.5): of both tokens, and for a
// deletion of the home token alone.
type kbm [20]byte

func key(tokens ...[8]byte) kbm {
	var b []byte
	for _, t := range tokens {
		b = append(b, t[:]...)
	}
	return sha1.Sum(b)
}

// authenticator is First(96, HMAC_SHA1(Kbm, care-of address | correspondent | message
// without authenticator)), at being where that stands (RFC 6275 §6.2.7).
func (k kbm) authenticator(careOf, correspondent netip.Addr, mh []byte, at int) []byte {
	m := append([]byte(nil), mh...)
	m[4], m[5] = 0, 0
	c, n := careOf.As16(), correspondent.As16()
	h := hmac.New(sha1.New, k[:])
	h.Write(c[:])
	h.Write(n[:])
	h.Write(m[:at])
	h.Write(m[at+12:])
	return h.Sum(nil)[:12]
}

// sign fills in the authenticator of the first authorization option.
func (k kbm) sign(careOf, correspondent netip.Addr, mh []byte) {
	if at := findOption(mh, 12, 5); at > 0 {
		copy(mh[at:], k.authenticator(careOf, correspondent, mh, at))
	}
}

// findOption is the offset of the data of the first option of a type, from the
// given offset on; 0 where there is none, -1 where the options are broken.
func findOption(mh []byte, from int, typ byte) int {
	for i := from; i < len(mh); {
		if mh[i] == 0 {
			i++
			continue
		}
		if i+2 > len(mh) || i+2+int(mh[i+1]) > len(mh) {
			return -1
		}
		if mh[i] == typ {
			return i + 2
		}
		i += 2 + int(mh[i+1])
	}
	return 0
}
