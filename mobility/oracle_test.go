package mobility_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
)

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
