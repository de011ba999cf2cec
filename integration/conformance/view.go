package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/mobility"
)

// View is a packet that the node sent, taken apart.
type View struct {
	Raw      []byte
	Src, Dst netip.Addr // as on the wire
	Route    netip.Addr // home address in a type 2 routing header; not valid: none
	Home     netip.Addr // home address option; not valid: none
	Proto    byte
	Payload  []byte
}

// fixed are the octets before the options of a message (RFC 6275 §6.1).
var fixed = map[byte]int{typeBRR: 8, typeHoTI: 16, typeCoTI: 16, typeHoT: 24, typeCoT: 24, typeBU: 12, typeBA: 12, typeBE: 24}

// look takes a packet apart and says what is wrong with it whatever the case is about.
func look(raw []byte) (View, error) {
	var p mobility.Packet
	err := p.Walk(raw)
	v := View{Raw: raw, Src: p.Src, Dst: p.Dst, Route: p.RoutingAddr, Home: p.HomeAddr, Proto: p.Proto, Payload: p.Payload}
	switch {
	case err != nil:
		return v, err
	case 40+p.PayloadLen != len(raw):
		return v, fmt.Errorf("payload length %d in a packet of %d octets", p.PayloadLen, len(raw))
	case p.RoutingAddr.IsValid() && p.SegmentsLeft != 1:
		return v, fmt.Errorf("type 2 routing header with %d segments left", p.SegmentsLeft)
	case v.Proto != protoMH && v.Proto != protoICMP:
		return v, nil
	case !p.ChecksumOK():
		return v, errors.New("wrong checksum")
	case v.Proto == protoMH:
		return v, v.lookMH()
	}
	return v, nil
}

// lookMH checks what every message of the Mobility Header has to keep to.
func (v View) lookMH() error {
	b := v.Payload
	if len(b) < 8 || len(b) != 8*(int(b[1])+1) {
		return fmt.Errorf("header length does not fit the %d octets", len(b))
	}
	if b[0] != protoNone || b[3] != 0 {
		return fmt.Errorf("payload proto %d, reserved %#x", b[0], b[3])
	}
	n, known := fixed[b[2]]
	if !known || len(b) < n {
		return fmt.Errorf("message type %d of %d octets", b[2], len(b))
	}
	if findOption(b, n, 0xff) < 0 {
		return errors.New("options reach beyond the message")
	}
	switch {
	case v.Home.IsValid():
		return errors.New("a correspondent's message has a home address option")
	case b[2] == typeBRR && binary.BigEndian.Uint16(b[6:]) != 0, b[2] == typeBE && b[7] != 0, b[2] == typeBA && b[7]&0x7f != 0:
		return errors.New("a reserved field is not zero")
	case v.Route.IsValid() && b[2] != typeBA:
		return fmt.Errorf("message type %d has a routing header (RFC 6275 §6.1)", b[2])
	}
	return nil
}

// Is tells whether it is a message of the Mobility Header of one of these types.
func (v View) Is(types ...byte) bool {
	if v.Proto != protoMH || len(v.Payload) < 8 {
		return false
	}
	for _, t := range types {
		if v.Payload[2] == t && len(v.Payload) >= fixed[t] {
			return true
		}
	}
	return false
}

// The fields of the messages; to be asked of a message of the right type only.

func (v View) index() uint16     { return binary.BigEndian.Uint16(v.Payload[6:]) }      // HoT, CoT
func (v View) cookie() [8]byte   { return [8]byte(v.Payload[8:16]) }                    // HoT, CoT
func (v View) token() [8]byte    { return [8]byte(v.Payload[16:24]) }                   // HoT, CoT
func (v View) status() byte      { return v.Payload[6] }                                // BA, BE
func (v View) ackFlags() byte    { return v.Payload[7] }                                // BA
func (v View) seq() uint16       { return binary.BigEndian.Uint16(v.Payload[8:]) }      // BA
func (v View) lifetime() uint16  { return binary.BigEndian.Uint16(v.Payload[10:]) }     // BA, in 4 s
func (v View) about() netip.Addr { return netip.AddrFrom16([16]byte(v.Payload[8:24])) } // BE
func (v View) authorized() bool  { return findOption(v.Payload, fixed[typeBA], 5) > 0 } // BA

// icmp tells whether it is an ICMPv6 message of that type.
func (v View) icmp(typ byte) bool {
	return v.Proto == protoICMP && len(v.Payload) >= 8 && v.Payload[0] == typ
}

func (v View) pointer() uint32 { return binary.BigEndian.Uint32(v.Payload[4:]) } // parameter problem

// String is a line for the record of a case.
func (v View) String() string {
	s := fmt.Sprintf("%v > %v", v.Src, v.Dst)
	if v.Route.IsValid() {
		s += fmt.Sprintf(" RH2 %v", v.Route)
	}
	if v.Home.IsValid() {
		s += fmt.Sprintf(" HAO %v", v.Home)
	}
	b := v.Payload
	switch {
	case v.Is(typeHoT, typeCoT):
		s += fmt.Sprintf(" %s index %d", map[byte]string{typeHoT: "HoT", typeCoT: "CoT"}[b[2]], v.index())
	case v.Is(typeBA):
		s += fmt.Sprintf(" BA status %d seq %d lifetime %d authorized %v", v.status(), v.seq(), v.lifetime(), v.authorized())
	case v.Is(typeBE):
		s += fmt.Sprintf(" BE status %d about %v", v.status(), v.about())
	case v.Is(typeBU):
		s += fmt.Sprintf(" BU seq %d flags %#04x lifetime %d", v.seq(), binary.BigEndian.Uint16(b[8:]), v.lifetime())
	case v.Proto == protoMH && len(b) >= 8:
		s += fmt.Sprintf(" MH type %d", b[2])
	case v.Proto == protoICMP && len(b) >= 8:
		s += fmt.Sprintf(" ICMPv6 %d/%d %#08x", b[0], b[1], v.pointer())
	default:
		s += fmt.Sprintf(" protocol %d, %d octets", v.Proto, len(b))
	}
	return s
}
