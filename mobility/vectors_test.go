package mobility_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/pcap"
	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
)

// capture is the IPv6 packets of a capture.
func capture(t *testing.T, name string) [][]byte {
	t.Helper()
	f, err := os.Open(vectors.Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := pcap.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for i, k := range all {
		b, ok := k.IPv6()
		if !ok {
			t.Fatalf("%s: packet %d is not IPv6", name, i+1)
		}
		out = append(out, b)
	}
	return out
}

// roundTrip encodes m and decodes it again.
func roundTrip(t *testing.T, m mobility.Message) {
	t.Helper()
	b, err := m.AppendTo(nil)
	if err != nil {
		t.Errorf("%+v: %v", m, err)
		return
	}
	m.Checksum = 0
	var again mobility.Message
	if err := again.Decode(b); err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("%+v came back as %+v, %v", m, again, err)
	}
}

// describe is m in the words of tcpdump's printout.
func describe(m mobility.Message) string {
	half := func(b [8]byte) string { return fmt.Sprintf("%x:%x", b[:4], b[4:]) }
	var s strings.Builder
	s.WriteString(m.Type().String())
	switch b := m.Body.(type) {
	case mobility.HomeTestInit:
		s.WriteString(" Home Init Cookie=" + half(b.Cookie))
	case mobility.CareOfTestInit:
		s.WriteString(" Care-of Init Cookie=" + half(b.Cookie))
	case mobility.HomeTest:
		fmt.Fprintf(&s, " nonce id=0x%x Home Init Cookie=%s Home Keygen Token=%s", b.NonceIndex, half(b.Cookie), half(b.Token))
	case mobility.CareOfTest:
		fmt.Fprintf(&s, " nonce id=0x%x Care-of Init Cookie=%s Care-of Keygen Token=%s", b.NonceIndex, half(b.Cookie), half(b.Token))
	case mobility.BindingUpdate:
		fmt.Fprintf(&s, " seq#=%d %s lifetime=%d", b.Seq, b.Flags, b.Lifetime.Duration()/time.Second)
	case mobility.BindingAck:
		fmt.Fprintf(&s, " status=%d seq#=%d lifetime=%d", uint8(b.Status), b.Seq, b.Lifetime.Duration()/time.Second)
	case mobility.BindingError:
		fmt.Fprintf(&s, " status=%d homeaddr %s", uint8(b.Status), b.HomeAddr)
	}
	for _, o := range m.Options {
		switch o := o.(type) {
		case mobility.AlternateCareOf:
			fmt.Fprintf(&s, "(alt-CoA: %s)", o.Addr)
		case mobility.NonceIndices:
			fmt.Fprintf(&s, "(ni: ho=0x%04x co=0x%04x)", o.Home, o.CareOf)
		case mobility.RefreshAdvice:
			fmt.Fprintf(&s, "(refresh: %d)", o.Interval.Duration()/time.Second)
		case mobility.Authorization:
			s.WriteString("(auth)")
		}
	}
	return s.String()
}

// printed is the descriptions in a printout of tcpdump, without the padding,
// and whether the packet had padding behind its authorization data.
func printed(t *testing.T, name string) (lines []string, padded []bool) {
	t.Helper()
	pads := regexp.MustCompile(`\(pad[1n]\)`)
	for _, l := range strings.Split(strings.TrimSpace(string(vectors.Read(t, name))), "\n") {
		_, l, ok := strings.Cut(l, "mobility: ")
		if !ok {
			t.Fatalf("%s: no mobility header in %q", name, l)
		}
		padded = append(padded, strings.Contains(l, "(auth)(pad"))
		lines = append(lines, pads.ReplaceAllString(l, ""))
	}
	return lines, padded
}

func TestTcpdumpMobility(t *testing.T) {
	want, padded := printed(t, "tcpdump/ipv6_mobility_1-v.out")
	got := capture(t, "tcpdump/ipv6_mobility_1.pcap")
	if len(got) != len(want) {
		t.Fatalf("%d packets, %d lines", len(got), len(want))
	}
	for i, b := range got {
		var p mobility.Packet
		if err := p.Walk(b); err != nil || p.Proto != mobility.ProtoMobility {
			t.Fatalf("packet %d: %v, protocol %d", i+1, err, p.Proto)
		}
		var m mobility.Message
		err := m.Decode(p.Payload) // the checksums of this capture are zero
		if errors.Is(err, mobility.ErrAuthPlace) != padded[i] || (err != nil && !padded[i]) {
			t.Errorf("packet %d: %v", i+1, err)
		}
		if s := describe(m); s != want[i] {
			t.Errorf("packet %d: %s, want %s", i+1, s, want[i])
		}
		if !padded[i] {
			roundTrip(t, m)
		}
		if err := m.DecodeVerified(p.Payload, p.Src, p.Dst); !errors.Is(err, mobility.ErrChecksum) {
			t.Errorf("packet %d, checksum zero: %v", i+1, err)
		}
	}
}

// TestTcpdumpDamaged reads captures that broke a decoder once.
func TestTcpdumpDamaged(t *testing.T) {
	for _, name := range []string{"", "_2", "_3", "_4"} {
		for i, b := range capture(t, "tcpdump/mobility_opt_asan"+name+".pcap") {
			var p mobility.Packet
			if err := p.Walk(b); !errors.Is(err, mobility.ErrTruncated) {
				t.Errorf("%s packet %d: walk: %v", name, i+1, err)
			}
			var m mobility.Message
			if err := m.Decode(p.Payload); !errors.Is(err, mobility.ErrTruncated) && !errors.Is(err, mobility.ErrPayloadProto) {
				t.Errorf("%s packet %d: %v", name, i+1, err)
			}
		}
	}
	for name, want := range map[string]error{
		"ip6_frag_asan": mobility.ErrTruncated, "ipv6-next-header-oobr-1": mobility.ErrOption,
		"ipv6_invalid_length": mobility.ErrNotIPv6, "ipv6_no_next_header": nil, "LINKTYPE_RAW_ipv6": nil,
	} {
		for i, b := range capture(t, "tcpdump/"+name+".pcap") {
			var p mobility.Packet
			if err := p.Walk(b); !errors.Is(err, want) {
				t.Errorf("%s packet %d: %v, want %v", name, i+1, err, want)
			}
		}
	}
}

func TestTcpdumpRouting(t *testing.T) {
	for i, b := range capture(t, "tcpdump/ipv6-routing-header.pcap") {
		var p mobility.Packet
		if err := p.Walk(b); err != nil || len(p.Headers()) != 1 || p.Headers()[0].Len != []int{24, 40}[i%2] {
			t.Fatalf("packet %d: %+v, %v", i+1, p, err)
		}
		if want := uint8([]int{58, 17}[i/2]); p.Proto != want || p.RoutingAddr.IsValid() || len(p.Payload) != 8 {
			t.Errorf("packet %d: %+v", i+1, p)
		}
		// The checksum is over the last address of the routing header.
		last := netip.AddrFrom16([16]byte(b[p.Offset-16 : p.Offset]))
		if !mobility.VerifyChecksum(p.Src, last, p.Proto, p.Payload) {
			t.Errorf("packet %d: checksum", i+1)
		}
		var r mobility.Routing2
		if _, err := r.Decode(b[40:]); !errors.Is(err, mobility.ErrRoutingType) {
			t.Errorf("packet %d: %v", i+1, err)
		}
	}
}

func TestTcpdumpICMP(t *testing.T) {
	var p mobility.Packet
	icmp := func(b []byte) mobility.ICMP {
		t.Helper()
		if err := p.Walk(b); err != nil || p.Proto != mobility.ProtoICMPv6 || !p.ChecksumOK() {
			t.Fatalf("%+v, %v", p, err)
		}
		m, err := mobility.DecodeICMP(p.Payload)
		if err != nil {
			return nil
		}
		again, err := mobility.AppendICMPWithChecksum(nil, m, p.Src, p.Dst)
		if err != nil || !bytes.Equal(again, p.Payload) {
			t.Errorf("%+v encodes to\n%x, want\n%x, %v", m, again, p.Payload, err)
		}
		return m
	}
	all := capture(t, "tcpdump/icmpv6.pcap")
	ra, ok := icmp(all[0]).(mobility.RouterAdvertisement)
	if !ok || ra.HopLimit != 64 || ra.Flags != mobility.RouterHomeAgent || ra.RouterLifetime != 15*time.Second || len(ra.Options) != 7 {
		t.Fatalf("%+v", ra)
	}
	pi := ra.Options.Prefixes()
	if len(pi) != 1 || pi[0].Prefix().String() != "2222:3333:4444:5555:6600::/72" ||
		pi[0].Flags != mobility.PrefixOnLink|mobility.PrefixAutonomous ||
		pi[0].Valid != 2592000*time.Second || pi[0].Preferred != 604800*time.Second {
		t.Errorf("prefix %+v", pi)
	}
	if mtu, _ := mobility.FindNDOption[mobility.LinkMTU](ra.Options); mtu != 100 {
		t.Errorf("MTU %d", mtu)
	}
	if iv, _ := mobility.FindNDOption[mobility.AdvertisementInterval](ra.Options); time.Duration(iv) != 5*time.Second {
		t.Errorf("interval %v", iv)
	}
	if ll, _ := mobility.FindNDOption[mobility.SourceLinkLayer](ra.Options); fmt.Sprintf("%x", ll.Addr) != "b09928c8d66c" {
		t.Errorf("link-layer address %x", ll.Addr)
	}
	if pref, life, ok := ra.HomeAgent(); pref != 50001 || life != 15*time.Second || !ok {
		t.Errorf("home agent %d %v %v", pref, life, ok)
	}
	for _, b := range all[1:] { // multicast listener messages, behind a router alert
		if m := icmp(b); m != nil || len(p.Headers()) != 1 {
			t.Errorf("%+v", m)
		}
	}
	for _, b := range capture(t, "tcpdump/icmpv6-ra-pref64.pcap") {
		ra, ok := icmp(b).(mobility.RouterAdvertisement)
		if !ok || ra.RouterLifetime != 500*time.Second || ra.Options[2].NDType() != 38 {
			t.Errorf("%+v", ra)
		}
		if _, _, ok := ra.HomeAgent(); ok {
			t.Error("a router that is no home agent counts as one")
		}
	}
	for _, b := range capture(t, "tcpdump/icmpv6-ns-nonce.pcap") {
		ns, ok := icmp(b).(mobility.NeighborSolicitation)
		if !ok || ns.Target.String() != "fe80::546f:f7ff:fee1:f" || !p.Src.IsUnspecified() || p.Dst != mobility.SolicitedNode(ns.Target) {
			t.Errorf("%+v in %+v", ns, p)
		}
	}
}

func TestZeek(t *testing.T) {
	var want map[string]string
	if err := json.Unmarshal(vectors.Read(t, "zeek/mobility_msg_expected.json"), &want); err != nil {
		t.Fatal(err)
	}
	flag := func(b bool) string { return map[bool]string{true: "T", false: "F"}[b] }
	for name, text := range want {
		var p mobility.Packet
		if err := p.Walk(capture(t, "zeek/"+name+".pcap")[0]); err != nil {
			t.Fatal(err)
		}
		var m mobility.Message
		if err := m.DecodeVerified(p.Payload, p.Src, p.Dst); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var fields string
		switch b := m.Body.(type) {
		case mobility.BindingUpdate:
			fields = fmt.Sprintf("bu=[seq=%d, a=%s, h=%s, l=%s, k=%s, life=%d,", b.Seq, flag(b.Flags.Has(mobility.FlagAck)),
				flag(b.Flags.Has(mobility.FlagHome)), flag(b.Flags.Has(mobility.FlagLinkLocal)), flag(b.Flags.Has(mobility.FlagKey)), b.Lifetime)
		case mobility.BindingAck:
			fields = fmt.Sprintf("back=[status=%d, k=%s, seq=%d, life=%d,", uint8(b.Status), flag(b.Flags.Has(mobility.AckKey)), b.Seq, b.Lifetime)
		case mobility.HomeTestInit:
			fields = fmt.Sprintf("hoti=[rsv=0, cookie=%d,", b.Cookie[7])
		case mobility.HomeTest:
			fields = fmt.Sprintf("hot=[nonce_idx=%d, cookie=%d, token=%d,", b.NonceIndex, b.Cookie[7], b.Token[7])
		}
		for _, part := range []string{fields, fmt.Sprintf("chksum=%d,", m.Checksum), fmt.Sprintf("mh_type=%d,", uint8(m.Type())),
			"src=" + p.Src.String(), "dst=" + p.Dst.String()} {
			if part == "" || !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in %s", name, part, text)
			}
		}
		roundTrip(t, m)
	}

	var p mobility.Packet
	if err := p.Walk(capture(t, "zeek/ipv6-mobile-hoa.pcap")[0]); err != nil {
		t.Fatal(err)
	}
	if p.HomeAddr.String() != "2001:78:1:32::1" || p.Src.String() != "2001:4f8:4:7:2e0:81ff:fe52:ffff" || p.Proto != 17 || !p.ChecksumOK() {
		t.Errorf("home address option: %+v", p)
	}
	if err := p.Walk(capture(t, "zeek/mip6-good-mh-chksum.pcap")[0]); err != nil {
		t.Fatal(err)
	}
	if p.Proto != mobility.ProtoMobility || !p.ChecksumOK() {
		t.Errorf("good checksum: %+v", p)
	}
	for i := range p.Payload { // any octet altered: a bad checksum
		p.Payload[i]++
		if p.ChecksumOK() {
			t.Errorf("octet %d altered, but the checksum is good", i)
		}
		p.Payload[i]--
	}
	text := string(vectors.Read(t, "zeek/core.ipv6_esp_output.txt"))
	spis := regexp.MustCompile(`esp=\[spi=(\d+), seq=(\d+)\]`).FindAllString(text, -1)
	var got []string
	for i, b := range capture(t, "zeek/ip6_esp.pcap") {
		if err := p.Walk(b); err != nil {
			t.Errorf("ESP: packet %d: %v", i+1, err)
		}
		if p.Proto == mobility.ProtoESP {
			got = append(got, fmt.Sprintf("esp=[spi=%d, seq=%d]", binary.BigEndian.Uint32(p.Payload), binary.BigEndian.Uint32(p.Payload[4:])))
		}
	}
	if len(spis) == 0 || !reflect.DeepEqual(got, spis) {
		t.Errorf("ESP: %d packets %v, want %d %v", len(got), got, len(spis), spis)
	}
}

// TestOracle reads and rebuilds Binding Updates and Acknowledgements of return
// routability, whole packets with checksums and authenticators.
func TestOracle(t *testing.T) {
	var rows []struct {
		ID, HoA, CoA, CN string
		HNI              uint16 `json:"home_nonce_index"`
		CNI              uint16 `json:"careof_nonce_index"`
		AltCoA           bool   `json:"alt_coa"`
		Seq              uint16
		Lifetime         mobility.Units `json:"lifetime_units"`
		BU               string         `json:"bu_packet"`
		BA               string         `json:"ba_packet"`
		BUAuth           string         `json:"bu_authenticator"`
		BAAuth           string         `json:"ba_authenticator"`
	}
	if err := json.Unmarshal(vectors.Read(t, "oracle/rr_vectors.json"), &rows); err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, r := range rows {
		bu := mobility.Message{Body: mobility.BindingUpdate{Seq: r.Seq, Flags: mobility.FlagAck, Lifetime: r.Lifetime},
			Options: mobility.Options{mobility.NonceIndices{Home: r.HNI, CareOf: r.CNI}}}
		if r.AltCoA {
			bu.Options = append(bu.Options, mobility.AlternateCareOf{Addr: netip.MustParseAddr(r.CoA)})
		}
		bu.Options = append(bu.Options, mobility.Authorization{Authenticator: unhex(r.BUAuth)})
		ba := mobility.Message{Body: mobility.BindingAck{Seq: r.Seq, Lifetime: r.Lifetime},
			Options: mobility.Options{mobility.Authorization{Authenticator: unhex(r.BAAuth)}}}
		for _, x := range []struct {
			packet []byte
			want   mobility.Message
			home   func(p mobility.Packet) netip.Addr
		}{
			{unhex(r.BU), bu, func(p mobility.Packet) netip.Addr { return p.TransportSrc() }},
			{unhex(r.BA), ba, func(p mobility.Packet) netip.Addr { return p.TransportDst() }},
		} {
			var p mobility.Packet
			if err := p.Walk(x.packet); err != nil || x.home(p) != netip.MustParseAddr(r.HoA) {
				t.Fatalf("%s: %+v, %v", r.ID, p, err)
			}
			var m mobility.Message
			if err := m.DecodeVerified(p.Payload, p.TransportSrc(), p.TransportDst()); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
			x.want.Checksum = m.Checksum
			if !reflect.DeepEqual(m, x.want) {
				t.Errorf("%s: %+v, want %+v", r.ID, m, x.want)
			}
			got, err := x.want.AppendWithChecksum(nil, p.TransportSrc(), p.TransportDst())
			if err != nil || !bytes.Equal(got, p.Payload) {
				t.Errorf("%s: encoded\n%x, want\n%x, %v", r.ID, got, p.Payload, err)
			}
			if err := m.DecodeVerified(p.Payload, p.Src, p.Dst); p.Src != p.TransportSrc() && !errors.Is(err, mobility.ErrChecksum) {
				t.Errorf("%s: the checksum over the care-of address is good", r.ID)
			}
		}
	}
}
