package xfrmtest

import (
	"bytes"
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// ESP makes a tunnel SA with AES-GCM and a window of 64 packets.
func ESP(src, dst netip.Addr, spi xfrm.SPI, reqid xfrm.ReqID) xfrm.SA {
	return xfrm.SA{
		Src: src, Dst: dst, SPI: spi, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: reqid,
		AEAD:   xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: bytes.Repeat([]byte{byte(spi) | 1}, 20), ICVBits: 128},
		Replay: xfrm.Replay{Window: 64},
	}
}

// TunnelPolicy makes the payload policy of a home address: in direction out (at the
// node) from it to everywhere, with one tunnel template.
func TunnelPolicy(dir xfrm.Dir, src, dst netip.Addr, reqid xfrm.ReqID) xfrm.Policy {
	home, all := netip.PrefixFrom(HomeAddress, 128), netip.MustParsePrefix("::/0")
	p := xfrm.Policy{
		Sel: xfrm.Selector{Src: home, Dst: all}, Dir: dir, Priority: 20,
		Templates: []xfrm.Template{{Src: src, Dst: dst, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: reqid}},
	}
	if dir != xfrm.Out {
		p.Sel.Src, p.Sel.Dst = all, home
	}
	return p
}

// Move makes a migration of a policy and its states.
func Move(p xfrm.Policy, oldSrc, oldDst, newSrc, newDst netip.Addr) xfrm.Migrate {
	t := p.Templates[0]
	return xfrm.Migrate{Migration: xfrm.Migration{
		Policy: p.ID(),
		Moves: []xfrm.Move{{
			OldSrc: oldSrc, OldDst: oldDst, NewSrc: newSrc, NewDst: newDst, Proto: t.Proto, Mode: t.Mode, ReqID: t.ReqID,
		}},
		Endpoints: &xfrm.Endpoints{Local: CareOf2, Remote: HomeAgent},
	}}
}
