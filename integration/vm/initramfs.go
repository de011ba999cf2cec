package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rootModules are what a guest needs before it sees the host's root by 9p, each
// loaded with what it depends on.
var rootModules = []string{"virtio_pci", "9pnet_virtio", "9p", "virtio_console"}

// initramfs makes the first root of a guest under qemu: a static busybox, the
// modules, and an init that mounts the host's root and hands over to the script.
func initramfs(k kernel, script string) ([]byte, error) {
	box, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: busybox (apt-get install busybox-static, or tools/install-deps --all)", ErrNotInstalled)
	}
	program, err := os.ReadFile(box)
	if err != nil {
		return nil, err
	}
	if f, err := elf.NewFile(bytes.NewReader(program)); err != nil || f.Section(".interp") != nil {
		return nil, fmt.Errorf("%w: a static busybox; %s is not (apt-get install busybox-static)", ErrNotInstalled, box)
	}
	var a archive
	for _, d := range []string{"bin", "dev", "proc", "sys", "root", "mod"} {
		a.add(d, 0o40755, nil)
	}
	a.add("bin/busybox", 0o100755, program)
	modules, err := moduleFiles(k)
	if err != nil {
		return nil, err
	}
	var init strings.Builder
	init.WriteString("#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n")
	for i, file := range modules {
		name := fmt.Sprintf("mod/%d.ko", i)
		code, err := readModule(file)
		if err != nil {
			return nil, err
		}
		a.add(name, 0o100644, code)
		fmt.Fprintf(&init, "/bin/busybox insmod /%s\n", name)
	}
	init.WriteString("/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 root /root || exec /bin/busybox poweroff -f\n")
	init.WriteString("/bin/busybox mount --move /dev /root/dev\n")
	fmt.Fprintf(&init, "exec /bin/busybox switch_root /root %s\n", quote(script))
	a.add("init", 0o100755, []byte(init.String()))
	return a.end(), nil
}

// moduleFiles are the files of rootModules and what they depend on, in the order of
// loading, from modules.dep; a module that is built in has none.
func moduleFiles(k kernel) ([]string, error) {
	dir := filepath.Join(k.dir, "lib", "modules", k.release)
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{} // module name: its file and what it needs, as in the file
	for _, line := range strings.Split(string(dep), "\n") {
		file, rest, ok := strings.Cut(line, ":")
		if ok {
			name, _, _ := strings.Cut(filepath.Base(file), ".ko")
			needs[strings.ReplaceAll(name, "-", "_")] = append([]string{file}, strings.Fields(rest)...)
		}
	}
	var files []string
	seen := map[string]bool{}
	for _, m := range rootModules {
		chain := needs[m]
		for i := len(chain) - 1; i >= 0; i-- { // modules.dep lists the deepest last
			if !seen[chain[i]] {
				seen[chain[i]] = true
				files = append(files, filepath.Join(dir, chain[i]))
			}
		}
	}
	return files, nil
}

// readModule reads a module, unpacked where the package has it compressed.
func readModule(file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		return os.ReadFile(file)
	}
	out, err := exec.Command("xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("vm: unpack %s by xz (package xz-utils): %w", filepath.Base(file), err)
	}
	return out, nil
}

// archive is a cpio archive in the "newc" format, which the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	buf bytes.Buffer
	ino int
}

func (a *archive) add(name string, mode int, data []byte) {
	a.ino++
	// Magic, inode, mode, uid, gid, links, time, size, device numbers (4), length of the name, checksum.
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(data)
	a.pad()
}

func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.buf.Bytes()
}
