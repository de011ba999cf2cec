package mobility_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
)

// scapyRow is one row: octets and the fields another implementation saw in them.
type scapyRow struct {
	ID         string
	Hex        string
	WellFormed *bool `json:"mh_wellformed"`
	Dissect    []scapyLayer
}

type scapyLayer map[string]any

func (l scapyLayer) name() string        { s, _ := l["layer"].(string); return s }
func (l scapyLayer) num(k string) uint64 { f, _ := l[k].(float64); return uint64(f) }
func (l scapyLayer) str(k string) string { s, _ := l[k].(string); return s }
func (l scapyLayer) raw(k string) []byte {
	b, err := hex.DecodeString(strings.TrimPrefix(l.str(k), "hex:"))
	if err != nil {
		panic(err)
	}
	return b
}

// options are the layers of the options.
func (l scapyLayer) options() []scapyLayer {
	list, _ := l["options"].([]any)
	var out []scapyLayer
	for _, x := range list {
		inner, _ := x.([]any)
		if len(inner) == 0 {
			continue
		}
		m, _ := inner[0].(map[string]any)
		out = append(out, m)
	}
	return out
}

func (l scapyLayer) addr(k string) netip.Addr { return netip.MustParseAddr(l.str(k)) }

func scapyRows(t *testing.T) []scapyRow {
	t.Helper()
	var rows []scapyRow
	if err := json.Unmarshal(vectors.Read(t, "scapy/inet6_mip6_vectors.json"), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// madeUp are checksums that were written into packets by hand.
var madeUp = map[uint64]bool{0: true, 0x8899: true, 0x2807: true}

func TestScapyMobilityHeader(t *testing.T) {
	good, bad := 0, 0
	for _, r := range scapyRows(t) {
		if r.WellFormed == nil {
			continue
		}
		b, err := hex.DecodeString(r.Hex)
		if err != nil {
			t.Fatal(err)
		}
		last := r.Dissect[len(r.Dissect)-1]
		var p mobility.Packet
		if r.Dissect[0].name() == "IPv6" {
			if err := p.Walk(b); err != nil {
				if errors.Is(err, mobility.ErrHomeAddr) && strings.Contains(fmt.Sprint(r.Dissect), "hoa:::") {
					continue // the unspecified address as a home address
				}
				t.Errorf("%s: %v", r.ID, err)
				continue
			}
			b = p.Payload
			if ok := p.ChecksumOK(); ok == madeUp[last.num("cksum")] {
				t.Errorf("%s: checksum %x good is %v", r.ID, last.num("cksum"), ok)
			}
		}
		var m mobility.Message
		err = m.Decode(b)
		switch {
		case !*r.WellFormed:
			bad++
			if !errors.Is(err, mobility.ErrOption) {
				t.Errorf("%s: malformed, but %v", r.ID, err)
			}
			continue
		case last.num("nh") != mobility.ProtoNone:
			if ptr, ok := mobility.ParameterProblem(err); !errors.Is(err, mobility.ErrPayloadProto) || ptr != 0 || !ok {
				t.Errorf("%s: payload proto %d, but %v", r.ID, last.num("nh"), err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", r.ID, err)
			continue
		}
		good++
		checkScapyBody(t, r.ID, m, last)
		checkScapyOptions(t, r.ID, m.Options, last.options())
		roundTrip(t, m)
	}
	if good < 60 || bad < 10 {
		t.Errorf("only %d good and %d bad rows", good, bad)
	}
}

func checkScapyBody(t *testing.T, id string, m mobility.Message, l scapyLayer) {
	t.Helper()
	var want mobility.Body
	switch l.name() {
	case "MIP6MH_BRR":
		want = mobility.BindingRefreshRequest{}
	case "MIP6MH_HoTI":
		want = mobility.HomeTestInit{Cookie: mobility.Cookie(l.raw("cookie"))}
	case "MIP6MH_CoTI":
		want = mobility.CareOfTestInit{Cookie: mobility.Cookie(l.raw("cookie"))}
	case "MIP6MH_HoT":
		want = mobility.HomeTest{NonceIndex: uint16(l.num("index")), Cookie: mobility.Cookie(l.raw("cookie")), Token: mobility.Token(l.raw("token"))}
	case "MIP6MH_CoT":
		want = mobility.CareOfTest{NonceIndex: uint16(l.num("index")), Cookie: mobility.Cookie(l.raw("cookie")), Token: mobility.Token(l.raw("token"))}
	case "MIP6MH_BU":
		var f mobility.UpdateFlags
		for c, v := range map[string]mobility.UpdateFlags{"A": mobility.FlagAck, "H": mobility.FlagHome, "L": mobility.FlagLinkLocal, "K": mobility.FlagKey} {
			if strings.Contains(l.str("flags"), c) {
				f |= v
			}
		}
		want = mobility.BindingUpdate{Seq: uint16(l.num("seq")), Flags: f, Lifetime: mobility.Units(l.num("mhtime"))}
	case "MIP6MH_BA":
		var f mobility.AckFlags
		if l.str("flags") == "K" {
			f = mobility.AckKey
		}
		want = mobility.BindingAck{Status: mobility.Status(l.num("status")), Flags: f, Seq: uint16(l.num("seq")), Lifetime: mobility.Units(l.num("mhtime"))}
	}
	if m.Body != want || uint64(m.Checksum) != l.num("cksum") {
		t.Errorf("%s: %+v, want %+v", id, m.Body, want)
	}
}

func checkScapyOptions(t *testing.T, id string, got mobility.Options, want []scapyLayer) {
	t.Helper()
	i := 0
	for _, l := range want {
		typ := mobility.OptionType(l.num("otype"))
		if typ <= mobility.OptPadN {
			continue
		}
		if i >= len(got) || got[i].OptionType() != typ {
			t.Errorf("%s: option %d: %+v, want %v", id, i, got, l)
			return
		}
		switch o := got[i].(type) {
		case mobility.RefreshAdvice:
			if uint64(o.Interval) != l.num("rinter") {
				t.Errorf("%s: %+v, want %v", id, o, l)
			}
		case mobility.AlternateCareOf:
			if o.Addr != l.addr("acoa") {
				t.Errorf("%s: %+v, want %v", id, o, l)
			}
		case mobility.RawOption:
			if uint64(len(o.Data)) != l.num("olen") {
				t.Errorf("%s: %+v, want %v", id, o, l)
			}
		default:
			t.Errorf("%s: no well-formed row has %+v", id, o)
		}
		i++
	}
	if i != len(got) {
		t.Errorf("%s: %d options, want %d", id, len(got), i)
	}
}

// TestScapyICMP reads neighbour discovery and prefix messages, and options
// alone by putting them behind a router advertisement.
func TestScapyICMP(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range scapyRows(t) {
		b, err := hex.DecodeString(r.Hex)
		if err != nil {
			t.Fatal(err)
		}
		l := r.Dissect[0]
		if len(r.Dissect) > 1 {
			l = r.Dissect[1]
		}
		if l.name() == "IPv6ExtHdrHopByHop" || r.Dissect[0].name() == "IPv6" {
			var p mobility.Packet
			if r.WellFormed != nil || p.Walk(b) != nil {
				continue
			}
			if ok := p.ChecksumOK(); ok == madeUp[l.num("cksum")] && l.name() != "IPv6ExtHdrHopByHop" {
				t.Errorf("%s: checksum %x good is %v", r.ID, l.num("cksum"), ok)
			}
			b = p.Payload
		}
		if strings.HasPrefix(l.name(), "ICMPv6NDOpt") {
			b = append([]byte{134, 0, 0, 0, 15: 0}, b...)
			b = b[:len(b):len(b)]
		} else if !strings.HasPrefix(l.name(), "ICMPv6") || strings.Contains(l.name(), "Echo") {
			continue
		}
		seen[l.name()] = true
		m, err := mobility.DecodeICMP(b)
		checkScapyICMP(t, r, l, m, err)
	}
	for _, n := range []string{"ICMPv6ND_RS", "ICMPv6ND_RA", "ICMPv6ND_NA", "ICMPv6MPSol", "ICMPv6MPAdv", "ICMPv6NDOptPrefixInfo", "ICMPv6NDOptHAInfo"} {
		if !seen[n] {
			t.Errorf("no row has %s", n)
		}
	}
}

func checkScapyICMP(t *testing.T, r scapyRow, l scapyLayer, m mobility.ICMP, err error) {
	t.Helper()
	if l.num("code") != 0 {
		if !errors.Is(err, mobility.ErrICMPCode) {
			t.Errorf("%s: code %d, but %v", r.ID, l.num("code"), err)
		}
		return
	}
	if strings.HasPrefix(l.name(), "ICMPv6NDOpt") && l.num("len")*8 != uint64(len(r.Hex)/2) {
		if !errors.Is(err, mobility.ErrNDOption) {
			t.Errorf("%s: option too long, but %v", r.ID, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", r.ID, err)
		return
	}
	sec := func(k string) time.Duration { return time.Duration(l.num(k)) * time.Second }
	var want mobility.ICMP
	option := func(o mobility.NDOption) mobility.ICMP {
		return mobility.RouterAdvertisement{Options: mobility.NDOptions{o}}
	}
	switch l.name() {
	case "ICMPv6ND_RS":
		want = mobility.RouterSolicitation{}
	case "ICMPv6ND_RA":
		want = mobility.RouterAdvertisement{HopLimit: uint8(l.num("chlim")), Flags: mobility.RouterFlags(l.num("prf") << 3), RouterLifetime: sec("routerlifetime")}
	case "ICMPv6ND_NA":
		f := mobility.NeighborFlags(l.num("R")<<7 | l.num("S")<<6 | l.num("O")<<5)
		want = mobility.NeighborAdvertisement{Flags: f, Target: l.addr("tgt")}
	case "ICMPv6MPSol":
		want = mobility.PrefixSolicitation{ID: uint16(l.num("id"))}
	case "ICMPv6MPAdv":
		o := r.Dissect[2]
		want = mobility.PrefixAdvertisement{ID: uint16(l.num("id")), Flags: mobility.RouterFlags(l.num("flags") << 6),
			Options: mobility.NDOptions{mobility.PrefixInfo{Addr: netip.MustParseAddr("2001:db8::"), Bits: uint8(o.num("prefixlen")),
				Flags: mobility.PrefixAutonomous, Valid: mobility.InfiniteLifetime, Preferred: time.Duration(o.num("preferredlifetime")) * time.Second}}}
	case "ICMPv6NDOptPrefixInfo":
		f := mobility.PrefixFlags(l.num("L")<<7 | l.num("A")<<6 | l.num("R")<<5)
		want = option(mobility.PrefixInfo{Addr: l.addr("prefix"), Bits: uint8(l.num("prefixlen")), Flags: f, Valid: sec("validlifetime"), Preferred: sec("preferredlifetime")})
	case "ICMPv6NDOptDstLLAddr":
		want = option(mobility.TargetLinkLayer{Addr: make([]byte, 6)})
	case "ICMPv6NDOptAdvInterval":
		want = option(mobility.AdvertisementInterval(time.Duration(l.num("advint")) * time.Millisecond))
	case "ICMPv6NDOptNewRtrPrefix":
		want = option(mobility.RawNDOption{Type: 18, Data: append([]byte{0, 64}, make([]byte, 20)...)})
	default:
		t.Errorf("%s: unexpected %s", r.ID, l.name())
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("%s: %+v, want %+v", r.ID, m, want)
	}
}
