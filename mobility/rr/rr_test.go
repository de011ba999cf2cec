package rr_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

type row struct {
	ID, Kcn, HoA, CoA, CN, Kbm string
	Home                       string  `json:"nonce_home"`
	CareOf                     string  `json:"nonce_careof"`
	HomeToken                  string  `json:"home_keygen_token"`
	CareOfToken                *string `json:"careof_keygen_token"`
	Dereg                      bool
	BU                         string `json:"bu_packet"`
	BA                         string `json:"ba_packet"`
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOracle recomputes tokens, keys and authenticators bit by bit.
func TestOracle(t *testing.T) {
	var rows []row
	if err := json.Unmarshal(vectors.Read(t, "oracle/rr_vectors.json"), &rows); err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		hoa, coa, cn := netip.MustParseAddr(r.HoA), netip.MustParseAddr(r.CoA), netip.MustParseAddr(r.CN)
		kcn, err := rr.NewKcn(bytes.NewReader(unhex(t, r.Kcn)))
		if err != nil {
			t.Fatal(err)
		}
		home := kcn.HomeToken(hoa, rr.Nonce(unhex(t, r.Home)))
		if hex.EncodeToString(home[:]) != r.HomeToken {
			t.Errorf("%s: home keygen token %x", r.ID, home)
		}
		kbm := rr.DeleteKey(home)
		if r.CareOfToken != nil {
			careOf := kcn.CareOfToken(coa, rr.Nonce(unhex(t, r.CareOf)))
			if hex.EncodeToString(careOf[:]) != *r.CareOfToken {
				t.Errorf("%s: care-of keygen token %x", r.ID, careOf)
			}
			if !r.Dereg {
				kbm = rr.Key(home, careOf)
			}
		}
		if hex.EncodeToString(kbm[:]) != r.Kbm {
			t.Errorf("%s: Kbm %x", r.ID, kbm)
		}
		registered := coa
		if r.Dereg {
			registered = hoa
		}
		for _, packet := range []string{r.BU, r.BA} {
			checkAuthenticator(t, r.ID, kbm, registered, cn, unhex(t, packet))
		}
	}
}

func checkAuthenticator(t *testing.T, id string, kbm rr.Kbm, registered, cn netip.Addr, packet []byte) {
	t.Helper()
	var p mobility.Packet
	if err := p.Walk(packet); err != nil {
		t.Fatal(err)
	}
	if !kbm.Verify(registered, cn, p.Payload) {
		t.Errorf("%s: authenticator refused", id)
	}
	signed := append([]byte(nil), p.Payload...)
	clear(signed[len(signed)-rr.AuthenticatorLen:])
	if err := kbm.Sign(registered, cn, signed); err != nil || !bytes.Equal(signed, p.Payload) {
		t.Errorf("%s: signed %x, want %x, %v", id, signed, p.Payload, err)
	}
	for i := range signed {
		signed[i] ^= 1
		if checksum := i == 4 || i == 5; kbm.Verify(registered, cn, signed) != checksum {
			t.Errorf("%s: octet %d altered, verified %v", id, i, !checksum)
		}
		signed[i] ^= 1
	}
	if kbm.Verify(cn, registered, signed) {
		t.Errorf("%s: accepted with addresses exchanged", id)
	}
}

func TestMessageWithoutAuthorization(t *testing.T) {
	var k rr.Kbm
	a := netip.MustParseAddr("2001:db8::1")
	m := mobility.Message{Body: mobility.BindingUpdate{}, Options: mobility.Options{mobility.AlternateCareOf{Addr: a}}}
	b, err := m.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(b) + 1 {
		if err := k.Sign(a, a, b[:n]); !errors.Is(err, rr.ErrMessage) || k.Verify(a, a, b[:n]) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

// counter is a source of octets that never repeat soon.
type counter byte

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		*c++
		b[i] = byte(*c)
	}
	return len(b), nil
}

// TestNonces follows nonces over their lives: one is given out for 30 s, and good
// for 240 s from its first use.
func TestNonces(t *testing.T) {
	var n rr.Nonces
	var random counter
	start := time.Unix(1700000000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	if _, ok := n.Find(start, 0); ok {
		t.Error("a nonce before the first")
	}
	first, nonce, err := n.Current(start, &random)
	if err != nil {
		t.Fatal(err)
	}
	if i, again, _ := n.Current(at(29), &random); i != first || again != nonce {
		t.Errorf("after 29 s index %d, want %d", i, first)
	}
	for s := 30; s <= 239; s++ {
		i, other, _ := n.Current(at(s), &random)
		if want := first + uint16(s/30); i != want || other == nonce {
			t.Fatalf("after %d s index %d, want %d", s, i, want)
		}
		if got, ok := n.Find(at(s), first); !ok || got != nonce {
			t.Fatalf("after %d s the first nonce is gone", s)
		}
		if _, ok := n.Find(at(s), i+1); ok {
			t.Fatal("a nonce that was never given out")
		}
	}
	if _, ok := n.Find(at(240), first); ok {
		t.Error("the first nonce is good after 240 s")
	}
	saved := n
	i, _, _ := n.Current(at(1000), &random)
	if _, ok := n.Find(at(1000), i-1); ok {
		t.Error("a nonce survived a pause")
	}
	if j, _, _ := saved.Current(at(1000), &random); j != i {
		t.Errorf("the copy goes on with %d, want %d", j, i)
	}
	if _, _, err := n.Current(at(2000), bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("no randomness: %v", err)
	}
	if j, _, _ := n.Current(at(2000), &random); j != i+1 {
		t.Errorf("after a failure index %d, want %d", j, i+1)
	}
}

// TestNonceWrap: indices go on from 65535 to 0.
func TestNonceWrap(t *testing.T) {
	n := rr.Nonces{Last: 65534, Used: true}
	var random counter
	now := time.Unix(1700000000, 0)
	for _, want := range []uint16{65535, 0, 1} {
		now = now.Add(30 * time.Second)
		if i, _, err := n.Current(now, &random); i != want || err != nil {
			t.Fatalf("index %d, want %d, %v", i, want, err)
		}
	}
	for _, i := range []uint16{65535, 0, 1} {
		if _, ok := n.Find(now, i); !ok {
			t.Errorf("nonce %d is gone", i)
		}
	}
}
