package optimise

import (
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// quote is the packet that an ICMPv6 error about a Mobility Header of ours has in it: with its home address option the
// last update, from the home address the last home test, else the last care-of test.
func (r *rig) quote(e host.ICMPError, remote netip.Addr) []byte {
	var body mobility.Body = mobility.HomeTestInit{}
	p := r.m.peer(remote)
	switch {
	case p == nil:
	case e.Home.IsValid() && len(p.Sent) > 0:
		body = mobility.BindingUpdate{Seq: p.Sent[len(p.Sent)-1].Seq}
	case e.Src == hoa && len(p.HomeSent) > 0:
		body = mobility.HomeTestInit{Cookie: p.HomeSent[len(p.HomeSent)-1].Cookie}
	case e.Src != hoa && len(p.CareSent) > 0:
		body = mobility.CareOfTestInit{Cookie: p.CareSent[len(p.CareSent)-1].Cookie}
	}
	return packetOf(e, body)
}

// packetOf writes a whole packet: IPv6 header, home address option, Mobility Header.
func packetOf(e host.ICMPError, body mobility.Body) []byte {
	msg := mobility.Message{Body: body}
	mh, err := msg.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	next, ext := byte(mobility.ProtoMobility), []byte(nil)
	if e.Home.IsValid() {
		h := e.Home.As16()
		ext = append([]byte{next, 2, 1, 2, 0, 0, 0xc9, 16}, h[:]...)
		next = 60
	}
	src, dst := e.Src.As16(), e.Dst.As16()
	b := []byte{0x60, 0, 0, 0, 0, byte(len(ext) + len(mh)), next, 64}
	b = append(append(b, src[:]...), dst[:]...)
	return append(append(b, ext...), mh...)
}
