package linux

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// quote makes an IPv6 packet from addrA to addrB of the parts behind its header.
func quote(next byte, parts ...[]byte) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, next, 64
	copy(b[8:], addrA.AsSlice())
	copy(b[24:], addrB.AsSlice())
	b = append(b, slices.Concat(parts...)...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

func routing2(next byte, left byte, a netip.Addr) []byte {
	b, _ := (&mobility.Routing2{NextHeader: next, HomeAddr: a}).AppendTo(nil)
	b[3] = left
	return b
}

// problem makes a Parameter Problem about a packet.
func problem(code byte, pointer uint32, inner []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{4, code, 0, 0}, pointer), inner...)
}

func TestReadError(t *testing.T) {
	esp, mh := make([]byte, 32), refreshRequest()
	hao := func(next byte) []byte { return mobility.AppendHomeAddr(nil, next, homeA) }
	hop := []byte{60, 0, 1, 4, 0, 0, 0, 0} // nothing but padding
	twice := slices.Concat(hao(60), hao(50))
	var none netip.Addr
	for name, c := range map[string]struct {
		code        byte
		pointer     uint32
		inner       []byte
		home, final netip.Addr
		mh, refuses bool
	}{
		"mobility header":                     {1, 6, quote(135, mh), none, none, true, true},
		"mobility header, without a body":     {1, 6, quote(135, mh)[:40], none, none, true, true},
		"mobility header, other pointer":      {1, 40, quote(135, mh), none, none, true, false},
		"its pointer, other code":             {0, 6, quote(135, mh), none, none, true, false},
		"mobility header behind an option":    {1, 40, quote(60, hao(135), mh), homeA, none, true, true},
		"the option before a mobility header": {2, 46, quote(60, hao(135), mh), homeA, none, true, true},
		"option before ESP":                   {2, 46, quote(60, hao(50), esp), homeA, none, false, true},
		"option before UDP, behind another":   {2, 54, quote(0, hop, hao(17), esp), homeA, none, false, true},
		"the other option":                    {2, 42, quote(0, hop, hao(17), esp), homeA, none, false, false},
		"UDP's port behind an option":         {0, 66, quote(60, hao(17), esp), homeA, none, false, false},
		"cut behind the option":               {2, 46, quote(60, hao(50), esp)[:64], homeA, none, false, true},
		"routing header":                      {0, 42, quote(43, routing2(50, 1, homeA), esp), none, homeA, false, true},
		"routing header's segments":           {0, 43, quote(43, routing2(50, 1, homeA), esp), none, homeA, false, false},
		"routing header that was used up":     {0, 99, quote(43, routing2(17, 0, homeA), esp), none, addrB, false, false},
		"routing header and mobility header":  {1, 40, quote(43, routing2(135, 1, homeA), mh), none, homeA, true, true},
	} {
		m := icmpPacket{src: linkLocalB, dst: addrA, data: problem(c.code, c.pointer, c.inner)}
		want := host.ICMPError{Type: 4, Code: c.code, Pointer: c.pointer, From: linkLocalB, Src: addrA, Dst: addrB,
			Home: c.home, Final: c.final, MH: c.mh, Refuses: c.refuses, Data: c.inner}
		if e, ok := readError(m); !ok || !reflect.DeepEqual(e, want) {
			t.Errorf("%s: %v\n%+v, want\n%+v", name, ok, e, want)
		}
		// An error that is no Parameter Problem has no pointer, and refuses nothing.
		m.data[0], want.Type, want.Pointer, want.Refuses = 1, 1, 0, false
		if e, ok := readError(m); !ok || !reflect.DeepEqual(e, want) {
			t.Errorf("%s, unreachable: %v\n%+v, want\n%+v", name, ok, e, want)
		}
		m.dst = addrB
		if e, ok := readError(m); ok {
			t.Errorf("%s: told to somebody who did not send it: %+v", name, e)
		}
	}
	for name, data := range map[string][]byte{
		"ESP alone":              problem(4, 0, quote(50, esp)),
		"UDP":                    problem(4, 0, quote(17, esp)),
		"nothing":                problem(4, 0, nil),
		"not IPv6":               problem(4, 0, make([]byte, 48)),
		"cut in the option":      problem(2, 46, quote(60, hao(50), esp)[:52]),
		"cut in the IPv6 header": problem(1, 6, quote(135, mh)[:39]),
		"two options":            problem(2, 46, quote(60, twice, esp)),
		"no pointer":             {4, 1, 0, 0, 0, 0, 0},
		"not an error":           append([]byte{128}, problem(1, 6, quote(135, mh))[1:]...),
	} {
		if e, ok := readError(icmpPacket{src: addrB, dst: addrA, data: data}); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
	// The home agent tells an error to the home address.
	if _, ok := readError(icmpPacket{src: addrB, dst: homeA, data: problem(2, 46, quote(60, hao(50), esp))}); !ok {
		t.Error("an error to the home address was not taken")
	}
}

// What comes back is bounded, and a copy.
func TestReadErrorBounded(t *testing.T) {
	data := problem(1, 6, quote(135, make([]byte, 60000)))
	e, ok := readError(icmpPacket{src: addrB, dst: addrA, data: data})
	if !ok || len(e.Data) != 1232 || !bytes.Equal(e.Data, data[8:8+1232]) {
		t.Fatalf("%v, %d octets", ok, len(e.Data))
	}
	if data[8] = 0; e.Data[0] != 0x60 {
		t.Error("the event shares the buffer")
	}
}

// FuzzError: what strangers send as errors is no more than it says.
func FuzzError(f *testing.F) {
	hao, rh := mobility.AppendHomeAddr(nil, 135, homeA), routing2(60, 1, homeA)
	f.Add(problem(2, 46, quote(60, hao, refreshRequest())))
	f.Add(problem(1, 64, quote(43, rh, hao, refreshRequest())))
	f.Add(problem(1, 6, quote(135, refreshRequest())))
	f.Add(problem(0, 0, quote(44, []byte{135, 0, 0, 9, 0, 0, 0, 0}, refreshRequest())))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := readError(icmpPacket{src: addrB, dst: addrA, data: b})
		if !ok {
			return
		}
		if e.Type < 1 || e.Type > 4 || len(e.Data) < 40 || len(e.Data) > 1232 || !e.Src.Is6() || !e.Dst.Is6() ||
			!e.MH && !e.Home.IsValid() && !e.Final.IsValid() || e.Refuses && e.Type != 4 ||
			e.Refuses && int(e.Pointer) >= len(e.Data) {
			t.Errorf("%+v", e)
		}
		if e.Home.IsValid() && e.Src != addrA && e.Home != addrA {
			t.Errorf("not ours: %+v", e)
		}
	})
}
