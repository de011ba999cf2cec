// Package vm boots a real Linux kernel on this machine and runs one command in it.
//
// The guest sees the host's own root file system, read-only, so that every
// program and library of the host is there; only the shared folders (by default
// the project's) are writable, and what is written there appears on the host.
// /run and /tmp are empty and private to the guest. The command runs as root,
// its output comes back live, its exit status as the result.
//
// Kernels: "uml" is Debian's user-mode Linux 6.1, a kernel that runs as an
// ordinary process (no virtual machine, native speed for computation, one
// processor); "6.12" and "6.1" are Debian's kernels under qemu without KVM; and
// "host" runs the command right here, for hosts whose own kernel has all.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The kernels that Run knows.
const (
	UML    = "uml"  // user-mode Linux 6.1, Debian package user-mode-linux
	Qemu61 = "6.1"  // Debian's linux-image-amd64 of bookworm under qemu (TCG)
	Qemu   = "6.12" // linux-image-6.12 of bookworm-backports under qemu (TCG)
	Host   = "host" // the running kernel, no boot
)

// EnvKernel is set to "1" for everything that runs in a guest: a test that needs
// a real kernel with MIP6 skips, with the reason, where it is not set.
const EnvKernel = "MIP6_KERNEL"

var (
	// ErrNotInstalled says which program or file the kernel needs and how to get it.
	ErrNotInstalled = errors.New("vm: not installed")
	// ErrTimeout means that the guest was killed because it took too long.
	ErrTimeout = errors.New("vm: timed out")
	// ErrDied means that the guest's kernel ended without an exit status of the command.
	ErrDied = errors.New("vm: guest died")
	// ErrKernel means that Options.Kernel is none of the names that Run knows.
	ErrKernel = errors.New("vm: unknown kernel")
)

// Options say what to run and where.
type Options struct {
	Kernel  string        // one of the constants above; empty: UML
	Mem     string        // the guest's memory with its unit; empty: "768M"
	Command []string      // program and arguments; a relative program is looked up in PATH
	Env     []string      // "NAME=value" beside PATH, HOME, LANG and MIP6_KERNEL=1
	Dir     string        // working directory; empty: the current one
	Shares  []string      // folders that the guest may write; nil: the module's root around Dir, or Dir
	Modules []string      // kernel modules beside DefaultModules
	Stdout  io.Writer     // the command's standard output; nil: discarded
	Stderr  io.Writer     // the command's standard error; nil: discarded
	Log     io.Writer     // what Run itself is doing, and the guest's console on a failure; nil: discarded
	Timeout time.Duration // for all, the boot included; zero: 10 minutes
	CPUs    int           // of a guest under qemu; 0: 2
	// Speed is how many times as fast as the host's the guest's clocks run, all of them
	// alike, for what has to wait long; only with UML. 0: as fast as the host's.
	Speed int
}

// DefaultModules are loaded before the command; one that a kernel has built in, or
// lacks, is no error here: who needs it finds out with a better sentence.
var DefaultModules = []string{
	"ipv6", "xfrm_user", "xfrm_algo", "esp6", "ah6", "mip6", "ip6_tunnel", "veth", "tun", "bridge", "dummy",
	"sch_netem", "af_packet", "nf_tables", "nft_ct", "nft_reject", "gcm", "seqiv", "echainiv", "ctr", "cbc",
	"hmac", "sha1_generic", "sha256_generic", "sha512_generic", "chacha20poly1305",
}

// Run boots the kernel, runs the command and returns its exit status (128+n for a
// command that signal n ended). A non-zero status is no error; err tells that the
// command could not be run to its end: ErrNotInstalled, ErrTimeout, ErrDied,
// ErrKernel, or the context's error.
func Run(ctx context.Context, o Options) (exit int, err error) {
	if o, err = o.withDefaults(); err != nil {
		return -1, err
	}
	if o.Speed > 1 && o.Kernel != UML {
		return -1, fmt.Errorf("%w: %s has no clocks of another speed", ErrKernel, o.Kernel)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, ErrTimeout)
	defer cancel()
	switch o.Kernel {
	case UML:
		exit, err = runUML(ctx, o)
	case Qemu, Qemu61:
		exit, err = runQemu(ctx, o)
	case Host:
		exit, err = runHost(ctx, o)
	default:
		return -1, fmt.Errorf("%w: %q (known: %s, %s, %s, %s)", ErrKernel, o.Kernel, UML, Qemu61, Qemu, Host)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		if errors.Is(cause, ErrTimeout) {
			return -1, fmt.Errorf("%w after %v and was killed: %s", ErrTimeout, o.Timeout, strings.Join(o.Command, " "))
		}
		return -1, cause
	}
	return exit, err
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Command) == 0 {
		return o, errors.New("vm: no command")
	}
	if o.Kernel == "" {
		o.Kernel = UML
	}
	if o.Mem == "" {
		o.Mem = "768M"
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	for _, w := range []*io.Writer{&o.Stdout, &o.Stderr, &o.Log} {
		if *w == nil {
			*w = io.Discard
		}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	o.Dir = dir
	if strings.ContainsRune(o.Command[0], '/') && !filepath.IsAbs(o.Command[0]) {
		o.Command = append([]string{filepath.Join(dir, o.Command[0])}, o.Command[1:]...)
	}
	if o.Shares == nil {
		o.Shares = []string{moduleRoot(dir)}
	}
	o.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin",
		"HOME=/tmp", "LANG=C.UTF-8", "TERM=dumb", EnvKernel + "=1",
	}, o.Env...)
	return o, nil
}

// runHost runs the command on the running kernel.
func runHost(ctx context.Context, o Options) (int, error) {
	cmd := exec.CommandContext(ctx, o.Command[0], o.Command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.Dir, o.Stdout, o.Stderr
	cmd.Env = append(os.Environ(), o.Env...)
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ctx.Err() == nil {
		if ended.ExitCode() < 0 {
			return 128 + signalOf(ended), nil
		}
		return ended.ExitCode(), nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// moduleRoot is the folder with go.mod at or above dir, or dir itself.
func moduleRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

// cacheDir is where what was built or fetched once for the guests is kept.
func cacheDir(o Options) (string, error) {
	d := filepath.Join(moduleRoot(o.Dir), ".cache", "vm")
	return d, os.MkdirAll(d, 0o755)
}
