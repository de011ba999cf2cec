package mobility_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
)

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
