package kernel

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// Watch joins the groups of acquires, expiries, migrations, reports and mappings
// and calls sink for each event, in order, from this goroutine, until ctx ends;
// then it returns nil. An overrun of the socket gives Lost with ENOBUFS. A sink
// that is slow fills the socket's buffer, nothing else.
func (b *Backend) Watch(ctx context.Context, sink func(xfrm.Event)) error {
	s, err := b.ns.open(b.watchBuffer, groupAcquire, groupExpire, groupReport, groupMigrate, groupMapping)
	if err != nil {
		return explain(err, "XFRM", "subscribe to events")
	}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		s.close()
		return &errnoError{call: "subscribe to events", errno: errnoOf(err)}
	}
	f := os.NewFile(uintptr(s.fd), "xfrm events") // the runtime's poller waits, no timer of ours
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), s.buf, 0)
			return rerr != unix.EAGAIN && rerr != unix.EINTR
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case errors.Is(rerr, unix.ENOBUFS):
			sink(xfrm.Lost{Err: &errnoError{call: "receive events", errno: unix.ENOBUFS}})
			continue
		case rerr != nil:
			return &errnoError{call: "receive events", errno: errnoOf(rerr)}
		}
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
			continue // not from the kernel
		}
		b.deliver(s.buf[:n], sink)
	}
}

// deliver decodes a packet's messages. One that cannot be read counts as lost:
// something happened, and nobody knows what.
func (b *Backend) deliver(packet []byte, sink func(xfrm.Event)) {
	messages(packet, func(h header, body []byte) error {
		if ev, err := decodeEvent(h.typ, body); err != nil {
			sink(xfrm.Lost{Err: err})
		} else if ev != nil {
			if x, ok := ev.(xfrm.Expire); ok && x.Hard {
				b.index.drop(x.SA.ID())
			}
			sink(ev)
		}
		return nil
	})
}
