package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

var (
	// ErrNoOptimistic means that the kernel has no optimistic DAD (RFC 4429).
	ErrNoOptimistic = errors.New("lab: this kernel has no optimistic DAD (CONFIG_IPV6_OPTIMISTIC_DAD)")
	// ErrMissing names a program that the lab needs.
	ErrMissing = errors.New("lab: program not installed")
)

// Lab is a running topology.
type Lab struct {
	Plan  Plan
	Dir   string // where logs, configurations and captures go
	hosts map[string]*Host
	log   io.Writer
	procs []*Proc
	caps  *Captures
	names []string        // of the hosts, in the order in which they were made
	on    map[string]Link // where each mobile node is
}

// Options of Start.
type Options struct {
	Dir string    // for logs, configurations, captures; made if missing
	Log io.Writer // what the lab is doing, a line each; nil: nothing
}

// hostNames in the order in which Start makes them.
var hostNames = []string{Links, Core, Router, HA, CN, MN}

// Start builds the topology, starts radvd on ha and router, and returns when both
// have sent on all their links and the mobile node has carrier at Plan.Start. It
// does not wait for an address: see WaitAddr. Close takes all down again.
func Start(ctx context.Context, p Plan, o Options) (*Lab, error) {
	l := &Lab{Plan: p, Dir: o.Dir, hosts: map[string]*Host{}, log: o.Log, on: map[string]Link{}}
	if l.log == nil {
		l.log = io.Discard
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{l.makeHosts, l.wire, l.settle, l.routes, l.startRadvd} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	if p.Start != None {
		if _, _, err := l.Move(ctx, p.Start); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// Host is a host by its name; an unknown name panics.
func (l *Lab) Host(name string) *Host {
	h, ok := l.hosts[name]
	if !ok {
		panic("lab: no host " + name)
	}
	return h
}

// Link is where the mobile node is.
func (l *Lab) Link() Link { return l.on[MN] }

// LinkOf is where a mobile node is.
func (l *Lab) LinkOf(node string) Link { return l.on[node] }

// Close stops captures and processes and removes the namespaces.
func (l *Lab) Close() error {
	var errs []error
	for i := len(l.procs) - 1; i >= 0; i-- {
		if err := l.procs[i].Stop(5 * time.Second); err != nil {
			errs = append(errs, err)
		}
	}
	if l.caps != nil {
		errs = append(errs, l.caps.Stop())
	}
	for i := len(l.names) - 1; i >= 0; i-- {
		l.hosts[l.names[i]].close()
	}
	return errors.Join(errs...)
}

func (l *Lab) say(format string, a ...any) { fmt.Fprintf(l.log, "lab: "+format+"\n", a...) }

func (l *Lab) path(name string) string { return filepath.Join(l.Dir, name) }

func (l *Lab) makeHosts(context.Context) error {
	for _, name := range hostNames {
		if err := l.makeHost(name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) makeHost(name string) error {
	h, err := newHost(name)
	if err != nil {
		return err
	}
	l.hosts[name], l.names = h, append(l.names, name)
	return nil
}
