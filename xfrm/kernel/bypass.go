package kernel

import (
	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

const ipv6XFRMPolicy = 35 // IPV6_XFRM_POLICY

// Bypass exempts a socket from the SPD in both directions, whatever the policies
// say: IKE at home must not be caught by the tunnel policies of the home address.
// The selector of the socket's own policy has the socket's family; without one the
// kernel refuses it. CAP_NET_ADMIN is needed.
func Bypass(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return &errnoError{call: "bypass the SPD", errno: errnoOf(err)}
	}
	level, option := unix.IPPROTO_IPV6, ipv6XFRMPolicy
	if domain == unix.AF_INET {
		level, option = unix.IPPROTO_IP, unix.IP_XFRM_POLICY
	}
	for _, dir := range []xfrm.Dir{xfrm.In, xfrm.Out} {
		p := policyMessage(msgNewPolicy, xfrm.Policy{Dir: dir, Sel: xfrm.Selector{AddressesV4: domain == unix.AF_INET}})
		if err := unix.SetsockoptString(fd, level, option, string(p.fixed()[:sizePolicyInfo])); err != nil {
			return explain(&errnoError{errno: errnoOf(err)}, "XFRM", "bypass the SPD")
		}
	}
	return nil
}
