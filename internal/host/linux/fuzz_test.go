package linux

import (
	"net/netip"
	"testing"

	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// FuzzParse: what the kernel and the net say is read by functions that take anything.
func FuzzParse(f *testing.F) {
	a := append(addrHeader(64, 0, 2), appendAttrAddr(nil, unix.IFA_ADDRESS, addrA)...)
	f.Add(a)
	f.Add(append(routeHeader(128, 254, RouteProtocol, 0, unix.RTN_UNICAST), appendAttrAddr(nil, unix.RTA_DST, addrA)...))
	f.Add(append(make([]byte, unix.SizeofIfInfomsg), appendAttr32(nil, unix.IFLA_MTU, 1500)...))
	f.Add(mobility.AppendHomeAddr(nil, 135, addrA))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseLink(b)
		if a, ok := parseAddr(b); ok && !a.Prefix.IsValid() {
			t.Errorf("address %+v", a)
		}
		if r, ok := parseRoute(b); ok && !r.Dst.IsValid() {
			t.Errorf("route %+v", r)
		}
		parseRule(b)
		parseCounter(b)
		eachMessage(b, func(uint16, []byte) {})
		eachControl(b, func(int, []byte) {})
		m := icmpPacket{src: addrB, hopLimit: 255, data: b}
		readError(m)
		m.src = linkLocalB
		readRouter(m)
		if m, ok := readMH(packet{data: b, oob: b, from: sockaddr(addrB, 0)}); ok && !m.Dst.IsValid() {
			t.Errorf("mobility header %+v", m)
		}
	})
}

var linkLocalB = netip.MustParseAddr("fe80::b")
