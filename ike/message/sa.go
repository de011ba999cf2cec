package message

import (
	"encoding/binary"
	"fmt"
)

// TransformType is the type of a transform (RFC 7296 §3.3.2).
type TransformType uint8

// Transform types.
const (
	TransformEncr  TransformType = 1
	TransformPRF   TransformType = 2
	TransformInteg TransformType = 3
	TransformKE    TransformType = 4
	TransformESN   TransformType = 5

	// Additional key exchanges 1 to 7 (RFC 9370), whose IDs are those of TransformKE.
	TransformAddKE1 TransformType = 6
	TransformAddKE7 TransformType = 12
)

// Transform is one transform of a proposal. KeyBits is its Key Length
// attribute (0: none). Odd says that it has an attribute that is not known or
// not well formed: it cannot be chosen then (§3.3.6).
type Transform struct {
	Type    TransformType
	ID      uint16
	KeyBits uint16
	Odd     bool
}

// Proposal is one proposal of an SA payload.
type Proposal struct {
	Number     uint8
	Protocol   Protocol
	SPI        []byte // 4 octets for ESP, 8 for a rekeyed IKE SA, else none
	Transforms []Transform
}

// attrKeyLength is the Key Length attribute in its short form (AF bit set).
const attrKeyLength = 14

func parseSA(b []byte) ([]Proposal, error) {
	ps := []Proposal{}
	for more := true; more; {
		if len(ps) == maxProposals {
			return nil, fmt.Errorf("%w: proposals", ErrTooMany)
		}
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: proposal header", ErrSyntax)
		}
		switch b[0] { // last substructure
		case 0:
			more = false
		case 2:
		default:
			return nil, fmt.Errorf("%w: proposal marker %d", ErrSyntax, b[0])
		}
		n, size := int(binary.BigEndian.Uint16(b[2:])), int(b[6])
		if n < 8+size || n > len(b) {
			return nil, fmt.Errorf("%w: proposal of %d octets", ErrSyntax, n)
		}
		p := Proposal{Number: b[4], Protocol: Protocol(b[5]), SPI: b[8 : 8+size]}
		var err error
		if p.Transforms, err = parseTransforms(b[8+size:n], int(b[7])); err != nil {
			return nil, err
		}
		ps = append(ps, p)
		b = b[n:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d octets after the last proposal", ErrSyntax, len(b))
	}
	return ps, nil
}

func parseTransforms(b []byte, count int) ([]Transform, error) {
	if count > maxTransforms {
		return nil, fmt.Errorf("%w: transforms", ErrTooMany)
	}
	var ts []Transform
	for i := range count {
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: transform header", ErrSyntax)
		}
		last := i == count-1
		if (b[0] != 0 || !last) && (b[0] != 3 || last) {
			return nil, fmt.Errorf("%w: transform marker %d", ErrSyntax, b[0])
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return nil, fmt.Errorf("%w: transform of %d octets", ErrSyntax, n)
		}
		t := Transform{Type: TransformType(b[4]), ID: binary.BigEndian.Uint16(b[6:])}
		if err := t.attributes(b[8:n]); err != nil {
			return nil, err
		}
		ts = append(ts, t)
		b = b[n:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d octets after the last transform", ErrSyntax, len(b))
	}
	return ts, nil
}

// attributes reads the attributes of a transform (§3.3.5).
func (t *Transform) attributes(b []byte) error {
	for n := 0; len(b) > 0; n++ {
		if len(b) < 4 || n == maxAttributes {
			return fmt.Errorf("%w: transform attribute", ErrSyntax)
		}
		kind, value := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		b = b[4:]
		if kind&0x8000 == 0 { // long form: value is the length
			if int(value) > len(b) {
				return fmt.Errorf("%w: transform attribute of %d octets", ErrSyntax, value)
			}
			b = b[value:]
			t.Odd = true
			continue
		}
		if kind&0x7fff != attrKeyLength || value == 0 || t.KeyBits != 0 {
			t.Odd = true
			continue
		}
		t.KeyBits = value
	}
	return nil
}

// SABody encodes proposals as an SA payload.
func SABody(ps []Proposal) Body {
	var b []byte
	for i, p := range ps {
		start := len(b)
		b = append(b, mark(i, len(ps), 2), 0, 0, 0, p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
		b = append(b, p.SPI...)
		for j, t := range p.Transforms {
			n := 8
			if t.KeyBits != 0 {
				n = 12
			}
			b = append(b, mark(j, len(p.Transforms), 3), 0, 0, byte(n), byte(t.Type), 0)
			b = binary.BigEndian.AppendUint16(b, t.ID)
			if t.KeyBits != 0 {
				b = binary.BigEndian.AppendUint16(b, 0x8000|attrKeyLength)
				b = binary.BigEndian.AppendUint16(b, t.KeyBits)
			}
		}
		binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	}
	return Body{TypeSA, b}
}

// mark is the «last substructure» octet: zero for the last.
func mark(i, n int, more byte) byte {
	if i == n-1 {
		return 0
	}
	return more
}
