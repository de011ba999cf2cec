// Package sockbypass exempts a socket from IPsec policies by a policy of its
// own, in both directions. IKE needs it: its messages make the SAs that a policy
// would have them wait for.
package sockbypass

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Socket options that take a struct xfrm_userpolicy_info.
const (
	ipXfrmPolicy   = 17
	ipv6XfrmPolicy = 35
)

// Layout of struct xfrm_userpolicy_info (uapi linux/xfrm.h): selector,
// lifetimes, what they are at now, then the octets and numbers below. It has the
// same size on 32 and 64 bit machines, but for x86-32, whose 64 bit numbers are
// aligned to four octets.
const (
	selFamily  = 40 // in the selector: after two addresses, ports and their masks
	lifetimes  = 56
	priority   = lifetimes + 64 + 32
	direction  = priority + 8
	action     = direction + 1
	infoSize   = 168
	dirIn      = 0
	dirOut     = 1
	actAllow   = 0
	infinite   = ^uint64(0)
	limitCount = 4 // soft and hard, octets and packets
)

// Set exempts the socket fd of a family, unix.AF_INET6 or unix.AF_INET. The
// family has to stand in the selector too, else the kernel says EINVAL. It needs
// CAP_NET_ADMIN.
func Set(fd, family int) error {
	level, name := unix.IPPROTO_IPV6, ipv6XfrmPolicy
	if family == unix.AF_INET {
		level, name = unix.IPPROTO_IP, ipXfrmPolicy
	}
	for _, dir := range []byte{dirIn, dirOut} {
		if err := unix.SetsockoptString(fd, level, name, string(info(family, dir))); err != nil {
			return fmt.Errorf("sockbypass: direction %d: %w", dir, err)
		}
	}
	return nil
}

// Missing tells of an error of Set that the kernel has no IPsec at all, and so
// nothing to be exempted from.
func Missing(err error) bool {
	return errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP)
}

func info(family int, dir byte) []byte {
	b := make([]byte, infoSize)
	binary.NativeEndian.PutUint16(b[selFamily:], uint16(family))
	for i := range limitCount {
		binary.NativeEndian.PutUint64(b[lifetimes+8*i:], infinite)
	}
	b[direction], b[action] = dir, actAllow
	return b
}
