package cn

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// A node whose SAs went with an earlier run is told that it has no binding: nothing else would tell it.
func TestToldAfterRestart(t *testing.T) {
	local, home, careOf := netip.MustParseAddr("2001:db8:c::1"), netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:f::1")
	m, err := New(Config{}, constant{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	out := m.Step(now, Restored{Records: []Record{{Local: local, Home: home, Seq: 7, CareOf: careOf},
		{Local: local, Home: home, Seq: 7, CareOf: netip.MustParseAddr("ff02::1")}}}, nil)
	if len(out) != 0 {
		t.Errorf("before Start: %+v", out)
	}
	told, forgotten := 0, 0
	for _, a := range m.Step(now, Start{}, nil) {
		switch a := a.(type) {
		case Forget:
			forgotten++
		case Host:
			told++
			mh := a.Ops[0].(host.SendMH).MH
			var msg mobility.Message
			if err := msg.Decode(mh.Data); err != nil {
				t.Fatal(err)
			}
			be, ok := msg.Body.(mobility.BindingError)
			if !ok || be.Status != mobility.ErrorUnknownBinding || be.HomeAddr != home || mh.Src != local || mh.Dst != careOf {
				t.Errorf("told %+v by %+v", msg.Body, mh)
			}
		}
	}
	if told != 1 || forgotten != 2 {
		t.Errorf("%d told, %d forgotten", told, forgotten)
	}
}

// constant is no randomness at all.
type constant struct{}

func (constant) Read(b []byte) (int, error) { return len(b), nil }
