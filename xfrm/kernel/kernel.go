// Package kernel is the xfrm.Backend on Linux: the netlink codec and sockets for
// the kernel's SPD and SAD, with the kernel's habits minded (larval states, states
// that MIGRATE leaves behind, policies that it does not find). It decides nothing
// about protocols.
//
// The codec is this package's own: github.com/vishvananda/netlink has no MIGRATE,
// care-of address, policy type or extended sequence numbers, refuses SPI 0 and has
// one request in flight a socket.
package kernel

import (
	"context"
	"errors"
	"sync"

	"github.com/mip6/mip6/xfrm"
)

// Options say how to open the backend; the zero value is good.
type Options struct {
	// Sockets is how many Apply, AllocSPI and probes may be under way at a time; 0: 4.
	Sockets int
	// Thresholds are set at Open and what was there before is set again at Close;
	// nil: left alone.
	Thresholds *Thresholds
	// WatchBuffer is how many bytes of events may wait for a slow sink of Watch before
	// they are lost; 0: 4 MB, some thousand events.
	WatchBuffer int
	// NoProbe leaves out the probes for Caps, which then claims everything: for
	// tools that only look.
	NoProbe bool
}

// Backend is the Linux kernel's SPD and SAD in one network namespace. All methods
// may be called from several goroutines at once.
type Backend struct {
	ns     namespace
	idle   chan *socket
	opened int // sockets, in idle or in use
	closed chan struct{}
	once   sync.Once
	index  index
	caps   xfrm.Caps
	saved  *Thresholds // to be restored at Close

	watchBuffer int // bytes
}

var _ xfrm.Backend = (*Backend)(nil)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("xfrm/kernel: closed")

// Open opens the databases of the calling thread's network namespace and finds
// out what the kernel can do. It fails with xfrm.ErrPermission without
// CAP_NET_ADMIN and with a *xfrm.FeatureError where there is no XFRM at all.
func Open(o Options) (*Backend, error) {
	if o.Sockets <= 0 {
		o.Sockets = 4
	}
	ns, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	if o.WatchBuffer <= 0 {
		o.WatchBuffer = recvBuffer
	}
	b := &Backend{ns: ns, idle: make(chan *socket, o.Sockets), closed: make(chan struct{}), watchBuffer: o.WatchBuffer}
	b.index.init()
	for range o.Sockets {
		s, err := openSocket(recvBuffer)
		if err != nil {
			b.Close()
			return nil, explain(err, "XFRM", "open a netlink socket for XFRM")
		}
		b.idle <- s
		b.opened++
	}
	if err := b.probe(o.NoProbe); err != nil {
		b.Close()
		return nil, err
	}
	if o.Thresholds != nil {
		if err := b.replaceThresholds(*o.Thresholds); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// Close restores the thresholds and closes the sockets, waiting for calls under
// way. A Watch ends by its context, not by Close.
func (b *Backend) Close() error {
	var err error
	b.once.Do(func() {
		if b.saved != nil {
			err = b.SetThresholds(context.Background(), *b.saved)
		}
		close(b.closed)
		for range b.opened {
			(<-b.idle).close()
		}
		b.ns.close()
	})
	return err
}

// Caps says what the kernel can do.
func (b *Backend) Caps() xfrm.Caps { return b.caps }

// with runs f with a socket of its own.
func (b *Backend) with(ctx context.Context, f func(*socket)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-b.closed:
		return ErrClosed
	default:
	}
	select {
	case s := <-b.idle:
		defer func() { b.idle <- s }()
		f(s)
		return nil
	case <-b.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
