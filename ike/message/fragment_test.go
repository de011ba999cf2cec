package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func fragmentMessage(inner PayloadType, number, total uint16, body []byte) []byte {
	h := Header{SPIi: 1, SPIr: 2, Next: TypeSKF, Exchange: IKEAuth, ID: 1}
	msg := AppendSKFHeader(h.Append(nil, HeaderLen+FragmentHeaderLen+len(body)), inner, number, total, len(body))
	return append(msg, body...)
}

// TestFragment: back and forth, cut at every length, and numbers that are none.
func TestFragment(t *testing.T) {
	good := fragmentMessage(TypeIDi, 1, 3, []byte("what is protected"))
	p, err := parse(good)
	if err != nil || p.SKF == nil || *p.SKF != (Fragment{Inner: TypeIDi, Number: 1, Total: 3, Offset: 36}) || p.SK != nil {
		t.Fatalf("%+v %v", p, err)
	}
	if string(good[p.SKF.Offset:]) != "what is protected" {
		t.Error("offset")
	}
	for n := range good {
		b := bytes.Clone(good[:n])
		if n >= HeaderLen {
			binary.BigEndian.PutUint32(b[24:], uint32(n))
		}
		if _, err := parse(b); err == nil {
			t.Errorf("cut at %d", n)
		}
	}
	for _, c := range []struct {
		inner         PayloadType
		number, total uint16
		ok            bool
	}{{0, 1, 1, true}, {0, 65535, 65535, true}, {0, 2, 3, true}, {0, 0, 0, false}, {0, 0, 3, false}, {0, 4, 3, false},
		{0, 65535, 1, false}, {TypeIDi, 2, 3, false}, {0, 1, 0, false}} {
		if _, err := parse(fragmentMessage(c.inner, c.number, c.total, nil)); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// It is alone: nothing before it, nothing after it, and not inside of SK.
	h := Header{SPIi: 1, SPIr: 2, Exchange: IKEAuth, ID: 1}
	skf := Body{TypeSKF, []byte{0, 1, 0, 1}}
	for _, ps := range [][]Body{{{TypeVendor, nil}, skf}, {skf, {TypeVendor, nil}}, {skf, skf}} {
		if p, err := parse(Plain(h, ps)); err == nil && p.SKF != nil && len(ps) > 1 && ps[0].Type != TypeSKF {
			t.Errorf("%+v", p)
		} else if err == nil && ps[0].Type == TypeVendor {
			t.Error("a payload before it")
		} else if err == nil {
			t.Errorf("%v: a payload after it", ps)
		}
	}
	chain, first := AppendChain(nil, []Body{skf})
	if _, err := ParseInner(first, chain); !errors.Is(err, ErrSyntax) {
		t.Errorf("inside of SK: %v", err)
	}
	short := fragmentMessage(0, 1, 1, nil)
	for n := uint16(0); n < FragmentHeaderLen; n++ {
		b := bytes.Clone(short)
		binary.BigEndian.PutUint16(b[HeaderLen+2:], n)
		if _, err := parse(b); err == nil {
			t.Errorf("a payload that says it has %d octets", n)
		}
	}
}

// TestCovered: the lengths are those without what encryption adds (RFC 9242 §3.3.2).
func TestCovered(t *testing.T) {
	h := Header{SPIi: 1, SPIr: 2, Next: TypeSK, Exchange: IKEIntermediate, ID: 1}
	head := AppendSKHeader(h.Append(nil, 999), TypeKE, 967)
	before := bytes.Clone(head)
	got := Covered(head, []byte{1, 2, 3})
	if len(got) != 35 || binary.BigEndian.Uint32(got[24:]) != 35 || binary.BigEndian.Uint16(got[30:]) != 7 || !bytes.Equal(got[32:], []byte{1, 2, 3}) {
		t.Errorf("%x", got)
	}
	if !bytes.Equal(head, before) || !bytes.Equal(got[:24], head[:24]) || got[28] != byte(TypeKE) {
		t.Error("more was changed")
	}
	if got := Covered(head, nil); len(got) != 32 || binary.BigEndian.Uint16(got[30:]) != 4 {
		t.Errorf("empty: %x", got)
	}
}
