package message

import (
	"encoding/binary"
	"fmt"
)

// FragmentHeaderLen is the length of the headers of an SKF payload: the generic
// one, fragment number, total fragments.
const FragmentHeaderLen = 8

// Fragment is an SKF payload (RFC 7383 §2.5): one part of what an SK payload
// would protect. It is the only payload of its message: nothing defined puts
// others before it (§2.5.3), and what is before it would be without meaning.
type Fragment struct {
	Inner         PayloadType // of the first payload inside; only in fragment 1
	Reserved      uint8       // the octet of the critical bit, as received
	Number, Total uint16      // 1 ≤ Number ≤ Total
	Offset        int         // where its body begins in the message
}

// parseFragment reads the headers of an SKF payload, which is all of b.
func parseFragment(inner PayloadType, b []byte) (*Fragment, error) {
	if len(b) < FragmentHeaderLen {
		return nil, fmt.Errorf("%w: SKF of %d octets", ErrShort, len(b))
	}
	f := &Fragment{
		Inner: inner, Reserved: b[1], Offset: HeaderLen + FragmentHeaderLen,
		Number: binary.BigEndian.Uint16(b[4:]), Total: binary.BigEndian.Uint16(b[6:]),
	}
	// §2.6: both count from 1.
	if f.Number == 0 || f.Number > f.Total {
		return nil, fmt.Errorf("%w: fragment %d of %d", ErrSyntax, f.Number, f.Total)
	}
	// §2.5: only the first names a payload.
	if f.Number > 1 && inner != NoNext {
		return nil, fmt.Errorf("%w: fragment %d names payload %d", ErrSyntax, f.Number, inner)
	}
	return f, nil
}

// AppendSKFHeader appends the headers of an SKF payload whose body has n octets.
func AppendSKFHeader(dst []byte, inner PayloadType, number, total uint16, n int) []byte {
	dst = append(dst, byte(inner), 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(FragmentHeaderLen+n))
	dst = binary.BigEndian.AppendUint16(dst, number)
	return binary.BigEndian.AppendUint16(dst, total)
}

// Covered is the part of an IKE_INTERMEDIATE message that AUTH covers (RFC 9242
// §3.3.2): its headers up to that of the SK payload, with lengths that leave out
// what encryption adds, and the payloads in the clear. head ends with the
// generic header of the SK payload.
func Covered(head, plain []byte) []byte {
	out := append(append(make([]byte, 0, len(head)+len(plain)), head...), plain...)
	if len(head) >= HeaderLen+4 {
		binary.BigEndian.PutUint32(out[24:], uint32(len(out)))
		binary.BigEndian.PutUint16(out[len(head)-2:], uint16(4+len(plain)))
	}
	return out
}
