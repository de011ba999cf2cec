// Command vmrun runs a command in a real Linux kernel booted for it.
//
//	vmrun [-kernel uml|6.12|6.1|host] [-mem 768M] [-timeout 10m] [-quiet] -- COMMAND ARGUMENTS
//
// The guest sees this machine's files; what it writes below the module's root
// stays, everything else is read-only or forgotten. The exit status is the
// command's.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mip6/mip6/integration/vm"
)

func main() { os.Exit(run()) }

func run() int {
	kernel := flag.String("kernel", vm.UML, "kernel: uml, 6.12, 6.1 or host")
	mem := flag.String("mem", "", "memory of the guest (default 768M)")
	timeout := flag.Duration("timeout", 10*time.Minute, "kill the guest after this time")
	quiet := flag.Bool("quiet", false, "do not say what is done")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "vmrun: no command; usage: vmrun [flags] -- COMMAND ARGUMENTS")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := io.Writer(os.Stderr)
	if *quiet {
		log = nil
	}
	exit, err := vm.Run(ctx, vm.Options{
		Kernel: *kernel, Mem: *mem, Command: flag.Args(), Timeout: *timeout,
		Stdout: os.Stdout, Stderr: os.Stderr, Log: log,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		return 125
	}
	return exit
}
