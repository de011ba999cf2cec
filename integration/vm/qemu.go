package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// qemuGuest is a guest under qemu: lines are ports of virtio-serial, which take any
// byte and whose writes return when the host has read them; folders come by 9p.
var qemuGuest = platform{
	out: "/dev/mip6.0", err: "/dev/mip6.1", control: "/dev/mip6.2", off: "poweroff",
	prepare: "for d in /sys/class/virtio-ports/*; do ln -s /dev/${d##*/} /dev/$(cat $d/name); done",
	share: func(i int, dir string) string {
		return fmt.Sprintf("mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share%d %s", i, quote(dir))
	},
}

// runQemu boots one of Debian's kernels under qemu, by TCG alone: KVM inside a
// virtual machine hangs on some hosts though /dev/kvm is there.
func runQemu(ctx context.Context, o Options) (int, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return -1, fmt.Errorf("%w: qemu-system-x86_64 (apt-get install qemu-system-x86, or tools/install-deps --all)", ErrNotInstalled)
	}
	k, err := debianKernel(ctx, o)
	if err != nil {
		return -1, err
	}
	run, err := os.MkdirTemp("", "mip6-qemu-")
	if err != nil {
		return -1, err
	}
	defer os.RemoveAll(run)
	pf := qemuGuest
	pf.modules = k.dir
	script, initrd := filepath.Join(run, "init"), filepath.Join(run, "initrd")
	if err := os.WriteFile(script, []byte(initScript(o, pf)), 0o755); err != nil {
		return -1, err
	}
	image, err := initramfs(k, script)
	if err != nil {
		return -1, err
	}
	if err := os.WriteFile(initrd, image, 0o644); err != nil {
		return -1, err
	}
	g := &guest{name: "Debian kernel " + o.Kernel + " under qemu", opts: o}
	g.cmd = exec.Command(qemu)
	cpus := o.CPUs
	if cpus == 0 {
		cpus = 2
	}
	g.cmd.Stdout, g.cmd.Stderr = &g.console, &g.console
	g.cmd.Args = append(g.cmd.Args, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(cpus), "-m", o.Mem,
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
		"-kernel", k.image, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
		"-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-serial")
	for i, dir := range shares(o) {
		g.cmd.Args = append(g.cmd.Args, "-virtfs", fmt.Sprintf("local,path=%s,mount_tag=share%d,security_model=none,multidevs=remap", dir, i))
	}
	var parents []func()
	for i, read := range lines(g) {
		fd, done, err := g.line(read)
		if err != nil {
			return -1, err
		}
		parents = append(parents, done)
		g.cmd.Args = append(g.cmd.Args, "-chardev", fmt.Sprintf("file,id=line%d,path=/proc/self/fd/%d", i, fd),
			"-device", fmt.Sprintf("virtserialport,chardev=line%d,name=mip6.%d", i, i))
	}
	return g.run(ctx, parents)
}
