package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
)

// discovery does R0's part of neighbour discovery (RFC 4861) with a packet of the
// node; true: the packet was the link's own business.
func (l *link) discovery(packet, from []byte) bool {
	dst := netip.AddrFrom16([16]byte(packet[24:40]))
	if packet[6] == 0 && dst.IsMulticast() {
		return true // MLD (RFC 3810), which has a hop-by-hop header
	}
	if packet[6] != protoICMP || len(packet) < 48 {
		return false
	}
	src := netip.AddrFrom16([16]byte(packet[8:24]))
	switch body := packet[40:]; mobility.ICMPType(body[0]) {
	case mobility.ICMPNeighborSol:
		if len(body) >= 24 && netip.AddrFrom16([16]byte(body[8:24])) == routerLL && !src.IsUnspecified() {
			l.advertiseNeighbour(src, from)
		}
	case mobility.ICMPRouterSol:
		l.advertise()
	case mobility.ICMPNeighborAdv:
		if len(body) >= 24 {
			select {
			case l.alive <- netip.AddrFrom16([16]byte(body[8:24])):
			default:
			}
		}
	case mobility.ICMPRouterAdv:
	default:
		return false
	}
	return true
}

func (l *link) advertiseNeighbour(to netip.Addr, mac []byte) {
	target := routerLL.As16()
	b := append([]byte{136, 0, 0, 0, 0xe0, 0, 0, 0}, target[:]...) // R, S, O
	b = append(append(b, 2, 1), testerMAC[:]...)
	l.transmit(mac, Packet{Src: routerLL, Dst: to, HopLimit: 255, Proto: protoICMP, Payload: b, Sum: 2}.Bytes())
}

// advertise sends a router advertisement with the prefixes of the link.
func (l *link) advertise() error {
	b := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // router lifetime 1800 s
	b = append(append(b, 1, 1), testerMAC[:]...)
	for _, p := range l.adverts {
		a := p.Addr().As16()
		b = append(b, 3, 4, byte(p.Bits()), 0xc0, 0, 0, 0x1c, 0x20, 0, 0, 0x1c, 0x20, 0, 0, 0, 0) // L, A, 7200 s
		b = append(b, a[:]...)
	}
	ra := Packet{Src: routerLL, Dst: mobility.AllNodes, HopLimit: 255, Proto: protoICMP, Payload: b, Sum: 2}
	return l.transmit([]byte{0x33, 0x33, 0, 0, 0, 1}, ra.Bytes())
}

// solicit asks for an address of the node, as the router would before a packet.
func (l *link) solicit(a netip.Addr) error {
	group, target := mobility.SolicitedNode(a), a.As16()
	b := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	b = append(append(b, 1, 1), testerMAC[:]...)
	g := group.As16()
	ns := Packet{Src: routerLL, Dst: group, HopLimit: 255, Proto: protoICMP, Payload: b, Sum: 2}
	return l.transmit([]byte{0x33, 0x33, g[12], g[13], g[14], g[15]}, ns.Bytes())
}

// settle makes the node form its addresses, and returns when all of them answer.
func (l *link) settle(ctx context.Context, addrs []netip.Addr) error {
	for _, a := range addrs {
		for answered := false; !answered; {
			if err := l.advertise(); err != nil {
				return err
			}
			if err := l.solicit(a); err != nil {
				return err
			}
			again := time.NewTimer(200 * time.Millisecond)
			for waiting := true; waiting && !answered; {
				select {
				case who := <-l.alive:
					answered = who == a
				case <-again.C:
					waiting = false
				case <-ctx.Done():
					return fmt.Errorf("conformance: the node does not answer on %v: %w", a, ctx.Err())
				}
			}
			again.Stop()
		}
	}
	return nil
}
