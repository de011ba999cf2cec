package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// counting opens a Host that counts from addrA to addrB, or skips where nft cannot make a
// table either.
func counting(t *testing.T, n *space) *Host {
	t.Helper()
	h := n.open(Options{})
	err := one(h, host.PutCounter{Src: addrA, Dst: addrB})
	if err == nil {
		return h
	}
	if out, e := n.run("nft add table ip6 probe"); errors.Is(err, host.ErrNoCounter) && e != nil {
		t.Skipf("%v; nft: %v %s", err, e, out)
	}
	t.Fatal(err)
	return nil
}

// udp sends k datagrams of an application.
func (n *space) udp(src, dst netip.Addr, k int) {
	n.t.Helper()
	n.in(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			n.t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, sockaddr(src, 0)); err != nil {
			n.t.Fatal(err)
		}
		for range k {
			if err := unix.Sendto(fd, []byte("data"), 0, &unix.SockaddrInet6{Port: 9999, Addr: dst.As16()}); err != nil {
				n.t.Fatal(err)
			}
		}
	})
}

// counted fails unless a counter has the number.
func counted(t *testing.T, h *Host, src, dst netip.Addr, want uint64) {
	t.Helper()
	if got, err := h.Count(context.Background(), src, dst); err != nil || got != want {
		t.Errorf("from %v to %v: %d, %v, want %d", src, dst, got, err, want)
	}
}

// A kernel without nf_tables for IPv6: user-mode Linux has none, and from others it is
// kept away before the first test that needs it.
func TestCountMissing(t *testing.T) {
	const modprobe = "/proc/sys/kernel/modprobe"
	if os.Getenv("MIP6_KERNEL") == "" {
		t.Skip("takes nf_tables away from the kernel (go run ./integration/cmd/vmtest ./internal/host/linux)")
	}
	a, _ := joined(t)
	h := a.open(Options{})
	was, err := os.ReadFile(modprobe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(modprobe, []byte("/nonexistent"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(modprobe, was, 0)
	for range 2 {
		err := one(h, host.PutCounter{Src: addrA, Dst: addrB})
		if err == nil {
			t.Skip("nf_tables is loaded already")
		}
		if !errors.Is(err, host.ErrNoCounter) || !errors.Is(err, ErrFeature) {
			t.Errorf("without nf_tables: %v", err)
		}
	}
	must(t, h, host.DelCounter{Src: addrA, Dst: addrB})
	if _, err := h.Count(context.Background(), addrA, addrB); !errors.Is(err, host.ErrNoCounter) {
		t.Errorf("without nf_tables: %v", err)
	}
}

func TestCount(t *testing.T) {
	a, b := joined(t)
	h := counting(t, a)
	other := netip.MustParseAddr("2001:db8::99")
	b.ip(fmt.Sprintf("addr add %v/64 dev vb nodad", other))
	a.ip(fmt.Sprintf("addr add %v/128 dev lo nodad", homeA))
	must(t, h, host.PutCounter{Src: homeA, Dst: addrB})
	counted(t, h, addrA, addrB, 0)
	a.udp(addrA, addrB, 3)
	a.udp(homeA, addrB, 2)
	a.udp(addrA, other, 1)
	must(t, h, host.SendMH{MH: host.MH{Src: addrA, Dst: addrB, Data: refreshRequest()}})
	counted(t, h, addrA, addrB, 3)
	counted(t, h, homeA, addrB, 2)
	for _, p := range [][2]netip.Addr{{addrA, other}, {addrB, addrA}} {
		if _, err := h.Count(context.Background(), p[0], p[1]); !errors.Is(err, host.ErrNoCounter) {
			t.Errorf("without a counter: %v", err)
		}
	}
	must(t, h, host.PutCounter{Src: addrA, Dst: addrB}) // counts on
	a.udp(addrA, addrB, 1)
	counted(t, h, addrA, addrB, 4)
	must(t, h, host.DelCounter{Src: addrA, Dst: addrB}, host.DelCounter{Src: addrA, Dst: addrB})
	if _, err := h.Count(context.Background(), addrA, addrB); !errors.Is(err, host.ErrNoCounter) {
		t.Errorf("a counter that was deleted: %v", err)
	}
	a.udp(addrA, addrB, 1)
	must(t, h, host.PutCounter{Src: addrA, Dst: addrB})
	counted(t, h, addrA, addrB, 0)
	a.udp(homeA, addrB, 1)
	counted(t, h, homeA, addrB, 3)
	if err := one(h, host.PutCounter{Src: addrA, Dst: netip.MustParseAddr("192.0.2.1")}); err == nil {
		t.Error("a counter for IPv4")
	}
}

// table lists the table as nft reads it.
func (n *space) table() (string, error) {
	n.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		n.t.Skip("needs nft of nftables")
	}
	return n.run("nft list table ip6 " + countTable)
}

// The table belongs to the program: others see it, do not change it, and it goes when the
// program goes, without a word of it as after a crash.
func TestCountTable(t *testing.T) {
	a, _ := joined(t)
	h := counting(t, a)
	a.udp(addrA, addrB, 2)
	out, err := a.table()
	for _, want := range []string{"flags owner", "type ipv6_addr . ipv6_addr : counter", "packets 2 ", fmt.Sprintf("%v . %v :", addrA, addrB),
		"hook output", "counter name ip6 saddr . ip6 daddr map @pairs"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("no %q: %v\n%s", want, err, out)
		}
	}
	if out, err := a.run("nft flush ruleset"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	a.udp(addrA, addrB, 1)
	counted(t, h, addrA, addrB, 3)

	second := a.open(Options{})
	if err := one(second, host.PutCounter{Src: addrA, Dst: addrB}); !errors.Is(err, host.ErrNoCounter) || !errors.Is(err, ErrForeign) {
		t.Errorf("another program's table: %v", err)
	}
	h.counters.nft.s.close()
	if out, err := a.table(); err == nil {
		t.Errorf("still there: %s", out)
	}
	must(t, second, host.PutCounter{Src: addrA, Dst: addrB})
	counted(t, second, addrA, addrB, 0)
	second.Close()
	if out, err := a.table(); err == nil {
		t.Errorf("still there: %s", out)
	}
	if _, err := second.Count(context.Background(), addrA, addrB); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// The two privileges that the daemon keeps suffice; without them it is told so.
func TestCountPrivileges(t *testing.T) {
	a, _ := joined(t)
	counting(t, a).Close()
	caps := func(mask uint32) error {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{{Effective: mask, Permitted: mask}}
		return unix.Capset(&hdr, &data[0])
	}
	a.in(func() {
		if err := caps(1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW); err != nil {
			t.Fatal(err)
		}
		h, err := Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		must(t, h, host.PutCounter{Src: addrA, Dst: addrB})
		counted(t, h, addrA, addrB, 0)
		if err := caps(0); err != nil {
			t.Fatal(err)
		}
		if err := one(h, host.PutCounter{Src: addrB, Dst: addrB}); !errors.Is(err, host.ErrPermission) || !errors.Is(err, host.ErrNoCounter) {
			t.Errorf("without privileges: %v", err)
		}
	})
}

// What IPsec makes of a packet is no second one, and the headers of route optimization hide none.
func TestCountTransformed(t *testing.T) {
	a, _ := correspondents(t)
	h := counting(t, a)
	must(t, h, host.PutCounter{Src: homeA, Dst: addrB})
	a.ip(fmt.Sprintf("xfrm state add src %v dst %v proto hao mode ro coa %v", homeA, addrB, addrA))
	a.ip(fmt.Sprintf("xfrm policy add src %v dst %v dir out priority 18 tmpl src %v dst %v proto hao mode ro", homeA, addrB, homeA, addrB))
	a.udp(homeA, addrB, 2)
	counted(t, h, homeA, addrB, 2)
	key := "0x" + strings.Repeat("01", 20)
	a.ip(fmt.Sprintf("xfrm state add src %v dst %v proto esp spi 0x100 mode transport aead rfc4106(gcm(aes)) %s 128", addrA, addrB, key))
	a.ip(fmt.Sprintf("xfrm policy add src %v dst %v dir out priority 18 tmpl src %v dst %v proto esp mode transport", addrA, addrB, addrA, addrB))
	a.udp(addrA, addrB, 3)
	counted(t, h, addrA, addrB, 3)
}

func TestParseCounter(t *testing.T) {
	number := func(v uint64) []byte {
		return appendAttr(nil, unix.NFTA_COUNTER_PACKETS, binary.BigEndian.AppendUint64(nil, v))
	}
	good := nftNest(nftName(nil, unix.NFTA_OBJ_NAME, "x"), unix.NFTA_OBJ_DATA, number(7))
	if v, ok := parseCounter(good); !ok || v != 7 {
		t.Errorf("%d, %v", v, ok)
	}
	for n := range good {
		if v, ok := parseCounter(good[:n]); ok {
			t.Errorf("%d out of %d octets", v, n)
		}
	}
	if v, ok := parseCounter(number(7)); ok {
		t.Errorf("%d outside of the data", v)
	}
}
