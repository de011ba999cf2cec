package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/xfrm"
)

func TestFromCaps(t *testing.T) {
	all := xfrm.Caps{ESP6: true, AH6: true, MIP6: true, Migrate: true, SubPolicy: true, InboundTypes: true}
	for _, f := range fromCaps(all) {
		if !f.OK || f.Remedy != "" {
			t.Errorf("%+v", f)
		}
	}
	lacking := all
	lacking.AH6, lacking.MIP6 = false, false
	lacking.Missing = []xfrm.Missing{
		{Feature: "AH6", Err: errors.New("no AH"), Remedy: "get AH"},
		{Feature: "MIP6", Err: &xfrm.FeatureError{Feature: "MIP6", Err: xfrm.ErrUnsupported}, Remedy: "get MIP6"},
	}
	bad := map[string]control.Finding{}
	for _, f := range fromCaps(lacking) {
		if !f.OK {
			bad[f.Feature] = f
		}
	}
	if len(bad) != 2 || bad["AH6"].Needed || !bad["MIP6"].Needed || bad["MIP6"].Remedy != "get MIP6" || !strings.Contains(bad["AH6"].Detail, "no AH") {
		t.Errorf("%+v", bad)
	}
	if !Healthy(fromCaps(all)) || Healthy(fromCaps(lacking)) {
		t.Error("Healthy does not follow what is needed")
	}
	lacking.MIP6 = true
	if !Healthy(fromCaps(lacking)) {
		t.Error("AH6 alone makes no host unfit")
	}
}

func TestPort(t *testing.T) {
	conn, err := net.ListenUDP("udp6", nil)
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	p := uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	if f := port(p); f.OK || f.Detail != "in use" || !strings.Contains(f.Remedy, "ss -ulpn") {
		t.Errorf("%+v", f)
	}
	conn.Close()
	if f := port(p); !f.OK {
		t.Errorf("%+v", f)
	}
}

// TestCheck runs on whatever kernel is here: each finding must be whole, whatever it finds.
func TestCheck(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Check(context.Background(), Options{}) {
		if f.Feature == "" || seen[f.Feature] {
			t.Errorf("%+v", f)
		}
		seen[f.Feature] = true
		if f.OK && f.Remedy != "" || !f.OK && f.Needed && (f.Remedy == "" || f.Detail == "") {
			t.Errorf("%+v", f)
		}
	}
	if len(seen) < 5 {
		t.Errorf("only %v", seen)
	}
}

func TestXfrmStat(t *testing.T) {
	got, err := parseXfrmStat(strings.NewReader("XfrmInError             \t0\nXfrmInPolBlock \t12\nXfrmNew 3\n"))
	if err != nil || len(got) != 3 || got[1].Value != 12 || !strings.Contains(got[1].Meaning, "Binding Update") || got[2].Meaning != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if nz := NonZero(got); len(nz) != 2 || nz[0].Name != "XfrmInPolBlock" {
		t.Errorf("%+v", nz)
	}
	for _, bad := range []string{"XfrmInError\n", "XfrmInError x\n", "a 1 2\n"} {
		if _, err := parseXfrmStat(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestXfrmStatHere: every counter of the kernel at hand has a meaning.
func TestXfrmStatHere(t *testing.T) {
	got, err := XfrmStat(nil)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel has no xfrm_stat")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range got {
		if c.Meaning == "" {
			t.Errorf("%s has no meaning", c.Name)
		}
	}
	before := []control.XfrmCounter{{Name: got[0].Name, Value: got[0].Value + 1}} // as after a change of namespace
	again, err := XfrmStat(before)
	if err != nil || again[0].Delta != 0 || again[1].Delta != again[1].Value {
		t.Errorf("%+v, %v", again, err)
	}
}
