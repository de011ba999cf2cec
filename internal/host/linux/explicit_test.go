package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// encode encodes a message without a checksum.
func encode(t *testing.T, body mobility.Body) []byte {
	t.Helper()
	b, err := (&mobility.Message{Body: body}).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// update and ack are a mobile node's and its correspondent's messages: a is the node with the
// care-of address addrA, b the correspondent.
func update(t *testing.T) host.MH {
	return host.MH{Src: homeA, CareOf: addrA, Dst: addrB,
		Data: encode(t, mobility.BindingUpdate{Seq: 0x1234, Lifetime: 400})}
}

func ack(t *testing.T) host.MH {
	return host.MH{Src: addrB, CareOf: addrA, Dst: homeA, RouteHeader: true,
		Data: encode(t, mobility.BindingAck{Seq: 0x1234, Lifetime: 400})}
}

// dissect has tshark read a frame, and gives the fields that it finds.
func dissect(t *testing.T, frame []byte, fields ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	// A capture file of one Ethernet frame (magic, version, zone, accuracy, snapshot length, link type; time, lengths)
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = le.AppendUint32(le.AppendUint32(le.AppendUint32(le.AppendUint32(b, 0), 0), 65535), 1)
	b = le.AppendUint32(le.AppendUint32(b, 0), 0)
	b = append(le.AppendUint32(le.AppendUint32(b, uint32(len(frame))), uint32(len(frame))), frame...)
	file := filepath.Join(t.TempDir(), "frame.pcap")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "separator=;"}
	for _, f := range append(fields, "_ws.expert", "_ws.malformed") {
		args = append(args, "-e", f)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), ";")
}

// plainSum adds 16-bit words as RFC 1071 §1 does, one after the other.
func plainSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
		if s > 0xffff {
			s -= 0xffff
		}
	}
	return uint16(s)
}

// Both forms on the wire, as tshark reads them; the link's other end knows no Mobile IPv6.
func TestExplicit(t *testing.T) {
	a, b := joined(t)
	ha, hb := a.open(Options{}), b.open(Options{})
	at, bt := a.capture("va"), b.capture("vb")
	mh := func(f []byte) bool { return len(f) > 14+40+24+8 && f[14+40] == mobility.ProtoMobility }

	must(t, ha, host.SendMH{MH: update(t)})
	frame := bt.wait("a binding update", mh)
	got := dissect(t, frame, "ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.dstopts.nxt", "ipv6.opt.type", "ipv6.opt.mipv6.home_address",
		"mip6.mhtype", "mip6.bu.seqnr")
	want := []string{addrA.String(), addrB.String(), "64", "135", "0x01,0xc9", homeA.String(), "5", "4660", "", ""}
	if strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("tshark reads %q, want %q", got, want)
	}
	checkSum(t, frame, homeA, addrB)
	if off := bytes.Index(frame[14+40:], []byte{mobility.OptHomeAddr, 16}); off%8 != 6 {
		t.Errorf("home address option at %d of its header (RFC 6275 §6.3: 8n+6)", off)
	}

	must(t, hb, host.SendMH{MH: ack(t)})
	frame = at.wait("a binding acknowledgement", mh)
	got = dissect(t, frame, "ipv6.src", "ipv6.dst", "ipv6.routing.nxt", "ipv6.routing.type", "ipv6.routing.segleft",
		"ipv6.routing.mipv6.home_address", "mip6.mhtype", "mip6.ba.seqnr")
	want = []string{addrB.String(), addrA.String(), "135", "2", "1", homeA.String(), "6", "4660", "", ""}
	if strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("tshark reads %q, want %q", got, want)
	}
	checkSum(t, frame, addrB, homeA)
}

// checkSum verifies the message behind 24 octets of extension header by hand.
func checkSum(t *testing.T, frame []byte, src, dst netip.Addr) {
	t.Helper()
	p := frame[14:]
	mh := p[40+24 : 40+int(binary.BigEndian.Uint16(p[4:]))]
	pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, 0, 0, byte(len(mh)), 0, 0, 0, mobility.ProtoMobility)
	if s := plainSum(append(pseudo, mh...)); s != 0xffff {
		t.Errorf("sum %#x over %v, %v and the message", s, src, dst)
	}
}

// Policies are asked about the addresses on the wire, not about home addresses, and the
// message may leave from an address of another interface.
func TestExplicitPolicy(t *testing.T) {
	a, b := joined(t)
	ha := a.open(Options{})
	c := b.capture("vb")
	mh := func(f []byte) bool { return f[14+6] == mobility.ProtoDestOpts || f[14+6] == mobility.ProtoRouting }
	policy := func(src, dst netip.Addr) {
		t.Helper()
		if out, err := a.run(fmt.Sprintf("ip xfrm policy add src %v dst %v proto 135 dir out action block", src, dst)); err != nil {
			t.Skipf("the kernel has no IPsec policies: %s", out)
		}
	}
	there := netip.MustParseAddr("2001:db8:3::c")
	a.ip(fmt.Sprintf("addr add %v/128 dev lo nodad", there))
	b.ip(fmt.Sprintf("route add %v/128 dev vb", there))
	back := host.MH{Src: addrA, Dst: homeA, CareOf: addrB, RouteHeader: true, Data: refreshRequest()}
	policy(homeA, addrB)
	policy(addrA, homeA)
	for _, m := range []host.MH{update(t), {Src: homeA, CareOf: there, Dst: addrB, Data: refreshRequest()}, back} {
		must(t, ha, host.SendMH{MH: m})
		src, _ := explicitAddrs(m)
		if f := c.wait("the message", mh); !bytes.Equal(f[14+8:][:16], src.AsSlice()) {
			t.Errorf("%+v left from %x", m, f[14+8:][:16])
		}
	}
	policy(addrA, addrB)
	for _, m := range []host.MH{update(t), back} {
		if err := one(ha, host.SendMH{MH: m}); !errors.Is(err, ErrBlocked) {
			t.Errorf("%+v with a blocking policy: %v", m, err)
		}
	}
	must(t, ha, host.SendMH{MH: host.MH{Src: homeA, CareOf: there, Dst: addrB, Data: refreshRequest()}})
}

func TestExplicitErrors(t *testing.T) {
	a, _ := joined(t)
	h := a.open(Options{})
	m := update(t)
	m.CareOf = netip.MustParseAddr("2001:db8::7")
	if err := one(h, host.SendMH{MH: m}); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), m.CareOf.String()) {
		t.Errorf("from a care-of address that is not here: %v", err)
	}
	a.setSysctl("net/ipv6/conf/va/accept_dad", "1")
	a.setSysctl("net/ipv6/conf/va/dad_transmits", "30")
	a.ip("addr add 2001:db8::7/64 dev va")
	if err := one(h, host.SendMH{MH: m}); !errors.Is(err, ErrSource) {
		t.Errorf("from a tentative care-of address: %v", err)
	}
	m = update(t)
	m.Dst = netip.MustParseAddr("2001:db8:ffff::1")
	if err := one(h, host.SendMH{MH: m}); err == nil || errors.Is(err, ErrSource) {
		t.Errorf("without a route: %v", err)
	}
	for _, spoil := range []func(*host.MH){
		func(m *host.MH) { m.Src = netip.Addr{} },
		func(m *host.MH) { m.Dst = netip.Addr{} },
		func(m *host.MH) { m.CareOf = netip.MustParseAddr("192.0.2.1") },
		func(m *host.MH) { m.Data = m.Data[:4] },
		func(m *host.MH) { m.Data = make([]byte, 2056) },
	} {
		m := update(t)
		spoil(&m)
		if err := one(h, host.SendMH{MH: m}); err == nil {
			t.Errorf("sent %+v", m)
		}
	}
}

// A node without Mobile IPv6 says so.
func TestExplicitRefused(t *testing.T) {
	if os.Getenv("MIP6_KERNEL") != "" {
		t.Skip("needs a kernel without MIP6")
	}
	a, _ := joined(t)
	h := a.open(Options{})
	l := watch(t, h)
	wait(l, "a is up", linkIs("va", true))
	must(t, h, host.SendMH{MH: update(t)})
	e := wait(l, "the error", func(host.ICMPError) bool { return true })
	if e.Type != 4 || e.Code != 2 || e.Pointer != 46 || !e.Refuses || e.Home != homeA || e.Src != addrA || e.Dst != addrB || !e.MH || e.From != addrB {
		t.Errorf("about a home address option: %+v", e)
	}
	must(t, h, host.SendMH{MH: host.MH{Src: addrA, Dst: homeA, CareOf: addrB, RouteHeader: true, Data: refreshRequest()}})
	e = wait(l, "the error", func(host.ICMPError) bool { return true })
	if e.Type != 4 || e.Code != 0 || e.Pointer != 42 || !e.Refuses || e.Final != homeA || e.Dst != addrB || !e.MH {
		t.Errorf("about a routing header: %+v", e)
	}
}

// away is a care-of address behind a router a that cannot reach it.
var away = netip.MustParseAddr("2001:db8:3::c")

func behindRouter(t *testing.T, a, b *space) {
	t.Helper()
	a.setSysctl("net/ipv6/conf/all/forwarding", "1")
	a.ip(fmt.Sprintf("route add unreachable %v/128", away))
	b.ip(fmt.Sprintf("route add %v/128 via %v", away, addrA))
}

// A router on the way tells of what it cannot deliver, with the routing header that it did not
// have to understand.
func TestExplicitUnreachable(t *testing.T) {
	a, b := joined(t)
	behindRouter(t, a, b)
	hb := b.open(Options{})
	lb := watch(t, hb)
	wait(lb, "b is up", linkIs("vb", true))
	m := ack(t)
	m.CareOf = away
	must(t, hb, host.SendMH{MH: m})
	e := wait(lb, "the error", func(host.ICMPError) bool { return true })
	if e.Type != 1 || e.From != addrA || e.Src != addrB || e.Dst != away || e.Final != homeA || e.Home.IsValid() || !e.MH || e.Refuses || e.Pointer != 0 {
		t.Errorf("%+v", e)
	}
}
