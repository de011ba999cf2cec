// Package daemon is mip6d: it owns the loop of the machines, the executors that
// carry out what they decide, the watchers that tell them what happens, and the
// orderly beginning and end. It holds no protocol and no translation.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/doctor"
	"github.com/mip6/mip6/internal/host/linux"
	"github.com/mip6/mip6/internal/ledger"
	"github.com/mip6/mip6/internal/loop"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/kernel"
)

// Version is the program's version as the Go toolchain recorded it.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}

const version = "0.1.0-dev"

// executors is how many keys may be worked on at once, maxProbes how many addresses may be
// probed for duplicates.
const (
	executors = 16
	maxProbes = 4096
)

// reconcileKey is the key of comparing the databases among what runs aside; apart
// never gives it out.
const reconcileKey = 0

// stopLimit bounds the orderly end as a whole.
const stopLimit = 6 * time.Second

// daemon is one running mip6d.
type daemon struct {
	cfg     *config.Config
	log     *slog.Logger
	started time.Time

	journal     *journal
	host        *linux.Host
	backend     *kernel.Backend
	spd         *kernel.Thresholds // as found, to be restored; nil: left alone
	control     *control.Server
	orderly     bool                  // everything was taken down
	statAtStart []control.XfrmCounter // of the kernel, when this daemon started
	udp         *linux.IKEPorts
	keylog      *keyLog
	*machines

	loop    *loop.Loop[couple.Event, couple.Action]
	work    *serial[netip.Addr] // changes of one home address, in order
	aside   *serial[uint64]     // signatures: each on its own
	probes  *serial[netip.Addr] // for duplicates: they wait, and work little
	nextJob uint64
	history *history
	hangup  <-chan os.Signal
	live    atomic.Pointer[config.Config] // cfg with what was reloaded
	// noCounter has it said once that packets cannot be counted.
	noCounter sync.Once
	stopped   chan struct{} // the machines have taken everything down
}

// Run starts the daemon and serves until ctx ends; then it takes down what it
// put into the host. It returns nil after an orderly end.
//
// Each time that reload has something, the file is read again and what can be changed while the
// daemon runs is; with a mistake in it everything stays.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger, reload <-chan os.Signal) error {
	d := &daemon{cfg: cfg, log: log, started: time.Now(), stopped: make(chan struct{}),
		work: newSerial[netip.Addr](executors), aside: newSerial[uint64](executors), probes: newSerial[netip.Addr](maxProbes),
		history: &history{}, hangup: reload}
	d.live.Store(cfg)
	d.statAtStart, _ = doctor.XfrmStat(nil) // a kernel without CONFIG_XFRM_STATISTICS has none
	rec, err := d.open()
	if err != nil {
		// What open put up, close takes down; an earlier run's records must stay.
		d.orderly = !slices.ContainsFunc(rec.Records, func(r ledger.Record) bool { return r.Kind != ledger.KindPeer })
		return errors.Join(err, d.close())
	}
	err = d.serve(ctx, rec)
	return errors.Join(err, d.close())
}

// open takes everything that the daemon needs of the host, the ledger first: a
// second daemon must not get further.
func (d *daemon) open() (rec ledger.Recovered, err error) {
	d.journal, rec, err = openJournal(d.cfg.Daemon.StateDir, d.log)
	if errors.Is(err, fs.ErrPermission) {
		return rec, fmt.Errorf("not permitted: mip6d runs as root, or with CAP_NET_ADMIN, CAP_NET_RAW, "+
			"CAP_NET_BIND_SERVICE and a state_dir of its own (%w)", err)
	}
	if err != nil {
		return rec, err
	}
	if d.keylog, err = openKeyLog(d.cfg.Daemon.IKEKeyLog, d.cfg.Daemon.ESPKeyLog, d.log); err != nil {
		return rec, err
	}
	if err = d.openBackend(rec); err != nil {
		return rec, err
	}
	opts := linux.Options{OnSysctl: func(s linux.Sysctl) error {
		return d.journal.write([]ledger.Change{ledger.Sysctl(s.Key, s.Found)})
	}}
	if !rec.Rebooted {
		for _, r := range rec.Records {
			if r.Kind == ledger.KindSysctl {
				opts.Sysctls = append(opts.Sysctls, linux.Sysctl{Key: r.Key, Found: string(r.Value)})
			}
		}
	}
	if d.host, err = linux.Open(opts); err != nil {
		return rec, err
	}
	if len(d.cfg.Peers) > 0 { // a correspondent may have nobody to speak IKE with
		if d.udp, err = linux.ListenIKEPorts(d.cfg.IKE.Port, 0); err != nil {
			return rec, err
		}
	}
	if d.control, err = control.Listen(d.cfg.Daemon.Control, d.cfg.Daemon.ControlGroup, d.log); err != nil {
		return rec, err
	}
	if d.machines, err = build(d.cfg, d.backend.Caps(), d.started); err != nil {
		return rec, err
	}
	err = dropPrivileges()
	if errors.Is(err, errors.ErrUnsupported) {
		d.log.Warn("this binary was built with cgo and keeps all its privileges", "error", err)
		err = nil
	}
	return rec, err
}

// openBackend chooses the data plane. So far there is one.
func (d *daemon) openBackend(rec ledger.Recovered) (err error) {
	if d.backend, err = kernel.Open(kernel.Options{}); err != nil {
		return err
	}
	caps := d.backend.Caps()
	if lack := missing(caps, d.cfg.MN != nil || d.cfg.HA != nil); lack != "" {
		return fmt.Errorf("the kernel lacks what Mobile IPv6 needs: %s (mip6ctl doctor says what to do)", lack)
	}
	d.log.Info("data plane", "name", caps.Name, "why", why(caps),
		"migrate_state", caps.MigrateState, "inbound_types", caps.InboundTypes)
	return d.setThresholds(rec)
}

// why says in words what speaks for a data plane.
func why(caps xfrm.Caps) string {
	if caps.ESP6 && caps.Migrate {
		return "the kernel has ESP, Mobile IPv6 headers and MIGRATE"
	}
	return "the kernel has Mobile IPv6 headers"
}

// setThresholds makes the kernel hash policies as ours are shaped, and writes down what was there:
// after a crash that is what the ledger has, not what is found.
func (d *daemon) setThresholds(rec ledger.Recovered) error {
	hash := d.cfg.Daemon.SPDHash
	if !hash.Set {
		return nil
	}
	ctx := context.Background()
	found, err := d.backend.Thresholds(ctx)
	if err != nil {
		return err
	}
	for _, r := range rec.Records {
		if r.Kind == ledger.KindSPD && !rec.Rebooted {
			t, err := r.SPD()
			if err != nil {
				return err
			}
			found = kernel.Thresholds{Local: t.Local6, Remote: t.Remote6}
		}
	}
	if err := d.journal.write([]ledger.Change{ledger.SPD(ledger.SPDThresholds{Local6: found.Local, Remote6: found.Remote})}); err != nil {
		return err
	}
	d.spd = &found
	return d.backend.SetThresholds(ctx, kernel.Thresholds{Local: hash.Local, Remote: hash.Remote})
}

// missing names what is needed and the kernel does not have: a correspondent needs the headers of
// Mobile IPv6 only.
func missing(caps xfrm.Caps, keyed bool) string {
	var lack []string
	for _, f := range []struct {
		name string
		has  bool
	}{{"ESP6", caps.ESP6 || !keyed}, {"MIP6", caps.MIP6}, {"Migrate", caps.Migrate || !keyed}} {
		if !f.has {
			lack = append(lack, f.name)
		}
	}
	return strings.Join(lack, ", ")
}

// serve runs everything under one group until ctx ends and the machines have stopped.
func (d *daemon) serve(ctx context.Context, rec ledger.Recovered) error {
	begin, err := records(rec)
	if err != nil {
		return err
	}
	d.loop = loop.New[couple.Event, couple.Action](d.node, d.do)
	// The service ends in two steps: the machines stop, then what feeds them does.
	inner, cancel := context.WithCancel(context.Background())
	defer cancel()
	g, inner := errgroup.WithContext(inner)
	run := func(name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(inner); err != nil && inner.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	run("loop", func(ctx context.Context) error { return d.loop.Run(ctx) })
	run("xfrm", func(ctx context.Context) error { return d.backend.Watch(ctx, d.onXfrm) })
	run("host", func(ctx context.Context) error { return d.host.Watch(ctx, d.onHost) })
	if d.udp != nil {
		run("ike", d.readIKE)
	}
	begin.SAs = d.ownSAs(inner)
	d.dropAsked(inner)
	d.loop.Post(begin)
	d.awaitStart(inner)
	run("control", func(ctx context.Context) error { return d.control.Serve(ctx, &handler{d}) })
	run("clean-up", func(ctx context.Context) error { return d.cleanLeftOvers(ctx, len(begin.MN)+len(begin.HA) > 0) })
	run("reload", d.reloads)
	d.log.Info("mip6d is running", "version", Version(), "roles", d.roles(), "config", d.cfg.File,
		"recovered", len(begin.MN)+len(begin.HA)+len(begin.Optimise))

	select {
	case <-ctx.Done():
		d.log.Info("stopping: taking down what was put up")
		d.loop.Post(couple.Stop{})
		d.awaitStop(inner)
	case <-inner.Done(): // one of the tasks failed; the host is left as it was found all the same
		d.log.Error("a task failed; stopping")
	}
	cancel()
	if d.udp != nil {
		d.udp.Close()
	}
	err = g.Wait()
	d.work.wait()
	d.aside.wait()
	d.probes.wait()
	if err := d.undoRest(); err != nil {
		return err
	}
	d.orderly = err == nil
	return err
}

// awaitStart waits until what all nodes have in common stands in the databases: who is answered by
// mip6ctl, or reads that the daemon runs, may count on it.
func (d *daemon) awaitStart(ctx context.Context) {
	if d.loop.Inspect(ctx, func() {}) != nil {
		return
	}
	stands := make(chan struct{})
	d.work.do(netip.Addr{}, func() { close(stands) }) // behind the first operations, which have no key
	select {
	case <-stands:
	case <-ctx.Done():
	}
}

func (d *daemon) awaitStop(ctx context.Context) {
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-d.stopped:
	case <-ctx.Done():
	case <-limit.C:
		d.log.Warn("the orderly end took too long")
	}
}

func (d *daemon) roles() []string {
	var out []string
	if d.cfg.MN != nil {
		out = append(out, "mn")
	}
	if d.cfg.HA != nil {
		out = append(out, "ha")
	}
	if d.cfg.CN != nil {
		out = append(out, "cn")
	}
	return out
}

// close gives back what open took, in the opposite order.
func (d *daemon) close() error {
	var errs []error
	if d.udp != nil {
		d.udp.Close()
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	if d.backend != nil {
		if d.spd != nil {
			errs = append(errs, d.backend.SetThresholds(context.Background(), *d.spd))
		}
		errs = append(errs, d.backend.Close())
	}
	if d.control != nil {
		d.control.Close()
	}
	if d.keylog != nil {
		d.keylog.close()
	}
	if d.journal != nil {
		errs = append(errs, d.journal.close(d.orderly && errors.Join(errs...) == nil))
	}
	return errors.Join(errs...)
}
