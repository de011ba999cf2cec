package message

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/pcap"
	"github.com/mip6/mip6/internal/vectors"
)

func sel(s string, proto uint8, lo, hi uint16) Selector {
	x := PrefixSelector(netip.MustParsePrefix(s), proto)
	x.StartPort, x.EndPort = lo, hi
	return x
}

// sample is a message with every kind of payload.
func sample() (Header, []Body) {
	ps := []Body{
		SABody([]Proposal{
			{Number: 1, Protocol: ProtoESP, SPI: []byte{1, 2, 3, 4}, Transforms: []Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 5}}},
			{Number: 2, Protocol: ProtoESP, SPI: []byte{1, 2, 3, 4}, Transforms: []Transform{{Type: 1, ID: 12, KeyBits: 256}, {Type: 3, ID: 12}}},
		}),
		KE{Group: 31, Data: bytes.Repeat([]byte{9}, 32)}.Body(),
		{TypeIDi, FQDN("mn.example.org").Raw()},
		{TypeIDr, AddrIdentity(netip.MustParseAddr("2001:db8::1")).Raw()},
		Cert{4, []byte("certificate")}.Body(TypeCert),
		Cert{4, make([]byte, 20)}.Body(TypeCertReq),
		Auth{2, []byte("auth data")}.Body(),
		{TypeNonce, bytes.Repeat([]byte{3}, 32)},
		Notify{Protocol: ProtoESP, SPI: []byte{1, 2, 3, 4}, Type: RekeySA, Data: []byte{5}}.Body(),
		Notify{Type: UseTransportMode}.Body(),
		Delete{Protocol: ProtoESP, SPIs: []uint32{0x01020304, 5}}.Body(),
		{TypeVendor, []byte("vendor")},
		TSBody(TypeTSi, []Selector{sel("2001:db8::1/128", 135, 0x0500, 0x0500), sel("192.0.2.0/24", 0, 0, 65535)}),
		TSBody(TypeTSr, []Selector{sel("::/0", 58, 0x9200, 0x9300)}),
		CP{CFGRequest, []Attribute{{Type: AttrInternalIP6Address}, {Type: 99, Value: []byte{1, 2}}}}.Body(),
		{TypeEAP, []byte{1, 2, 0, 4}},
		{200, []byte("unknown")},
	}
	return Header{SPIi: 1, SPIr: 2, Exchange: IKEAuth, Flags: FlagInitiator, ID: 7}, ps
}

func parse(b []byte) (*Payloads, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	return Parse(h, b)
}

func TestRoundTrip(t *testing.T) {
	h, ps := sample()
	b := Plain(h, ps)
	got, err := ParseHeader(b)
	if err != nil || got.SPIi != 1 || got.SPIr != 2 || got.ID != 7 || got.Response() || !got.FromInitiator() {
		t.Fatal(got, err)
	}
	p, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.SA) != 2 || p.SA[1].Transforms[0] != (Transform{Type: 1, ID: 12, KeyBits: 256}) || p.KE.Group != 31 ||
		p.IDi.Identity != FQDN("mn.example.org") || p.IDr.Identity.String() != "2001:db8::1" || len(p.Certs) != 1 ||
		len(p.CertReqs) != 1 || string(p.Auth.Data) != "auth data" || len(p.Nonce) != 32 || len(p.Notifies) != 2 ||
		!reflect.DeepEqual(p.Deletes, []Delete{{ProtoESP, []uint32{0x01020304, 5}}}) || len(p.Vendors) != 1 ||
		p.TSi[0].String() != "2001:db8::1/128[135/0x0500]" || len(p.TSi) != 2 || p.TSr[0].EndPort != 0x9300 ||
		len(p.CP.Attributes) != 2 || p.EAP == nil || len(p.Unknown) != 1 {
		t.Errorf("%+v", p)
	}
	if spi, ok := p.Notify(RekeySA).ChildSPI(); !ok || spi != 0x01020304 {
		t.Error("REKEY_SA")
	}
}

func TestAnyOrder(t *testing.T) {
	h, ps := sample()
	want, err := parse(Plain(h, ps))
	if err != nil {
		t.Fatal(err)
	}
	for i := range ps {
		turned := append(append([]Body(nil), ps[i:]...), ps[:i]...)
		got, err := parse(Plain(h, turned))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Notifies) == 2 && got.Notifies[0].Type == UseTransportMode {
			got.Notifies[0], got.Notifies[1] = got.Notifies[1], got.Notifies[0]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("turned by %d: %+v", i, got)
		}
	}
}

func TestReservedBitsAreIgnored(t *testing.T) {
	h, ps := sample()
	b := Plain(h, ps)
	want, _ := parse(b)
	c := bytes.Clone(b)
	c[17] |= 0x0f        // minor version
	c[19] |= 0x40 | 0x10 // reserved flags
	for off := HeaderLen; off < len(c); off += int(binary.BigEndian.Uint16(c[off+2:])) {
		c[off+1] |= 0x7f
	}
	got, err := parse(c)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %+v", err, got)
	}
}

func TestCutEverywhere(t *testing.T) {
	h, ps := sample()
	b := Plain(h, ps)
	for n := range b {
		if _, err := parse(b[:n]); err == nil {
			t.Fatalf("cut at %d: accepted", n)
		}
		// With the length field put right the payloads are short.
		if n >= HeaderLen {
			c := bytes.Clone(b[:n])
			binary.BigEndian.PutUint32(c[24:], uint32(n))
			if _, err := parse(c); err == nil {
				t.Fatalf("cut at %d with its length: accepted", n)
			}
		}
	}
	if _, err := parse(append(bytes.Clone(b), 0)); !errors.Is(err, ErrSyntax) {
		t.Error("an octet too many", err)
	}
	for _, body := range ps { // each body cut for itself
		for n := range body.Data {
			p, err := parse(Plain(h, []Body{{body.Type, body.Data[:n]}}))
			_ = p
			if err != nil && !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrShort) {
				t.Errorf("type %d cut at %d: %v", body.Type, n, err)
			}
		}
	}
}

func TestCritical(t *testing.T) {
	b := Plain(Header{SPIi: 1, Exchange: IKESAInit}, []Body{{200, []byte("x")}})
	b[HeaderLen+1] = 0x80
	_, err := parse(b)
	var u *UnsupportedCritical
	if !errors.As(err, &u) || u.Type != 200 || !errors.Is(err, ErrUnsupported) {
		t.Fatal(err)
	}
	// On a payload that we know the bit says nothing.
	b = Plain(Header{SPIi: 1, Exchange: IKESAInit}, []Body{{TypeNonce, make([]byte, 16)}})
	b[HeaderLen+1] = 0x80
	if _, err := parse(b); err != nil {
		t.Error(err)
	}
}

func TestLengthRules(t *testing.T) {
	h := Header{SPIi: 1, Exchange: IKEAuth}
	sa := SABody([]Proposal{{Number: 1, Protocol: 3, SPI: make([]byte, 4), Transforms: []Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 5}}}}).Data
	edit := func(b []byte, f func([]byte)) []byte { c := bytes.Clone(b); f(c); return c }
	ts := TSBody(TypeTSi, []Selector{sel("::/0", 0, 0, 65535)}).Data
	bad := map[string]Body{
		"nonce of 15":              {TypeNonce, make([]byte, 15)},
		"nonce of 257":             {TypeNonce, make([]byte, 257)},
		"empty KE":                 {TypeKE, make([]byte, 4)},
		"empty ID":                 {TypeIDi, make([]byte, 4)},
		"IPv6 identity of 4":       {TypeIDi, append([]byte{5, 0, 0, 0}, 1, 2, 3, 4)},
		"IPv4 identity of 16":      {TypeIDr, append([]byte{1, 0, 0, 0}, make([]byte, 16)...)},
		"empty AUTH":               {TypeAuth, make([]byte, 4)},
		"empty CERT":               {TypeCert, nil},
		"notify SPI too long":      {TypeNotify, []byte{3, 9, 0x40, 9}},
		"delete with wrong count":  {TypeDelete, []byte{3, 4, 0, 2, 1, 2, 3, 4}},
		"delete with SPI size 3":   {TypeDelete, []byte{3, 3, 0, 1, 1, 2, 3}},
		"delete of IKE with SPI":   {TypeDelete, []byte{1, 4, 0, 1, 1, 2, 3, 4}},
		"TS without selectors":     {TypeTSi, make([]byte, 4)},
		"TS with wrong count":      {TypeTSi, edit(ts, func(b []byte) { b[0] = 2 })},
		"IPv4 selector of 40":      {TypeTSi, edit(ts, func(b []byte) { b[4] = 7 })},
		"selector length 7":        {TypeTSr, edit(ts, func(b []byte) { b[7] = 7 })},
		"attribute too long":       {TypeCP, []byte{1, 0, 0, 0, 0, 8, 0, 9, 1}},
		"proposal marker":          {TypeSA, edit(sa, func(b []byte) { b[0] = 1 })},
		"more proposals announced": {TypeSA, edit(sa, func(b []byte) { b[0] = 2 })},
		"proposal too long":        {TypeSA, edit(sa, func(b []byte) { b[3]++ })},
		"SPI size too large":       {TypeSA, edit(sa, func(b []byte) { b[6] = 200 })},
		"transform count":          {TypeSA, edit(sa, func(b []byte) { b[7] = 3 })},
		"too few transforms":       {TypeSA, edit(sa, func(b []byte) { b[7] = 1 })},
		"transform marker":         {TypeSA, edit(sa, func(b []byte) { b[12] = 0 })},
		"transform length":         {TypeSA, edit(sa, func(b []byte) { b[15] = 7 })},
		"empty SA":                 {TypeSA, nil},
	}
	for name, b := range bad {
		if p, err := parse(Plain(h, []Body{b})); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v %+v", name, err, p)
		}
	}
	for _, typ := range []PayloadType{TypeSA, TypeKE, TypeIDi, TypeIDr, TypeAuth, TypeNonce, TypeTSi, TypeTSr, TypeCP, TypeEAP} {
		_, ps := sample()
		for _, b := range ps {
			if b.Type == typ {
				if _, err := parse(Plain(h, []Body{b, b})); !errors.Is(err, ErrSyntax) {
					t.Errorf("two payloads of type %d: %v", typ, err)
				}
			}
		}
	}
	many := make([]Body, maxPayloads+1)
	for i := range many {
		many[i] = Body{TypeVendor, nil}
	}
	if _, err := parse(Plain(h, many)); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	if _, err := parse(Plain(h, many[1:])); err != nil {
		t.Error(err)
	}
}

func TestTransformAttributes(t *testing.T) {
	with := func(attr ...byte) Transform {
		b := append([]byte{0, 0, 0, byte(8 + len(attr)), 1, 0, 0, 20}, attr...)
		ts, err := parseTransforms(b, 1)
		if err != nil {
			t.Fatal(attr, err)
		}
		return ts[0]
	}
	if x := with(0x80, 14, 0, 128); x.Odd || x.KeyBits != 128 {
		t.Errorf("%+v", x)
	}
	for _, a := range [][]byte{{0x80, 15, 0, 1}, {0, 14, 0, 2, 0, 128}, {0x80, 14, 0, 0}, {0x80, 14, 0, 128, 0x80, 14, 0, 128}} {
		if x := with(a...); !x.Odd {
			t.Errorf("%v: %+v", a, x)
		}
	}
}

func TestHeader(t *testing.T) {
	b := Plain(Header{SPIi: 1, Exchange: IKESAInit}, nil)
	b[17] = 0x30
	if _, err := ParseHeader(b); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	b[17] = 0x21
	if _, err := ParseHeader(b); err != nil {
		t.Error("minor version", err)
	}
	b[27]++
	if _, err := ParseHeader(b); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

func TestIntersect(t *testing.T) {
	any6 := sel("::/0", 0, 0, 65535)
	hoa := sel("2001:db8::1/128", 0, 0, 65535)
	mh := sel("2001:db8::1/128", 135, 0, 65535)
	bu := sel("2001:db8::1/128", 135, 0x0500, 0x0500)
	buba := sel("2001:db8::1/128", 135, 0x0500, 0x0600)
	opaque := sel("2001:db8::1/128", 135, 65535, 0)
	for _, c := range []struct {
		a, b Selector
		want *Selector
	}{
		{any6, hoa, &hoa}, {hoa, any6, &hoa}, {mh, hoa, &mh}, {bu, mh, &bu}, {buba, bu, &bu}, {mh, buba, &buba},
		{bu, sel("2001:db8::2/128", 135, 0, 65535), nil}, {bu, sel("2001:db8::1/128", 58, 0, 65535), nil},
		{bu, sel("2001:db8::1/128", 135, 0x0600, 0x0600), nil}, {any6, sel("0.0.0.0/0", 0, 0, 65535), nil},
		{opaque, mh, &opaque}, {opaque, opaque, &opaque}, {opaque, bu, nil}, {bu, opaque, nil},
	} {
		for _, p := range [][2]Selector{{c.a, c.b}, {c.b, c.a}} {
			got, ok := p[0].Intersect(p[1])
			if ok != (c.want != nil) || ok && got != *c.want {
				t.Errorf("%v ∩ %v = %v %v", p[0], p[1], got, ok)
			}
		}
	}
	if !Covers([]Selector{any6}, []Selector{bu, hoa}) || Covers([]Selector{bu}, []Selector{mh}) {
		t.Error("Covers")
	}
	if p, ok := sel("2001:db8::/37", 0, 0, 65535).Prefix(); !ok || p.String() != "2001:db8::/37" {
		t.Error(p)
	}
	if _, ok := (Selector{Start: netip.MustParseAddr("::1"), End: netip.MustParseAddr("::4")}).Prefix(); ok {
		t.Error("a range is no prefix")
	}
}

func TestIdentity(t *testing.T) {
	for _, s := range []string{"mn.example.org", "mn@example.org", "2001:db8::1", "192.0.2.1", "keyid:0a0b", "dn:3000"} {
		id, err := ParseIdentity(s)
		if err != nil || id.String() != s {
			t.Errorf("%s: %v %v", s, id, err)
		}
	}
	for _, s := range []string{"", "keyid:", "keyid:xyz"} {
		if _, err := ParseIdentity(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
	if FQDN("A.Example").Fold() != FQDN("a.example") {
		t.Error("fold")
	}
	if s := FQDN("a\n\x1b[31mb").String(); strings.ContainsAny(s, "\n\x1b") {
		t.Errorf("%q", s)
	}
}

func TestAndroidVectors(t *testing.T) {
	var rows []struct{ File, Name, Hex string }
	if err := json.Unmarshal(vectors.Read(t, "android-ike/constants.json"), &rows); err != nil {
		t.Fatal(err)
	}
	get := func(name string) []byte {
		for _, r := range rows {
			if r.Name == name {
				b, err := hex.DecodeString(r.Hex)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
		}
		t.Fatal("no row " + name)
		return nil
	}
	p, err := parse(get("IKE_SA_INIT_RAW_PACKET"))
	if err != nil || p.SA == nil || p.KE == nil || p.Nonce == nil {
		t.Fatal(err)
	}
	id, err := parseID(get("IPV6_ADDR_ID_PAYLOAD_RESPONDER_BODY_HEX_STRING"))
	if err != nil || id.Identity.Type != IDIPv6 || id.Identity.String() != "0:2001:0:db8::1" {
		t.Error(id, err)
	}
	if !bytes.Equal(id.Identity.Raw(), id.Raw) {
		t.Error("identity does not encode as it came")
	}
	// An SA payload encodes again to the same octets.
	for _, name := range []string{"IKE_AUTH_REQ_SA_PAYLOAD", "IKE_AUTH_RESP_SA_PAYLOAD"} {
		raw := get(name)[4:]
		ps, err := parseSA(raw)
		if err != nil || !bytes.Equal(SABody(ps).Data, raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"INBOUND_PROPOSAL_RAW_PACKET", "INBOUND_TWO_PROPOSAL_RAW_PACKET", "OUTBOUND_PROPOSAL_RAW_PACKET"} {
		raw := get(name)
		ps, err := parseSA(raw)
		if err != nil || !bytes.Equal(SABody(ps).Data, raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dec := get("IKE_AUTH_INIT_REQUEST_DECRYPTED_BODY_HEX_STRING")
	in, err := ParseInner(TypeIDi, dec)
	if err != nil || in.Auth == nil || in.TSi == nil || in.TSr == nil {
		t.Errorf("%v %+v", err, in)
	}
}

func TestScapyVectors(t *testing.T) {
	var rows []struct{ ID, Root, Hex string }
	if err := json.Unmarshal(vectors.Read(t, "scapy/ikev2_vectors.json"), &rows); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range rows {
		b, err := hex.DecodeString(r.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte{0x21, 0x20, 0x22}); i >= 16 { // SA first, version 2, IKE_SA_INIT
			n++
			p, err := parse(b[i-16:])
			if err != nil || len(p.SA) != 1 || p.KE == nil || p.Nonce == nil || len(p.Notifies) < 2 {
				t.Errorf("%s: %v %+v", r.ID, err, p)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d messages", n)
	}
}

// captured returns the IKE messages of a capture.
func captured(t testing.TB, name string) [][]byte {
	f, err := os.Open(vectors.Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pkts, err := pcap.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, p := range pkts {
		for _, at := range []int{14 + 20 + 8, 14 + 40 + 8, 20 + 8} {
			if len(p.Data) > at+HeaderLen {
				b := p.Data[at:]
				if n := binary.BigEndian.Uint32(b[24:]); int(n) <= len(b) && n >= HeaderLen && b[17]&0xf0 == 0x20 {
					out = append(out, b[:n])
				}
			}
		}
	}
	return out
}

var captures = []string{
	"wireshark/ikev2-decrypt-aes256gcm16.pcap", "wireshark/ikev2-decrypt-3des-sha1_160.pcap",
	"wireshark/ikev2-decrypt-aes128ccm12.pcap", "tcpdump/ikev2four.pcap", "libreswan/01-isakmp-vid-first.pcap",
	"ndpi/ipsec_isakmp_esp.pcap",
}

func TestCaptures(t *testing.T) {
	total := 0
	for _, name := range captures {
		for i, b := range captured(t, name) {
			total++
			if p, err := parse(b); err != nil {
				t.Errorf("%s message %d: %v", name, i, err)
			} else if h, _ := ParseHeader(b); h.Exchange == IKEAuth && p.SK == nil {
				t.Errorf("%s message %d: no SK", name, i)
			}
		}
	}
	if total < 20 {
		t.Errorf("%d messages", total)
	}
}

func FuzzParse(f *testing.F) {
	h, ps := sample()
	f.Add(Plain(h, ps))
	f.Add(fragmentMessage(TypeIDi, 1, 3, []byte("what is protected")))
	f.Add(fragmentMessage(0, 3, 3, nil))
	for _, name := range captures {
		if os.Getenv(vectors.Env) != "" {
			for i, b := range captured(f, name) {
				if i < 8 {
					f.Add(b)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if (p == nil) == (err == nil) {
			t.Fatal("neither or both of payloads and error")
		}
		if len(b) > HeaderLen {
			_, _ = ParseInner(PayloadType(b[16]), b[HeaderLen:])
		}
		if err != nil {
			return
		}
		if p.SA != nil { // what is understood encodes again
			for _, x := range p.SA {
				for _, y := range x.Transforms {
					if y.Odd {
						return
					}
				}
			}
			again, err := parseSA(SABody(p.SA).Data)
			if err != nil || !reflect.DeepEqual(again, p.SA) {
				t.Fatalf("%+v %+v %v", p.SA, again, err)
			}
		}
	})
}
