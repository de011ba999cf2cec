package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/internal/control"
)

// daemon is mip6d on one host, over all its lives.
type daemon struct {
	s      *story
	host   string
	socket string
	proc   *lab.Proc
	config string // the text it was started with
}

func (s *story) newDaemon(host string) *daemon {
	return &daemon{s: s, host: host, socket: filepath.Join(s.run, host, "control")}
}

// start starts mip6d and waits until it answers.
func (d *daemon) start(ctx context.Context, config string) error {
	path, err := d.s.writeConfig(d.host, config)
	if err != nil {
		return err
	}
	d.config = config
	if d.proc, err = d.s.lab.Spawn(d.host, "mip6d", filepath.Join(d.s.o.Bin, "mip6d"), "-c", path); err != nil {
		return err
	}
	return wait(ctx, 10*time.Second, "mip6d on "+d.host+" answers", func() error {
		if !d.proc.Running() {
			return fmt.Errorf("mip6d on %s ended: %v: %s", d.host, d.proc.Err(), d.lastLine())
		}
		if _, err := d.status(ctx); err != nil {
			return notYet(err)
		}
		return nil
	})
}

func (d *daemon) running() bool { return d != nil && d.proc != nil && d.proc.Running() }

// end ends it in order.
func (d *daemon) end() error {
	if !d.running() {
		return nil
	}
	return d.proc.Stop(10 * time.Second)
}

func (d *daemon) status(ctx context.Context) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return control.Call[control.Status](ctx, d.socket, control.Request{Cmd: control.CmdStatus})
}

// node is the mobile node's registration as mip6d tells it.
func (d *daemon) node(ctx context.Context) (control.Node, error) {
	st, err := d.status(ctx)
	if err != nil {
		return control.Node{}, err
	}
	if len(st.Nodes) != 1 {
		return control.Node{}, fmt.Errorf("mip6d on %s knows %d mobile nodes", d.host, len(st.Nodes))
	}
	return st.Nodes[0], nil
}

// binding is the agent's binding of the home address, or false.
func (d *daemon) binding(ctx context.Context, home netip.Addr) (control.Binding, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b, err := control.Call[control.Bindings](ctx, d.socket, control.Request{Cmd: control.CmdBindings})
	for _, x := range b.Bindings {
		if x.Home == home && (x.State == "bound" || x.State == "valid") { // nodes without a binding are listed too
			return x, true, err
		}
	}
	return control.Binding{}, false, err
}

// notice begins to watch what the daemon tells (mip6ctl watch) and returns once it is
// heard; the channel is closed when a notice matched, or the watch ended. While
// nothing is told this costs the processor nothing, as asking again and again does.
func (d *daemon) notice(ctx context.Context, match func(control.Notice) bool) (<-chan struct{}, error) {
	heard, done := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(done)
		failed <- control.Watch(ctx, d.socket, func() { close(heard) }, func(n control.Notice) error {
			if match(n) {
				return errMatched
			}
			return nil
		})
	}()
	select {
	case <-heard:
		return done, nil
	case err := <-failed:
		return nil, fmt.Errorf("watch on %s: %w", d.host, err)
	}
}

// errMatched ends a watch.
var errMatched = errors.New("matched")

// rekey asks for a new child, or with "ike" for a new IKE SA.
func (d *daemon) rekey(ctx context.Context, home netip.Addr, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := control.Call[control.RekeyResult](ctx, d.socket, control.Request{Cmd: control.CmdRekey,
		Rekey: &control.Rekey{Home: home.String(), Name: name}})
	if err == nil && !r.Started {
		err = fmt.Errorf("mip6d on %s does not rekey %s: %s", d.host, name, r.Detail)
	}
	return err
}

// ctl runs mip6ctl as people do.
func (d *daemon) ctl(ctx context.Context, args ...string) (string, error) {
	return d.s.lab.Host(d.host).Output(ctx, filepath.Join(d.s.o.Bin, "mip6ctl"), append([]string{"-s", d.socket}, args...)...)
}

// log is what the daemon logged since the offset; mark gives the present one.
func (d *daemon) log(since int64) string {
	b, _ := os.ReadFile(filepath.Join(d.s.o.Dir, d.host+"-mip6d.log"))
	if int64(len(b)) <= since {
		return ""
	}
	return string(b[since:])
}

func (d *daemon) mark() int64 {
	st, err := os.Stat(filepath.Join(d.s.o.Dir, d.host+"-mip6d.log"))
	if err != nil {
		return 0
	}
	return st.Size()
}

// waitLog waits for a line that matches, logged since the mark.
func (d *daemon) waitLog(ctx context.Context, since int64, limit time.Duration, pattern string) (string, error) {
	re := regexp.MustCompile(pattern)
	var line string
	err := wait(ctx, limit, fmt.Sprintf("line %s in the log of %s", pattern, d.host), func() error {
		for _, l := range strings.Split(d.log(since), "\n") {
			if re.MatchString(l) {
				line = l
				return nil
			}
		}
		return errNotYet
	})
	return line, err
}

func (d *daemon) lastLine() string {
	b := bytes.TrimSpace([]byte(d.log(0)))
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}

// errNotYet is the answer of a look that found nothing yet.
var errNotYet = errors.New("not yet")

// notYet makes any error one that more waiting may mend, keeping its words.
func notYet(err error) error { return fmt.Errorf("%w: %w", errNotYet, err) }

// wait looks every 20 ms until the look succeeds, fails otherwise than by errNotYet,
// or the limit is over.
func wait(ctx context.Context, limit time.Duration, what string, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v in vain for: %s (%w)", limit, what, err)
		case <-tick.C:
		}
	}
}
