package mobility_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/mobility"
)

var (
	home   = netip.MustParseAddr("2001:db8:1::1")
	careOf = netip.MustParseAddr("2001:db8:2::abc")
	agent  = netip.MustParseAddr("2001:db8:1::100")
)

// golden reads a packet of testdata: hex, blanks, and comments from # to the end
// of the line.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for _, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// goldens are the packets whose name begins with prefix, for seeds of fuzzing.
func goldens(t testing.TB, prefix string) [][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", prefix+"*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no golden packets %s*: %v", prefix, err)
	}
	var out [][]byte
	for _, n := range names {
		out = append(out, golden(t, strings.TrimSuffix(filepath.Base(n), ".txt")))
	}
	return out
}

func seq12(first byte) []byte {
	b := make([]byte, 12)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

var messages = map[string]mobility.Message{
	"mh-brr":  {Body: mobility.BindingRefreshRequest{}},
	"mh-hoti": {Body: mobility.HomeTestInit{Cookie: mobility.Cookie{1, 2, 3, 4, 5, 6, 7, 8}}},
	"mh-coti": {Body: mobility.CareOfTestInit{Cookie: mobility.Cookie{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}}},
	"mh-hot": {Body: mobility.HomeTest{NonceIndex: 0x0a0b, Cookie: mobility.Cookie{1, 2, 3, 4, 5, 6, 7, 8},
		Token: mobility.Token{0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28}}},
	"mh-cot": {Body: mobility.CareOfTest{NonceIndex: 0x0c0d, Cookie: mobility.Cookie{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18},
		Token: mobility.Token{0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38}}},
	"mh-bu-home": {
		Body:    mobility.BindingUpdate{Seq: 0x1234, Flags: mobility.FlagAck | mobility.FlagHome | mobility.FlagKey, Lifetime: 15},
		Options: mobility.Options{mobility.AlternateCareOf{Addr: careOf}},
	},
	"mh-bu-all": {Body: mobility.BindingUpdate{Seq: 0xffff, Lifetime: 0xffff,
		Flags: mobility.FlagAck | mobility.FlagHome | mobility.FlagLinkLocal | mobility.FlagKey |
			mobility.FlagMAP | mobility.FlagRouter | mobility.FlagProxy | mobility.FlagForceUDP}},
	"mh-bu-cn": {
		Body: mobility.BindingUpdate{Seq: 16, Flags: mobility.FlagAck, Lifetime: mobility.UnitsOf(420 * time.Second)},
		Options: mobility.Options{mobility.NonceIndices{Home: 3, CareOf: 4},
			mobility.Authorization{Authenticator: seq12(0xa0)}},
	},
	"mh-bu-dereg": {
		Body: mobility.BindingUpdate{Seq: 0x8000, Flags: mobility.FlagAck},
		Options: mobility.Options{mobility.AlternateCareOf{Addr: home}, mobility.NonceIndices{Home: 7},
			mobility.Authorization{Authenticator: seq12(0xb0)}},
	},
	"mh-bu-unknown-option": {
		Body: mobility.BindingUpdate{Seq: 1, Flags: mobility.FlagAck | mobility.FlagHome | mobility.FlagRouter, Lifetime: 1},
		Options: mobility.Options{mobility.RawOption{Type: 200, Data: []byte{1, 2, 3}},
			mobility.RawOption{Type: 6, Data: append([]byte{0, 64, 0x20, 1, 0xd, 0xb8, 0, 3}, make([]byte, 10)...)}},
	},
	"mh-ba-home": {
		Body:    mobility.BindingAck{Flags: mobility.AckKey, Seq: 0x1234, Lifetime: 15},
		Options: mobility.Options{mobility.RefreshAdvice{Interval: 10}},
	},
	"mh-ba-cn": {
		Body:    mobility.BindingAck{Status: mobility.StatusSequence, Seq: 16},
		Options: mobility.Options{mobility.Authorization{Authenticator: seq12(0xc0)}},
	},
	"mh-be": {Body: mobility.BindingError{Status: mobility.ErrorUnknownBinding, HomeAddr: home}},
}

func TestGoldenMessages(t *testing.T) {
	if n := len(goldens(t, "mh-")); n != len(messages) {
		t.Errorf("%d golden messages, %d expectations", n, len(messages))
	}
	for name, want := range messages {
		t.Run(name, func(t *testing.T) {
			b := golden(t, name)
			var m mobility.Message
			if err := m.Decode(b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, want) {
				t.Errorf("decoded\n%+v, want\n%+v", m, want)
			}
			got, err := want.AppendTo([]byte{0xff, 0xff, 0xff})
			if err != nil || !bytes.Equal(got[3:], b) {
				t.Errorf("encoded\n%x, want\n%x, %v", got[3:], b, err)
			}
			for n := range b {
				if err := m.Decode(b[:n]); !errors.Is(err, mobility.ErrTruncated) {
					t.Errorf("cut at %d: %v", n, err)
				}
			}
		})
	}
}

// TestReserved sets what is reserved and flags that are not known: the message
// stays the same (RFC 6275 §6.1.1).
func TestReserved(t *testing.T) {
	for name, at := range map[string][]int{
		"mh-brr": {3, 6, 7}, "mh-hoti": {3, 6, 7}, "mh-coti": {3, 6, 7}, "mh-bu-home": {3, 9}, "mh-be": {3, 7},
	} {
		b := golden(t, name)
		for _, i := range at {
			b[i] = 0xff
		}
		var m mobility.Message
		if err := m.Decode(b); err != nil || !reflect.DeepEqual(m, messages[name]) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	b := golden(t, "mh-ba-cn")
	b[7] = 0x1f
	var m mobility.Message
	if err := m.Decode(b); err != nil || !reflect.DeepEqual(m, messages["mh-ba-cn"]) {
		t.Errorf("mh-ba-cn: %+v, %v", m, err)
	}
}

var icmps = map[string]mobility.ICMP{
	"icmp-haad-request": mobility.HAADRequest{ID: 0xabcd},
	"icmp-haad-reply": mobility.HAADReply{ID: 0xabcd,
		Addrs: []netip.Addr{agent, netip.MustParseAddr("2001:db8:1::200")}},
	"icmp-mps": mobility.PrefixSolicitation{ID: 0x0102},
	"icmp-mpa": mobility.PrefixAdvertisement{ID: 0x0102, Flags: mobility.RouterManaged | mobility.RouterOther,
		Options: mobility.NDOptions{mobility.PrefixInfo{Addr: agent, Bits: 64,
			Flags: mobility.PrefixOnLink | mobility.PrefixAutonomous | mobility.PrefixRouter,
			Valid: 24 * time.Hour, Preferred: mobility.InfiniteLifetime}}},
	"icmp-rs": mobility.RouterSolicitation{Options: mobility.NDOptions{mobility.SourceLinkLayer{Addr: []byte{2, 0, 0, 0, 0, 1}}}},
	"icmp-ra": mobility.RouterAdvertisement{
		HopLimit: 64, Flags: mobility.RouterManaged | mobility.RouterHomeAgent,
		RouterLifetime: 30 * time.Minute, Reachable: 30 * time.Second, Retrans: time.Second,
		Options: mobility.NDOptions{
			mobility.SourceLinkLayer{Addr: []byte{2, 0, 0, 0, 0, 0xfe}},
			mobility.PrefixInfo{Addr: netip.MustParseAddr("2001:db8:1::"), Bits: 64,
				Flags: mobility.PrefixOnLink | mobility.PrefixAutonomous, Valid: 720 * time.Hour, Preferred: 168 * time.Hour},
			mobility.PrefixInfo{Addr: netip.MustParseAddr("2001:db8:2::100"), Bits: 64,
				Flags: mobility.PrefixRouter, Valid: 720 * time.Hour, Preferred: 168 * time.Hour},
			mobility.LinkMTU(1500),
			mobility.AdvertisementInterval(500 * time.Millisecond),
			mobility.HomeAgentInfo{Preference: 10, Lifetime: 15 * time.Minute},
			mobility.RawNDOption{Type: 25, Data: []byte{0, 0, 0, 0, 0, 60, 0x20, 1, 0xd, 0xb8, 15: 0, 21: 0x53}},
		},
	},
	"icmp-ns-dad": mobility.NeighborSolicitation{Target: home},
	"icmp-na-proxy": mobility.NeighborAdvertisement{Flags: mobility.NeighborOverride, Target: home,
		Options: mobility.NDOptions{mobility.TargetLinkLayer{Addr: []byte{2, 0, 0, 0, 0, 0xfe}}}},
	"icmp-param-problem": mobility.ICMPError{Type: mobility.ICMPParamProblem, Value: 40, Packet: []byte{0x60, 0, 0, 0}},
}

func TestGoldenICMP(t *testing.T) {
	if n := len(goldens(t, "icmp-")); n != len(icmps) {
		t.Errorf("%d golden messages, %d expectations", n, len(icmps))
	}
	for name, want := range icmps {
		t.Run(name, func(t *testing.T) {
			b := golden(t, name)
			m, err := mobility.DecodeICMP(b)
			if err != nil || !reflect.DeepEqual(m, want) {
				t.Errorf("decoded\n%+v, want\n%+v, %v", m, want, err)
			}
			got, err := mobility.AppendICMP([]byte{0xff}, want)
			if err != nil || !bytes.Equal(got[1:], b) {
				t.Errorf("encoded\n%x, want\n%x, %v", got[1:], b, err)
			}
			// ICMPv6 has no length of its own: a cut one is an error, or a
			// shorter message that is what it was read from.
			for n := range b {
				m, err := mobility.DecodeICMP(b[:n])
				if err != nil {
					continue
				}
				if got, err := mobility.AppendICMP(nil, m); err != nil || !bytes.Equal(got, b[:n]) {
					t.Errorf("cut at %d: %+v encodes to %x, %v", n, m, got, err)
				}
			}
		})
	}
}

func TestGoldenExtensions(t *testing.T) {
	for name, want := range map[string]mobility.DestOptions{
		"ext-hao": {NextHeader: mobility.ProtoMobility, HomeAddr: home, HomeOffset: 6},
		"ext-hao-others": {NextHeader: mobility.ProtoESP, HomeAddr: home, HomeOffset: 6,
			Others: []mobility.TLVOption{{Type: 4, Data: []byte{5}}, {Type: 0x1e, Data: []byte{0xab, 0xcd}}}},
	} {
		b := golden(t, name)
		var d mobility.DestOptions
		n, err := d.Decode(append(b[:len(b):len(b)], 1, 2, 3))
		if err != nil || n != len(b) || !reflect.DeepEqual(d, want) {
			t.Errorf("%s: decoded %+v, %d, %v", name, d, n, err)
		}
		got, err := want.AppendTo([]byte{9})
		if err != nil || !bytes.Equal(got[1:], b) {
			t.Errorf("%s: encoded %x, %v", name, got[1:], err)
		}
		for n := range b {
			if _, err := d.Decode(b[:n]); !errors.Is(err, mobility.ErrTruncated) {
				t.Errorf("%s: cut at %d: %v", name, n, err)
			}
		}
	}
	if b := mobility.AppendHomeAddr(nil, mobility.ProtoMobility, home); !bytes.Equal(b, golden(t, "ext-hao")) {
		t.Errorf("AppendHomeAddr: %x", b)
	}

	b := golden(t, "rh-type2")
	want := mobility.Routing2{NextHeader: mobility.ProtoMobility, HomeAddr: home}
	var r mobility.Routing2
	if n, err := r.Decode(b); err != nil || n != len(b) || r != want {
		t.Errorf("routing header: %+v, %d, %v", r, n, err)
	}
	if got, err := want.AppendTo(nil); err != nil || !bytes.Equal(got, b) {
		t.Errorf("routing header: encoded %x, %v", got, err)
	}
	for n := range b {
		if _, err := r.Decode(b[:n]); !errors.Is(err, mobility.ErrTruncated) {
			t.Errorf("routing header: cut at %d: %v", n, err)
		}
	}
}

func TestGoldenPackets(t *testing.T) {
	for _, name := range []string{"packet-bu", "packet-ba"} {
		b := golden(t, name)
		var p mobility.Packet
		if err := p.Walk(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range b {
			if err := p.Walk(b[:n]); !errors.Is(err, mobility.ErrTruncated) && !(n < 40 && errors.Is(err, mobility.ErrNotIPv6)) {
				t.Errorf("%s: cut at %d: %v", name, n, err)
			}
		}
		if err := p.Walk(append(b, 1, 2, 3)); err != nil || len(p.Payload) != len(b)-p.Offset {
			t.Errorf("%s: with a trailer: %v", name, err)
		}
	}
	var p mobility.Packet
	if err := p.Walk(golden(t, "packet-bu")); err != nil {
		t.Fatal(err)
	}
	if p.Src != careOf || p.TransportSrc() != home || p.TransportDst() != agent || p.HomeOffset != 46 ||
		p.Proto != mobility.ProtoMobility || p.Offset != 64 || p.HopLimit != 64 || len(p.Headers()) != 1 {
		t.Errorf("binding update: %+v", p)
	}
	if err := p.Walk(golden(t, "packet-ba")); err != nil {
		t.Fatal(err)
	}
	want := []mobility.Header{{Proto: 0, Offset: 40, Len: 8}, {Proto: 43, Offset: 48, Len: 24}}
	if p.TransportSrc() != agent || p.Dst != careOf || p.RoutingAddr != home || p.TransportDst() != home ||
		p.SegmentsLeft != 1 || !reflect.DeepEqual(p.Headers(), want) {
		t.Errorf("binding acknowledgement: %+v", p)
	}
	var m mobility.Message
	if err := m.Decode(p.Payload); err != nil || m.Type() != mobility.TypeBA {
		t.Errorf("%+v, %v", m, err)
	}
}
