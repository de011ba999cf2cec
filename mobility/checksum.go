package mobility

import (
	"encoding/binary"
	"net/netip"
)

// Checksum is the Internet checksum over the IPv6 pseudo header (RFC 8200 §8.1)
// and payload, whose own checksum field has to hold zero. src and dst are the
// addresses that the transport layer sees: the home address in place of a
// care-of address (RFC 6275 §6.1.1).
func Checksum(src, dst netip.Addr, proto uint8, payload []byte) uint16 {
	return ^fold(sum(pseudo(src, dst, proto, len(payload)), payload))
}

// VerifyChecksum tells whether the checksum that payload carries is right.
func VerifyChecksum(src, dst netip.Addr, proto uint8, payload []byte) bool {
	return fold(sum(pseudo(src, dst, proto, len(payload)), payload)) == 0xffff
}

func pseudo(src, dst netip.Addr, proto uint8, n int) uint64 {
	s, d := src.As16(), dst.As16()
	return sum(sum(uint64(n>>16)+uint64(n&0xffff)+uint64(proto), s[:]), d[:])
}

func sum(acc uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

func fold(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}
