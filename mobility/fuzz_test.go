package mobility_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/mip6/mip6/mobility"
)

// What was decoded without an error encodes, and decodes to the same again.

func FuzzDecodeMessage(f *testing.F) {
	for _, b := range goldens(f, "mh-") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again mobility.Message
		err := m.Decode(b)
		if err != nil && !errors.Is(err, mobility.ErrUnknownType) {
			return
		}
		got, err := m.AppendTo(nil)
		if err != nil {
			// Wire order may need no padding where ours does, and
			// authenticators of other lengths may stand where they fit.
			if !errors.Is(err, mobility.ErrEncode) {
				t.Fatalf("%+v: %v", m, err)
			}
			return
		}
		m.Checksum = 0
		if err := again.Decode(got); err != nil && !errors.Is(err, mobility.ErrUnknownType) {
			t.Fatalf("%x from %x: %v", got, b, err)
		}
		if !reflect.DeepEqual(m, again) {
			t.Errorf("%+v came back as %+v", m, again)
		}
	})
}

func FuzzDecodeDestOpts(f *testing.F) {
	for _, b := range goldens(f, "ext-") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, again mobility.DestOptions
		if _, err := d.Decode(b); err != nil {
			return
		}
		got, err := d.AppendTo(nil)
		if err != nil {
			if !errors.Is(err, mobility.ErrEncode) {
				t.Fatal(err)
			}
			return
		}
		_, err = again.Decode(got)
		d.HomeOffset, again.HomeOffset = 0, 0 // ours stands first
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Errorf("%+v came back as %+v, %v", d, again, err)
		}
	})
}

func FuzzDecodeICMP(f *testing.F) {
	for _, b := range goldens(f, "icmp-") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mobility.DecodeICMP(b)
		if err != nil {
			return
		}
		got, err := mobility.AppendICMP(nil, m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if again, err := mobility.DecodeICMP(got); err != nil || (len(got) == len(b) && !reflect.DeepEqual(again, m)) {
			t.Errorf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

func FuzzWalk(f *testing.F) {
	for _, b := range goldens(f, "packet-") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p mobility.Packet
		if err := p.Walk(b); err != nil && !errors.Is(err, mobility.ErrTruncated) {
			return
		}
		p.ChecksumOK()
		if p.Src.IsValid() && !bytes.HasPrefix(b[p.Offset:], p.Payload) {
			t.Errorf("payload %x is not at %d", p.Payload, p.Offset)
		}
		end := 40
		for _, h := range p.Headers() {
			if h.Offset != end || h.Len < 8 {
				t.Errorf("header %+v, expected at %d", h, end)
			}
			end += h.Len
		}
		if end != p.Offset {
			t.Errorf("payload at %d, headers end at %d", p.Offset, end)
		}
		var m mobility.Message
		_ = m.DecodeVerified(p.Payload, p.TransportSrc(), p.TransportDst())
	})
}
