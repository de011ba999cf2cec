package linux

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/internal/host"
)

// resync tells the whole present state, and before it what is gone since the
// last time. The groups are subscribed to already, so a change behind the dump
// is told by a message behind it; messages from before may repeat older states
// of an object, the last one always tells the true one.
func (w *watcher) resync() error {
	links, err := w.h.dumps.links()
	if err != nil {
		return err
	}
	addrs, err := w.h.dumps.addrs(0)
	if err != nil {
		return err
	}
	oldLinks, oldAddrs := w.links, w.addrs
	w.links, w.addrs = slices.Clone(links), slices.Clone(addrs)
	for _, a := range oldAddrs {
		if !slices.ContainsFunc(addrs, func(n addrState) bool { return sameKey(n, a) }) {
			w.emit(host.AddrChanged{Addr: a.Addr, Gone: true})
		}
	}
	for _, l := range oldLinks {
		now := w.link(l.Index)
		switch {
		case now == nil:
			w.emit(host.LinkChanged{Link: l.Link, Gone: true})
		case l.Up && now.Up && l.downs != now.downs: // went and came while nobody looked
			l.Up = false
			w.emit(host.LinkChanged{Link: l.Link})
		}
	}
	for i := range w.links {
		w.links[i].LinkLocal = w.linkLocal(w.links[i].Index)
		w.emit(host.LinkChanged{Link: w.links[i].Link})
	}
	for _, a := range w.addrs {
		w.emit(host.AddrChanged{Addr: a.Addr})
	}
	return nil
}

// linkLocal is the usable link-local address of a link, or the zero Addr.
func (w *watcher) linkLocal(index int) netip.Addr {
	var of []addrState
	for _, a := range w.addrs {
		if a.IfIndex == index {
			of = append(of, a)
		}
	}
	if best, ok := linkLocal(of); ok {
		return best.Prefix.Addr()
	}
	return netip.Addr{}
}

// fillLinkLocal tells a link anew where its link-local address changed.
func (w *watcher) fillLinkLocal(a addrState) {
	l := w.link(a.IfIndex)
	if l == nil || !a.Prefix.Addr().IsLinkLocalUnicast() {
		return
	}
	if ll := w.linkLocal(a.IfIndex); ll != l.LinkLocal {
		l.LinkLocal = ll
		w.emit(host.LinkChanged{Link: l.Link})
	}
}
