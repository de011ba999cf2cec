package lab

import (
	"context"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTraffic runs TCP and UDP over the delayed path and through a loss of carrier.
func TestTraffic(t *testing.T) {
	ctx, l := start(t, DefaultPlan())
	p := l.Plan
	coa := soliciteAddr(ctx, t, l, Foreign1)

	udp, err := l.Datagrams(CN, p.CN, MN, coa, 7001, 500, 100)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := l.Stream(ctx, MN, coa, CN, p.CN, 7002, true, 200_000)
	if err != nil {
		t.Fatal(err)
	}
	if err := tcp.WaitProgress(ctx, 200_000, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	down, _, err := l.Move(ctx, None)
	if err != nil {
		t.Fatal(err)
	}
	lost := func() error {
		if _, n := udp.Count(down, time.Now().Add(-100*time.Millisecond)); n < 20 {
			return errNotYet
		}
		return nil
	}
	if err := poll(ctx, 5*time.Second, "20 lost datagrams", lost); err != nil {
		t.Error(err)
	}
	if _, _, err := l.Move(ctx, Foreign1); err != nil {
		t.Fatal(err)
	}
	if err := tcp.WaitProgress(ctx, 100_000, 20*time.Second); err != nil {
		t.Error(err)
	}
	back := time.Now()
	var sent, n int
	arrived := func() error { // the last 100 ms may be on their way
		if sent, n = udp.Count(back, time.Now().Add(-100*time.Millisecond)); sent < 100 {
			return errNotYet
		}
		return nil
	}
	if err := poll(ctx, 5*time.Second, "100 datagrams", arrived); err != nil || n != 0 {
		t.Errorf("with carrier again %d of %d datagrams lost: %v", n, sent, err)
	}
	all, allLost, _ := udp.Stop()
	r := tcp.Stop()
	t.Logf("UDP: %d of %d lost; TCP: %+v", allLost, all, r)
	if !r.Survived || r.Retransmits == 0 || r.Stall < 50*time.Millisecond || r.StallStart.After(back) {
		t.Errorf("TCP: %+v", r)
	}
	if r.MSS != 1428 {
		t.Errorf("MSS %d, want 1428 (1500 - 40 - 20 - 12 of time stamps)", r.MSS)
	}
}

// soliciteAddr asks for an advertisement and waits for the address on the link.
func soliciteAddr(ctx context.Context, t *testing.T, l *Lab, on Link) netip.Addr {
	t.Helper()
	if err := l.Solicit(ctx, MN, MNIface); err != nil {
		t.Fatal(err)
	}
	a, err := l.WaitAddr(ctx, MN, MNIface, l.Plan.Prefix(on), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestKeysAndMonitor sets manual SAs with ip, migrates one with a hand-made message
// and checks what the monitor, the dumps, the captures and tshark tell of it.
func TestKeysAndMonitor(t *testing.T) {
	ctx, l := start(t, DefaultPlan())
	p := l.Plan
	coa := soliciteAddr(ctx, t, l, Foreign1)
	before, err := l.Dump(ctx, MN)
	if err != nil {
		t.Fatal(err)
	}
	mon, err := l.MonitorXfrm(MN)
	if err != nil {
		t.Fatal(err)
	}
	caps, err := l.Capture(l.path("pcap"))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := hex.DecodeString(strings.Repeat("0123456789abcdef", 2) + "fedcba98")
	for _, host := range []string{MN, CN} {
		for _, sa := range []string{
			"src " + coa.String() + " dst " + p.CN.String() + " spi 0x1001", "src " + p.CN.String() + " dst " + coa.String() + " spi 0x1002",
		} {
			xfrm(ctx, t, l, host, "state add "+sa+" proto esp reqid 7 mode transport aead rfc4106(gcm(aes)) 0x"+hex.EncodeToString(key)+" 128")
		}
	}
	xfrm(ctx, t, l, MN, "policy add src "+coa.String()+"/128 dst "+p.CN.String()+"/128 dir out priority 9 tmpl proto esp reqid 7 mode transport")
	xfrm(ctx, t, l, CN, "policy add src "+p.CN.String()+"/128 dst "+coa.String()+"/128 dir out priority 9 tmpl proto esp reqid 7 mode transport")
	begin := time.Now()
	checkPing(t, l, coa)
	now := time.Now()
	if err := migrate(l.Host(MN), coa, p.CN, p.SLAAC(Foreign2)); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	messages, err := mon.Stop()
	if err != nil {
		t.Fatal(err)
	}
	checkMessages(t, messages, mon.Migrations(now, time.Now()), coa, p)
	if err := caps.Stop(); err != nil {
		t.Error(err)
	}
	keys, err := NewKeys(l.path("wireshark"))
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.AddESP(ESPKey{Src: coa.String(), Dst: "*", SPI: 0x1001, Key: key}); err != nil {
		t.Fatal(err)
	}
	file := l.path("pcap/router-core0.pcapng")
	rows, err := Tshark(ctx, keys, file, "icmpv6.type==128 && "+During(begin, now), "esp.spi", "ipv6.src", "icmpv6.type")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := ReadCapture(file, begin, now)
	if err != nil {
		t.Fatal(err)
	}
	esp := 0
	for _, s := range seen {
		if s.Proto == unix.IPPROTO_ESP && s.SPI == 0x1001 && s.Src == coa {
			esp++
		}
	}
	if len(rows) < 5 || len(rows) != esp || rows[0][0] != "0x00001001" || rows[0][1] != coa.String() {
		t.Errorf("tshark decrypted %d echo requests of %d ESP packets: %v", len(rows), esp, rows)
	}
	after, err := l.Dump(ctx, MN)
	if err != nil {
		t.Fatal(err)
	}
	diff := before.Diff(after)
	for _, want := range []string{"xfrm state: + \tproto esp spi 0x00001001 reqid 7 mode transport", "xfrm policy: + "} {
		if !strings.Contains(diff, want) {
			t.Errorf("the dumps' difference lacks %q:\n%s", want, diff)
		}
	}
	xfrm(ctx, t, l, MN, "state flush")
	xfrm(ctx, t, l, MN, "policy flush")
	if after, err = l.Dump(ctx, MN); err != nil {
		t.Fatal(err)
	}
	if diff := before.Diff(after); diff != "" {
		t.Errorf("after all is gone the host differs:\n%s", diff)
	}
}

func xfrm(ctx context.Context, t *testing.T, l *Lab, host, args string) {
	t.Helper()
	if _, err := l.Host(host).Output(ctx, "ip", append([]string{"xfrm"}, strings.Fields(args)...)...); err != nil {
		t.Fatal(err)
	}
}

// checkMessages checks the monitor's record of TestKeysAndMonitor.
func checkMessages(t *testing.T, all, migrations []XfrmMessage, coa netip.Addr, p Plan) {
	t.Helper()
	var types []string
	for _, m := range all {
		types = append(types, m.Type)
	}
	if got := strings.Join(types, " "); got != "newsa newsa newpolicy migrate" {
		t.Fatalf("messages %s", got)
	}
	if sa := all[0].SA; sa == nil || *sa != (XfrmSA{Src: coa.String(), Dst: p.CN.String(), SPI: 0x1001, Proto: 50, ReqID: 7}) {
		t.Errorf("newsa %+v", sa)
	}
	if pol := all[2]; pol.Dir != "out" || pol.Priority != 9 || pol.Selector.Src != coa.String()+"/128" {
		t.Errorf("newpolicy %+v %+v", pol, pol.Selector)
	}
	if len(migrations) != 1 {
		t.Fatalf("%d migrations", len(migrations))
	}
	m := migrations[0]
	move := XfrmMove{OldSrc: coa.String(), OldDst: p.CN.String(), NewSrc: p.SLAAC(Foreign2).String(), NewDst: p.CN.String(), Proto: 50, ReqID: 7}
	if m.Dir != "out" || len(m.Moves) != 1 || m.Moves[0] != move || m.KM == nil || m.KM.Local != move.NewSrc || m.KM.Remote != move.NewDst {
		t.Errorf("migrate %+v %+v", m, m.KM)
	}
}

// migrate moves the outbound transport SA with reqid 7 from one source to another by
// a message put together by hand.
func migrate(h *Host, from, to, newFrom netip.Addr) error {
	cat := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	a := func(x netip.Addr) []byte { b := x.As16(); return b[:] }
	family := []byte{unix.AF_INET6, 0}
	sel := cat(a(to), a(from), make([]byte, 8), family, []byte{128, 128, 0, 0, 0, 0}, make([]byte, 8))
	id := cat(sel, make([]byte, 4), []byte{1, 0, 0, 0}) // out
	move := cat(a(to), a(from), a(to), a(newFrom), []byte{50, 0, 0, 0, 7, 0, 0, 0}, family, family)
	km := cat(a(newFrom), a(to), make([]byte, 4), family, []byte{0, 0})
	body := cat(id, []byte{80, 0, xfrmaMigrate, 0}, move, []byte{44, 0, xfrmaKMAddress, 0}, km)
	msg := cat([]byte{byte(len(body) + 16), byte((len(body) + 16) >> 8), 0, 0, xfrmMigrate, 0, unix.NLM_F_REQUEST | unix.NLM_F_ACK, 0, 1, 0, 0, 0, 0, 0, 0, 0}, body)
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_XFRM)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		answer := make([]byte, 4096)
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		if n >= 20 && (answer[16] != 0 || answer[17] != 0) {
			return unix.Errno(-int32(uint32(answer[16]) | uint32(answer[17])<<8 | uint32(answer[18])<<16 | uint32(answer[19])<<24))
		}
		return nil
	})
}
