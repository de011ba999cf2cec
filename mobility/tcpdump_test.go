package mobility_test

import (
	"bytes"
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
