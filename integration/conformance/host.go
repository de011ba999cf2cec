package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mip6/mip6/internal/control"
)

// Host is a Wire to mip6d, which runs in a network namespace of its own.
type Host struct {
	link    *link
	nodes   []netip.Addr
	cmd     *exec.Cmd
	ended   chan struct{} // closed when mip6d ended; err is set then
	err     error
	logFile string
}

var _ Wire = (*Host)(nil)

// HostOptions say what runs in the node under test.
type HostOptions struct {
	Mip6d    string         // the program
	Config   string         // its configuration, without [daemon]
	Dir      string         // for its files
	Prefixes []netip.Prefix // of the link
}

const logTail = 60 // lines of the log that a failed case shows

// NewHost makes the link, starts mip6d, and brings its addresses up by a router
// advertisement. When it returns mip6d serves and its addresses answer.
func NewHost(ctx context.Context, o HostOptions) (*Host, error) {
	h := &Host{ended: make(chan struct{}), logFile: filepath.Join(o.Dir, "log")}
	for _, p := range o.Prefixes {
		h.nodes = append(h.nodes, eui64(p, nodeMAC))
	}
	var err error
	if h.link, err = newLink(o.Prefixes...); err != nil {
		return nil, err
	}
	if err := h.start(o); err != nil {
		h.link.close()
		return nil, err
	}
	if err := errors.Join(h.ready(ctx, filepath.Join(o.Dir, "control")), h.link.settle(ctx, h.nodes)); err != nil {
		return nil, errors.Join(err, h.Close(), errors.New(h.Log()))
	}
	return h, nil
}

// start starts mip6d in the node's namespace.
func (h *Host) start(o HostOptions) error {
	config := filepath.Join(o.Dir, "mip6d.toml")
	text := fmt.Sprintf("[daemon]\ncontrol = %q\nstate_dir = %q\nlog_level = \"debug\"\n\n", filepath.Join(o.Dir, "control"), o.Dir) + o.Config
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(h.logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	h.cmd = exec.Command(o.Mip6d, "-c", config)
	h.cmd.Stdout, h.cmd.Stderr, h.cmd.Dir = log, log, o.Dir
	if err := h.link.node.do(h.cmd.Start); err != nil {
		return fmt.Errorf("conformance: start mip6d: %w", err)
	}
	go func() {
		h.err = h.cmd.Wait()
		close(h.ended)
	}()
	return nil
}

// ready waits until mip6d answers on its control socket, and has put its states into
// the kernel: the state that accepts home address options comes last of what it begins with.
func (h *Host) ready(ctx context.Context, socket string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := control.Call[control.Status](ctx, socket, control.Request{Cmd: control.CmdStatus})
		if err == nil && st.DataPlane.States > 0 {
			return nil
		}
		select {
		case <-h.ended:
			return fmt.Errorf("conformance: mip6d ended at its start: %w", h.err)
		case <-ctx.Done():
			return fmt.Errorf("conformance: mip6d does not serve: %w", errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// Close ends mip6d in order, and the link.
func (h *Host) Close() error {
	defer h.link.close()
	select {
	case <-h.ended:
		return fmt.Errorf("conformance: mip6d had ended before the case: %v", h.err)
	default:
	}
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-h.ended:
	case <-limit.C:
		h.cmd.Process.Kill()
		<-h.ended
		return errors.New("conformance: mip6d did not end in order")
	}
	if h.err != nil {
		return fmt.Errorf("conformance: mip6d ended with an error: %w", h.err)
	}
	if h.link.overrun.Load() {
		return errors.New("conformance: the node sent more than the Tester could take")
	}
	return nil
}

// Send is of Wire.
func (h *Host) Send(packet []byte) error { return h.link.transmit(nodeMAC[:], packet) }

// Next is of Wire.
func (h *Host) Next(limit time.Duration) ([]byte, bool) { return h.link.next(limit) }

// Sleep is of Wire.
func (h *Host) Sleep(d time.Duration) { time.Sleep(d) }

// Now is of Wire.
func (h *Host) Now() time.Time { return time.Now() }

// Nodes is of Wire.
func (h *Host) Nodes() []netip.Addr { return h.nodes }

// Log is of Wire: the end of mip6d's log, and why the kernel dropped packets.
func (h *Host) Log() string {
	b, err := os.ReadFile(h.logFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	text := "the end of mip6d's log:\n" + strings.Join(lines[max(0, len(lines)-logTail):], "\n")
	h.link.node.do(func() error {
		// Of this thread's namespace: /proc/net is that of the process.
		stat, err := os.ReadFile("/proc/thread-self/net/xfrm_stat")
		for _, l := range strings.Split(string(stat), "\n") {
			if f := strings.Fields(l); len(f) == 2 && f[1] != "0" {
				text += "\n" + f[0] + " " + f[1]
			}
		}
		return err
	})
	return text
}
