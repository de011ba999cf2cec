package lab

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/pcap"
)

// TestPcapng writes a capture and reads it back by another package's reader; a file
// cut anywhere gives the packets that are whole.
func TestPcapng(t *testing.T) {
	var file bytes.Buffer
	w, err := newPcapng(&file, "mn-eth0")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 123_456_789)
	var ends []int
	for i, data := range [][]byte{{1}, {1, 2, 3, 4}, bytes.Repeat([]byte{7}, 1514)} {
		if err := w.packet(at.Add(time.Duration(i)), data, len(data)+i); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, file.Len())
	}
	packets, err := pcap.ReadAll(bytes.NewReader(file.Bytes()))
	if err != nil || len(packets) != 3 {
		t.Fatalf("%d packets, %v", len(packets), err)
	}
	last := packets[2]
	if !last.Time.Equal(at.Add(2)) || last.Length != 1516 || len(last.Data) != 1514 || last.LinkType != linkEthernet {
		t.Errorf("packet %v %d %d", last.Time, last.Length, len(last.Data))
	}
	for cut := ends[0]; cut < file.Len(); cut++ {
		want := 0
		for _, e := range ends {
			if e <= cut {
				want++
			}
		}
		if got, _ := pcap.ReadAll(bytes.NewReader(file.Bytes()[:cut])); len(got) != want {
			t.Fatalf("cut at %d: %d packets, want %d", cut, len(got), want)
		}
	}
}

func TestOutage(t *testing.T) {
	start := time.Unix(0, 0)
	var e Echoes
	for i, answered := range []bool{true, false, true, false, false, false, true, true, false} {
		x := Echo{Seq: i, Sent: start.Add(time.Duration(i) * 10 * time.Millisecond)}
		if answered {
			x.RTT = time.Millisecond
		}
		e = append(e, x)
	}
	d, from, to := e.Outage()
	if d != 30*time.Millisecond || !from.Equal(e[3].Sent) || !to.Equal(e[6].Sent) {
		t.Errorf("outage %v from %v to %v", d, from, to)
	}
	if n := e.Lost(); n != 5 {
		t.Errorf("%d lost", n)
	}
	if b := e.Between(e[1].Sent, e[4].Sent); len(b) != 3 || b.Lost() != 2 {
		t.Errorf("between: %v", b)
	}
	if d, _, to := e[7:].Outage(); d != 0 || !to.IsZero() {
		t.Errorf("outage at the end: %v, %v", d, to)
	}
}

// packet puts an IPv6 packet together.
func packet(src, dst netip.Addr, next byte, payload ...byte) []byte {
	s, d := src.As16(), dst.As16()
	b := append([]byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), next, 64}, s[:]...)
	return append(append(b, d[:]...), payload...)
}

func TestBare(t *testing.T) {
	p := DefaultPlan()
	hoa, coa, ha := p.HoA, p.SLAAC(Foreign1), p.HA
	h := hoa.As16()
	option := append([]byte{0, 2, 1, 2, 0, 0, 201, 16}, h[:]...) // next header, length, PadN, home address
	withNext := func(n byte) []byte { o := bytes.Clone(option); o[0] = n; return o }
	rh2 := append([]byte{50, 2, 2, 1, 0, 0, 0, 0}, h[:]...)
	esp := []byte{0, 0, 0x10, 1, 0, 0, 0, 5}
	mh := []byte{59, 1, 5, 0, 0, 0, 0, 0}
	be := []byte{59, 1, 7, 0, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		packet []byte
		bare   bool
	}{
		"ESP":                       {packet(coa, ha, 50, esp...), false},
		"home address option, ESP":  {packet(coa, ha, 60, append(withNext(50), esp...)...), false},
		"home address option, MH":   {packet(coa, ha, 60, append(withNext(135), mh...)...), true},
		"home address option, UDP":  {packet(coa, ha, 60, append(withNext(17), mh...)...), true},
		"type 2 routing, ESP":       {packet(ha, coa, 43, append(rh2, esp...)...), false},
		"mobility header":           {packet(coa, ha, 135, mh...), true},
		"binding error":             {packet(ha, coa, 135, be...), false},
		"payload to home address":   {packet(p.CN, hoa, 58, 128, 0, 0, 0), true},
		"tunnel":                    {packet(ha, coa, 41, packet(p.CN, hoa, 58, 128, 0, 0, 0)...), true},
		"another's ping":            {packet(p.CN, coa, 58, 128, 0, 0, 0), false},
		"truncated options, as far": {packet(coa, ha, 60, 50, 9), false},
	} {
		s, ok := look(c.packet)
		if !ok || s.Bare(hoa) != c.bare {
			t.Errorf("%s: %v, %+v", name, ok, s)
		}
		for n := range c.packet {
			look(c.packet[:n]) // must not panic
		}
	}
	if s, _ := look(packet(coa, ha, 60, append(withNext(50), esp...)...)); s.HomeAddr != hoa || s.SPI != 0x1001 || s.ESPSeq != 5 {
		t.Errorf("%+v", s)
	}
	if s, _ := look(packet(coa, ha, 17, 1, 0xf4, 1, 0xf4)); !s.IsIKE() {
		t.Errorf("%+v", s)
	}
}

func TestSLAAC(t *testing.T) {
	if a := DefaultPlan().SLAAC(Foreign2); a != netip.MustParseAddr("2001:db8:f2::ff:fe00:10") {
		t.Error(a)
	}
}

// FuzzXfrm holds the monitor's decoder to no panic.
func FuzzXfrm(f *testing.F) {
	f.Add([]byte{84, 0, 0, 0, xfrmMigrate, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) { decodeXfrm(time.Time{}, b) })
}
