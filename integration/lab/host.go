package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Host is one namespace.
type Host struct {
	Name string
	NS   netns.NsHandle
	NL   *netlink.Handle // its links, addresses, routes; safe for concurrent use
}

// nsPrefix precedes the host's name in /run/netns: ip netns exec mip6-mn …
const nsPrefix = "mip6-"

// newHost makes a namespace with its loopback up.
func newHost(name string) (*Host, error) {
	h := &Host{Name: name}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer was.Close()
	if h.NS, err = netns.NewNamed(nsPrefix + name); err != nil {
		return nil, fmt.Errorf("lab: namespace %s: %w (is this root, and no other lab running?)", nsPrefix+name, err)
	}
	if err := netns.Set(was); err != nil {
		return nil, err
	}
	if h.NL, err = netlink.NewHandleAt(h.NS); err != nil {
		return nil, err
	}
	lo, err := h.NL.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	return h, h.NL.LinkSetUp(lo)
}

func (h *Host) close() {
	if h.NL != nil {
		h.NL.Close()
	}
	h.NS.Close()
	netns.DeleteNamed(nsPrefix + h.Name)
}

// Do runs f on a thread that is in the host's namespace: sockets that f opens and
// processes that it starts belong to the host and stay there.
func (h *Host) Do(f func() error) (err error) {
	runtime.LockOSThread()
	was, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer was.Close()
	if err := netns.Set(h.NS); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		// A thread that cannot go back stays locked and dies with its goroutine.
		if back := netns.Set(was); back != nil {
			err = errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Output runs a command in the host and gives its standard output.
func (h *Host) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := h.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("lab: %s: %s: %w", h.Name, name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("lab: %s: %s %s: %w: %s", h.Name, name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Sysctl writes a sysctl below net of the host, named by its path:
// "ipv6/conf/eth0/accept_ra".
func (h *Host) Sysctl(name, value string) error {
	return h.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
			return fmt.Errorf("lab: %s: sysctl net/%s=%s: %w", h.Name, name, value, err)
		}
		return nil
	})
}

// Sysctls writes several, "name=value" each, in order.
func (h *Host) Sysctls(settings ...string) error {
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		if err := h.Sysctl(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Ifaces are the names of the host's interfaces with a peer or a bridge: all but
// the loopback and tunnel devices.
func (h *Host) Ifaces() ([]string, error) {
	links, err := whole(h.NL.LinkList)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		if t := l.Type(); t == "veth" || t == "bridge" {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}

// whole lists again while a list comes back as interrupted: the kernel's table
// changed while it was read, so it may lack something.
func whole[T any](list func() ([]T, error)) (out []T, err error) {
	for range 100 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}
