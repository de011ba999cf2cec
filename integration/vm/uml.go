package vm

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// runUML boots user-mode Linux on the host's root (hostfs), read-only.
func runUML(ctx context.Context, o Options) (int, error) {
	kernel, err := exec.LookPath("linux.uml")
	if err != nil {
		return -1, fmt.Errorf("%w: linux.uml, the user-mode Linux kernel (apt-get install user-mode-linux, or tools/install-deps)", ErrNotInstalled)
	}
	run, err := os.MkdirTemp("", "mip6-uml-")
	if err != nil {
		return -1, err
	}
	defer os.RemoveAll(run)
	script := filepath.Join(run, "init")
	if err := os.WriteFile(script, []byte(initScript(o, uml)), 0o755); err != nil {
		return -1, err
	}
	g := &guest{name: "user-mode Linux", opts: o}
	g.cmd = exec.Command(kernel)
	g.cmd.Stdout, g.cmd.Stderr = &g.console, &g.console
	g.cmd.Dir = run
	g.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + run, "TMPDIR=" + memoryDir(o, run)}
	shims, err := umlShims(o)
	if err != nil {
		return -1, err
	}
	if len(shims) > 0 {
		g.cmd.Env = append(g.cmd.Env, "LD_PRELOAD="+strings.Join(shims, " "))
	}
	args := []string{
		"mem=" + o.Mem, "root=none", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "init=" + script,
		"con=null", "con0=null,fd:1", "ssl=null",
	}
	var parents []func()
	for i, read := range lines(g) {
		fd, done, err := g.line(read)
		if err != nil {
			return -1, err
		}
		parents = append(parents, done)
		args = append(args, fmt.Sprintf("ssl%d=null,fd:%d", i, fd))
	}
	g.cmd.Args = append([]string{"linux.uml"}, args...)
	return g.run(ctx, parents)
}

// memoryDir is where user-mode Linux keeps its memory's file: the host's memory
// disk where there is room, else the run's folder.
func memoryDir(o Options, run string) string {
	var fs syscall.Statfs_t
	if syscall.Statfs("/dev/shm", &fs) == nil && fs.Bavail*uint64(fs.Bsize) > memBytes(o.Mem) {
		return "/dev/shm"
	}
	return run
}

func memBytes(mem string) uint64 {
	var n uint64
	var unit rune
	fmt.Sscanf(strings.ToUpper(mem), "%d%c", &n, &unit)
	switch unit {
	case 'G':
		n <<= 30
	case 'K':
		n <<= 10
	default:
		n <<= 20
	}
	return n
}

//go:embed shim/umlshim.c
var shimSource []byte

//go:embed shim/umlclock.c
var clockSource []byte

// umlShims gives the paths of the preloads that user-mode Linux needs on this
// processor, and for the speed that its clocks shall have; the sources say why.
func umlShims(o Options) (paths []string, err error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil && strings.Contains(string(info), " amx_tile") {
		p, err := preload(o, "umlshim", shimSource)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	if o.Speed > 1 {
		p, err := preload(o, fmt.Sprintf("umlclock%d", o.Speed), clockSource, fmt.Sprintf("-DSPEED=%d", o.Speed))
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// preload compiles a preload, once.
func preload(o Options, name string, source []byte, flags ...string) (string, error) {
	cache, err := cacheDir(o)
	if err != nil {
		return "", err
	}
	out := filepath.Join(cache, fmt.Sprintf("%s-%.6x.so", name, sha256.Sum256(source)))
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", fmt.Errorf("%w: a C compiler; user-mode Linux needs a small preload on processors with AMX, and for other clocks (apt-get install gcc, or tools/install-deps)", ErrNotInstalled)
	}
	src := strings.TrimSuffix(out, "so") + "c"
	if err := os.WriteFile(src, source, 0o644); err != nil {
		return "", err
	}
	tmp := fmt.Sprintf("%s.%d", out, os.Getpid())
	args := append([]string{"-O2", "-shared", "-fPIC", "-nostdlib"}, flags...)
	msg, err := exec.Command(cc, append(args, "-o", tmp, src)...).CombinedOutput()
	if err != nil {
		return "", errors.Join(fmt.Errorf("vm: %s cannot build the preload: %s", cc, msg), err)
	}
	return out, os.Rename(tmp, out)
}
