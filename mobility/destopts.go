package mobility

import (
	"fmt"
	"net/netip"
)

// DestOptions is an IPv6 destination options header, or a hop-by-hop one, which
// has the same form (RFC 8200 §4.3, §4.6).
type DestOptions struct {
	NextHeader uint8
	HomeAddr   netip.Addr  // the home address option; not valid where there is none
	Others     []TLVOption // the other options but padding, in wire order
	HomeOffset int         // offset of the home address option's type octet; 0 where there is none
}

// TLVOption is an option of a destination options or hop-by-hop header.
type TLVOption struct {
	Type uint8
	Data []byte
}

// OptHomeAddr is the type of the home address option (RFC 6275 §6.3).
const OptHomeAddr = 0xc9

// homeAddrHeader is the length of a destination options header that holds
// nothing but a home address option.
const homeAddrHeader = 24

// Unknown is what a node owes a packet with an option that it does not know:
// the two high bits of the type (RFC 8200 §4.2).
type Unknown uint8

const (
	UnknownSkip      Unknown = 0
	UnknownDiscard   Unknown = 1
	UnknownReport    Unknown = 2 // discard, and Parameter Problem code 2 at the type octet
	UnknownReportUni Unknown = 3 // the same, but never for a multicast destination
)

// Unknown tells what is owed for this option where it is not known.
func (o TLVOption) Unknown() Unknown { return Unknown(o.Type >> 6) }

// WalkOptions calls each for every option but padding in the options area b;
// base is the offset of b in its header, off what is given to each is relative
// to. It stops at the first error, its own or that of each.
func WalkOptions(b []byte, base int, each func(off int, typ uint8, data []byte) error) error {
	for off := 0; off < len(b); {
		t := b[off]
		if OptionType(t) == OptPad1 {
			off++
			continue
		}
		if len(b)-off < 2 || len(b)-off-2 < int(b[off+1]) {
			return &FieldError{Err: ErrOption, Pointer: base + off, Value: int(t)}
		}
		n := int(b[off+1])
		if OptionType(t) != OptPadN {
			if err := each(base+off, t, b[off+2:off+2+n]); err != nil {
				return err
			}
		}
		off += 2 + n
	}
	return nil
}

// extension cuts b to the length that its extension header tells.
func extension(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("%w: %d octets", ErrTruncated, len(b))
	}
	n := 8 * (int(b[1]) + 1)
	if n > len(b) {
		return nil, fmt.Errorf("%w: %d octets of %d", ErrTruncated, len(b), n)
	}
	return b[:n], nil
}

// Decode reads a destination options header from the start of b and returns its
// length in octets. A second home address option, or one whose address is not
// unicast routable, is an error (RFC 6275 §6.3, §9.3.1).
func (d *DestOptions) Decode(b []byte) (int, error) {
	*d = DestOptions{}
	h, err := extension(b)
	if err != nil {
		return 0, err
	}
	// Next Header, Hdr Ext Len
	d.NextHeader = h[0]
	// Options
	err = WalkOptions(h[2:], 2, func(off int, typ uint8, data []byte) error {
		if typ != OptHomeAddr {
			d.Others = append(d.Others, TLVOption{Type: typ, Data: append([]byte(nil), data...)})
			return nil
		}
		return d.setHome(off, data)
	})
	return len(h), err
}

func (d *DestOptions) setHome(off int, data []byte) error {
	if d.HomeOffset != 0 {
		return &FieldError{Err: ErrHomeAddrTwice, Pointer: off, Value: OptHomeAddr}
	}
	if len(data) != 16 {
		return &FieldError{Err: ErrHomeAddrLen, Pointer: off + 1, Value: len(data)}
	}
	a := netip.AddrFrom16([16]byte(data))
	if !UnicastRoutable(a) {
		return &FieldError{Err: ErrHomeAddr, Pointer: off + 2, Value: int(data[0])}
	}
	d.HomeAddr, d.HomeOffset = a, off
	return nil
}

// AppendTo appends the header: the home address option first, at its alignment
// of 8n+6 (RFC 6275 §6.3), then the others, unaligned.
func (d *DestOptions) AppendTo(b []byte) ([]byte, error) {
	base := len(b)
	b = append(b, d.NextHeader, 0)
	if d.HomeAddr.IsValid() {
		b = appendPad(b, padding(len(b)-base, 8, 6))
		b = appendAddr(append(b, OptHomeAddr, 16), d.HomeAddr)
	}
	for i, o := range d.Others {
		if len(o.Data) > 255 || OptionType(o.Type) <= OptPadN {
			return b[:base], fmt.Errorf("%w: option %d", ErrEncode, i)
		}
		b = append(append(b, o.Type, byte(len(o.Data))), o.Data...)
	}
	b = appendPad(b, padding(len(b)-base, 8, 0))
	n := len(b) - base
	if n > maxMessage {
		return b[:base], fmt.Errorf("%w: length %d", ErrEncode, n)
	}
	b[base+1] = byte(n/8 - 1)
	return b, nil
}

// AppendHomeAddr appends the destination options header of 24 octets that holds
// only a home address option, as a mobile node sends it.
func AppendHomeAddr(b []byte, next uint8, home netip.Addr) []byte {
	b = appendPad(append(b, next, homeAddrHeader/8-1), 4)
	return appendAddr(append(b, OptHomeAddr, 16), home)
}
