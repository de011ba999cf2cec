package story

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// TestROConfigs loads every configuration of the steps of route optimization.
func TestROConfigs(t *testing.T) {
	s := aStory(t)
	for name, c := range map[string]roConf{
		"usual": {}, "off": {off: true}, "from packets on": {packets: 2000}, "ESP": {protect: "esp"}, "AH": {protect: "ah"},
		"static key": {auth: "static"}, "two nodes": {mn2: true},
	} {
		for host, text := range map[string]string{"mn": s.mnRO(c), "ha": s.haRO(), "cn": s.cnRO(c), "mn2": s.mn2RO(c)} {
			if host == "mn2" && c.protect != "" {
				continue // mn2 is no such correspondent
			}
			path, err := s.writeConfig(host, text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Load(path)
			if err != nil {
				t.Errorf("%s of %s: %v\n%s", name, host, err, text)
				continue
			}
			rules := got.MN != nil && len(got.MN.Optimise) == 1
			if want := host == "mn" && !c.off || host == "mn2"; rules != want {
				t.Errorf("%s of %s: a rule: %v", name, host, rules)
			}
			if want := host == "cn" || host == "mn2" || host == "mn" && c.mn2; (got.CN != nil) != want {
				t.Errorf("%s of %s: correspondent: %v", name, host, got.CN != nil)
			}
		}
	}
}

// TestProved holds the story's own computation of keys and authenticators against the vectors.
func TestProved(t *testing.T) {
	var rows []struct {
		ID, CoA, CN, HoA string
		Home             string  `json:"home_keygen_token"`
		CareOf           *string `json:"careof_keygen_token"`
		Dereg            bool
		BU               string `json:"bu_packet"`
		BA               string `json:"ba_packet"`
	}
	if err := json.Unmarshal(vectors.Read(t, "oracle/rr_vectors.json"), &rows); err != nil || len(rows) == 0 {
		t.Fatal(err)
	}
	for _, r := range rows {
		home, err := hex.DecodeString(r.Home)
		if err != nil {
			t.Fatal(err)
		}
		var careOf []byte
		at := netip.MustParseAddr(r.CoA)
		if r.Dereg {
			at = netip.MustParseAddr(r.HoA)
		} else if careOf, err = hex.DecodeString(*r.CareOf); err != nil {
			t.Fatal(err)
		}
		for _, packet := range []string{r.BU, r.BA} {
			b, err := hex.DecodeString(packet)
			if err != nil {
				t.Fatal(err)
			}
			var p mobility.Packet
			if err := p.Walk(b); err != nil {
				t.Fatal(err)
			}
			seen := lab.Seen{MH: p.Payload}
			if err := proved(seen, kbm(home, careOf), at, netip.MustParseAddr(r.CN)); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
			seen.MH = append([]byte(nil), p.Payload...)
			seen.MH[7] ^= 1
			if proved(seen, kbm(home, careOf), at, netip.MustParseAddr(r.CN)) == nil {
				t.Errorf("%s: an altered message is accepted", r.ID)
			}
		}
	}
}

// TestCrafted reads the crafted node's messages by the project's own decoder.
func TestCrafted(t *testing.T) {
	s := aStory(t)
	c := &crafted{s: s, home: netip.MustParseAddr("2001:db8:f1::99"), careOf: netip.MustParseAddr("2001:db8:f2::99")}
	key := kbm([]byte("8 octets"), []byte("and so on"))
	u := update{seq: 65500, lifetime: time.Minute, homeNonce: 3, careOfNonce: 7, key: key}
	for _, wrong := range []bool{false, true} {
		u.wrong = wrong
		b := c.packet(u)
		var m mobility.Message
		if err := m.DecodeVerified(b[64:], c.home, s.plan.CN); err != nil {
			t.Fatal(err)
		}
		bu, ok := m.Body.(mobility.BindingUpdate)
		if !ok || bu.Seq != 65500 || bu.Lifetime.Duration() != time.Minute || !bu.Flags.Has(mobility.FlagAck) {
			t.Errorf("%+v", m)
		}
		k := rr.Kbm(key)
		if k.Verify(c.careOf, s.plan.CN, b[64:]) == wrong {
			t.Errorf("wrong: %v", wrong)
		}
		if h, n, ok := noncesOf(lab.Seen{MH: b[64:]}); !ok || h != 3 || n != 7 {
			t.Error(h, n, ok)
		}
	}
	var m mobility.Message
	b := sealed(c.home, c.home, s.plan.CN, protoMH, testInit(mhHoTI, 0x0102030405060708))
	if err := m.DecodeVerified(b[40:], c.home, s.plan.CN); err != nil || m.Type() != mobility.TypeHoTI || cookieOf(lab.Seen{MH: b[40:]}) != "\x01\x02\x03\x04\x05\x06\x07\x08" {
		t.Errorf("%+v %v", m, err)
	}
}
