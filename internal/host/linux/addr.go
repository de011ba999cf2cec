package linux

import (
	"errors"
	"fmt"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// loopback is the interface index of lo: the first one in every namespace.
const loopback = 1

func linkOr(ifIndex int) int {
	if ifIndex == 0 {
		return loopback
	}
	return ifIndex
}

// putAddr adds an address, or gives one that is there the flags that are asked for.
func (h *Host) putAddr(o host.PutAddr) error {
	if err := check6(o.Prefix); err != nil {
		return err
	}
	var flags uint8
	if o.Home {
		flags |= unix.IFA_F_HOMEADDRESS
	}
	if o.NoDAD {
		flags |= unix.IFA_F_NODAD
	}
	b := addrHeader(o.Prefix.Bits(), flags, linkOr(o.IfIndex))
	b = appendAttrAddr(b, unix.IFA_LOCAL, o.Prefix.Addr())
	b = appendAttrAddr(b, unix.IFA_ADDRESS, o.Prefix.Addr())
	b = appendAttr(b, ifaProto, []byte{RouteProtocol})
	err := h.reqs.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
	return place(fmt.Sprintf("add address %v", o.Prefix), err)
}

func (h *Host) delAddr(o host.DelAddr) error {
	if err := check6(o.Prefix); err != nil {
		return err
	}
	b := addrHeader(o.Prefix.Bits(), 0, linkOr(o.IfIndex))
	b = appendAttrAddr(b, unix.IFA_LOCAL, o.Prefix.Addr())
	b = appendAttrAddr(b, unix.IFA_ADDRESS, o.Prefix.Addr())
	err := h.reqs.do(unix.RTM_DELADDR, 0, b)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil // not there, or its link is not
	}
	return place(fmt.Sprintf("delete address %v", o.Prefix), err)
}
