package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asDaemon makes this test binary a mip6d: some faults are those of a process.
const asDaemon = "MIP6D_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestCall(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.toml")
	if err := os.WriteFile(bad, []byte("[cn]\ndefault = \"maybe\"\n[[cn.node]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args        string
		code        int
		out, errOut string // the beginning, "" for nothing
	}{
		{"-version", 0, "mip6d ", ""},
		{"-h", 0, "", "usage: mip6d [-c FILE] [-check]\n"},
		{"-x", exitUsage, "", "flag provided but not defined: -x\n"},
		{"start", exitUsage, "", "mip6d: unexpected argument \"start\"\n"},
		{"-c /nowhere/mip6.toml", exitUsage, "", "/nowhere/mip6.toml: cannot be read: no such file or directory\n"},
		{"-check -c " + dir, exitUsage, "", dir + ": cannot be read: is a directory\n"},
		{"-c " + bad, exitUsage, "", bad + ":2: cn.default: expected \"allow\" or \"deny\", found \"maybe\"\n" +
			bad + ":3: cn.node[1].home_address: missing; it has no default\n" + bad + ":3: cn.node[1].auth: missing; it has no default\n"},
	} {
		var out, errOut bytes.Buffer
		code := run(strings.Fields(c.args), &out, &errOut)
		if code != c.code || !begins(out.String(), c.out) || !begins(errOut.String(), c.errOut) {
			t.Errorf("mip6d %s: %d\n%s\n%s", c.args, code, &out, &errOut)
		}
	}
}

func begins(s, want string) bool {
	if want == "" {
		return s == ""
	}
	return strings.HasPrefix(s, want)
}

// TestCheckProfiles: what is shipped is good, and a copy that others cannot read has no warnings.
func TestCheckProfiles(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v: %q", err, files)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), filepath.Base(f))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		if code := run([]string{"-check", "-c", file}, &out, &errOut); code != 0 || out.String() != file+": good\n" || errOut.Len() > 0 {
			t.Errorf("%s: %d\n%s\n%s", f, code, &out, &errOut)
		}
	}
}

// folder is one that anybody may enter, as those of TempDir are not.
func folder(t *testing.T, owner int) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mip6d")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, owner, owner))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// daemonCommand is a mip6d with these roles, not started yet.
func daemonCommand(t *testing.T, dir, state, roles string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	file := filepath.Join(dir, "mip6.toml")
	text := fmt.Sprintf("[daemon]\nstate_dir = %q\ncontrol = %q\n%s", state, filepath.Join(state, "control"), roles)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "-c", file)
	cmd.Env = append(os.Environ(), asDaemon+"=1")
	cmd.Stderr = &log
	return cmd, &log
}

// oneSentence wants exactly one error in the log, with want in it, and that status.
func oneSentence(t *testing.T, err error, log, want string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFault {
		t.Errorf("%v", err)
	}
	var bad []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "level=INFO") && !strings.Contains(line, "level=WARN") {
			bad = append(bad, line)
		}
	}
	if len(bad) != 1 || !strings.Contains(bad[0], want) {
		t.Errorf("expected one error with %q in it:\n%s", want, log)
	}
}

// TestNotPermitted: somebody else than root, without and with a folder that he may write.
func TestNotPermitted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	const nobody = 65534
	dir := folder(t, nobody)
	for _, c := range []struct{ state, want string }{
		{filepath.Join(folder(t, 0), "state"), "not permitted: mip6d runs as root, or with CAP_NET_ADMIN"},
		{filepath.Join(dir, "state"), "xfrm: not permitted (root or CAP_NET_ADMIN is needed)"},
	} {
		cmd, log := daemonCommand(t, dir, c.state, "[cn]\n")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		oneSentence(t, cmd.Run(), log.String(), c.want)
	}
}

// kernelOnly skips where the kernel may lack what a daemon needs, or has another daemon.
func kernelOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("MIP6_KERNEL") == "" {
		t.Skip("needs a kernel with MIP6 that nobody else uses: go run ./integration/cmd/vmtest ./cmd/mip6d")
	}
}

const withIKE = `[cn]
[[cn.node]]
home_address = "2001:db8:1::10"
auth = "ipsec"
identity = "mn.example.org"
[[peer]]
name = "node"
local_id = "cn.example.org"
remote_id = "mn.example.org"
auth = "psk"
psk = "sixteen octets or more"
`

func TestPortInUse(t *testing.T) {
	kernelOnly(t)
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{Port: 500})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dir := folder(t, 0)
	cmd, log := daemonCommand(t, dir, filepath.Join(dir, "state"), withIKE)
	oneSentence(t, cmd.Run(), log.String(), "UDP port is in use by another program: port 500")
}

// running is a mip6d that has begun; lines are what it says.
type running struct {
	cmd  *exec.Cmd
	in   *bufio.Scanner
	said strings.Builder
}

func start(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	cmd.Stderr = nil
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &running{cmd: cmd, in: bufio.NewScanner(log)}
}

// until reads on to a line with these words.
func (r *running) until(t *testing.T, words string) {
	t.Helper()
	for r.in.Scan() {
		fmt.Fprintln(&r.said, r.in.Text())
		if strings.Contains(r.in.Text(), words) {
			return
		}
	}
	t.Fatalf("it never says %q: %v\n%s", words, r.cmd.Wait(), &r.said)
}

// end sends SIGTERM and wants an orderly end, after so many errors in the log.
func (r *running) end(t *testing.T, faults int) {
	t.Helper()
	r.signal(t, syscall.SIGTERM)
	for r.in.Scan() {
		fmt.Fprintln(&r.said, r.in.Text())
	}
	if err := r.cmd.Wait(); err != nil || strings.Count(r.said.String(), "level=ERROR") != faults {
		t.Errorf("%v\n%s", err, &r.said)
	}
}

func (r *running) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestOneDaemon: a correspondent without IKE runs, a second one with its folder does not, and
// the first ends in order.
func TestOneDaemon(t *testing.T) {
	kernelOnly(t)
	dir := folder(t, 0)
	state := filepath.Join(dir, "state")
	cmd, _ := daemonCommand(t, dir, state, "[cn]\n")
	first := start(t, cmd)
	first.until(t, "data plane")
	second, log := daemonCommand(t, dir, state, "[cn]\n")
	oneSentence(t, second.Run(), log.String(), "another mip6d is using this state directory")
	first.end(t, 0)
}

// TestReload: SIGHUP has the file read again. One with a mistake changes nothing.
func TestReload(t *testing.T) {
	kernelOnly(t)
	dir := folder(t, 0)
	state := filepath.Join(dir, "state")
	cmd, _ := daemonCommand(t, dir, state, "[cn]\n")
	d := start(t, cmd)
	d.until(t, "mip6d is running")
	daemonCommand(t, dir, state, "[cn]\ndefault = \"maybe\"\n")
	d.signal(t, syscall.SIGHUP)
	d.until(t, "the configuration was not reloaded")
	daemonCommand(t, dir, state, "[cn]\ndefault = \"deny\"\n")
	d.signal(t, syscall.SIGHUP)
	d.until(t, "the configuration was reloaded")
	d.end(t, 1)
}
