package pcap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/pcap"
	"github.com/mip6/mip6/internal/vectors"
)

// classic is a pcap file with one raw IPv6 packet of one octet.
func classic(order binary.ByteOrder, magic uint32) []byte {
	var b bytes.Buffer
	for _, v := range []any{magic, uint16(2), uint16(4), uint32(0), uint32(0), uint32(65535), uint32(101),
		uint32(1700000000), uint32(5), uint32(1), uint32(40), byte(0x60)} {
		_ = binary.Write(&b, order, v)
	}
	return b.Bytes()
}

func block(order binary.ByteOrder, typ uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(12 + len(body))
	var b bytes.Buffer
	for _, v := range []any{typ, n, body, n} {
		_ = binary.Write(&b, order, v)
	}
	return b.Bytes()
}

func fields(order binary.ByteOrder, vs ...any) []byte {
	var b bytes.Buffer
	for _, v := range vs {
		_ = binary.Write(&b, order, v)
	}
	return b.Bytes()
}

// nextGen is a pcapng file: an interface of nanoseconds with a name, a block to
// skip, an enhanced, an obsolete and a simple packet.
func nextGen(o binary.ByteOrder) []byte {
	b := block(o, 0x0a0d0d0a, fields(o, uint32(0x1a2b3c4d), uint16(1), uint16(0), int64(-1)))
	b = append(b, block(o, 1, fields(o, uint16(1), uint16(0), uint32(0),
		uint16(2), uint16(3), []byte("mn0\x00"), uint16(9), uint16(1), []byte{9, 0, 0, 0}, uint16(0), uint16(0)))...)
	b = append(b, block(o, 0x0bad, []byte("skip"))...)
	stamp := uint64(1700000000123456789)
	b = append(b, block(o, 6, fields(o, uint32(0), uint32(stamp>>32), uint32(stamp), uint32(3), uint32(60), []byte("abc")))...)
	b = append(b, block(o, 2, fields(o, uint16(0), uint16(7), uint32(stamp>>32), uint32(stamp), uint32(2), uint32(2), []byte("de")))...)
	return append(b, block(o, 3, fields(o, uint32(2), []byte("fg")))...)
}

var orders = []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}

func TestClassic(t *testing.T) {
	for _, o := range orders {
		for magic, unit := range map[uint32]time.Duration{0xa1b2c3d4: time.Microsecond, 0xa1b23c4d: time.Nanosecond} {
			got, err := pcap.ReadAll(bytes.NewReader(classic(o, magic)))
			if err != nil || len(got) != 1 {
				t.Fatalf("%v %x: %v, %v", o, magic, got, err)
			}
			k := got[0]
			if want := time.Unix(1700000000, 5*int64(unit)).UTC(); !k.Time.Equal(want) || k.LinkType != pcap.LinkRaw || k.Length != 40 {
				t.Errorf("%v %x: %+v", o, magic, k)
			}
			if v, ok := k.IPv6(); !ok || len(v) != 1 {
				t.Errorf("no IPv6 in %x", k.Data)
			}
		}
	}
}

func TestNextGen(t *testing.T) {
	for _, o := range orders {
		got, err := pcap.ReadAll(bytes.NewReader(nextGen(o)))
		if err != nil || len(got) != 3 {
			t.Fatalf("%v: %v, %v", o, got, err)
		}
		want := time.Unix(1700000000, 123456789)
		for i, data := range []string{"abc", "de", "fg"} {
			k := got[i]
			if string(k.Data) != data || k.Interface != "mn0" || k.LinkType != pcap.LinkEthernet {
				t.Errorf("%v: packet %d: %+v", o, i, k)
			}
			if i < 2 && !k.Time.Equal(want) {
				t.Errorf("%v: packet %d at %v", o, i, k.Time)
			}
		}
	}
}

// TestCut reads every beginning of the files: an error or fewer packets, and no
// packet that is not in the whole.
func TestCut(t *testing.T) {
	for _, whole := range [][]byte{classic(binary.LittleEndian, 0xa1b2c3d4), nextGen(binary.BigEndian)} {
		all, err := pcap.ReadAll(bytes.NewReader(whole))
		if err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			got, err := pcap.ReadAll(bytes.NewReader(whole[:n]))
			if err == nil && len(got) == len(all) {
				t.Errorf("cut at %d of %d was not noticed", n, len(whole))
			}
			if err != nil && !errors.Is(err, pcap.ErrFormat) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d: %v", n, err)
			}
		}
	}
}

func TestTooLong(t *testing.T) {
	b := classic(binary.LittleEndian, 0xa1b2c3d4)
	binary.LittleEndian.PutUint32(b[24+8:], 1<<31)
	if _, err := pcap.ReadAll(bytes.NewReader(b)); !errors.Is(err, pcap.ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestVectors(t *testing.T) {
	for name, want := range map[string]int{
		"tcpdump/ipv6_mobility_1.pcap":             16,
		"zeek/mip6_bu.pcap":                        1,
		"wireshark/ikev2-decrypt-aes256cbc.pcapng": 4,
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			got, err := pcap.ReadAll(bytes.NewReader(vectors.Read(t, name)))
			if err != nil || len(got) != want {
				t.Errorf("%d packets, %v; want %d", len(got), err, want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(classic(binary.LittleEndian, 0xa1b2c3d4))
	f.Add(nextGen(binary.LittleEndian))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := pcap.ReadAll(bytes.NewReader(b))
		for _, k := range got {
			k.IPv6()
		}
	})
}
