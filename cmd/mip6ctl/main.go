// Command mip6ctl asks mip6d what it does and what this host can do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mip6/mip6/internal/control"
)

// Exit statuses.
const (
	exitOK           = 0
	exitFault        = 1 // the daemon says no, or doctor finds that something needed is missing
	exitUsage        = 2
	exitNotRunning   = 3
	exitNotPermitted = 4
)

const callTimeout = 30 * time.Second

const usage = `usage: mip6ctl [-s SOCKET] [-json] COMMAND

commands:
  status           the daemon, its connections, IKE SAs, children, registrations and counters
  bindings         which care-of addresses are known: the home agent's and the correspondent's
                   binding cache, the mobile node's binding update list with its tokens
  ro               the correspondents of the mobile node: whether packets go directly, or why not
  sas              SAs and policies of the data plane
  migrations       the last moves and where their time went
  doctor           what this host has and lacks, and what to do; works without a daemon
  doctor cn        the same for a host that is a correspondent and nothing else, without IKE
  watch            what happens from now on
  rekey SPI        make new keys for the child with this inbound SPI
  rekey HOME NAME  or for a child of a home address: "mh", "payload", or "ike" for the IKE SA

flags:
  -s SOCKET        socket of the daemon (` + control.DefaultSocket + `)
  -json            JSON in place of text

exit status: 0 good, 1 refused or found wanting, 2 wrong call, 3 no daemon, 4 not permitted
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// cli is one call of the command.
type cli struct {
	out    io.Writer
	socket string
	json   bool
	args   []string // behind the command
	now    time.Time
}

var commands = map[string]struct {
	args int // at most
	do   func(*cli, context.Context) error
}{
	control.CmdStatus:     {0, (*cli).status},
	control.CmdBindings:   {0, (*cli).bindings},
	control.CmdRO:         {0, (*cli).ro},
	control.CmdSAs:        {0, (*cli).sas},
	control.CmdMigrations: {0, (*cli).migrations},
	control.CmdDoctor:     {1, (*cli).doctor},
	control.CmdWatch:      {0, (*cli).watch},
	control.CmdRekey:      {2, (*cli).rekey},
}

// errUsage is a call that is wrong; errWanting is the doctor's bad news, already told.
var (
	errUsage   = errors.New("wrong call")
	errWanting = errors.New("this host lacks what is needed")
)

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	c := &cli{out: out, now: time.Now()}
	cmd, err := c.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(errOut, "mip6ctl: %v\n\n%s", err, usage)
		return exitUsage
	}
	err = commands[cmd].do(c, ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errWanting):
		return exitFault
	case errors.Is(err, errUsage):
		fmt.Fprintf(errOut, "mip6ctl: %v\n\n%s", err, usage)
		return exitUsage
	}
	fmt.Fprintf(errOut, "mip6ctl: %v\n", err)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return exitNotRunning
	case errors.Is(err, control.ErrNotPermitted):
		return exitNotPermitted
	}
	return exitFault
}

// parse reads flags on both sides of the command.
func (c *cli) parse(args []string) (string, error) {
	fs := flag.NewFlagSet("mip6ctl", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.socket, "s", control.DefaultSocket, "")
	fs.BoolVar(&c.json, "json", false, "")
	var words []string
	for {
		if err := fs.Parse(args); err != nil {
			return "", err
		}
		if args = fs.Args(); len(args) == 0 {
			break
		}
		words = append(words, args[0])
		args = args[1:]
	}
	if len(words) == 0 {
		return "", errors.New("a command is missing")
	}
	cmd, ok := commands[words[0]]
	if !ok {
		return "", fmt.Errorf("unknown command %q", words[0])
	}
	c.args = words[1:]
	if len(c.args) > cmd.args {
		return "", fmt.Errorf("%s: unexpected %q", words[0], c.args[cmd.args])
	}
	return words[0], nil
}

// call asks the daemon within a time.
func call[T any](ctx context.Context, c *cli, req control.Request) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return control.Call[T](ctx, c.socket, req)
}

// show prints v as JSON where that is wanted, else by text.
func show[T any](c *cli, v T, text func(*cli, T)) error {
	if !c.json {
		text(c, v)
		return nil
	}
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
