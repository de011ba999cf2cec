package lab

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Message types and attributes of linux/xfrm.h that the monitor reads.
const (
	xfrmNewSA     = 0x10
	xfrmDelSA     = 0x11
	xfrmNewPolicy = 0x13
	xfrmDelPolicy = 0x14
	xfrmAcquire   = 0x17
	xfrmExpire    = 0x18
	xfrmUpdPolicy = 0x19
	xfrmUpdSA     = 0x1a
	xfrmPolExpire = 0x1b
	xfrmReport    = 0x20
	xfrmMigrate   = 0x21

	xfrmaSA         = 6
	xfrmaPolicy     = 7
	xfrmaCoaddr     = 14
	xfrmaPolicyType = 16
	xfrmaMigrate    = 17
	xfrmaKMAddress  = 19
)

var xfrmNames = map[uint16]string{
	xfrmNewSA: "newsa", xfrmDelSA: "delsa", xfrmNewPolicy: "newpolicy", xfrmDelPolicy: "delpolicy", xfrmAcquire: "acquire",
	xfrmExpire: "expire", xfrmUpdPolicy: "updpolicy", xfrmUpdSA: "updsa", xfrmPolExpire: "polexpire", 0x1c: "flushsa",
	0x1d: "flushpolicy", 0x1e: "newae", xfrmReport: "report", xfrmMigrate: "migrate", 0x22: "newsadinfo", 0x24: "newspdinfo",
	0x26: "mapping", 0x27: "setdefault",
}

// xfrmHeader is the length of the fixed part of each message, before its attributes.
var xfrmHeader = map[uint16]int{
	xfrmNewSA: 224, xfrmUpdSA: 224, xfrmDelSA: 24, xfrmNewPolicy: 168, xfrmUpdPolicy: 168, xfrmDelPolicy: 64,
	xfrmAcquire: 280, xfrmExpire: 232, xfrmPolExpire: 176, xfrmReport: 60, xfrmMigrate: 64,
}

// decodeXfrm reads the messages of one datagram; one that is cut short keeps its
// type and raw bytes alone.
func decodeXfrm(at time.Time, b []byte) []XfrmMessage {
	ne := binary.NativeEndian
	var out []XfrmMessage
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(ne.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			break
		}
		typ := ne.Uint16(b[4:])
		x := XfrmMessage{Time: at, Type: xfrmNames[typ], Seq: ne.Uint32(b[8:]), PID: ne.Uint32(b[12:])}
		x.Raw = append(x.Raw, b[unix.NLMSG_HDRLEN:n]...)
		if head := xfrmHeader[typ]; head != 0 && len(x.Raw) >= head {
			x.fixed(typ, x.Raw)
			x.attributes(x.Raw[head:])
		}
		out = append(out, x)
		b = b[min((n+3)&^3, len(b)):]
	}
	return out
}

// fixed reads the fixed part.
func (x *XfrmMessage) fixed(typ uint16, b []byte) {
	ne := binary.NativeEndian
	switch typ {
	case xfrmNewSA, xfrmUpdSA, xfrmExpire: // struct xfrm_usersa_info; xfrm_user_expire begins with one
		x.SA = userSA(b)
		x.Hard = typ == xfrmExpire && b[224] != 0
	case xfrmDelSA: // struct xfrm_usersa_id: daddr, spi, family, proto
		x.SA = &XfrmSA{Dst: addr(b), SPI: binary.BigEndian.Uint32(b[16:]), Proto: b[22]}
	case xfrmNewPolicy, xfrmUpdPolicy, xfrmPolExpire: // struct xfrm_userpolicy_info
		x.policy(b)
	case xfrmDelPolicy, xfrmMigrate: // struct xfrm_userpolicy_id: sel, index, dir
		x.Selector, x.Dir = selector(b), dirName(b[60])
	case xfrmAcquire: // struct xfrm_user_acquire: id (daddr, spi, proto), saddr, sel, policy, …, seq
		x.SA = &XfrmSA{Dst: addr(b), SPI: binary.BigEndian.Uint32(b[16:]), Proto: b[20], Src: addr(b[24:])}
		x.Selector = selector(b[40:])
		x.Seq = ne.Uint32(b[276:])
	case xfrmReport: // struct xfrm_user_report: proto, sel
		x.SA = &XfrmSA{Proto: b[0]}
		x.Selector = selector(b[4:])
	}
}

// policy reads struct xfrm_userpolicy_info: sel 56, lft 64, curlft 32, priority,
// index, dir.
func (x *XfrmMessage) policy(b []byte) {
	x.Selector = selector(b)
	x.Priority = binary.NativeEndian.Uint32(b[152:])
	x.Dir = dirName(b[160])
}

// userSA reads struct xfrm_usersa_info: sel 56, id (daddr 16, spi, proto) 24, saddr
// 16, lft 64, curlft 32, stats 12, seq, reqid, family, mode.
func userSA(b []byte) *XfrmSA {
	return &XfrmSA{
		Dst: addr(b[56:]), SPI: binary.BigEndian.Uint32(b[72:]), Proto: b[76], Src: addr(b[80:]),
		ReqID: binary.NativeEndian.Uint32(b[208:]), Mode: b[214],
	}
}

// selector reads struct xfrm_selector: daddr 16, saddr 16, dport, dport_mask,
// sport, sport_mask, family, prefixlen_d, prefixlen_s, proto, ifindex, user.
func selector(b []byte) *XfrmSel {
	ne := binary.NativeEndian
	prefix := func(a []byte, bits byte) string {
		p, err := netip.AddrFrom16([16]byte(a)).Prefix(int(bits))
		if err != nil {
			return addr(a)
		}
		return p.String()
	}
	return &XfrmSel{
		Dst: prefix(b, b[42]), Src: prefix(b[16:], b[43]), DPort: binary.BigEndian.Uint16(b[32:]),
		SPort: binary.BigEndian.Uint16(b[36:]), Proto: b[44], IfIndex: int32(ne.Uint32(b[48:])),
	}
}

func addr(b []byte) string { return netip.AddrFrom16([16]byte(b)).String() }

func dirName(d byte) string {
	switch d {
	case 0:
		return "in"
	case 1:
		return "out"
	case 2:
		return "fwd"
	}
	return ""
}

// attributes reads those that say something about addresses.
func (x *XfrmMessage) attributes(b []byte) {
	ne := binary.NativeEndian
	for len(b) >= 4 {
		n, typ := int(ne.Uint16(b)), ne.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)
		if n < 4 || n > len(b) {
			return
		}
		v := b[4:n]
		switch {
		case typ == xfrmaSA && len(v) >= 224: // DELSA carries the whole state
			x.SA = userSA(v)
		case typ == xfrmaPolicy && len(v) >= 168:
			x.policy(v)
		case typ == xfrmaCoaddr && len(v) >= 16:
			x.Coaddr = addr(v)
		case typ == xfrmaPolicyType && len(v) >= 1:
			x.Sub = v[0] == 1
		case typ == xfrmaKMAddress && len(v) >= 32: // local, remote, reserved, family
			x.KM = &XfrmAddrs{Local: addr(v), Remote: addr(v[16:])}
		case typ == xfrmaMigrate:
			x.moves(v)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
}

// moves reads the structs xfrm_user_migrate: old_daddr, old_saddr, new_daddr,
// new_saddr, proto, mode, reserved, reqid, old_family, new_family.
func (x *XfrmMessage) moves(v []byte) {
	for ; len(v) >= 76; v = v[76:] {
		x.Moves = append(x.Moves, XfrmMove{
			OldDst: addr(v), OldSrc: addr(v[16:]), NewDst: addr(v[32:]), NewSrc: addr(v[48:]),
			Proto: v[64], Mode: v[65], ReqID: binary.NativeEndian.Uint32(v[68:]),
		})
	}
}
