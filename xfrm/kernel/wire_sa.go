package kernel

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/mip6/mip6/xfrm"
)

// ErrMessage is wrapped by the errors of all decoders.
var ErrMessage = errors.New("xfrm/kernel: malformed message")

// errShort means that the fixed part of a message is cut short.
var errShort = errors.Join(ErrMessage, errors.New("cut short"))

// Flags of struct xfrm_usersa_info.
const (
	flagWildRecv = 8
	flagAFUnspec = 32
	flagESN      = 128
)

// saMessage makes a NEWSA or UPDSA. The caller has checked the SA.
func saMessage(typ uint16, s xfrm.SA) message {
	m := newMessage(typ, 0, sizeSAInfo)
	putSAInfo(m.fixed(), s)
	if s.AEAD.Name != "" {
		m.algAttr(attrAEAD, s.AEAD.Name, s.AEAD.Key, s.AEAD.ICVBits, true)
	}
	if s.Auth.Name != "" {
		m.authAttr(s.Auth)
	}
	if s.Crypt.Name != "" {
		m.algAttr(attrCrypt, s.Crypt.Name, s.Crypt.Key, 0, false)
	}
	if s.Mode == xfrm.RouteOpt {
		m.addrAttr(attrCareOf, s.CareOf)
	}
	if s.Encap != nil {
		b := m.attr(attrEncap, sizeEncap)
		host.PutUint16(b, 2) // UDP_ENCAP_ESPINUDP
		wireOrder.PutUint16(b[2:], s.Encap.SrcPort)
		wireOrder.PutUint16(b[4:], s.Encap.DstPort)
	}
	m.replayAttr(s)
	m.markAttr(s.Mark)
	return m
}

// putSAInfo writes a struct xfrm_usersa_info.
func putSAInfo(b []byte, s xfrm.SA) {
	family := familyOf(s.Dst)
	var flags uint8
	if zero := (xfrm.Selector{}); s.Sel != zero {
		putSelector(b[0:], s.Sel)
	} else if s.Mode == xfrm.Tunnel {
		flags |= flagAFUnspec // all that the policy wants, of either family
	} else {
		host.PutUint16(b[40:], family)
	}
	putAddr(b[56:72], s.Dst)
	wireOrder.PutUint32(b[72:], uint32(s.SPI))
	b[76] = uint8(s.Proto)
	putAddr(b[80:96], s.Src)
	putLife(b[96:160], s.Life)
	host.PutUint32(b[204:], s.Acquire)
	host.PutUint32(b[208:], uint32(s.ReqID))
	host.PutUint16(b[212:], family)
	b[214] = uint8(s.Mode)
	if !longReplay(s.Replay) {
		b[215] = uint8(s.Replay.Window)
	}
	if s.WildRecv {
		flags |= flagWildRecv
	}
	if s.Replay.ESN {
		flags |= flagESN
	}
	b[216] = flags
}

// algAttr appends a struct xfrm_algo, or one with a second length (withBits).
func (m *message) algAttr(typ uint16, name string, key []byte, bits int, withBits bool) {
	head := sizeAlgName + 4
	if withBits {
		head += 4
	}
	b := m.attr(typ, head+len(key))
	copy(b[:sizeAlgName-1], name)
	host.PutUint32(b[sizeAlgName:], uint32(8*len(key)))
	if withBits {
		host.PutUint32(b[sizeAlgName+4:], uint32(bits))
	}
	copy(b[head:], key)
}

func (m *message) authAttr(a xfrm.Auth) {
	m.algAttr(attrAuthTrunc, a.Name, a.Key, a.TruncBits, true)
}

// decodeSA reads a struct xfrm_usersa_info and the attributes behind it.
func decodeSA(b []byte) (xfrm.SA, error) {
	s, err := getSAInfo(b)
	if err != nil {
		return s, err
	}
	saAttrs(&s, tail(b, sizeSAInfo))
	if !s.Larval {
		s.Acquire = 0 // the number of an acquire answered long ago
	}
	return s, nil
}

func getSAInfo(b []byte) (xfrm.SA, error) {
	if len(b) < sizeSAInfo {
		return xfrm.SA{}, errShort
	}
	family := host.Uint16(b[212:])
	s := xfrm.SA{
		Dst:     getAddr(b[56:72], family),
		SPI:     xfrm.SPI(wireOrder.Uint32(b[72:])),
		Proto:   xfrm.Proto(b[76]),
		Src:     getAddr(b[80:96], family),
		Life:    getLife(b[96:160]),
		Acquire: host.Uint32(b[204:]),
		ReqID:   xfrm.ReqID(host.Uint32(b[208:])),
		Mode:    xfrm.Mode(b[214]),
	}
	if sel := getSelector(b[:sizeSelector]); !catchAll(sel) {
		s.Sel = sel
	}
	s.Stats, _ = getUsage(b[160:192])
	s.Stats.ReplayDrops = host.Uint32(b[196:])
	s.Stats.IntegrityFailures = host.Uint32(b[200:])
	s.Replay.Window = uint32(b[215])
	s.WildRecv = b[216]&flagWildRecv != 0
	s.Replay.ESN = b[216]&flagESN != 0
	return s, nil
}

// saAttrs reads the attributes of an SA. The kernel says nowhere that a state is
// larval: it is one that has neither keys nor a care-of address.
func saAttrs(s *xfrm.SA, b []byte) {
	s.Larval = true
	attrs(b, func(typ uint16, v []byte) {
		switch typ {
		case attrAEAD:
			if name, key, bits, ok := getAlg(v, true); ok {
				s.AEAD, s.Larval = xfrm.AEAD{Name: name, Key: key, ICVBits: bits}, false
			}
		case attrAuthTrunc:
			if name, key, bits, ok := getAlg(v, true); ok {
				s.Auth, s.Larval = xfrm.Auth{Name: name, Key: key, TruncBits: bits}, false
			}
		case attrAuth: // comes beside attrAuthTrunc
			if name, key, _, ok := getAlg(v, false); ok && s.Auth.Name == "" {
				s.Auth, s.Larval = xfrm.Auth{Name: name, Key: key}, false
			}
		case attrCrypt:
			if name, key, _, ok := getAlg(v, false); ok {
				s.Crypt, s.Larval = xfrm.Crypt{Name: name, Key: key}, false
			}
		case attrCareOf:
			if len(v) >= 16 {
				s.CareOf, s.Larval = netip.AddrFrom16([16]byte(v[:16])), false
			}
		case attrEncap:
			if len(v) >= 6 {
				s.Encap = &xfrm.Encap{SrcPort: wireOrder.Uint16(v[2:]), DstPort: wireOrder.Uint16(v[4:])}
			}
		case attrMark:
			if len(v) >= 8 {
				s.Mark = host.Uint32(v)
			}
		case attrLastUsed:
			if len(v) >= 8 {
				s.Stats.LastUsed = unixTime(host.Uint64(v))
			}
		case attrReplay:
			if len(v) >= sizeReplay {
				s.Replay.OSeq, s.Replay.Seq = uint64(host.Uint32(v)), uint64(host.Uint32(v[4:]))
				s.Replay.Bitmap = []uint32{host.Uint32(v[8:])}
			}
		case attrReplayESN:
			getReplayESN(&s.Replay, v)
		}
	})
}

// getAlg reads a struct xfrm_algo, or one with a second length.
func getAlg(v []byte, withBits bool) (name string, key []byte, bits int, ok bool) {
	head := sizeAlgName + 4
	if withBits {
		head += 4
	}
	if len(v) < head {
		return "", nil, 0, false
	}
	raw, _, _ := bytes.Cut(v[:sizeAlgName], []byte{0})
	n := (uint64(host.Uint32(v[sizeAlgName:])) + 7) / 8
	if n > uint64(len(v)-head) {
		return "", nil, 0, false
	}
	if withBits {
		bits = int(int32(host.Uint32(v[sizeAlgName+4:])))
	}
	name = string(raw)
	if name == "ecb(cipher_null)" { // the kernel's own name for what callers call
		name = "cipher_null"
	}
	if n > 0 {
		key = bytes.Clone(v[head : head+int(n)])
	}
	return name, key, bits, true
}

// saIDMessage makes a GETSA or DELSA. A route optimization state has no SPI: its
// source address stands in for it.
func saIDMessage(typ uint16, id xfrm.ID, mark uint32) message {
	m := newMessage(typ, 0, sizeSAID)
	b := m.fixed()
	putAddr(b[0:16], id.Dst)
	wireOrder.PutUint32(b[16:], uint32(id.SPI))
	host.PutUint16(b[20:], familyOf(id.Dst))
	b[22] = uint8(id.Proto)
	if byAddress(id.Proto) {
		m.addrAttr(attrSrcAddr, id.Src)
	}
	m.markAttr(mark)
	return m
}

// byAddress tells the protocols whose states are found by both addresses.
func byAddress(p xfrm.Proto) bool { return p == xfrm.HAO || p == xfrm.Route2 }
