package protect

import (
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// Path is how packets go between an address here and one there, when not only by
// the home agent: route optimization, at the mobile node, at the correspondent, and at a host that is both
// to a peer that is both (RFC 6275 §9.3, §11.3.1). The zero Path but for its addresses has no policies.
type Path struct {
	Local, Remote netip.Addr // home addresses where they are mobile

	// What follows is for a mobile node. Away: Local is a home address of ours, and is away: its
	// tunnel from CareOf to HomeAgent stands, with this request id. A zero CareOf: nothing can be sent. At home the last two tell which
	// tunnelled packets are still taken; zero where the tunnel is not IPsec's.
	Away      bool
	CareOf    netip.Addr
	HomeAgent netip.Addr
	Tunnel    xfrm.ReqID
	// Direct: with a home address option from CareOf; else by the tunnel.
	Direct bool
	// Accept: packets may come with a type 2 routing header to any address of ours, or by the tunnel.
	Accept bool
	// Ack: so may Mobility Headers; else they must come by the tunnel.
	Ack bool

	// RemoteCareOf is the peer's care-of address where we are its correspondent and have
	// a binding; else zero.
	RemoteCareOf netip.Addr

	// Protect is ESP or AH in transport mode between Local and Remote for every packet of
	// the pair, with this request id; 0: none.
	Protect xfrm.Proto
	ReqID   xfrm.ReqID
}
