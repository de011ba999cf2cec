package story

import (
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/integration/lab"
)

// addrWatch records the addresses of a host's kernel, those at first and all events.
type addrWatch struct {
	done chan struct{}
	mu   sync.Mutex
	all  []addrEvent
}

type addrEvent struct {
	at     time.Time
	addr   netip.Addr
	usable bool // there, and not tentative (or optimistic)
}

func watchAddrs(h *lab.Host) (*addrWatch, error) {
	w := &addrWatch{done: make(chan struct{})}
	updates := make(chan netlink.AddrUpdate, 256)
	if err := netlink.AddrSubscribeWithOptions(updates, w.done, netlink.AddrSubscribeOptions{Namespace: &h.NS, ListExisting: true}); err != nil {
		return nil, err
	}
	go func() {
		for u := range updates {
			ip, _ := netip.AddrFromSlice(u.LinkAddress.IP)
			tentative := u.Flags&unix.IFA_F_TENTATIVE != 0 && u.Flags&unix.IFA_F_OPTIMISTIC == 0
			w.mu.Lock()
			w.all = append(w.all, addrEvent{time.Now(), ip, u.NewAddr && !tentative})
			w.mu.Unlock()
		}
	}()
	return w, nil
}

func (w *addrWatch) stop() { close(w.done) }

// had tells whether the address could be used at t.
func (w *addrWatch) had(a netip.Addr, t time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := false
	for _, e := range w.all {
		if e.addr == a && e.at.Before(t) {
			had = e.usable
		}
	}
	return had
}

// usable is when the kernel first told, after t, that the address can be used;
// the zero time: it did not.
func (w *addrWatch) usable(a netip.Addr, t time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.all {
		if e.addr == a && e.usable && e.at.After(t) {
			return e.at
		}
	}
	return time.Time{}
}
