// Command mip6d is the Mobile IPv6 daemon: mobile node, home agent and correspondent
// node, with IKEv2 and IPsec of its own. It runs in the foreground and logs to standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/daemon"
	"github.com/mip6/mip6/internal/telemetry"
)

// Exit statuses: 1 for a fault while running, 2 for a call or a file that is wrong.
const (
	exitFault = 1
	exitUsage = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("mip6d", flag.ContinueOnError)
	flags.SetOutput(errOut)
	file := flags.String("c", "/etc/mip6/mip6.toml", "configuration `FILE`")
	check := flags.Bool("check", false, "check the configuration, name the line of every mistake, and end")
	version := flags.Bool("version", false, "print the version and end")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: mip6d [-c FILE] [-check]\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errOut, "mip6d: unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	}
	if *version {
		fmt.Fprintln(out, "mip6d", daemon.Version())
		return 0
	}
	cfg, err := config.Load(*file)
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	if *check {
		for _, w := range cfg.Warnings {
			fmt.Fprintln(errOut, "warning:", w)
		}
		fmt.Fprintf(out, "%s: good\n", *file)
		return 0
	}
	return serve(cfg, errOut)
}

// serve runs the daemon until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP has the file read again.
func serve(cfg *config.Config, errOut io.Writer) int {
	level, err := telemetry.Level(cfg.Daemon.LogLevel)
	if err != nil {
		fmt.Fprintln(errOut, "mip6d:", err)
		return exitUsage
	}
	log, _ := telemetry.Logger(errOut, level)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal has its ordinary effect
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	if err := daemon.Run(ctx, cfg, log, hangup); err != nil {
		log.Error("mip6d ends", "error", err)
		return exitFault
	}
	return 0
}
