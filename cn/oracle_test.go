package cn

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// vector is a run of return routability that others have computed.
type vector struct {
	ID, Kcn, HoA, CoA, CN string
	Home                  string  `json:"nonce_home"`
	CareOf                string  `json:"nonce_careof"`
	HomeIndex             uint16  `json:"home_nonce_index"`
	CareOfIndex           uint16  `json:"careof_nonce_index"`
	HomeToken             string  `json:"home_keygen_token"`
	CareOfToken           *string `json:"careof_keygen_token"`
	Dereg                 bool
	BU                    string `json:"bu_packet"`
	BA                    string `json:"ba_packet"`
}

// TestOracle takes the vectors through the machine: the tokens it gives out, the update it
// accepts, and the acknowledgement it sends, octet by octet (CN-5.2.5-1).
func TestOracle(t *testing.T) {
	var rows []vector
	if err := json.Unmarshal(vectors.Read(t, "oracle/rr_vectors.json"), &rows); err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, v := range rows {
		t.Run(v.ID, func(t *testing.T) { v.run(t) })
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) run(t *testing.T) {
	hoa, coa, cn := netip.MustParseAddr(v.HoA), netip.MustParseAddr(v.CoA), netip.MustParseAddr(v.CN)
	m, err := New(Config{}, bytes.NewReader(unhex(t, v.Kcn)), 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Step(epoch, Start{}, nil)
	home, careOf := rr.Nonce(unhex(t, v.Home)), rr.Nonce{}
	m.give(v.HomeIndex, home)
	if got := sent(t, m.Step(epoch, hoti(words{"src": v.HoA, "to": v.CN}), nil)).Body.(mobility.HomeTest); got.NonceIndex != v.HomeIndex ||
		hex.EncodeToString(got.Token[:]) != v.HomeToken {
		t.Errorf("home test %+v", got)
	}
	if v.CareOfToken != nil {
		careOf = rr.Nonce(unhex(t, v.CareOf))
		m.give(v.CareOfIndex, careOf)
		if got := sent(t, m.Step(epoch, coti(words{"src": v.CoA, "to": v.CN}), nil)).Body.(mobility.CareOfTest); got.NonceIndex != v.CareOfIndex ||
			hex.EncodeToString(got.Token[:]) != *v.CareOfToken {
			t.Errorf("care-of test %+v", got)
		}
	}
	acts := v.update(t, m, home, careOf)
	if !v.Dereg {
		route, ok := acts[0].(Route)
		if !ok || len(acts) != 1 || route.CareOf != coa || route.Home != hoa || route.Local != cn {
			t.Fatalf("%s", render(acts[0]))
		}
		acts = m.Step(epoch, RouteDone{ID: route.ID}, nil)
	}
	v.compare(t, acts)
}

// update gives the update to the machine. The indices of the vectors are farther apart than nonces
// that are good at the same time, so with two of them what is behind the index is
// given by hand.
func (v vector) update(t *testing.T, m *Machine, home, careOf rr.Nonce) []Action {
	var p mobility.Packet
	if err := p.Walk(unhex(t, v.BU)); err != nil {
		t.Fatal(err)
	}
	mh := host.MH{Src: netip.MustParseAddr(v.HoA), Dst: netip.MustParseAddr(v.CN), Data: p.Payload}
	if !v.Dereg {
		mh.CareOf = netip.MustParseAddr(v.CoA)
	}
	if v.Dereg {
		m.give(v.HomeIndex, home)
		return m.Step(epoch, MHReceived{MH: mh}, nil)
	}
	var msg mobility.Message
	if err := msg.Decode(mh.Data); err != nil {
		t.Fatal(err)
	}
	u, ok := m.read(mh, msg.Body.(mobility.BindingUpdate), msg.Options)
	if !ok || !m.byNonces(&u, home, careOf, mh.Data) {
		t.Fatal("the update is refused")
	}
	u.nonces, _ = msg.Options.NonceIndices()
	m.now, m.out = epoch, nil
	m.sequenced(u)
	return m.out
}

func (v vector) compare(t *testing.T, acts []Action) {
	t.Helper()
	var p mobility.Packet
	if err := p.Walk(unhex(t, v.BA)); err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(p.Payload)
	clear(want[mobility.ChecksumOffset : mobility.ChecksumOffset+2])
	for _, a := range acts {
		if h, ok := a.(Host); ok {
			got := h.Ops[0].(host.SendMH).MH
			if !bytes.Equal(got.Data, want) {
				t.Errorf("acknowledgement\n got %x\nwant %x", got.Data, want)
			}
			if got.RouteHeader == v.Dereg || got.RouteHeader && got.CareOf.String() != v.CoA || got.Dst.String() != v.HoA {
				t.Errorf("sent to %v by %v", got.Dst, got.CareOf)
			}
			return
		}
	}
	t.Error("no acknowledgement")
}

// give makes a nonce the newest one.
func (m *Machine) give(index uint16, n rr.Nonce) {
	m.nonces = rr.Nonces{Last: index, Used: true}
	s := &m.nonces.Ring[int(index)%len(m.nonces.Ring)]
	s.Nonce, s.Since = n, epoch
}

// sent is the message that actions send.
func sent(t testing.TB, acts []Action) (msg mobility.Message) {
	t.Helper()
	for _, a := range acts {
		if h, ok := a.(Host); ok {
			if err := msg.Decode(h.Ops[0].(host.SendMH).MH.Data); err != nil {
				t.Fatal(err)
			}
			return msg
		}
	}
	t.Fatal("nothing is sent")
	return msg
}
