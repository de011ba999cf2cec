package mobility_test

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/mobility"
)

// TestErrors holds what the receiver has to tell apart (RFC 6275 §9.2).
func TestErrors(t *testing.T) {
	alter := func(name string, at int, v byte) []byte {
		b := golden(t, name)
		b[at] = v
		return b
	}
	for _, c := range []struct {
		what    string
		b       []byte
		want    error
		pointer int // of a Parameter Problem, -1: none
	}{
		{"payload proto", alter("mh-bu-home", 0, 58), mobility.ErrPayloadProto, 0},
		{"home test init too short", alter("mh-hoti", 1, 0), mobility.ErrHeaderLen, 1},
		{"binding update too short", alter("mh-bu-home", 1, 0), mobility.ErrHeaderLen, 1},
		{"home test too short", alter("mh-hot", 1, 1), mobility.ErrHeaderLen, 1},
		{"binding error too short", alter("mh-be", 1, 1), mobility.ErrHeaderLen, 1},
		{"header longer than the packet", alter("mh-be", 1, 3), mobility.ErrTruncated, -1},
		{"unknown type", alter("mh-bu-home", 2, 0x7f), mobility.ErrUnknownType, -1},
		{"type before payload proto", alter("mh-brr", 2, 8), mobility.ErrUnknownType, -1},
		{"option beyond the header", alter("mh-bu-home", 15, 17), mobility.ErrOption, -1},
		{"alternate care-of address of 15 octets", alter("mh-bu-home", 15, 15), mobility.ErrOption, -1},
		{"option of a type alone", alter("mh-bu-home", 13, 17), mobility.ErrOption, -1},
		{"refresh advice of 1 octet", alter("mh-ba-home", 13, 1), mobility.ErrOption, -1},
		{"nonce indices of 3 octets", alter("mh-bu-cn", 13, 3), mobility.ErrOption, -1},
		{"empty", nil, mobility.ErrTruncated, -1},
	} {
		var m mobility.Message
		err := m.Decode(c.b)
		if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "mobility: ") {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if p, ok := mobility.ParameterProblem(err); ok != (c.pointer >= 0) || (ok && p != c.pointer) {
			t.Errorf("%s: parameter problem at %d, %v", c.what, p, ok)
		}
	}
}

// TestUnknownType keeps a message of a later standard as it is.
func TestUnknownType(t *testing.T) {
	b := golden(t, "mh-be")
	b[2] = 16
	var m mobility.Message
	if err := m.Decode(b); !errors.Is(err, mobility.ErrUnknownType) || m.Type() != 16 {
		t.Fatalf("%+v, %v", m, err)
	}
	if got, err := m.AppendTo(nil); err != nil || !bytes.Equal(got, b) {
		t.Errorf("encoded %x, %v, want %x", got, err, b)
	}
	if m.Type().String() != "MH type 16" || mobility.TypeBU.String() != "BU" {
		t.Errorf("names %s, %s", m.Type(), mobility.TypeBU)
	}
}

// TestAuthorizationPlace: nothing behind the authorization data, not even
// padding (RFC 6275 §6.2.7).
func TestAuthorizationPlace(t *testing.T) {
	b := golden(t, "mh-bu-cn")
	b[1]++
	for _, tail := range []string{"\x00\x00\x00\x00\x00\x00\x00\x00", "\x01\x06\x00\x00\x00\x00\x00\x00", "\xc8\x06\x00\x00\x00\x00\x00\x00"} {
		var m mobility.Message
		err := m.Decode(append(b[:len(b):len(b)], tail...))
		if a, ok := m.Options.Authenticator(); !errors.Is(err, mobility.ErrAuthPlace) || !ok || len(a) != 12 {
			t.Errorf("%x: %+v, %v", tail, m, err)
		}
	}
}

// TestAuthorizationLast: the encoder places it last, whatever the order given.
func TestAuthorizationLast(t *testing.T) {
	m := messages["mh-bu-cn"]
	m.Options = mobility.Options{m.Options[1], m.Options[0]}
	if got, err := m.AppendTo(nil); err != nil || !bytes.Equal(got, golden(t, "mh-bu-cn")) {
		t.Errorf("%x, %v", got, err)
	}
}

// TestAlignment encodes options in every order and looks at their offsets and
// at the length of the message.
func TestAlignment(t *testing.T) {
	all := []mobility.Option{mobility.RefreshAdvice{Interval: 1}, mobility.AlternateCareOf{Addr: careOf},
		mobility.NonceIndices{Home: 1}, mobility.RawOption{Type: 200, Data: []byte{1}}}
	place := map[mobility.OptionType][2]int{2: {2, 0}, 3: {8, 6}, 4: {2, 0}, 5: {8, 2}, 200: {1, 0}}
	for n := range 4 * 4 * 4 * 2 {
		o := mobility.Options{all[n%4], all[n/4%4], all[n/16%4]}
		if n >= 64 {
			o = append(o, mobility.Authorization{Authenticator: make([]byte, 12)})
		}
		m := mobility.Message{Body: mobility.BindingUpdate{Seq: 1}, Options: o}
		b, err := m.AppendTo([]byte{1, 2, 3, 4, 5})
		if err != nil {
			t.Fatal(err)
		}
		b = b[5:]
		var seen mobility.Options
		err = mobility.WalkOptions(b[12:], 12, func(off int, typ uint8, _ []byte) error {
			p := place[mobility.OptionType(typ)]
			if off%p[0] != p[1] {
				t.Errorf("%x: option %d at %d", b, typ, off)
			}
			seen = append(seen, o[len(seen)])
			return nil
		})
		if err != nil || len(b)%8 != 0 || len(b) != 8*(int(b[1])+1) || len(seen) != len(o) {
			t.Errorf("%x: %d options, %v", b, len(seen), err)
		}
		if n >= 64 && b[len(b)-14] != 5 {
			t.Errorf("%x: authorization data is not last", b)
		}
		roundTrip(t, m)
	}
}

func TestEncodeErrors(t *testing.T) {
	body := mobility.BindingUpdate{}
	auth := mobility.Authorization{Authenticator: make([]byte, 12)}
	long := make(mobility.Options, 20)
	for i := range long {
		long[i] = mobility.RawOption{Type: 99, Data: make([]byte, 250)}
	}
	for what, m := range map[string]mobility.Message{
		"no body":            {},
		"no option":          {Body: body, Options: mobility.Options{nil}},
		"two authorizations": {Body: body, Options: mobility.Options{auth, auth}},
		"odd authenticator":  {Body: body, Options: mobility.Options{mobility.Authorization{Authenticator: make([]byte, 11)}}},
		"option too long":    {Body: body, Options: mobility.Options{mobility.RawOption{Type: 9, Data: make([]byte, 256)}}},
		"padding as option":  {Body: body, Options: mobility.Options{mobility.RawOption{Type: 1}}},
		"message too long":   {Body: body, Options: long},
		"raw body length":    {Body: mobility.RawBody{T: 16, Data: []byte{1}}},
	} {
		if b, err := m.AppendTo([]byte{7}); !errors.Is(err, mobility.ErrEncode) || !bytes.Equal(b, []byte{7}) {
			t.Errorf("%s: %x, %v", what, b, err)
		}
	}
}

// TestOwnMemory: what is decoded does not change with the packet.
func TestOwnMemory(t *testing.T) {
	for name, want := range messages {
		b := golden(t, name)
		var m mobility.Message
		if err := m.Decode(b); err != nil {
			t.Fatal(err)
		}
		clear(b)
		if !reflect.DeepEqual(m, want) {
			t.Errorf("%s changed with the packet: %+v", name, m)
		}
	}
}

func TestOptionLookUp(t *testing.T) {
	o := messages["mh-bu-dereg"].Options
	if a, ok := o.AlternateCareOf(); !ok || a != home {
		t.Errorf("alternate care-of address %v", a)
	}
	if n, ok := o.NonceIndices(); !ok || n.Home != 7 {
		t.Errorf("nonce indices %v", n)
	}
	if _, ok := o.RefreshAdvice(); ok {
		t.Error("refresh advice found")
	}
	if u, ok := messages["mh-ba-home"].Options.RefreshAdvice(); !ok || u.Duration() != 40*time.Second {
		t.Errorf("refresh advice %v", u)
	}
}

// TestSequence holds the example of RFC 6275 §9.5.1 and the turn-over.
func TestSequence(t *testing.T) {
	for _, c := range []struct {
		last, seq uint16
		want      bool
	}{
		{15, 16, true}, {15, 32782, true}, {15, 32783, false}, {15, 65535, false}, {15, 15, false}, {15, 0, false},
		{65535, 0, true}, {65535, 32766, true}, {65535, 32767, false}, {0, 65535, false}, {40000, 39999, false},
	} {
		if got := mobility.SequenceAfter(c.last, c.seq); got != c.want {
			t.Errorf("%d after %d: %v", c.seq, c.last, got)
		}
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]mobility.Units{
		-time.Second: 0, 0: 0, 3999 * time.Millisecond: 0, 4 * time.Second: 1, 7 * time.Second: 1,
		420 * time.Second: 105, 262140 * time.Second: 0xffff, 100 * time.Hour: 0xffff,
	} {
		if got := mobility.UnitsOf(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
	if mobility.Units(0xffff).Duration() != 262140*time.Second {
		t.Error("the longest lifetime")
	}
}

func TestStatus(t *testing.T) {
	for s, want := range map[mobility.Status]string{
		0: "binding update accepted", 1: "accepted but prefix discovery necessary",
		135: "sequence number out of window", 174: "invalid care-of address", 200: "status 200",
	} {
		if s.String() != want || s.Accepted() != (s < 128) {
			t.Errorf("%d: %s, accepted %v", uint8(s), s, s.Accepted())
		}
	}
	for s := mobility.StatusUnspecified; s <= mobility.StatusForwardingFailed; s++ {
		if strings.HasPrefix(s.String(), "status ") {
			t.Errorf("%d has no name", uint8(s))
		}
	}
	if mobility.ErrorUnknownBinding.String() == "error status 1" || mobility.ErrorStatus(9).String() != "error status 9" {
		t.Error("names of error statuses")
	}
	if f := mobility.FlagAck | mobility.FlagKey; f.String() != "AK" || !f.Has(mobility.FlagAck) || f.Has(mobility.FlagAck|mobility.FlagHome) {
		t.Errorf("flags %s", f)
	}
	if f := mobility.AckKey | mobility.AckRouter; f.String() != "KR" {
		t.Errorf("flags %s", f)
	}
}

// TestChecksum against a sum done by hand over a short payload of odd length.
func TestChecksum(t *testing.T) {
	src, dst := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	// 2*(2001+0db8) + 1 + 2 + length 3 + protocol 87h + 0102 + 0300 = 5ffe+... folded
	want := ^uint16(0x2001 + 0x0db8 + 0x2001 + 0x0db8 + 1 + 2 + 3 + 0x87 + 0x0102 + 0x0300)
	if got := mobility.Checksum(src, dst, mobility.ProtoMobility, []byte{1, 2, 3}); got != want {
		t.Errorf("%04x, want %04x", got, want)
	}
	m := messages["mh-bu-home"]
	b, err := m.AppendWithChecksum([]byte{1}, home, agent)
	if err != nil || !mobility.VerifyChecksum(home, agent, mobility.ProtoMobility, b[1:]) {
		t.Errorf("%x, %v", b, err)
	}
	var got mobility.Message
	if err := got.DecodeVerified(b[1:], home, agent); err != nil {
		t.Error(err)
	}
	if err := got.DecodeVerified(b[1:], careOf, agent); !errors.Is(err, mobility.ErrChecksum) {
		t.Errorf("checksum over the care-of address: %v", err)
	}
}
