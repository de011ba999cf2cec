package linux

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/host"
)

func one(h *Host, op host.Op) error { return h.Apply(context.Background(), []host.Op{op})[0] }

func TestAddr(t *testing.T) {
	a := newNetNS(t)
	h := a.open(Options{})
	p := netip.MustParsePrefix("2001:db8::1/128")
	put := host.PutAddr{Prefix: p, Home: true, NoDAD: true}
	must(t, h, put, put)
	out := a.ip("addr show dev lo")
	if !strings.Contains(out, "inet6 2001:db8::1/128") || !strings.Contains(out, "home") || !strings.Contains(out, "nodad") {
		t.Errorf("ip shows:\n%s", out)
	}
	owned, err := h.Owned(context.Background())
	if err != nil || !slices.Contains(owned, host.Op(put)) {
		t.Errorf("owned %+v, %v", owned, err)
	}
	del := host.DelAddr{Prefix: p}
	must(t, h, del, del)
	if out := a.ip("addr show dev lo"); strings.Contains(out, "2001:db8::1") {
		t.Errorf("it stays:\n%s", out)
	}
	if err := one(h, host.PutAddr{IfIndex: 99, Prefix: p}); !errors.Is(err, host.ErrNoLink) {
		t.Errorf("on no link: %v", err)
	}
	must(t, h, host.DelAddr{IfIndex: 99, Prefix: p})
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("192.0.2.1/32")} {
		if err := one(h, host.PutAddr{Prefix: bad}); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestRoute(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h := a.open(Options{})
	i := a.index("va")
	routes := []host.Route{
		{Dst: netip.MustParsePrefix("2001:db8:1::/64"), IfIndex: i},
		{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::9"), IfIndex: i, Table: 135},
		{Dst: netip.MustParsePrefix("2001:db8:2::1/128"), Via: netip.MustParseAddr("fe80::9"), IfIndex: i, Table: 70000, Metric: 5},
	}
	for _, r := range routes {
		must(t, h, host.PutRoute{Route: r}, host.PutRoute{Route: r})
	}
	for _, want := range []string{"2001:db8:1::/64 dev va proto 135 metric 1024",
		"default via fe80::9 dev va table 135 proto 135 metric 1024",
		"2001:db8:2::1 via fe80::9 dev va table 70000 proto 135 metric 5"} {
		if out := a.ip("route show table all"); strings.Count(out, want) != 1 {
			t.Errorf("not once %q in:\n%s", want, out)
		}
	}
	// Replaced by another next hop and source.
	must(t, h, host.PutAddr{IfIndex: i, Prefix: netip.MustParsePrefix("2001:db8:9::1/128"), NoDAD: true})
	routes[1].Via, routes[1].Src = netip.MustParseAddr("fe80::8"), netip.MustParseAddr("2001:db8:9::1")
	must(t, h, host.PutRoute{Route: routes[1]})
	if out := a.ip("route show table 135"); !strings.Contains(out, "default via fe80::8 dev va proto 135 src 2001:db8:9::1") ||
		strings.Contains(out, "fe80::9") {
		t.Errorf("not replaced:\n%s", out)
	}
	owned, err := h.Owned(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if !slices.Contains(owned, host.Op(host.PutRoute{Route: r})) {
			t.Errorf("%+v is not in %+v", r, owned)
		}
	}
	for _, r := range routes {
		must(t, h, host.DelRoute{Route: r}, host.DelRoute{Route: r})
	}
	if out := a.ip("route show table all"); strings.Contains(out, "proto 135") {
		t.Errorf("left:\n%s", out)
	}
}

// What others put there is neither replaced nor deleted.
func TestForeign(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	h := a.open(Options{})
	r := host.Route{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::9"), IfIndex: a.index("va")}
	a.ip("route add default via fe80::1 dev va proto ra metric 1024")
	if err := one(h, host.PutRoute{Route: r}); !errors.Is(err, ErrForeign) {
		t.Errorf("put: %v", err)
	}
	must(t, h, host.DelRoute{Route: r})
	if out := a.ip("route show"); !strings.Contains(out, "default via fe80::1 dev va proto ra") || strings.Contains(out, "fe80::9") {
		t.Errorf("routes:\n%s", out)
	}
	rule := host.Rule{Src: netip.MustParsePrefix("2001:db8::1/128"), Table: 135, Priority: 100}
	a.ip("rule add from 2001:db8::1 table 135 priority 100 protocol static")
	must(t, h, host.DelRule{Rule: rule})
	if out := a.ip("rule show"); !strings.Contains(out, "100:\tfrom 2001:db8::1 lookup 135 proto static") {
		t.Errorf("rules:\n%s", out)
	}
}

func TestRule(t *testing.T) {
	a := newNetNS(t)
	h := a.open(Options{})
	rules := []host.Rule{
		{Src: netip.MustParsePrefix("2001:db8::1/128"), Table: 135, Priority: 1000},
		{Src: netip.MustParsePrefix("fe80::/64"), Table: 70000, Priority: 900},
	}
	for _, r := range rules {
		must(t, h, host.PutRule{Rule: r}, host.PutRule{Rule: r})
	}
	for _, want := range []string{"1000:\tfrom 2001:db8::1 lookup 135 proto 135", "900:\tfrom fe80::/64 lookup 70000 proto 135"} {
		if out := a.ip("rule show"); strings.Count(out, want) != 1 {
			t.Errorf("not once %q in:\n%s", want, out)
		}
	}
	owned, err := h.Owned(context.Background())
	if want := []host.Op{host.PutRule{Rule: rules[1]}, host.PutRule{Rule: rules[0]}}; err != nil || !slices.Equal(owned, want) {
		t.Errorf("owned %+v, want %+v, %v", owned, want, err)
	}
	for _, r := range rules {
		must(t, h, host.DelRule{Rule: r}, host.DelRule{Rule: r})
	}
	if out := a.ip("rule show"); strings.Contains(out, "proto 135") {
		t.Errorf("left:\n%s", out)
	}
}

func TestSysctl(t *testing.T) {
	a := newNetNS(t)
	const dad, fwd = "net/ipv6/conf/all/accept_dad", "net/ipv6/conf/all/forwarding"
	was := map[string]string{dad: a.sysctl(dad), fwd: a.sysctl(fwd)}
	var noted []Sysctl
	h := a.open(Options{OnSysctl: func(s Sysctl) error {
		if now := a.sysctl(s.Key); now != s.Found {
			t.Errorf("%s was changed to %s before it was told", s.Key, now)
		}
		noted = append(noted, s)
		return nil
	}})
	must(t, h, host.SetSysctl{Key: dad, Value: "2"}, host.SetSysctl{Key: dad, Value: "1"}, host.SetSysctl{Key: fwd, Value: "1"})
	if a.sysctl(dad) != "1" || a.sysctl(fwd) != "1" {
		t.Errorf("not set: %s %s", a.sysctl(dad), a.sysctl(fwd))
	}
	if want := []Sysctl{{dad, was[dad]}, {fwd, was[fwd]}}; !slices.Equal(noted, want) {
		t.Errorf("told %v, want %v", noted, want)
	}
	for _, key := range []string{"", "../net", "net/../../etc/passwd", "/net/x", "net//x"} {
		if err := one(h, host.SetSysctl{Key: key, Value: "1"}); err == nil || errors.Is(err, ErrFeature) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	if err := one(h, host.SetSysctl{Key: "net/ipv6/conf/all/nothing_like_it", Value: "1"}); !errors.Is(err, ErrFeature) {
		t.Errorf("unknown key: %v", err)
	}
	// A run that was killed, and one after it, which knows what the first one found.
	h2 := a.open(Options{Sysctls: noted, OnSysctl: func(s Sysctl) error { t.Errorf("told again: %v", s); return nil }})
	must(t, h2, host.SetSysctl{Key: dad, Value: "0"})
	if err := h2.Close(); err != nil {
		t.Error(err)
	}
	for key, v := range was {
		if a.sysctl(key) != v {
			t.Errorf("%s is %s, was %s", key, a.sysctl(key), v)
		}
	}
	refused := errors.New("disk full")
	h3 := a.open(Options{OnSysctl: func(Sysctl) error { return refused }})
	if err := one(h3, host.SetSysctl{Key: dad, Value: "2"}); !errors.Is(err, refused) || a.sysctl(dad) != was[dad] {
		t.Errorf("changed without being stored: %v, %s", err, a.sysctl(dad))
	}
}

func TestOpenWithoutPrivileges(t *testing.T) {
	if os.Geteuid() == 0 {
		dropped := false
		thread(func() { dropped = dropCaps() == nil; checkRefused(t, dropped) })
		return
	}
	checkRefused(t, true)
}

func checkRefused(t *testing.T, able bool) {
	if !able {
		t.Skip("cannot drop privileges")
	}
	h, err := Open(Options{})
	if err == nil {
		h.Close()
	}
	if !errors.Is(err, host.ErrPermission) {
		t.Errorf("Open: %v", err)
	}
}
