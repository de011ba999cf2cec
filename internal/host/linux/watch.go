package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Watch implements host.Host. It calls sink from several goroutines, but never
// two at once; sink has to return soon, as events wait in socket buffers
// meanwhile. It returns nil when ctx ends, and ErrClosed when the Host is closed.
// Router advertisements and Mobility Headers that came after Open and before
// Watch are told first of their kind.
func (h *Host) Watch(ctx context.Context, sink func(host.Event)) error {
	if !h.watching.CompareAndSwap(false, true) {
		return ErrWatching
	}
	defer h.watching.Store(false)
	socks := []*socket{h.events, h.icmp, h.mh}
	for _, s := range socks {
		s.resume()
	}
	g, inner := errgroup.WithContext(ctx)
	stopped := make(chan struct{})
	stop := context.AfterFunc(inner, func() {
		defer close(stopped)
		for _, s := range socks {
			s.stop()
		}
	})
	var mu sync.Mutex
	emit := func(e host.Event) {
		mu.Lock()
		defer mu.Unlock()
		sink(e)
	}
	w := &watcher{h: h, emit: emit}
	err := w.resync()
	if err == nil {
		g.Go(func() error { return w.run() })
		g.Go(func() error { return h.watchICMP(emit) })
		g.Go(func() error { return h.watchMH(emit) })
		err = g.Wait()
	}
	if !stop() {
		<-stopped // so that it does not stop the next Watch
	}
	switch {
	case errors.Is(err, os.ErrClosed):
		return ErrClosed
	case ctx.Err() != nil:
		return nil
	}
	return err
}

// watcher follows links and addresses. It remembers them, to tell what an
// overrun hid, and not to tell what did not change.
type watcher struct {
	h     *Host
	emit  func(host.Event)
	links []linkState // by index
	addrs []addrState // in the kernel's order
}

// run follows the rtnetlink groups until its socket is stopped.
func (w *watcher) run() error {
	buf := make([]byte, 1<<16)
	for {
		p, err := w.h.events.receive(buf, nil)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.h.stats.Overruns.Add(1)
			w.emit(host.Lost{Err: err})
			if err := w.resync(); err != nil {
				return err
			}
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
		if from, ok := p.from.(*unix.SockaddrNetlink); !ok || from.Pid != 0 {
			continue // only the kernel is believed
		}
		eachMessage(p.data, w.message)
	}
}

// eachMessage calls each for every netlink message of b.
func eachMessage(b []byte, each func(typ uint16, body []byte)) {
	eachMessageSeq(b, func(typ uint16, _ uint32, body []byte) { each(typ, body) })
}

// eachMessageSeq is eachMessage with the sequence numbers.
func eachMessageSeq(b []byte, each func(typ uint16, seq uint32, body []byte)) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(attr32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.SizeofNlMsghdr:n])
		b = b[min(len(b), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
}

func (w *watcher) message(typ uint16, body []byte) {
	switch typ {
	case unix.RTM_NEWLINK:
		if l, ok := parseLink(body); ok {
			w.putLink(l)
		}
	case unix.RTM_DELLINK:
		if l, ok := parseLink(body); ok {
			w.delLink(l)
		}
	case unix.RTM_NEWADDR:
		if a, ok := parseAddr(body); ok {
			w.putAddr(a)
		}
	case unix.RTM_DELADDR:
		if a, ok := parseAddr(body); ok {
			w.delAddr(a)
		}
	}
}

func (w *watcher) link(index int) *linkState {
	i := slices.IndexFunc(w.links, func(l linkState) bool { return l.Index == index })
	if i < 0 {
		return nil
	}
	return &w.links[i]
}

func (w *watcher) putLink(l linkState) {
	l.LinkLocal = w.linkLocal(l.Index)
	old := w.link(l.Index)
	if old == nil {
		w.links = append(w.links, l)
		w.emit(host.LinkChanged{Link: l.Link})
		return
	}
	// The kernel tells a carrier that went and came back at once in one message.
	flapped := old.Up && l.Up && int32(l.downs-old.downs) > 0
	changed := !sameLink(old.Link, l.Link)
	*old = l
	if flapped {
		down := l.Link
		down.Up = false
		w.emit(host.LinkChanged{Link: down})
	}
	if changed || flapped {
		w.emit(host.LinkChanged{Link: l.Link})
	}
}

func (w *watcher) delLink(l linkState) {
	if w.link(l.Index) == nil {
		return
	}
	w.links = slices.DeleteFunc(w.links, func(o linkState) bool { return o.Index == l.Index })
	w.emit(host.LinkChanged{Link: l.Link, Gone: true})
}

func sameKey(a, b addrState) bool {
	return a.IfIndex == b.IfIndex && a.Prefix.Addr() == b.Prefix.Addr()
}

func (w *watcher) putAddr(a addrState) {
	i := slices.IndexFunc(w.addrs, func(o addrState) bool { return sameKey(o, a) })
	if i < 0 {
		w.addrs = append(w.addrs, a)
	} else {
		w.addrs[i] = a
	}
	w.emit(host.AddrChanged{Addr: a.Addr})
	w.fillLinkLocal(a)
}

func (w *watcher) delAddr(a addrState) {
	n := len(w.addrs)
	w.addrs = slices.DeleteFunc(w.addrs, func(o addrState) bool { return sameKey(o, a) })
	if len(w.addrs) == n {
		return
	}
	w.emit(host.AddrChanged{Addr: a.Addr, Gone: true})
	w.fillLinkLocal(a)
}
