package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/kernel"
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
	if len(seen) < 5 || !seen["nf_tables"] {
		t.Errorf("only %v", seen)
	}
}

// TestCorrespondent: one without IKE is not unfit for want of ESP.
func TestCorrespondent(t *testing.T) {
	needed := func(o Options) (out []string) {
		for _, f := range Check(context.Background(), o) {
			if f.Needed {
				out = append(out, f.Feature)
			}
		}
		return out
	}
	all, few := needed(Options{}), needed(Options{Correspondent: true})
	if !slices.Contains(all, "ESP6") {
		t.Skip("no XFRM here: ", all)
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "ESP6" || s == "Migrate" })
	if !slices.Equal(all, few) || !slices.Contains(few, "MIP6") {
		t.Errorf("%v, want %v", few, all)
	}
}

func TestNetlinkError(t *testing.T) {
	message := func(typ uint16, code int32) []byte {
		b := make([]byte, 20)
		binary.NativeEndian.PutUint16(b[4:], typ)
		binary.NativeEndian.PutUint32(b[16:], uint32(code))
		return b
	}
	for _, c := range []struct {
		b    []byte
		want error
	}{
		{message(unix.NLMSG_ERROR, -int32(unix.EINVAL)), unix.EINVAL},
		{message(unix.NLMSG_ERROR, 0), nil},
		{message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN, -1), nil},
		{message(unix.NLMSG_ERROR, 0)[:17], unix.EPROTO},
		{nil, unix.EPROTO},
	} {
		if err := netlinkError(c.b); err != c.want {
			t.Errorf("%x: %v, want %v", c.b, err, c.want)
		}
	}
}

func TestXfrmStat(t *testing.T) {
	now := []kernel.Counter{{Name: "XfrmInError", Meaning: "m"}, {Name: "XfrmInPolBlock", Value: 12, Meaning: "m."}, {Name: "XfrmNew", Value: 3}}
	got := compare(now, []control.XfrmCounter{{Name: "XfrmInPolBlock", Value: 10}, {Name: "XfrmNew", Value: 4}})
	want := []control.XfrmCounter{
		{Name: "XfrmInError", Meaning: "m"},
		{Name: "XfrmInPolBlock", Value: 12, Delta: 2, Meaning: "m. " + hints["XfrmInPolBlock"]},
		{Name: "XfrmNew", Value: 3}, // fewer than before: another namespace; no delta
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// TestHints: each is about a counter that this kernel knows.
func TestHints(t *testing.T) {
	got, err := XfrmStat(nil)
	if errors.Is(err, xfrm.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, c := range got {
		if h := hints[c.Name]; h != "" && strings.HasSuffix(c.Meaning, h) {
			found++
		}
	}
	if found != len(hints) {
		t.Errorf("%d of %d hints are told", found, len(hints))
	}
}
