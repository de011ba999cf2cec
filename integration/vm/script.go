package vm

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// platform is what differs between the kinds of guest, for the init script.
type platform struct {
	out, err, control string // the devices of the lines
	tty               bool   // they are terminals
	prepare           string // a command that makes them
	off               string // the command that ends the guest
	modules           string // folder whose lib/modules holds the kernel's modules; empty: the host's places
	// share is the command that mounts the i-th of the shared folders onto itself.
	share func(i int, dir string) string
}

// uml is user-mode Linux, with its own file system of the host's files.
var uml = platform{
	out: "/dev/ttyS0", err: "/dev/ttyS1", control: "/dev/ttyS2", tty: true, off: "halt",
	share: func(_ int, dir string) string {
		return fmt.Sprintf("mount -t hostfs -o %s none %s", quote(dir), quote(dir))
	},
}

// lines are the readers of a guest's output, error and control line.
func lines(g *guest) []func(io.Reader) {
	return []func(io.Reader){copyTo(g.opts.Stdout), copyTo(g.opts.Stderr), g.control}
}

// initScript is process 1 of a guest whose root is the host's, read-only.
//
// The modules of a kernel that is not installed are found without a change of the
// host: modprobe looks below /run/mod, and so does the kernel's own loading on
// demand, by the script that kernel.modprobe names.
func initScript(o Options, pf platform) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("#!/bin/sh")
	p("export PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	p("mount -t proc proc /proc; mount -t sysfs sysfs /sys 2>/dev/null")
	p("mount -t tmpfs -o mode=755 tmpfs /run; mount -t tmpfs -o mode=1777 tmpfs /tmp")
	p("mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm")
	for i, dir := range shares(o) {
		p("mkdir -p %s; %s || echo 'mip6: cannot share %s'", quote(dir), pf.share(i, dir), dir)
	}
	p("%s", pf.prepare)
	if pf.tty {
		p("for t in %s %s %s; do stty -F $t raw -echo; done", pf.out, pf.err, pf.control)
	}
	p("v=$(uname -r); mkdir -p /run/mod/lib/modules")
	p("for d in /lib/modules/$v /usr/lib/uml/modules/$v %s/lib/modules/$v; do [ -d $d ] && ln -sfn $d /run/mod/lib/modules/$v; done", quote(pf.modules))
	p("printf '#!/bin/sh\\nexec /sbin/modprobe -d /run/mod \"$@\"\\n' >/run/modprobe; chmod +x /run/modprobe")
	p("echo /run/modprobe >/proc/sys/kernel/modprobe")
	p("modprobe -d /run/mod -qab %s 2>/dev/null", strings.Join(append(append([]string{}, DefaultModules...), o.Modules...), " "))
	p("ip link set lo up; hostname mip6-guest 2>/dev/null")
	p("ulimit -n 65536 2>/dev/null; cd %s || echo 'mip6: no such folder in the guest'", quote(o.Dir))
	p("echo ready Linux $(uname -r) >%s", pf.control)
	env := make([]string, len(o.Env))
	for i, e := range o.Env {
		env[i] = quote(e)
	}
	cmd := make([]string, len(o.Command))
	for i, c := range o.Command {
		cmd[i] = quote(c)
	}
	p("env -i %s %s </dev/null >%s 2>%s &", strings.Join(env, " "), strings.Join(cmd, " "), pf.out, pf.err)
	p("wait $!; s=$?")
	p("sync")
	if pf.tty {
		// stty sets its modes after the output drained: nothing is lost by the halt.
		p("for t in %s %s; do stty -F $t -echo; done", pf.out, pf.err)
	}
	p("echo exit $s >%s", pf.control)
	if pf.tty {
		p("stty -F %s -echo", pf.control)
	}
	p("exec %s -f -f -n -d 2>/dev/null || %s -f", pf.off, pf.off)
	return b.String()
}

// shares are the folders that the guest may write, and those that its empty /tmp and
// /run would hide though the command needs them.
func shares(o Options) []string {
	dirs := append([]string{}, o.Shares...)
	for _, d := range []string{o.Dir, filepath.Dir(o.Command[0])} {
		if !strings.HasPrefix(d, "/tmp/") && !strings.HasPrefix(d, "/run/") {
			continue
		}
		if !slices.ContainsFunc(dirs, func(s string) bool { return d == s || strings.HasPrefix(d, s+"/") }) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// quote makes one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
