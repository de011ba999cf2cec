package story

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mip6/mip6/integration/vm"
)

// Auto lets Boot choose: the host's kernel where it has all, else user-mode Linux.
const Auto = "auto"

// Boot is how a command brings itself into a kernel with Mobile IPv6.
type Boot struct {
	Kernel  string                             // Auto or one that package vm knows
	Args    []string                           // of this program, for its life inside another kernel
	Out     string                             // the folder that it writes to
	Timeout time.Duration                      // for the other kernel and all in it
	Here    func(context.Context) (int, error) // what it does on the host's kernel
}

// Run says what it does and does it; it returns the exit status.
func (b Boot) Run(ctx context.Context) (int, error) {
	kernel := b.Kernel
	if kernel == Auto {
		if lacks := KernelLacks(); lacks != "" {
			fmt.Printf("This machine's kernel lacks what Mobile IPv6 needs (%s).\nSo this runs inside user-mode Linux: a Linux 6.1 that is an ordinary process here.\n", lacks)
			kernel = vm.UML
		} else {
			fmt.Println("This machine's kernel has what Mobile IPv6 needs: this runs on it, in network namespaces of its own.")
			kernel = vm.Host
		}
	}
	if kernel == vm.Host {
		return b.Here(ctx)
	}
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	return vm.Run(ctx, vm.Options{
		// With one processor: qemu's emulation of several has brought the guest's kernel down.
		Kernel: kernel, Mem: "1536M", CPUs: 1, Command: append([]string{self}, b.Args...), Shares: []string{b.Out}, Timeout: b.Timeout,
		Stdout: os.Stdout, Stderr: os.Stderr, Log: os.Stderr,
	})
}

// leftBy are the files that a run writes.
var leftBy = []string{"*.pcapng", "*.log", "*.jsonl", "*-after-*.txt", "radvd-*.conf", recordFile, reportFile, "esp_sa", "ikev2_decryption_table", "preferences"}

// Empty makes a folder for a run, without what an earlier run left in it.
func Empty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, pattern := range leftBy {
		old, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range old {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
