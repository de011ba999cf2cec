package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestModuleOrder: what a module needs is loaded before it, and only once.
func TestModuleOrder(t *testing.T) {
	dir := t.TempDir()
	dep := `kernel/9pnet_virtio.ko.xz: kernel/9pnet.ko.xz kernel/virtio.ko.xz kernel/virtio-ring.ko.xz
kernel/9pnet.ko.xz:
kernel/9p.ko.xz: kernel/9pnet.ko.xz kernel/netfs.ko.xz
kernel/other.ko.xz: kernel/9p.ko.xz
`
	mods := filepath.Join(dir, "lib", "modules", "1.0")
	if err := os.MkdirAll(mods, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mods, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := moduleFiles(kernel{dir: dir, release: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".ko.xz"))
	}
	if got := strings.Join(names, " "); got != "virtio-ring virtio 9pnet 9pnet_virtio netfs 9p" {
		t.Errorf("order %s", got)
	}
}

// TestArchive reads the archive's fields back.
func TestArchive(t *testing.T) {
	var a archive
	a.add("init", 0o100755, []byte("hello"))
	b := a.end()
	field := func(i int) uint64 {
		n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if string(b[:6]) != "070701" || field(1) != 0o100755 || field(6) != 5 || field(11) != 5 {
		t.Errorf("header %q", b[:110])
	}
	if string(b[110:115]) != "init\x00" || string(b[116:121]) != "hello" || !bytes.HasPrefix(b[124:], []byte("070701")) {
		t.Errorf("body %q", b[110:140])
	}
}

func TestQuote(t *testing.T) {
	if got := quote(`it's`); got != `'it'\''s'` {
		t.Error(got)
	}
}
