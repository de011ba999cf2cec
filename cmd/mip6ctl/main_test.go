package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/control"
)

var update = flag.Bool("update", false, "write the golden files anew")

var start = time.Date(2026, 11, 19, 8, 39, 19, 0, time.UTC)

const (
	second = control.Duration(time.Second)
	milli  = control.Duration(time.Millisecond)
)

// daemon answers as a host with all three roles would.
type daemon struct{ healthy bool }

func ago(d time.Duration) time.Time { return start.Add(50*time.Second - d) }

func testMove() control.Move {
	return control.Move{
		Role: "mn", Home: netip.MustParseAddr("2001:db8:1::10"), From: netip.MustParseAddr("2001:db8:f1::a"),
		To: netip.MustParseAddr("2001:db8:f2::a"), Kind: "foreign", Start: ago(20 * time.Second), LinkUp: milli, RA: 12 * milli,
		CareOf: 13 * milli, Migrated: 14 * milli, BUSent: 14*milli + milli/2, BAReceived: 36 * milli, Done: 36 * milli,
		KMAddress: true, Migrations: 4,
	}
}

func (daemon) Status(context.Context) (control.Status, error) {
	mh := control.Child{
		Name: "mh", State: "installed", Mode: "transport-proxy", Proto: "esp", ReqID: 0x4d000000, SPIIn: 0xc5959ac2, SPIOut: 0xca64ae98,
		Proposal: "aes128gcm16-esn", Local: []string{"2001:db8:1::10/128[135]"}, Remote: []string{"2001:db8:1::1/128[135]"},
		Installed: ago(45 * time.Second), RekeyAt: ago(-55 * time.Minute), ExpiresAt: ago(-65 * time.Minute),
		In: control.Usage{Bytes: 320, Packets: 4, LastUsed: ago(6 * time.Second), Replays: 1}, Out: control.Usage{},
	}
	payload := mh
	payload.Name, payload.Mode, payload.ReqID, payload.Remote = "payload", "tunnel", 0x4d000001, []string{"::/0"}
	payload.LocalEnd, payload.RemoteEnd = "2001:db8:f2::a", "2001:db8:1::1"
	payload.Out = control.Usage{Bytes: 12_345_678, Packets: 9000, LastUsed: ago(time.Second)}
	return control.Status{
		Version: "0.1.0", Started: start, Uptime: 50 * second, PID: 4711, ConfigFile: "/etc/mip6/mip6.toml", Roles: []string{"mn", "ha", "cn"},
		DataPlane: control.DataPlane{Name: "kernel", Why: "it has all that is needed", Missing: []string{"AH6"}, States: 6, Policies: 12},
		Host:      control.HostInfo{Name: "carol", Kernel: "Linux 6.1", GoVersion: "go1.26", MemoryKiB: 20480, Goroutines: 12},
		Listening: []string{"[::]:500", "[::]:4500"},
		Conns: []control.Conn{{Name: "home-agent", LocalID: "carol@example.org", RemoteIDs: []string{"moon.example.org"}, LocalAuth: "cert",
			PeerAuth: "cert", CAs: []string{"CN=Root CA"}, IKE: []string{"aes128gcm16-prfsha256-x25519"}, ESP: []string{"aes128gcm16-esn"}, AH: []string{"sha256-esn"},
			Children: []string{"mh: 2001:db8:1::10/128[135] === 2001:db8:1::1/128[135]"}}},
		IKE: []control.IKESA{{Conn: "home-agent", State: "established", Initiator: true, Local: netip.MustParseAddrPort("[2001:db8:f2::a]:500"),
			Remote: netip.MustParseAddrPort("[2001:db8:1::1]:500"), LocalID: "carol@example.org", RemoteID: "moon.example.org",
			SPIi: 0x58b6f8e6f23188fa, SPIr: 0x63fdcfb55179c548, Proposal: "aes128gcm16-prfsha256-x25519", Established: ago(46 * time.Second),
			RekeyAt: ago(-3 * time.Hour), ExpiresAt: ago(-4 * time.Hour), Moves: 1, Children: []control.Child{mh, payload}}},
		IKETotal: 3, HalfOpen: 1,
		Nodes: []control.Node{{Home: netip.MustParsePrefix("2001:db8:1::10/64"), HomeAgent: netip.MustParseAddr("2001:db8:1::1"), State: "registered",
			CareOf: netip.MustParseAddr("2001:db8:f2::a"), Interface: "eth0", Sequence: 4712, Lifetime: 600 * second, Remaining: 580 * second,
			RefreshAt: ago(-9 * time.Minute), Registered: ago(20 * time.Second), StatusText: "accepted", KeyMobility: true, DAD: "off", Moves: 1,
			RO: &control.ROCounts{Rules: 2, Optimised: 1, UnderWay: 1, Tunnelled: 1, Refused: 1, MaxRemotes: 256}}},
		Agent: &control.Agent{Address: netip.MustParseAddr("2001:db8:2::1"), HomeLink: "eth1", Prefixes: []string{"2001:db8:2::/64"}, Bindings: 1,
			MaxBindings: 10, Authorised: 2, DAD: "probe", HomeFrom: "table",
			LastRefusals: []control.Refusal{{Time: ago(time.Minute), Who: "mallory@example.org", Reason: "no such home address"}}},
		Correspondent: testCorrespondent(),
		Moves:         []control.Move{testMove()}, Counters: []control.Counter{{Name: "mh.received", Value: 4}, {Name: "mh.dropped.checksum", Value: 0}},
		XfrmStat: []control.XfrmCounter{{Name: "XfrmInPolBlock", Value: 3, Delta: 1, Meaning: "inbound: a policy blocks it"}},
		Ledger:   &control.LedgerInfo{Dir: "/run/mip6", Records: 14, Bytes: 2048}, Warnings: []string{"a key is short"},
	}, nil
}

func (daemon) SAs(context.Context, control.Page) (control.SAs, error) {
	return control.SAs{
		SAs: []control.SA{
			{Src: netip.MustParseAddr("2001:db8:1::10"), Dst: netip.MustParseAddr("2001:db8:1::1"), Proto: "hao", Mode: "ro", Ours: true,
				CareOf: netip.MustParseAddr("2001:db8:f2::a")},
			{Src: netip.MustParseAddr("2001:db8:f2::a"), Dst: netip.MustParseAddr("2001:db8:1::1"), Proto: "esp", SPI: 0xca64ae98, Mode: "tunnel",
				ReqID: 0x4d000001, Alg: "rfc4106(gcm(aes))", Usage: control.Usage{Bytes: 10_000, Packets: 12, LastUsed: ago(time.Second), BadICV: 2}},
		},
		Policies: []control.Policy{{Selector: "2001:db8:1::10/128->::/0", Dir: "out", Priority: 20, Action: "allow", Ours: true,
			Templates: []string{"esp tunnel 2001:db8:f2::a->2001:db8:1::1 reqid 0x4d000001"}}},
	}, nil
}

func (daemon) Migrations(context.Context) (control.Migrations, error) {
	return control.Migrations{Moves: []control.Move{testMove()}}, nil
}

func (d daemon) Doctor(context.Context) ([]control.Finding, error) {
	return []control.Finding{
		{Feature: "ESP6", OK: true, Needed: true, Detail: "ESP over IPv6"},
		{Feature: "MIP6", OK: d.healthy, Needed: true, Detail: "headers", Remedy: map[bool]string{false: "modprobe mip6"}[d.healthy]},
		{Feature: "AH6", Detail: "AH over IPv6", Remedy: "modprobe ah6"},
	}, nil
}

func (daemon) Rekey(_ context.Context, r control.Rekey) (control.RekeyResult, error) {
	if r.Name == "payload" {
		return control.RekeyResult{}, errors.New("no such child")
	}
	return control.RekeyResult{Started: r.SPI != 1, Detail: "for " + r.Home + r.Name}, nil
}

// serve runs a daemon and gives its socket.
func serve(t *testing.T, h control.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	s, err := control.Listen(path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, h) }()
	t.Cleanup(func() { cancel(); <-done })
	return path
}

// TestText compares what people read with the golden files.
func TestText(t *testing.T) {
	time.Local = time.UTC
	path := serve(t, daemon{healthy: true})
	for _, cmd := range []string{"status", "bindings", "ro", "sas", "migrations", "doctor"} {
		var out bytes.Buffer
		c := &cli{out: &out, now: ago(0)}
		if _, err := c.parse([]string{"-s", path, cmd}); err != nil {
			t.Fatal(err)
		}
		if err := commands[cmd].do(c, context.Background()); err != nil {
			t.Errorf("%s: %v", cmd, err)
		}
		golden := filepath.Join("testdata", cmd+".txt")
		if *update {
			if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s:\n%s\nwant:\n%s", cmd, out.Bytes(), want)
		}
	}
}

func TestJSON(t *testing.T) {
	path := serve(t, daemon{healthy: true})
	var out, errOut bytes.Buffer
	if code := run(context.Background(), []string{"status", "-json", "-s", path}, &out, &errOut); code != exitOK {
		t.Fatalf("%d: %s", code, &errOut)
	}
	var s control.Status
	if err := json.Unmarshal(out.Bytes(), &s); err != nil || s.IKE[0].Children[0].SPIIn != 0xc5959ac2 {
		t.Errorf("%v, %+v", err, s)
	}
	out.Reset()
	run(context.Background(), []string{"-json", "bindings", "-s", path}, &out, &errOut)
	var b control.Bindings
	if err := json.Unmarshal(out.Bytes(), &b); err != nil || len(b.Bindings) != 5 {
		t.Errorf("%v: two pages give %d bindings", err, len(b.Bindings))
	}
}

func TestExitStatus(t *testing.T) {
	path := serve(t, daemon{})
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args   string
		code   int
		stderr string // its beginning
		stdout string
	}{
		{"-h", exitOK, "", "usage: mip6ctl"},
		{"", exitUsage, "mip6ctl: a command is missing", ""},
		{"stop", exitUsage, `mip6ctl: unknown command "stop"`, ""},
		{"status now", exitUsage, `mip6ctl: status: unexpected "now"`, ""},
		{"status -x", exitUsage, "mip6ctl: flag provided but not defined: -x", ""},
		{"-s " + none + " status", exitNotRunning, "mip6ctl: mip6d is not running: nobody answers on " + none, ""},
		{"-s " + path + " doctor", exitFault, "", "This host lacks what mip6 needs"},
		{"doctor ha", exitUsage, `mip6ctl: wrong call: doctor: "ha" is not cn`, ""},
		{"doctor cn now", exitUsage, `mip6ctl: doctor: unexpected "now"`, ""},
		{"-s " + path + " rekey", exitUsage, "mip6ctl: wrong call: rekey wants an SPI", ""},
		{"-s " + path + " rekey xyz", exitUsage, `mip6ctl: wrong call: rekey: "xyz" is no SPI`, ""},
		{"-s " + path + " rekey 2001:db8::1 tunnel", exitUsage, `mip6ctl: wrong call: rekey: "tunnel" is none of`, ""},
		{"-s " + path + " rekey 0xc5959ac2", exitOK, "", "started for"},
		{"-s " + path + " rekey 1", exitFault, "", "not started: for"},
		{"-s " + path + " rekey 2001:db8::1 mh", exitOK, "", "started for 2001:db8::1mh"},
		{"-s " + path + " rekey 2001:db8::1 payload", exitFault, "mip6ctl: no such child", ""},
	} {
		var out, errOut bytes.Buffer
		code := run(context.Background(), strings.Fields(c.args), &out, &errOut)
		if code != c.code || !strings.HasPrefix(errOut.String(), c.stderr) || c.stderr == "" && errOut.Len() > 0 ||
			!strings.Contains(out.String(), c.stdout) {
			t.Errorf("%q: %d\n%s\n%s", c.args, code, &out, &errOut)
		}
	}
}

// TestDoctorWithoutDaemon: the host is looked at by the command itself.
func TestDoctorWithoutDaemon(t *testing.T) {
	var out, errOut bytes.Buffer
	code := run(context.Background(), []string{"doctor", "-json", "-s", filepath.Join(t.TempDir(), "none")}, &out, &errOut)
	var found []control.Finding
	if err := json.Unmarshal(out.Bytes(), &found); err != nil || len(found) < 5 || errOut.Len() > 0 {
		t.Fatalf("%v: %s\n%s", err, &out, &errOut)
	}
	want := exitOK
	for _, f := range found {
		if f.Needed && !f.OK {
			want = exitFault
		}
	}
	if code != want {
		t.Errorf("status %d, want %d", code, want)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 36500 * time.Microsecond: "37ms", 6340 * time.Millisecond: "6.3s", 90 * time.Second: "1m30s",
		3599600 * time.Millisecond: "1h0m0s", 61 * time.Minute: "1h1m", 76 * time.Hour: "3d4h", -time.Second: "-1s",
	} {
		if got := span(control.Duration(d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
