package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
)

// iface is an interface of a host, with what the kernel has on it.
type iface struct {
	index     int
	name      string
	linkLocal netip.Addr
	id        [8]byte // interface identifier of autoconfigured addresses
	link      *Link
	epoch     int // counts attachments
	addrs     []host.Addr
}

// stack is the part of a host that outlives its program: interfaces, routes, rules.
type stack struct {
	ifaces  []*iface
	routes  []host.Route
	rules   []host.Rule
	proxies []host.PutProxy
	sysctls map[string]string
	// counting are the packets from an address to another that are counted.
	counting map[[2]netip.Addr]uint64
}

func (h *Host) iface(index int) *iface {
	for _, i := range h.ifaces {
		if i.index == index {
			return i
		}
	}
	panic(fmt.Sprintf("sim: %s has no interface %d", h.Name, index))
}

// tell brings news of the kernel to the program.
func (h *Host) tell(ev host.Event) {
	h.post(kernelLag, couple.FromHost{Event: ev})
}

func (h *Host) linkOf(i *iface) host.Link {
	up := i.link != nil || i.name == "lo"
	return host.Link{Index: i.index, Name: i.name, Up: up, MTU: 1500, LinkLocal: i.linkLocal}
}

func (h *Host) tellLink(i *iface) { h.tell(host.LinkChanged{Link: h.linkOf(i)}) }

// tellAll is what the program is told when it begins to watch.
func (h *Host) tellAll() {
	for _, i := range h.ifaces {
		h.tellLink(i)
		for _, a := range i.addrs {
			h.tell(host.AddrChanged{Addr: a})
		}
	}
}

// advertised is the kernel's work when a router advertisement comes: an address of the
// prefix, which is tentative at first (RFC 4862 §5.5.3). The program hears the
// advertisement on another socket, before or after that.
func (h *Host) advertised(i *iface) {
	l := i.link
	h.post(kernelLag+h.w.jitter(2*kernelLag), couple.FromHost{Event: host.RouterSeen{Router: l.router(i.index)}})
	b := l.Prefix.Addr().As16()
	copy(b[8:], i.id[:])
	a := netip.AddrFrom16(b)
	for n := range i.addrs {
		if x := &i.addrs[n]; x.Prefix.Addr() == a {
			x.Valid, x.Preferred = prefixValid, prefixValid/2
			h.tell(host.AddrChanged{Addr: *x})
			return
		}
	}
	x := host.Addr{IfIndex: i.index, Prefix: netip.PrefixFrom(a, 64), Valid: prefixValid, Preferred: prefixValid / 2}
	h.addAddr(i, x, h.dadOff(i))
}

func (h *Host) dadOff(i *iface) bool { return h.sysctls["net/ipv6/conf/"+i.name+"/accept_dad"] == "0" }

// addAddr puts an address on an interface, by way of duplicate address detection.
func (h *Host) addAddr(i *iface, a host.Addr, noDAD bool) {
	a.Tentative = !noDAD && i.name != "lo"
	a.Optimistic = a.Tentative && h.sysctls["net/ipv6/conf/"+i.name+"/optimistic_dad"] == "1"
	i.addrs = append(i.addrs, a)
	h.tell(host.AddrChanged{Addr: a})
	if a.Tentative {
		h.detect(i, a.Prefix.Addr())
	}
}

// detect ends the detection of an address after its time, if the link is still the same.
func (h *Host) detect(i *iface, a netip.Addr) {
	epoch := i.epoch
	h.w.After(dadTime, func() {
		for n := range i.addrs {
			x := &i.addrs[n]
			if x.Prefix.Addr() != a || !x.Tentative || i.epoch != epoch || i.link == nil {
				continue
			}
			if d := h.w.defender(a); d != nil && i.link.Home {
				x.DADFailed = true
			}
			x.Tentative, x.Optimistic = false, false
			h.tell(host.AddrChanged{Addr: *x})
		}
	})
}

func (h *Host) dropAddr(i *iface, a netip.Addr) {
	for n, x := range i.addrs {
		if x.Prefix.Addr() == a {
			i.addrs = slices.Delete(i.addrs, n, n+1)
			h.tell(host.AddrChanged{Addr: x, Gone: true})
			return
		}
	}
}

// loopback is what index 0 stands for.
func (h *Host) byIndex(index int) *iface { return h.iface(max(index, 1)) }

// doHost carries one operation out. Putting what is there and deleting what is
// not are no errors.
func (h *Host) doHost(op host.Op) error {
	switch op := op.(type) {
	case host.PutAddr:
		i := h.byIndex(op.IfIndex)
		if n := slices.IndexFunc(i.addrs, func(x host.Addr) bool { return x.Prefix.Addr() == op.Prefix.Addr() }); n >= 0 {
			i.addrs[n].Home = op.Home
			return nil
		}
		h.addAddr(i, host.Addr{IfIndex: i.index, Prefix: op.Prefix, Permanent: true, Home: op.Home}, op.NoDAD)
	case host.DelAddr:
		h.dropAddr(h.byIndex(op.IfIndex), op.Prefix.Addr())
	case host.PutRoute:
		if i := h.byIndex(op.Route.IfIndex); i.link == nil && i.name != "lo" {
			return fmt.Errorf("sim: network is down")
		}
		h.doHost(host.DelRoute(op))
		h.routes = append(h.routes, op.Route)
	case host.DelRoute:
		h.routes = slices.DeleteFunc(h.routes, func(r host.Route) bool { return r.Table == op.Route.Table && r.Dst == op.Route.Dst })
	case host.PutRule:
		if !slices.Contains(h.rules, op.Rule) {
			h.rules = append(h.rules, op.Rule)
		}
	case host.DelRule:
		h.rules = slices.DeleteFunc(h.rules, func(r host.Rule) bool { return r == op.Rule })
	case host.PutProxy:
		if !slices.Contains(h.proxies, op) {
			h.proxies = append(h.proxies, op)
		}
	case host.DelProxy:
		h.proxies = slices.DeleteFunc(h.proxies, func(p host.PutProxy) bool { return p == host.PutProxy(op) })
	case host.SetSysctl:
		h.sysctls[op.Key] = op.Value
	case host.SolicitRouter:
		h.w.solicit(h, h.byIndex(op.IfIndex))
	case host.PutCounter:
		h.counting[[2]netip.Addr{op.Src, op.Dst}] = 0
	case host.DelCounter:
		delete(h.counting, [2]netip.Addr{op.Src, op.Dst})
	case host.AdvertiseNeighbour, host.DropUnresolved, host.PutNeighbour: // nobody waits for an address here
	case host.SendMH:
		return h.sendMH(op.MH)
	default:
		return fmt.Errorf("sim: operation %T", op)
	}
	return nil
}

// egress is the link that a packet would leave by, nil for none; the first hop filters
// sources that are not of the link (RFC 2827).
func (h *Host) egress(src, dst netip.Addr) *Link {
	if h.agent || h.fixed {
		return h.ifaces[1].link
	}
	l := h.route(src, dst)
	if l == nil || !l.Prefix.Contains(src) {
		return nil
	}
	return l
}

// route looks the way up: the rules in the order of their priority, then the main table,
// where every attached link has its own prefix and a default route.
func (h *Host) route(src, dst netip.Addr) *Link {
	rules := slices.Clone(h.rules)
	slices.SortStableFunc(rules, func(a, b host.Rule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		if !r.Src.Contains(src) {
			continue
		}
		best := -1
		for n, t := range h.routes {
			if t.Table == r.Table && t.Dst.Contains(dst) && (best < 0 || t.Dst.Bits() > h.routes[best].Dst.Bits()) {
				best = n
			}
		}
		if best < 0 {
			continue
		}
		t := h.routes[best]
		l := h.iface(t.IfIndex).link
		if l == nil || t.Via.IsValid() && t.Via != l.Router || !t.Via.IsValid() && !l.Prefix.Contains(dst) {
			return nil // the next hop is not there
		}
		return l
	}
	var any *Link
	for _, i := range h.ifaces {
		if i.link == nil {
			continue
		}
		if any == nil || slices.ContainsFunc(i.addrs, func(a host.Addr) bool { return a.Prefix.Addr() == src }) {
			any = i.link
		}
	}
	return any
}

// leftOvers says what of the program is still in the host.
func (h *Host) leftOvers() string {
	var b strings.Builder
	for _, r := range h.routes {
		fmt.Fprintf(&b, "route %+v; ", r)
	}
	for _, r := range h.rules {
		fmt.Fprintf(&b, "rule %+v; ", r)
	}
	for _, p := range h.proxies {
		fmt.Fprintf(&b, "proxy %+v; ", p)
	}
	for _, i := range h.ifaces {
		for _, a := range i.addrs {
			if a.Home {
				fmt.Fprintf(&b, "address %v on %s; ", a.Prefix, i.name)
			}
		}
	}
	return b.String()
}
