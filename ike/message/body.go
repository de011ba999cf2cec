package message

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

func parseKE(b []byte) (*KE, error) {
	if len(b) < 5 { // §3.4: group, 2 reserved, data
		return nil, fmt.Errorf("%w: KE of %d octets", ErrSyntax, len(b))
	}
	return &KE{binary.BigEndian.Uint16(b), b[4:]}, nil
}

// Body encodes the payload.
func (k KE) Body() Body {
	d := binary.BigEndian.AppendUint16(nil, k.Group)
	return Body{TypeKE, append(append(d, 0, 0), k.Data...)}
}

func parseID(b []byte) (*ID, error) {
	if len(b) < 5 { // §3.5: type, 3 reserved, data
		return nil, fmt.Errorf("%w: ID of %d octets", ErrSyntax, len(b))
	}
	id := &ID{Identity{IDType(b[0]), string(b[4:])}, b}
	switch {
	case id.Identity.Type == IDIPv4 && len(b) != 8, id.Identity.Type == IDIPv6 && len(b) != 20:
		return nil, fmt.Errorf("%w: address identity of %d octets", ErrSyntax, len(b)-4)
	}
	return id, nil
}

// Raw is the body of the payload for this identity, as AUTH covers it.
func (id Identity) Raw() []byte {
	return append([]byte{byte(id.Type), 0, 0, 0}, id.Data...)
}

func parseAuth(b []byte) (*Auth, error) {
	if len(b) < 5 { // §3.8: method, 3 reserved, data
		return nil, fmt.Errorf("%w: AUTH of %d octets", ErrSyntax, len(b))
	}
	return &Auth{b[0], b[4:]}, nil
}

// Body encodes the payload.
func (a Auth) Body() Body {
	return Body{TypeAuth, append([]byte{a.Method, 0, 0, 0}, a.Data...)}
}

// Body encodes the payload as CERT or CERTREQ.
func (c Cert) Body(t PayloadType) Body {
	return Body{t, append([]byte{c.Encoding}, c.Data...)}
}

func parseNotify(b []byte) (Notify, error) {
	if len(b) < 4 {
		return Notify{}, fmt.Errorf("%w: notify of %d octets", ErrSyntax, len(b))
	}
	n := Notify{Protocol: Protocol(b[0]), Type: NotifyType(binary.BigEndian.Uint16(b[2:]))}
	size := int(b[1])
	if size > len(b)-4 {
		return Notify{}, fmt.Errorf("%w: notify SPI of %d octets", ErrSyntax, size)
	}
	n.SPI, n.Data = b[4:4+size], b[4+size:]
	return n, nil
}

// Body encodes the payload.
func (n Notify) Body() Body {
	d := []byte{byte(n.Protocol), byte(len(n.SPI))}
	d = binary.BigEndian.AppendUint16(d, uint16(n.Type))
	return Body{TypeNotify, append(append(d, n.SPI...), n.Data...)}
}

// ChildSPI returns the SPI of a notify about a child SA.
func (n Notify) ChildSPI() (uint32, bool) {
	if len(n.SPI) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(n.SPI), true
}

func parseDelete(b []byte) (Delete, error) {
	if len(b) < 4 {
		return Delete{}, fmt.Errorf("%w: delete of %d octets", ErrSyntax, len(b))
	}
	d := Delete{Protocol: Protocol(b[0])}
	size, count := int(b[1]), int(binary.BigEndian.Uint16(b[2:]))
	b = b[4:]
	if d.Protocol == ProtoIKE {
		// §3.11: SPI size and count are zero for IKE.
		if size != 0 || count != 0 || len(b) != 0 {
			return Delete{}, fmt.Errorf("%w: delete of IKE with SPIs", ErrSyntax)
		}
		return d, nil
	}
	if size != 4 || len(b) != 4*count {
		return Delete{}, fmt.Errorf("%w: delete of %d SPIs in %d octets", ErrSyntax, count, len(b))
	}
	if count > maxSPIs {
		return Delete{}, fmt.Errorf("%w: SPIs", ErrTooMany)
	}
	for ; len(b) >= 4; b = b[4:] {
		d.SPIs = append(d.SPIs, binary.BigEndian.Uint32(b))
	}
	return d, nil
}

// Body encodes the payload.
func (d Delete) Body() Body {
	if d.Protocol == ProtoIKE {
		return Body{TypeDelete, []byte{byte(ProtoIKE), 0, 0, 0}}
	}
	b := []byte{byte(d.Protocol), 4}
	b = binary.BigEndian.AppendUint16(b, uint16(len(d.SPIs)))
	for _, s := range d.SPIs {
		b = binary.BigEndian.AppendUint32(b, s)
	}
	return Body{TypeDelete, b}
}

// Types of traffic selectors (§3.13.1).
const (
	tsIPv4Range = 7
	tsIPv6Range = 8
)

// parseTS never returns nil without an error. Selectors of unknown types are
// left out: they are like ones that match nothing.
func parseTS(b []byte) ([]Selector, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: TS of %d octets", ErrSyntax, len(b))
	}
	count := int(b[0])
	b = b[4:]
	ts := []Selector{}
	if count == 0 {
		return nil, fmt.Errorf("%w: TS without selectors", ErrSyntax)
	}
	for range count {
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: selector", ErrSyntax)
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return nil, fmt.Errorf("%w: selector of %d octets", ErrSyntax, n)
		}
		want := map[byte]int{tsIPv4Range: 16, tsIPv6Range: 40}[b[0]]
		if want != 0 && n != want {
			return nil, fmt.Errorf("%w: selector type %d of %d octets", ErrSyntax, b[0], n)
		}
		if want != 0 {
			half := 8 + (n-8)/2
			s := Selector{
				Protocol:  b[1],
				StartPort: binary.BigEndian.Uint16(b[4:]),
				EndPort:   binary.BigEndian.Uint16(b[6:]),
			}
			s.Start, _ = netip.AddrFromSlice(b[8:half])
			s.End, _ = netip.AddrFromSlice(b[half:n])
			ts = append(ts, s)
		}
		b = b[n:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d octets after the selectors", ErrSyntax, len(b))
	}
	return ts, nil
}

// TSBody encodes selectors as a TSi or TSr payload.
func TSBody(t PayloadType, ts []Selector) Body {
	b := []byte{byte(len(ts)), 0, 0, 0}
	for _, s := range ts {
		kind := byte(tsIPv6Range)
		if s.Start.Is4() {
			kind = tsIPv4Range
		}
		start, end := s.Start.AsSlice(), s.End.AsSlice()
		b = append(b, kind, s.Protocol)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(start)+len(end)))
		b = binary.BigEndian.AppendUint16(b, s.StartPort)
		b = binary.BigEndian.AppendUint16(b, s.EndPort)
		b = append(append(b, start...), end...)
	}
	return Body{t, b}
}

func parseCP(b []byte) (*CP, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: CP of %d octets", ErrSyntax, len(b))
	}
	c := &CP{Type: b[0]}
	b = b[4:]
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: configuration attribute", ErrSyntax)
		}
		if len(c.Attributes) == maxAttributes {
			return nil, fmt.Errorf("%w: configuration attributes", ErrTooMany)
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b)-4 {
			return nil, fmt.Errorf("%w: configuration attribute of %d octets", ErrSyntax, n)
		}
		a := Attribute{Type: binary.BigEndian.Uint16(b) & 0x7fff} // the upper bit is reserved
		if n > 0 {
			a.Value = b[4 : 4+n]
		}
		c.Attributes = append(c.Attributes, a)
		b = b[4+n:]
	}
	return c, nil
}

// Body encodes the payload.
func (c CP) Body() Body {
	b := []byte{c.Type, 0, 0, 0}
	for _, a := range c.Attributes {
		b = binary.BigEndian.AppendUint16(b, a.Type&0x7fff)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		b = append(b, a.Value...)
	}
	return Body{TypeCP, b}
}
