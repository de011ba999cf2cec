package vm

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// share says how a guest mounts one writable folder of the host onto itself.
type share func(index int, dir string) string

// hostfs is user-mode Linux's own file system of the host's files.
func hostfs(_ int, dir string) string {
	return fmt.Sprintf("mount -t hostfs -o %s none %s", quote(dir), quote(dir))
}

// lines are the readers of ttyS0, ttyS1 and ttyS2 of a guest.
func lines(g *guest) []func(io.Reader) {
	return []func(io.Reader){copyTo(g.opts.Stdout), copyTo(g.opts.Stderr), g.control}
}

// initScript is process 1 of a guest whose root is the host's, read-only.
//
// The modules of a kernel that is not installed are found without a change of the
// host: modprobe looks below /run/mod, and so does the kernel's own loading on
// demand, by the script that kernel.modprobe names.
func initScript(o Options, mountShare share) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("#!/bin/sh")
	p("export PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	p("mount -t proc proc /proc; mount -t sysfs sysfs /sys 2>/dev/null")
	p("mount -t tmpfs -o mode=755 tmpfs /run; mount -t tmpfs -o mode=1777 tmpfs /tmp")
	p("mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm")
	for i, dir := range readable(o) {
		p("[ -d %s ] || { mkdir -p %s && %s; }", quote(dir), quote(dir), mountShare(len(o.Shares)+i, dir))
	}
	for i, dir := range o.Shares {
		p("mkdir -p %s; %s || echo 'mip6: cannot share %s'", quote(dir), mountShare(i, dir), dir)
	}
	p("for t in 0 1 2; do stty -F /dev/ttyS$t raw -echo 2>/dev/null; done")
	p("v=$(uname -r); mkdir -p /run/mod/lib/modules")
	p("for d in /usr/lib/uml/modules/$v /lib/modules/$v; do [ -d $d ] && ln -sfn $d /run/mod/lib/modules/$v; done")
	p("printf '#!/bin/sh\\nexec /sbin/modprobe -d /run/mod \"$@\"\\n' >/run/modprobe; chmod +x /run/modprobe")
	p("echo /run/modprobe >/proc/sys/kernel/modprobe")
	p("modprobe -d /run/mod -qab %s 2>/dev/null", strings.Join(append(append([]string{}, DefaultModules...), o.Modules...), " "))
	p("ip link set lo up; hostname mip6-guest 2>/dev/null")
	p("ulimit -n 65536 2>/dev/null; cd %s || echo 'mip6: no such folder in the guest'", quote(o.Dir))
	p("echo ready Linux $(uname -r) >/dev/ttyS2")
	env := make([]string, len(o.Env))
	for i, e := range o.Env {
		env[i] = quote(e)
	}
	cmd := make([]string, len(o.Command))
	for i, c := range o.Command {
		cmd[i] = quote(c)
	}
	p("env -i %s %s </dev/null >/dev/ttyS0 2>/dev/ttyS1 &", strings.Join(env, " "), strings.Join(cmd, " "))
	p("wait $!; s=$?")
	// stty sets its modes after the output drained: nothing is lost by the halt.
	p("sync; for t in 0 1; do stty -F /dev/ttyS$t -echo; done")
	p("echo exit $s >/dev/ttyS2; stty -F /dev/ttyS2 -echo")
	p("exec halt -f -f -n -d 2>/dev/null || halt -f")
	return b.String()
}

// readable are the folders that the guest's empty /tmp and /run would hide though
// the command needs them.
func readable(o Options) []string {
	var dirs []string
	for _, d := range []string{o.Dir, filepath.Dir(o.Command[0])} {
		if strings.HasPrefix(d, "/tmp/") || strings.HasPrefix(d, "/run/") {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// quote makes one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
