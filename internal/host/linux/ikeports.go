package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// UDP encapsulation of ESP (uapi linux/udp.h): the kernel takes ESP packets from a socket
// with it, and keepalives, and leaves what begins with the non-ESP marker.
const (
	udpEncap         = 100
	udpEncapESPInUDP = 2
)

// encapsulate has the kernel take ESP out of the packets of a socket. One without IPsec
// has none to take it to.
func encapsulate(fd int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpEncap, udpEncapESPInUDP)
	if err == nil || errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	return place("ask for ESP in UDP", err)
}

// IKEPorts are the sockets of a keying daemon: two ports, each over IPv6 and IPv4.
type IKEPorts struct {
	plain, nat [2]*IKESocket // IPv6, IPv4; nil: the host does not have the family
}

// ListenIKEPorts opens the sockets of IKE's port and of that for UDP encapsulation, 0: 500
// and 4500. A family that the host lacks is left out. The error is that of ListenIKE.
func ListenIKEPorts(port, natPort uint16) (*IKEPorts, error) {
	p := &IKEPorts{}
	var missing error
	for i, v4 := range []bool{false, true} {
		nat, err := ListenIKE(IKEOptions{Port: natPort, IPv4: v4, Encap: true})
		if lacks(err) {
			missing = err
			continue
		}
		p.nat[i] = nat
		if err == nil && nat.port != port { // IKE may begin on that port as well (RFC 7296 §2.23)
			p.plain[i], err = ListenIKE(IKEOptions{Port: port, IPv4: v4})
		}
		if err != nil {
			p.Close()
			return nil, err
		}
	}
	if len(p.Sockets()) == 0 {
		return nil, missing
	}
	return p, nil
}

// lacks says whether a socket cannot be for want of its family.
func lacks(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// Sockets are those that are open, each to be read by one goroutine.
func (p *IKEPorts) Sockets() []*IKESocket {
	var out []*IKESocket
	for _, s := range []*IKESocket{p.plain[0], p.nat[0], p.plain[1], p.nat[1]} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// Write sends an IKE message from local, whose port says which socket it leaves by: that of
// UDP encapsulation puts the non-ESP marker before it.
func (p *IKEPorts) Write(data []byte, local, remote netip.AddrPort) error {
	s, err := p.of(local, remote)
	if err != nil {
		return err
	}
	return s.Write(data, local, remote)
}

// Keepalive sends one octet 0xFF from local.
func (p *IKEPorts) Keepalive(local, remote netip.AddrPort) error {
	s, err := p.of(local, remote)
	if err != nil {
		return err
	}
	return s.Keepalive(local, remote)
}

func (p *IKEPorts) of(local, remote netip.AddrPort) (*IKESocket, error) {
	i := 0
	if remote.Addr().Unmap().Is4() {
		i = 1
	}
	s := p.plain[i]
	if n := p.nat[i]; n != nil && (n.port == local.Port() || s == nil) {
		s = n
	}
	if s == nil {
		return nil, fmt.Errorf("host: no socket for %v: %w", remote, unix.EAFNOSUPPORT)
	}
	return s, nil
}

// Listening names the addresses of the sockets.
func (p *IKEPorts) Listening() []string {
	var out []string
	for _, s := range p.Sockets() {
		host := "[::]"
		if s.ipv4 {
			host = "0.0.0.0"
		}
		out = append(out, fmt.Sprintf("%s:%d", host, s.port))
	}
	return out
}

// Close ends all reads.
func (p *IKEPorts) Close() {
	for _, s := range p.Sockets() {
		s.Close()
	}
}

// pktInfo4 reads struct in_pktinfo (ip(7)): interface index, our address, destination.
func pktInfo4(data []byte) (netip.Addr, int) {
	if len(data) < unix.SizeofInet4Pktinfo {
		return netip.Addr{}, 0
	}
	return netip.AddrFrom4([4]byte(data[8:12])), int(binary.NativeEndian.Uint32(data))
}

// appendPktInfo4 appends a control message with struct in_pktinfo: the source.
func appendPktInfo4(oob []byte, src netip.Addr) []byte {
	start := len(oob)
	oob = append(oob, make([]byte, pktInfo4Space)...)
	h := oob[start:]
	putCmsgLen(h, unix.CmsgLen(unix.SizeofInet4Pktinfo))
	off := unix.CmsgLen(0)
	binary.NativeEndian.PutUint32(h[off-8:], unix.IPPROTO_IP)
	binary.NativeEndian.PutUint32(h[off-4:], unix.IP_PKTINFO)
	if src = src.Unmap(); src.Is4() {
		a := src.As4()
		copy(h[off+4:], a[:])
	}
	return oob
}

var pktInfo4Space = unix.CmsgSpace(unix.SizeofInet4Pktinfo)
