package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFollow reads a capture that grows by arbitrary pieces and compares with
// what the other reader finds in the whole.
func TestFollow(t *testing.T) {
	p := DefaultPlan()
	path := filepath.Join(t.TempDir(), "x.pcapng")
	whole, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newPcapng(whole, "x")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 5)
	for i := range 20 {
		frame := append(make([]byte, 12), 0x86, 0xdd)
		frame = append(frame, packet(p.CN, p.HoA, 50, 0, 0, 0x10, byte(i), 0, 0, 0, 5, 9)...)
		if err := w.packet(at.Add(time.Duration(i)*time.Millisecond), frame, len(frame)); err != nil {
			t.Fatal(err)
		}
	}
	whole.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	grown := filepath.Join(t.TempDir(), "y.pcapng")
	f := Follow(grown)
	for n := 0; n <= len(text); n += 37 {
		if err := os.WriteFile(grown, text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Between(at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(grown, text, 0o600); err != nil {
		t.Fatal(err)
	}
	from, to := at.Add(3*time.Millisecond), at.Add(9*time.Millisecond)
	got, err := f.Between(from, to)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ReadCapture(path, from, to)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 6 || len(want) != 6 {
		t.Fatalf("%d packets, the other reader %d, want 6", len(got), len(want))
	}
	for i := range got {
		if !got[i].Time.Equal(want[i].Time) || got[i].SPI != want[i].SPI || got[i].Length != want[i].Length || got[i].SPI != 0x1000+uint32(i)+3 {
			t.Errorf("packet %d: %+v, the other reader %+v", i, got[i], want[i])
		}
	}
}
