package mobility

import (
	"fmt"
	"net/netip"
)

// routing2Len is the length of a type 2 routing header (RFC 6275 §6.4.1).
const routing2Len = 24

// Routing2 is a type 2 routing header (RFC 6275 §6.4.1).
type Routing2 struct {
	NextHeader uint8
	HomeAddr   netip.Addr
}

// Decode reads a type 2 routing header from the start of b and returns its
// length in octets. Whether the address is the node's own is for the caller to
// see (RFC 6275 §11.3.3).
func (r *Routing2) Decode(b []byte) (int, error) {
	*r = Routing2{}
	h, err := extension(b)
	if err != nil {
		return 0, err
	}
	switch {
	case h[2] != 2: // Routing Type
		return len(h), &FieldError{Err: ErrRoutingType, Pointer: 2, Value: int(h[2])}
	case h[1] != 2: // Hdr Ext Len
		return len(h), &FieldError{Err: ErrRoutingLen, Pointer: 1, Value: int(h[1])}
	case h[3] != 1: // Segments Left
		return len(h), &FieldError{Err: ErrRoutingSegments, Pointer: 3, Value: int(h[3])}
	}
	// Reserved is ignored; Home Address
	a := netip.AddrFrom16([16]byte(h[8:24]))
	if !UnicastRoutable(a) {
		return len(h), &FieldError{Err: ErrRoutingAddr, Pointer: 8, Value: int(h[8])}
	}
	r.NextHeader, r.HomeAddr = h[0], a
	return len(h), nil
}

// AppendTo appends the header of 24 octets. The error wraps ErrEncode.
func (r *Routing2) AppendTo(b []byte) ([]byte, error) {
	if !r.HomeAddr.IsValid() {
		return b, fmt.Errorf("%w: routing header without an address", ErrEncode)
	}
	b = append(b, r.NextHeader, routing2Len/8-1, 2, 1, 0, 0, 0, 0)
	return appendAddr(b, r.HomeAddr), nil
}
