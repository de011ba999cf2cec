package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// Captures are the running captures of a lab.
type Captures struct {
	dir  string
	stop atomic.Bool
	all  []*capture
}

// capture writes one interface's packets to one file.
type capture struct {
	host, iface, path string
	ring              *ring
	stop              atomic.Bool
	done              chan struct{}
	packets           atomic.Uint64
	err               error // valid once done is closed
}

// Capture starts capturing on every interface of every host, the bridges of the
// links among them (links-home, links-f1, links-f2; not their ports), each to
// HOST-IFACE.pcapng in dir. Packets reach the files within 0.1 s, whole, so an
// abrupt end loses no more. Time stamps are the kernel's, in nanoseconds; an
// outgoing packet is seen when it leaves, after a delay of netem. Lab.Close stops
// the captures, or Captures.Stop.
func (l *Lab) Capture(dir string) (*Captures, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := &Captures{}
	c.dir = dir
	for _, name := range l.names {
		if err := c.host(l.Host(name)); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	l.caps = c
	return c, nil
}

// host captures on all interfaces of a host.
func (c *Captures) host(h *Host) error {
	list, err := whole(h.NL.LinkList)
	if err != nil {
		return err
	}
	for _, link := range list {
		if t := link.Type(); t != "bridge" && (t != "veth" || h.Name == Links) {
			continue
		}
		if err := c.add(h, link.Attrs().Index, link.Attrs().Name, c.dir); err != nil {
			return err
		}
	}
	return nil
}

func (c *Captures) add(h *Host, ifindex int, iface, dir string) error {
	k := &capture{host: h.Name, iface: iface, path: filepath.Join(dir, h.Name+"-"+iface+".pcapng"), done: make(chan struct{})}
	f, err := os.Create(k.path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	ng, err := newPcapng(w, h.Name+"-"+iface)
	if err != nil {
		return err
	}
	err = h.Do(func() (err error) {
		k.ring, err = openRing(ifindex)
		return err
	})
	if err != nil {
		f.Close()
		return fmt.Errorf("lab: capture on %s %s: %w", h.Name, iface, err)
	}
	c.all = append(c.all, k)
	go func() {
		defer close(k.done)
		k.err = k.ring.read(&k.stop, func(at time.Time, data []byte, size int) error {
			k.packets.Add(1)
			return ng.packet(at, data, size)
		}, w.Flush)
		if n := k.ring.drops(); n > 0 {
			k.err = errors.Join(k.err, fmt.Errorf("lab: capture on %s %s missed %d packets", k.host, k.iface, n))
		}
		k.ring.close()
		k.err = errors.Join(k.err, w.Flush(), f.Close())
	}()
	return nil
}

// Stop ends all captures; every file is complete when it returns. An error, of the
// first call alone, tells of packets that were missed or a file that could not be written.
func (c *Captures) Stop() error {
	// The kernel hands a block over at the latest after ringTimeoutMS: what was on
	// the wire before Stop is in the files.
	again := c.stop.Load()
	if !again {
		time.Sleep(2 * ringTimeoutMS * time.Millisecond)
	}
	c.stop.Store(true)
	var errs []error
	for _, k := range c.all {
		k.stop.Store(true)
	}
	for _, k := range c.all {
		<-k.done
		errs = append(errs, k.err)
	}
	if again {
		return nil // it was told
	}
	return errors.Join(errs...)
}

// Keep ends all captures but those named HOST-IFACE: each takes its part of the processor.
func (c *Captures) Keep(names ...string) {
	for _, k := range c.all {
		if !slices.Contains(names, k.host+"-"+k.iface) {
			k.stop.Store(true)
		}
	}
}

// Files are the paths of the capture files.
func (c *Captures) Files() []string {
	var files []string
	for _, k := range c.all {
		files = append(files, k.path)
	}
	return files
}
