package message

import (
	"encoding/binary"
	"fmt"
)

// Bounds of what one message may hold. A datagram cannot be longer than 64 KiB,
// these keep the work for one small as well.
const (
	maxPayloads   = 64
	maxProposals  = 32
	maxTransforms = 128 // of one proposal
	maxAttributes = 64
	maxSPIs       = 256
)

// UnsupportedCritical is the error for an unknown payload with its critical
// bit set; the payload's type is the data of the notify that answers it.
type UnsupportedCritical struct{ Type PayloadType }

func (e *UnsupportedCritical) Error() string {
	return fmt.Sprintf("%v: type %d", ErrUnsupported, uint8(e.Type))
}

func (e *UnsupportedCritical) Unwrap() error { return ErrUnsupported }

// KE is a key exchange payload.
type KE struct {
	Group uint16
	Data  []byte
}

// Cert is a CERT or CERTREQ payload.
type Cert struct {
	Encoding uint8
	Data     []byte
}

// Auth is an AUTH payload.
type Auth struct {
	Method uint8
	Data   []byte
}

// Notify is a Notify payload.
type Notify struct {
	Protocol Protocol
	SPI      []byte
	Type     NotifyType
	Data     []byte
}

// Delete is a Delete payload; SPIs is empty for protocol IKE.
type Delete struct {
	Protocol Protocol
	SPIs     []uint32
}

// CP is a configuration payload.
type CP struct {
	Type       uint8 // 1 request, 2 reply, 3 set, 4 ack
	Attributes []Attribute
}

// Configuration payload types.
const (
	CFGRequest uint8 = 1
	CFGReply   uint8 = 2
)

// ID is an identification payload: Raw is its body as received, which AUTH covers.
type ID struct {
	Identity Identity
	Raw      []byte
}

// Encrypted is an SK payload: Inner is the type of the first payload inside,
// Offset where its body begins in the message. It ends with the message.
type Encrypted struct {
	Inner  PayloadType
	Offset int
}

// Payloads are the payloads of one message, whatever order they came in
// (RFC 7296 §2.5: order is not enforced). Byte slices point into the message.
type Payloads struct {
	SA       []Proposal
	KE       *KE
	IDi, IDr *ID
	Certs    []Cert
	CertReqs []Cert
	Auth     *Auth
	Nonce    []byte
	Notifies []Notify
	Deletes  []Delete
	Vendors  [][]byte
	TSi, TSr []Selector
	SK       *Encrypted
	SKF      *Fragment
	CP       *CP
	EAP      []byte
	Unknown  []Body // not critical
}

// Parse reads the payloads of an unprotected message, whose header is h and
// whose octets are b. With an SK payload, the payloads before it are there too
// (none is of use: they are not protected).
func Parse(h Header, b []byte) (*Payloads, error) {
	if len(b) < HeaderLen {
		return nil, ErrShort
	}
	return parseChain(h.Next, b[HeaderLen:], true)
}

// ParseInner reads the payloads that were protected by an SK payload.
func ParseInner(first PayloadType, b []byte) (*Payloads, error) {
	return parseChain(first, b, false)
}

func parseChain(next PayloadType, b []byte, outer bool) (*Payloads, error) {
	p := new(Payloads)
	off := 0
	for n := 0; next != NoNext; n++ {
		if n == maxPayloads {
			return nil, fmt.Errorf("%w: payloads", ErrTooMany)
		}
		if len(b)-off < 4 {
			return nil, fmt.Errorf("%w: header of payload %d", ErrShort, next)
		}
		length := int(binary.BigEndian.Uint16(b[off+2:]))
		if length < 4 || length > len(b)-off {
			return nil, fmt.Errorf("%w: payload %d of %d octets, %d left", ErrSyntax, next, length, len(b)-off)
		}
		critical := b[off+1]&0x80 != 0 // the reserved bits beside it are ignored
		following := PayloadType(b[off])
		body := b[off+4 : off+length]
		if next == TypeSK {
			// SK is the last payload; its next field names the first inside (§3.14).
			if !outer || off+length != len(b) {
				return nil, fmt.Errorf("%w: SK is not the last payload", ErrSyntax)
			}
			p.SK = &Encrypted{Inner: following, Offset: HeaderLen + off + 4}
			return p, nil
		}
		if next == TypeSKF {
			if !outer || off != 0 || length != len(b) {
				return nil, fmt.Errorf("%w: SKF is not the only payload", ErrSyntax)
			}
			f, err := parseFragment(following, b)
			p.SKF = f
			return p, err
		}
		if err := p.take(next, critical, body); err != nil {
			return nil, err
		}
		next, off = following, off+length
	}
	if off != len(b) {
		return nil, fmt.Errorf("%w: %d octets after the last payload", ErrSyntax, len(b)-off)
	}
	return p, nil
}

// once refuses a second payload of a kind of which a message has one at most.
func once(seen bool, t PayloadType) error {
	if seen {
		return fmt.Errorf("%w: second payload of type %d", ErrSyntax, t)
	}
	return nil
}

func (p *Payloads) take(t PayloadType, critical bool, b []byte) (err error) {
	switch t {
	case TypeSA:
		if err = once(p.SA != nil, t); err == nil {
			p.SA, err = parseSA(b)
		}
	case TypeKE:
		if err = once(p.KE != nil, t); err == nil {
			p.KE, err = parseKE(b)
		}
	case TypeIDi:
		if err = once(p.IDi != nil, t); err == nil {
			p.IDi, err = parseID(b)
		}
	case TypeIDr:
		if err = once(p.IDr != nil, t); err == nil {
			p.IDr, err = parseID(b)
		}
	case TypeCert, TypeCertReq:
		if len(b) < 1 {
			return fmt.Errorf("%w: empty CERT or CERTREQ", ErrSyntax)
		}
		c := Cert{b[0], b[1:]}
		if t == TypeCert {
			p.Certs = append(p.Certs, c)
		} else {
			p.CertReqs = append(p.CertReqs, c)
		}
	case TypeAuth:
		if err = once(p.Auth != nil, t); err == nil {
			p.Auth, err = parseAuth(b)
		}
	case TypeNonce:
		if err = once(p.Nonce != nil, t); err != nil {
			return err
		}
		if len(b) < 16 || len(b) > 256 { // §3.9
			return fmt.Errorf("%w: nonce of %d octets", ErrSyntax, len(b))
		}
		p.Nonce = b
	case TypeNotify:
		var n Notify
		if n, err = parseNotify(b); err == nil {
			p.Notifies = append(p.Notifies, n)
		}
	case TypeDelete:
		var d Delete
		if d, err = parseDelete(b); err == nil {
			p.Deletes = append(p.Deletes, d)
		}
	case TypeVendor:
		p.Vendors = append(p.Vendors, b)
	case TypeTSi:
		if err = once(p.TSi != nil, t); err == nil {
			p.TSi, err = parseTS(b)
		}
	case TypeTSr:
		if err = once(p.TSr != nil, t); err == nil {
			p.TSr, err = parseTS(b)
		}
	case TypeCP:
		if err = once(p.CP != nil, t); err == nil {
			p.CP, err = parseCP(b)
		}
	case TypeEAP:
		if err = once(p.EAP != nil, t); err == nil {
			p.EAP = b
		}
	default:
		if critical {
			return &UnsupportedCritical{t}
		}
		p.Unknown = append(p.Unknown, Body{t, b})
	}
	return err
}

// Notify returns the first notify of a type, or nil.
func (p *Payloads) Notify(t NotifyType) *Notify {
	for i := range p.Notifies {
		if p.Notifies[i].Type == t {
			return &p.Notifies[i]
		}
	}
	return nil
}

// FirstError returns the first notify that reports an error, or nil.
func (p *Payloads) FirstError() *Notify {
	for i := range p.Notifies {
		if p.Notifies[i].Type.IsError() {
			return &p.Notifies[i]
		}
	}
	return nil
}
