package pcap

import "encoding/binary"

// Link types that IPv6 understands.
const (
	LinkNull     = 0
	LinkEthernet = 1
	LinkRaw      = 101
	LinkLoop     = 108
	LinkSLL      = 113
	LinkIPv6     = 229
	LinkSLL2     = 276

	linkRawBSD = 12 // DLT_RAW as some systems wrote it
	linkRawOBS = 14
)

const (
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

// IPv6 is the IPv6 packet inside the captured one, without the link-layer
// header; false where it holds something else. It is a part of Data.
func (p Packet) IPv6() ([]byte, bool) {
	b := p.Data
	var typ uint16
	switch p.LinkType {
	case LinkEthernet:
		if len(b) < 14 {
			return nil, false
		}
		typ, b = binary.BigEndian.Uint16(b[12:]), b[14:]
		for (typ == etherVLAN || typ == etherQinQ) && len(b) >= 4 {
			typ, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		}
	case LinkSLL:
		if len(b) < 16 {
			return nil, false
		}
		typ, b = binary.BigEndian.Uint16(b[14:]), b[16:]
	case LinkSLL2:
		if len(b) < 20 {
			return nil, false
		}
		typ, b = binary.BigEndian.Uint16(b), b[20:]
	case LinkNull, LinkLoop:
		if len(b) < 4 {
			return nil, false
		}
		typ, b = etherIPv6, b[4:]
	case LinkRaw, LinkIPv6, linkRawBSD, linkRawOBS:
		typ = etherIPv6
	}
	return b, typ == etherIPv6 && len(b) > 0 && b[0]>>4 == 6
}
