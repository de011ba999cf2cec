package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answers is a Handler with fixed content.
type answers struct {
	hang chan struct{} // Migrations waits for it, whatever its context says
}

var testStatus = Status{
	Version: "1", Started: time.Unix(1700000000, 0).UTC(), Uptime: Duration(90500 * time.Millisecond), Roles: []string{"mn"},
	IKE: []IKESA{{SPIi: 0x58b6f8e6f23188fa, Local: netip.MustParseAddrPort("[2001:db8::1]:500"), Children: []Child{{SPIIn: 0xc5959ac2}}}},
}

func (answers) Status(context.Context) (Status, error) { return testStatus, nil }
func (answers) Bindings(_ context.Context, p Page) (Bindings, error) {
	if p.After == "" {
		return Bindings{Bindings: []Binding{{Sequence: 1}}, Next: "a"}, nil
	}
	return Bindings{Bindings: []Binding{{Sequence: 2}}}, nil
}
func (answers) SAs(context.Context, Page) (SAs, error)    { panic("a fault") }
func (answers) Doctor(context.Context) ([]Finding, error) { return nil, errors.New("no doctor") }
func (answers) Rekey(_ context.Context, r Rekey) (RekeyResult, error) {
	return RekeyResult{Started: true, Detail: fmt.Sprintf("%s %x", r.Name, r.SPI)}, nil
}
func (a answers) Migrations(context.Context) (Migrations, error) {
	<-a.hang
	return Migrations{}, nil
}

// start runs a server and gives its socket; it is stopped, and waited for, at the end.
func start(t *testing.T, h Handler, change ...func(*Server)) (*Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	s, err := Listen(path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Error("the socket is left behind")
		}
	})
	return s, path
}

func TestCalls(t *testing.T) {
	_, path := start(t, answers{})
	ctx := context.Background()
	st, err := Call[Status](ctx, path, Request{Cmd: CmdStatus})
	if err != nil || !reflect.DeepEqual(st, testStatus) {
		t.Errorf("status: %v\n%+v\n%+v", err, st, testStatus)
	}
	b, err := Call[Bindings](ctx, path, Request{Cmd: CmdBindings, Page: Page{After: "a"}})
	if err != nil || len(b.Bindings) != 1 || b.Bindings[0].Sequence != 2 || b.Next != "" {
		t.Errorf("bindings: %v %+v", err, b)
	}
	r, err := Call[RekeyResult](ctx, path, Request{Cmd: CmdRekey, Rekey: &Rekey{SPI: 0xabc, Name: "mh"}})
	if err != nil || r.Detail != "mh abc" {
		t.Errorf("rekey: %v %+v", err, r)
	}
	for _, c := range []struct {
		req  Request
		want string
	}{
		{Request{Cmd: CmdDoctor}, "no doctor"},
		{Request{Cmd: CmdSAs}, "internal error; the daemon's log has more"},
		{Request{Cmd: CmdRekey}, "rekey wants to be told which child"},
		{Request{Cmd: "stop"}, `unknown command "stop"`},
	} {
		var re RemoteError
		if _, err := Call[any](ctx, path, c.req); !errors.As(err, &re) || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.req.Cmd, err, c.want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	_, path := start(t, answers{})
	for _, c := range []struct{ name, send, want string }{
		{"no JSON", "status\n", "the request is no JSON of the right form"},
		{"no newline", `{"cmd":"status"}`, "the request does not end with a newline"},
		{"endless", strings.Repeat("x", maxRequest+1), "the request is longer than 65536 octets"},
		{"wrong type", `{"cmd":7}` + "\n", "the request is no JSON of the right form"},
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, c.send) // may fail behind what the server reads
		conn.(*net.UnixConn).CloseWrite()
		line, _ := bufio.NewReader(conn).ReadBytes('\n')
		var r Response
		if err := json.Unmarshal(line, &r); err != nil || !strings.HasPrefix(r.Error, c.want) {
			t.Errorf("%s: %q, %v", c.name, line, err)
		}
		conn.Close()
	}
}

// TestSlowHandler: the client is answered and the server stays free while a handler hangs.
func TestSlowHandler(t *testing.T) {
	h := answers{hang: make(chan struct{})}
	_, path := start(t, h, func(s *Server) { s.patience = 20 * time.Millisecond })
	defer close(h.hang)
	ctx := context.Background()
	for range maxConns {
		if _, err := Call[Migrations](ctx, path, Request{Cmd: CmdMigrations}); err == nil || err.Error() != "the daemon did not answer in time" {
			t.Fatalf("%v", err)
		}
	}
	if _, err := Call[Status](ctx, path, Request{Cmd: CmdStatus}); err == nil || err.Error() != "the daemon is busy with earlier questions" {
		t.Errorf("%v", err)
	}
}

func TestTooManyClients(t *testing.T) {
	_, path := start(t, answers{})
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	done := make(chan error, maxConns)
	for range maxConns {
		go func() {
			done <- Watch(ctx, path, func() { ready <- struct{}{} }, func(Notice) error { return nil })
		}()
	}
	for range maxConns {
		<-ready
	}
	if _, err := Call[Status](context.Background(), path, Request{Cmd: CmdStatus}); err == nil || !strings.HasPrefix(err.Error(), "too many clients at once") {
		t.Errorf("%v", err)
	}
	cancel()
	for range maxConns {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestWatch(t *testing.T) {
	s, path := start(t, answers{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.Watched() {
		t.Error("watched by nobody")
	}
	var got []string
	err := Watch(ctx, path, func() {
		if !s.Watched() {
			t.Error("not watched")
		}
		s.Publish(Notice{Text: "one"})
		s.Publish(Notice{Text: "two", Fields: map[string]string{"a": "b"}})
	}, func(n Notice) error {
		if got = append(got, n.Text); len(got) == 2 {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestSlowWatcher: who does not read is dropped and told so; Publish never waits.
func TestSlowWatcher(t *testing.T) {
	s, path := start(t, answers{})
	long := strings.Repeat("x", 4<<10) // so that the socket's buffer is soon full
	got := 0
	err := Watch(context.Background(), path, func() {
		for range 20 * watchBacklog {
			s.Publish(Notice{Text: long})
		}
	}, func(Notice) error { got++; return nil })
	if err == nil || !strings.Contains(err.Error(), "you read too slowly") {
		t.Errorf("%v after %d", err, got)
	}
	if s.Watched() {
		t.Error("still watched")
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "control")
	s, err := Listen(path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := Listen(path, "", nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second server: %v", err)
	}
	s.ln.SetUnlinkOnClose(false) // as after SIGKILL
	s.Close()
	if _, err := Call[Status](context.Background(), path, Request{Cmd: CmdStatus}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody there: %v", err)
	}
	if s, err = Listen(path, "", nil); err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	s.Close()
	if _, err := Call[Status](context.Background(), path, Request{Cmd: CmdStatus}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, "", nil); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
	if _, err := Listen(path, "no-such-group", nil); !errors.Is(err, ErrNoGroup) {
		t.Errorf("a group: %v", err)
	}
}

// TestAsk is not a test: TestOtherUsers runs it as somebody else.
func TestAsk(t *testing.T) {
	path := os.Getenv("CONTROL_TEST_SOCKET")
	if path == "" {
		t.Skip("runs within TestOtherUsers")
	}
	_, err := Call[Status](context.Background(), path, Request{Cmd: CmdStatus})
	fmt.Printf("answer: %v\n", err)
}

// TestOtherUsers: root and the group are served, others are not, be the socket's
// mode as it is or opened by somebody.
func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("wants root, to become others")
	}
	dir, err := os.MkdirTemp("", "control") // t.TempDir is closed to others further up
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	path := filepath.Join(dir, "run", "control")
	s, err := Listen(path, "daemon", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, answers{}) }()
	defer func() { cancel(); <-done }()
	// The test binary may lie where others cannot reach it.
	exe := filepath.Join(dir, "asker")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	ask := func(uid, gid int, groups ...uint32) string {
		cmd := exec.Command(exe, "-test.run=^TestAsk$", "-test.v")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CONTROL_TEST_SOCKET="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: groups}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, answer, _ := strings.Cut(string(out), "answer: ")
		return strings.SplitN(answer, "\n", 2)[0]
	}
	const nobody = 65534
	if got := ask(nobody, s.gid); got != "<nil>" {
		t.Errorf("a member: %s", got)
	}
	if got := ask(nobody, nobody, 7, uint32(s.gid)); got != "<nil>" {
		t.Errorf("a member by a supplementary group: %s", got)
	}
	if got := ask(nobody, nobody); !strings.HasPrefix(got, "not permitted: "+path) {
		t.Errorf("a stranger: %s", got)
	}
	os.Chmod(path, 0o777)
	os.Chmod(filepath.Dir(path), 0o755)
	if got := ask(nobody, nobody); !strings.HasPrefix(got, "not permitted: only root") {
		t.Errorf("a stranger at an open socket: %s", got)
	}
}

func TestValues(t *testing.T) {
	type all struct {
		D Duration
		A Hex32
		B Hex64
	}
	in := all{Duration(1500 * time.Millisecond), 0xc5959ac2, 0x58b6f8e6f23188fa}
	b, err := json.Marshal(in)
	if want := `{"D":1.5,"A":"0xc5959ac2","B":"0x58b6f8e6f23188fa"}`; err != nil || string(b) != want {
		t.Fatalf("%s, %v", b, err)
	}
	var out all
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%+v, %v", out, err)
	}
	for _, bad := range []string{`{"A":"0x123456789"}`, `{"D":"x"}`, `{"B":"zz"}`} {
		if json.Unmarshal([]byte(bad), &out) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
