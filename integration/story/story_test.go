package story

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/mobility"
)

// aStory is a story with its files in a test's folder, which is not played.
func aStory(t *testing.T) *story {
	s := newStory(Options{Dir: t.TempDir(), Out: t.Output()})
	s.plan, s.run, s.psk = lab.DefaultPlan(), t.TempDir(), "0x"+strings.Repeat("42", 32)
	if err := s.makeCertificates(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConfigs loads every configuration that the story gives to mip6d.
func TestConfigs(t *testing.T) {
	s := aStory(t)
	for name, c := range map[string]conf{
		"usual": {}, "another's home": {home: otherHome(s.plan).String()}, "no K": {noKMob: true},
		"certificates": {auth: "cert", ca: s.ca.path()},
	} {
		for host, text := range map[string]func(conf) string{"mn": s.mnConfig, "ha": s.haConfig} {
			c.cert = s.certs[host]
			path, err := s.writeConfig(host, text(c))
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Load(path)
			if err != nil {
				t.Errorf("%s of %s: %v", name, host, err)
				continue
			}
			if (got.MN != nil) != (host == "mn") || (got.HA != nil) != (host == "ha") {
				t.Errorf("%s of %s: wrong roles", name, host)
			}
		}
	}
}

func TestParseStates(t *testing.T) {
	all := parseStates(`src 2001:db8:1::10 dst 2001:db8:1::1
	proto hao reqid 0 mode ro
	replay-window 0 
	coa 2001:db8:f1::10
src 2001:db8:f1::10 dst 2001:db8:1::1
	proto esp spi 0xc2c213b5 reqid 1291845633 mode tunnel
	aead rfc4106(gcm(aes)) 0x00 128
src 2001:db8:1::1 dst 2001:db8:f1::10
	proto esp spi 0x00000001 reqid 1291845633 mode tunnel
`)
	if len(all) != 3 || all[1].Src != netip.MustParseAddr("2001:db8:f1::10") || all[1].ReqID != "1291845633" || !strings.Contains(all[1].Text, "rfc4106") {
		t.Fatalf("%+v", all)
	}
	if got := spis(all); !slices.Equal(got, []string{"tunnel 0x00000001", "tunnel 0xc2c213b5"}) {
		t.Error(got)
	}
}

func TestRisen(t *testing.T) {
	before := lab.Dump{"xfrm_stat": "XfrmInError 0\nXfrmInNoPols 3\n"}
	after := lab.Dump{"xfrm_stat": "XfrmInError 0\nXfrmInNoPols 5\n"}
	if got := risen(before, after); got != "XfrmInNoPols +2" {
		t.Error(got)
	}
	if got := risen(after, after); got != "no counter rose" {
		t.Error(got)
	}
}

// TestPlainBU reads the forged update back.
func TestPlainBU(t *testing.T) {
	p := lab.DefaultPlan()
	b, err := plainBU(p.CN, p.HoA, p.HA, p.CN, 7)
	if err != nil {
		t.Fatal(err)
	}
	var m mobility.Message
	if err := m.DecodeVerified(b[64:], p.HoA, p.HA); err != nil {
		t.Fatal(err)
	}
	if bu, ok := m.Body.(mobility.BindingUpdate); !ok || bu.Seq != 7 || !bu.Flags.Has(mobility.FlagAck|mobility.FlagHome|mobility.FlagKey) {
		t.Errorf("%+v", m)
	}
}

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := middle(c.v); got != c.want {
			t.Errorf("middle of %v is %v", c.v, got)
		}
	}
}

// TestAddrWatch asks the record for what was and what came.
func TestAddrWatch(t *testing.T) {
	a, at := netip.MustParseAddr("2001:db8::1"), time.Unix(100, 0)
	w := &addrWatch{all: []addrEvent{{at, a, true}, {at.Add(2 * time.Second), a, false}, {at.Add(4 * time.Second), a, true}}}
	for sec, want := range map[int]bool{0: false, 1: true, 3: false, 5: true} {
		if got := w.had(a, at.Add(time.Duration(sec)*time.Second)); got != want {
			t.Errorf("after %d s: %v", sec, got)
		}
	}
	if got := w.usable(a, at.Add(time.Second)); !got.Equal(at.Add(4 * time.Second)) {
		t.Error(got)
	}
}

// TestReport: a failed check counts, and Empty takes away what a run leaves only.
func TestReport(t *testing.T) {
	r := Report{Checks: []Check{{"a", true, ""}, {"b", false, "lost 3\nmore"}}}
	if pass, fail := r.Passed(); pass != 1 || fail != 1 {
		t.Errorf("%d, %d", pass, fail)
	}
	var out strings.Builder
	r.table(&out)
	if !strings.Contains(out.String(), "FAIL  b") || !strings.Contains(out.String(), "1 checks passed, 1 failed") {
		t.Error(out.String())
	}
	dir := t.TempDir()
	for _, name := range []string{"mn-eth0.pcapng", reportFile, "letter.odt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Empty(dir); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 1 || filepath.Base(left[0]) != "letter.odt" {
		t.Error(left)
	}
}
