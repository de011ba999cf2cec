package sim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/internal/host"
)

// Link is a link with one router; all routers reach each other.
type Link struct {
	Name   string
	Prefix netip.Prefix
	Router netip.Addr // link-local
	Home   bool
}

const (
	routerLifetime = 30 * time.Minute
	prefixValid    = 24 * time.Hour
	// Unsolicited advertisements come so often (RFC 4861 §6.2.1 allows 3 s to 30 min).
	advertiseEvery = time.Minute
	// dadTime is DupAddrDetectTransmits times RetransTimer (RFC 4862 §5.4).
	dadTime = time.Second
	// kernelLag is how long news of the kernel take to the program.
	kernelLag = 100 * time.Microsecond
)

// AddLink makes a link and lets its router advertise.
func (w *World) AddLink(name, prefix string, home bool) *Link {
	l := &Link{Name: name, Prefix: netip.MustParsePrefix(prefix), Home: home}
	n := byte(len(w.Links) + 1)
	l.Router = netip.AddrFrom16([16]byte{0xfe, 0x80, 8: 0xff, 15: n})
	w.Links = append(w.Links, l)
	w.After(w.jitter(advertiseEvery), func() { w.advertise(l) })
	return l
}

// advertise sends an unsolicited router advertisement to everyone on the link.
func (w *World) advertise(l *Link) {
	for _, h := range w.Hosts {
		for _, i := range h.ifaces {
			if i.link == l && !h.agent && !h.fixed {
				w.sendRA(h, i)
			}
		}
	}
	w.After(advertiseEvery, func() { w.advertise(l) })
}

// sendRA sends an advertisement to one interface; it does not follow it to another link.
func (w *World) sendRA(h *Host, i *iface) {
	l, epoch := i.link, i.epoch
	w.transit(Packet{Kind: Discovery, Src: l.Router, Dst: i.linkLocal, What: "RA " + l.Name + " to " + h.Name}, func() {
		if i.epoch == epoch {
			h.advertised(i)
		}
	})
}

// solicit sends a router solicitation; the router answers it at once.
func (w *World) solicit(h *Host, i *iface) {
	if i.link == nil {
		return
	}
	epoch := i.epoch
	w.transit(Packet{Kind: Discovery, From: h, Src: i.linkLocal, Dst: i.link.Router, What: "RS"}, func() {
		if i.epoch == epoch {
			w.sendRA(h, i)
		}
	})
}

// router is what a link's router advertises.
func (l *Link) router(index int) host.Router {
	return host.Router{IfIndex: index, Addr: l.Router, HardAddr: []byte{2, 0, 0, 0, 0, 1},
		Lifetime: routerLifetime, HomeAgent: l.Home,
		Prefixes: []host.RouterPrefix{{Prefix: l.Prefix, OnLink: true, Auto: true, Valid: prefixValid, Preferred: prefixValid / 2}}}
}

// Attach connects an interface to a link; what it was connected to is left.
func (w *World) Attach(h *Host, index int, l *Link) {
	i := h.iface(index)
	if i.link == l {
		return
	}
	w.Detach(h, index)
	i.link = l
	i.epoch++
	w.logf("%s attaches %s to %s", h.Name, i.name, l.Name)
	h.tellLink(i)
	for n := range i.addrs {
		if i.addrs[n].Tentative {
			h.detect(i, i.addrs[n].Prefix.Addr())
		}
	}
	// The kernel solicits too, after a random delay (RFC 4861 §6.3.7).
	epoch := i.epoch
	w.After(w.jitter(time.Second), func() {
		if i.epoch == epoch && !h.agent && !h.fixed {
			w.solicit(h, i)
		}
	})
}

// Detach takes an interface off its link.
func (w *World) Detach(h *Host, index int) {
	i := h.iface(index)
	if i.link == nil {
		return
	}
	w.logf("%s leaves %s", h.Name, i.link.Name)
	i.link = nil
	i.epoch++
	h.tellLink(i)
}

// owner finds who has an address on the link that it belongs to.
func (w *World) owner(a netip.Addr) *Host {
	for _, h := range w.Hosts {
		if h.has(a) {
			return h
		}
	}
	return nil
}

// has tells whether packets to the address reach the host directly.
func (h *Host) has(a netip.Addr) bool {
	for _, i := range h.ifaces {
		if i.link == nil || !i.link.Prefix.Contains(a) {
			continue
		}
		if slices.ContainsFunc(i.addrs, func(x host.Addr) bool { return x.Prefix.Addr() == a && x.Usable() }) {
			return true
		}
	}
	return false
}

// defender is the agent that answers for an address on its link, or nil.
func (w *World) defender(a netip.Addr) *Host {
	for _, h := range w.Hosts {
		if h.agent && slices.ContainsFunc(h.proxies, func(p host.PutProxy) bool { return p.Addr == a }) {
			return h
		}
	}
	return nil
}
