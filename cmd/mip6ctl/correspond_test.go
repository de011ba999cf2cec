package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/control"
)

func testCorrespondent() *control.Correspondent {
	return &control.Correspondent{Addresses: []string{"2001:db8:c::/64"}, Default: "deny", Rules: 2, Nodes: 1, Bindings: 1, MaxBindings: 10000,
		MaxLifetime: 420 * second, HomeTests: 12, CareOfTests: 14, TestsLimited: 900, Accepted: 11, Deleted: 2, Expired: 3, BadAuth: 4, OldNonces: 5,
		BadSequence: 6, Prohibited: 7, NoRoom: 8, Malformed: 9, RefreshRequests: 10, ErrorsSent: 13, ErrorsLimited: 15, RouteErrors: 1}
}

// Bindings has the agent's cache on two pages, and on the second what the other roles hold.
func (daemon) Bindings(_ context.Context, p control.Page) (control.Bindings, error) {
	b := control.Binding{Role: control.RoleHomeAgent, Local: netip.MustParseAddr("2001:db8:2::1"), Home: netip.MustParseAddr("2001:db8:2::10"),
		CareOf: netip.MustParseAddr("2001:db8:f1::b"), Identity: "bob@example.org", State: "valid", Sequence: 7, Lifetime: 3600 * second,
		Remaining: 3500 * second, KeyMobility: true, Registered: ago(2 * time.Hour), LastMove: ago(3 * time.Minute), Moves: 2}
	if p.After == "" {
		return control.Bindings{Bindings: []control.Binding{b}, Next: "1"}, nil
	}
	b.Role, b.Home, b.Identity, b.Moves, b.LastMove = "", b.Home.Next(), "", 0, time.Time{} // of a daemon that tells no roles
	home := netip.MustParseAddr("2001:db8:1::10")
	careOf := netip.MustParseAddr("2001:db8:f2::a")
	return control.Bindings{Bindings: []control.Binding{b,
		{Role: control.RoleCorrespondent, Local: netip.MustParseAddr("2001:db8:c::1"), Home: netip.MustParseAddr("2001:db8:9::10"), CareOf: netip.MustParseAddr("2001:db8:f9::a"),
			State: "valid", Sequence: 3, Lifetime: 420 * second, Remaining: 400 * second, Registered: ago(10 * time.Minute), Moves: 1,
			Auth: "return routability", HomeNonce: 4, CareOfNonce: 6, LastUsed: ago(time.Second), Packets: 1234},
		{Role: control.RoleMobileNode, Local: home, Peer: netip.MustParseAddr("2001:db8:1::1"), With: control.RoleHomeAgent, Home: home, CareOf: careOf,
			State: "registered", Sequence: 4712, Remaining: 580 * second, RefreshAt: ago(-9 * time.Minute), Registered: ago(time.Hour), Moves: 4, Auth: "ipsec"},
		{Role: control.RoleMobileNode, Local: home, Peer: netip.MustParseAddr("2001:db8:c::2"), With: control.RoleCorrespondent, Home: home, CareOf: careOf,
			State: "optimised", Sequence: 9, Remaining: 300 * second, RefreshAt: ago(-4 * time.Minute), Registered: ago(time.Minute), Moves: 1,
			Auth: "return routability", HomeNonce: 1, CareOfNonce: 2, HomeToken: ago(-3 * time.Minute), CareOfToken: ago(time.Second), LastUsed: ago(0)},
	}}, nil
}

// RO has two mobile nodes' correspondents, on two pages.
func (daemon) RO(_ context.Context, p control.Page) (control.Routes, error) {
	home := netip.MustParseAddr("2001:db8:1::10")
	careOf := netip.MustParseAddr("2001:db8:f2::a")
	optimised := control.Route{Home: home, Remote: netip.MustParseAddr("2001:db8:c::2"), State: "optimised", Since: ago(time.Minute), Auth: "return routability",
		CareOf: careOf, Sequence: 9, Remaining: 300 * second, RefreshAt: ago(-4 * time.Minute), HomeToken: ago(-3 * time.Minute),
		CareOfToken: ago(-200 * time.Second), HomeNonce: 1, CareOfNonce: 2, LastUsed: ago(2 * time.Second), Packets: 4321, Moves: 1}
	refused := control.Route{Home: home, Remote: netip.MustParseAddr("2001:db8:d::2"), State: "refused", Since: ago(50 * time.Second),
		Auth: "return routability", Why: "it knows no Mobile IPv6", LastStatus: -1, RetryAt: ago(-9 * time.Minute), Packets: 12}
	protected := optimised
	protected.Remote, protected.Auth, protected.Protect = netip.MustParseAddr("2001:db8:e::2"), "ipsec", "esp"
	protected.HomeToken, protected.CareOfToken, protected.HomeNonce, protected.CareOfNonce = time.Time{}, time.Time{}, 0, 0
	other := refused
	other.Home, other.Why, other.LastStatus, other.Failures = home.Next(), "refused", 129, 3
	if p.After == "" {
		return control.Routes{Routes: []control.Route{optimised, refused}, Next: "2"}, nil
	}
	return control.Routes{Routes: []control.Route{protected, other}}, nil
}

func TestROJSON(t *testing.T) {
	path := serve(t, daemon{})
	var out, errOut bytes.Buffer
	if code := run(context.Background(), []string{"ro", "-json", "-s", path}, &out, &errOut); code != exitOK {
		t.Fatalf("%d: %s", code, &errOut)
	}
	var r control.Routes
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Routes) != 4 || r.Routes[1].Why != "it knows no Mobile IPv6" || r.Next != "" {
		t.Errorf("%v: %+v", err, r)
	}
}

// stranger is a daemon without route optimization and without bindings.
type stranger struct{ control.Handler }

func (stranger) Bindings(context.Context, control.Page) (control.Bindings, error) {
	return control.Bindings{}, nil
}

type idle struct{ stranger }

func (idle) RO(context.Context, control.Page) (control.Routes, error) { return control.Routes{}, nil }

func TestNothingToList(t *testing.T) {
	for _, c := range []struct {
		h            control.Handler
		cmd, out, er string
		code         int
	}{
		{idle{}, "ro", "no correspondents\n", "", exitOK},
		{idle{}, "bindings", "no bindings\n", "", exitOK},
		{stranger{}, "ro", "", "mip6ctl: unknown command \"ro\"\n", exitFault},
	} {
		var out, errOut bytes.Buffer
		code := run(context.Background(), []string{c.cmd, "-s", serve(t, c.h)}, &out, &errOut)
		if code != c.code || out.String() != c.out || errOut.String() != c.er {
			t.Errorf("%s: %d %q %q", c.cmd, code, &out, &errOut)
		}
	}
}

// TestDoctorOfCorrespondent: what only IPsec needs is no fault of such a host.
func TestDoctorOfCorrespondent(t *testing.T) {
	var out, errOut bytes.Buffer
	run(context.Background(), []string{"doctor", "cn", "-json"}, &out, &errOut)
	var found []control.Finding
	if err := json.Unmarshal(out.Bytes(), &found); err != nil || len(found) < 5 || errOut.Len() > 0 {
		t.Fatalf("%v: %s\n%s", err, &out, &errOut)
	}
	for _, f := range found {
		if f.Needed && (f.Feature == "ESP6" || f.Feature == "Migrate" || f.Feature == "UDP port 500") {
			t.Errorf("%+v", f)
		}
	}
}
