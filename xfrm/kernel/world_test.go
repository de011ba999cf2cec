package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// world is a router with hosts around it: a home agent, a correspondent, and mobile nodes, each
// with two care-of addresses on one link. Policies are those of package protect; the SAs of
// the tunnels have fixed keys.
type world struct {
	*testing.T
	router *netns
	hosts  map[string]*wHost
	seen   *capture
}

// wHost is a host of the world.
type wHost struct {
	*netns
	w       *world
	name    string
	link    string // address on the link
	b       *Backend
	addr    netip.Addr   // home address of a node
	careOf  []netip.Addr // of a node
	plan    protect.Plan
	ids     protect.ReqIDs
	binding protect.Binding // a node's, as in its databases
	at      protect.Binding // the same at its agent
}

var (
	wAgent = netip.MustParseAddr("2001:db8:1::1")
	wCN    = netip.MustParseAddr("2001:db8:c::1")
	wNodes = map[string][]netip.Addr{
		"mn":  {netip.MustParseAddr("2001:db8:1::100"), netip.MustParseAddr("2001:db8:a::100"), netip.MustParseAddr("2001:db8:b::100")},
		"mn2": {netip.MustParseAddr("2001:db8:1::200"), netip.MustParseAddr("2001:db8:d::200"), netip.MustParseAddr("2001:db8:e::200")},
	}
	wNames = strings.NewReplacer("2001:db8:1::100", "HOA", "2001:db8:a::100", "COA1", "2001:db8:b::100", "COA2",
		"2001:db8:1::200", "HOB", "2001:db8:d::200", "COB1", "2001:db8:e::200", "COB2", "2001:db8:1::1", "HA", "2001:db8:c::1", "CN")
)

// newWorld makes the hosts with these names: "ha", "cn", "mn", "mn2".
func newWorld(t *testing.T, names ...string) *world {
	w := &world{T: t, router: newNetns(t), hosts: map[string]*wHost{}}
	probe := w.router.mustBackend(Options{})
	if c := probe.Caps(); !c.ESP6 || !c.MIP6 || !c.Migrate || !c.AH6 {
		t.Skipf("this kernel lacks %+v; run by integration/cmd/vmtest", c.Missing)
	}
	w.router.sysctl("net/ipv6/conf/all/forwarding", "1")
	for i, name := range names {
		w.hosts[name] = w.newHost(name, i)
	}
	w.seen = newCapture(t, w.router)
	for _, name := range names {
		w.hosts[name].reach()
	}
	return w
}

func (ns *netns) sysctl(path, value string) {
	ns.t.Helper()
	if _, err := ns.run("sh", "-c", "echo "+value+" >/proc/sys/"+path); err != nil {
		ns.t.Fatal(err)
	}
}

// newHost joins a host to the router by a veth with the link prefix fd00:N::/64.
func (w *world) newHost(name string, i int) *wHost {
	w.Helper()
	h := &wHost{netns: newNetns(w.T), w: w, name: name}
	h.b = h.mustBackend(Options{})
	port := fmt.Sprintf("p%d", i)
	err := error(nil)
	if e := w.router.do(func() {
		if err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: name}); err != nil {
			return
		}
		var p netlink.Link
		if p, err = netlink.LinkByName(name); err == nil {
			err = netlink.LinkSetNsFd(p, h.Fd())
		}
	}); e != nil || err != nil {
		w.Fatal(e, err)
	}
	h.link = fmt.Sprintf("fd00:%d::2", i+1)
	far, near := fmt.Sprintf("fd00:%d::1", i+1), fmt.Sprintf("fd00:%d::2", i+1)
	w.router.ip("link set " + port + " up")
	w.router.ip("-6 addr add " + far + "/64 dev " + port + " nodad")
	h.ip("link set " + name + " up")
	h.ip("-6 addr add " + near + "/64 dev " + name + " nodad")
	h.ip("-6 route add default via " + far)
	here := func(a netip.Addr) {
		h.ip("-6 addr add " + a.String() + "/128 dev " + name + " nodad")
		w.router.ip("-6 route add " + a.String() + "/128 via " + near)
	}
	caps := h.b.Caps()
	switch addrs := wNodes[name]; {
	case name == "ha":
		h.addr, h.plan = wAgent, protect.Plan{Role: protect.Agent, Caps: caps}
		here(wAgent)
		h.sysctl("net/ipv6/conf/all/forwarding", "1")
		w.router.ip("-6 route add 2001:db8:1::/64 via " + near)
	case name == "cn":
		h.addr, h.plan = wCN, protect.Plan{Role: protect.Correspondent, Caps: caps}
		here(wCN)
	default:
		h.addr, h.careOf = addrs[0], addrs[1:]
		h.plan = protect.Plan{Role: protect.Node, Caps: caps, Optimises: true}
		h.ids = protect.ReqIDsFor(protect.Node, uint32(i))
		h.ip("-6 addr add " + h.addr.String() + "/128 dev lo nodad home")
		here(h.careOf[0])
		here(h.careOf[1])
	}
	return h
}

// reach waits until packets pass.
func (h *wHost) reach() {
	h.w.Helper()
	for range 50 {
		if _, err := h.run("ping", "-6", "-c", "1", "-W", "1", "-I", h.link, "fd00:1::1"); err == nil {
			return
		}
	}
	h.w.Fatalf("%s does not reach the router", h.name)
}

func (h *wHost) apply(ops ...xfrm.Op) {
	h.w.Helper()
	for i, err := range h.b.Apply(context.Background(), ops) {
		if err != nil {
			h.w.Fatalf("%s: operation %d, %s: %v", h.name, i+1, wNames.Replace(protect.Text(ops[i])), err)
		}
	}
}

// start puts the generic set in.
func (h *wHost) start() {
	h.w.Helper()
	h.apply(h.plan.Start(protect.Generic{HomePrefixes: []netip.Prefix{netip.PrefixFrom(wAgent, 64)}, HomeAgents: []netip.Addr{wAgent}})...)
	if h.plan.Answers {
		h.apply(protect.Plan{Role: protect.Correspondent, Caps: h.plan.Caps}.Start(protect.Generic{})...)
	}
}

// away binds a node for the first time: SAs of the tunnel, policies at both ends.
func (h *wHost) away() {
	h.w.Helper()
	agent := h.w.hosts["ha"]
	i, ids := uint32(h.addr.As16()[14]), protect.ReqIDsFor(protect.Agent, uint32(h.addr.As16()[14]))
	up := testSA(h.careOf[0], wAgent, xfrm.ESP, xfrm.Tunnel, xfrm.SPI(0x6000+2*i), h.ids.Payload)
	down := testSA(wAgent, h.careOf[0], xfrm.ESP, xfrm.Tunnel, xfrm.SPI(0x6001+2*i), h.ids.Payload)
	h.apply(xfrm.PutSA{SA: up}, xfrm.PutSA{SA: down})
	up.ReqID, down.ReqID = ids.Payload, ids.Payload
	agent.apply(xfrm.PutSA{SA: up}, xfrm.PutSA{SA: down})
	to := protect.Binding{Phase: protect.Away, Home: h.addr, HomeAgent: wAgent, CareOf: h.careOf[0], ReqIDs: h.ids}
	at := to
	at.ReqIDs = ids
	h.apply(h.plan.Change(h.binding, to, protect.Grace{})...)
	agent.apply(agent.plan.Change(h.at, at, protect.Grace{})...)
	h.binding, h.at = to, at
}

// moveNode and moveAgent move the tunnel of a node at each end, the node's with changes of paths.
func (h *wHost) moveNode(careOf netip.Addr, changes ...[2]protect.Path) {
	h.w.Helper()
	to := h.binding
	to.CareOf = careOf
	grace := protect.Grace{Inbound: []xfrm.SPI{xfrm.SPI(0x6001 + 2*uint32(h.addr.As16()[14]))}}
	h.apply(protect.EndGrace(careOf, grace)...) // that of the move before
	h.apply(h.plan.WithPaths(h.plan.Change(h.binding, to, grace), changes)...)
	h.binding = to
}

func (h *wHost) moveAgent() {
	h.w.Helper()
	agent, to := h.w.hosts["ha"], h.at
	to.CareOf = h.binding.CareOf
	agent.apply(agent.plan.Change(h.at, to, protect.Grace{})...)
	h.at = to
}

// path is the path of a host to an address, for a node that is away.
func (h *wHost) path(remote netip.Addr) protect.Path {
	x := protect.Path{Local: h.addr, Remote: remote}
	if h.binding.Phase == protect.Away {
		x.Away, x.CareOf, x.HomeAgent, x.Tunnel = true, h.binding.CareOf, wAgent, h.ids.Payload
	}
	return x
}

// change changes a path and gives what it is now.
func (h *wHost) change(from protect.Path, set func(*protect.Path)) protect.Path {
	h.w.Helper()
	to := from
	set(&to)
	h.apply(h.plan.ChangePath(from, to)...)
	return to
}

// testSA makes an SA with keys made of its SPI.
func testSA(src, dst netip.Addr, proto xfrm.Proto, mode xfrm.Mode, spi xfrm.SPI, id xfrm.ReqID) xfrm.SA {
	s := xfrm.SA{Src: src, Dst: dst, Proto: proto, Mode: mode, SPI: spi, ReqID: id, Replay: xfrm.Replay{Window: 512, ESN: true}}
	if proto == xfrm.AH {
		s.Auth = xfrm.Auth{Name: "hmac(sha256)", Key: bytes.Repeat([]byte{byte(spi) | 1}, 32), TruncBits: 128}
	} else {
		s.AEAD = xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: bytes.Repeat([]byte{byte(spi) | 1}, 20), ICVBits: 128}
	}
	return s
}

// larval gives the states that wait for keys.
func (h *wHost) larval() (found []xfrm.SA) {
	h.w.Helper()
	err := h.b.Dump(context.Background(), xfrm.Filter{SAs: true}, func(o xfrm.Object) error {
		if s := o.(xfrm.SA); s.Larval {
			found = append(found, s)
		}
		return nil
	})
	if err != nil {
		h.w.Fatal(err)
	}
	return found
}

// drops gives a host's counters that are not zero.
func (h *wHost) drops() string {
	all, err := h.b.Stats()
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, c := range all {
		if c.Value != 0 {
			out = append(out, fmt.Sprintf("%s=%d", c.Name, c.Value))
		}
	}
	return h.name + " " + strings.Join(out, " ")
}

func (w *world) drops() string {
	var out []string
	for _, name := range []string{"mn", "mn2", "ha", "cn"} {
		if h := w.hosts[name]; h != nil {
			out = append(out, h.drops())
		}
	}
	return strings.Join(out, "; ")
}

// stream is traffic between two hosts, a packet a millisecond each way, numbered.
type stream struct {
	ends [2]*net.UDPConn
	sent [2]atomic.Int64 // by each end
	got  [2]atomic.Int64 // at each end
	done chan struct{}
	wg   sync.WaitGroup
}

// newStream begins traffic between two connected sockets.
func (w *world) newStream(a, b *wHost) *stream {
	w.Helper()
	s := &stream{done: make(chan struct{})}
	for i, h := range []*wHost{a, b} {
		peer := []*wHost{b, a}[i]
		var err error
		if e := h.do(func() {
			s.ends[i], err = net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.addr, 5000)),
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer.addr, 5000)))
			if err == nil {
				err = forceBuffer(s.ends[i])
			}
		}); e != nil || err != nil {
			w.Fatal(e, err)
		}
	}
	for i := range s.ends {
		s.wg.Add(2)
		go s.send(i)
		go s.receive(i)
	}
	w.Cleanup(func() { s.stop() })
	return s
}

// forceBuffer lets a slow machine receive later.
func forceBuffer(c *net.UDPConn) (err error) {
	raw, err := c.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) })
		err = errors.Join(err, cerr)
	}
	return err
}

func (s *stream) send(i int) {
	defer s.wg.Done()
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		for due := time.Since(start).Milliseconds(); s.sent[i].Load() < due; {
			var b [8]byte
			binary.BigEndian.PutUint64(b[:], uint64(s.sent[i].Add(1)))
			s.ends[i].Write(b[:])
		}
	}
}

func (s *stream) receive(i int) {
	defer s.wg.Done()
	seen := map[uint64]bool{}
	buf := make([]byte, 100)
	for {
		select {
		case <-s.done:
			s.ends[i].SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		default:
		}
		n, err := s.ends[i].Read(buf)
		if ne, ok := err.(net.Error); ok && ne.Timeout() || err != nil && strings.Contains(err.Error(), "closed") {
			return
		}
		if n == 8 {
			if v := binary.BigEndian.Uint64(buf); !seen[v] {
				seen[v] = true
				s.got[i].Add(1)
			}
		}
	}
}

// pass waits until so many more packets have come at both ends.
func (w *world) pass(s *stream, n int64) {
	w.Helper()
	want := [2]int64{s.got[0].Load() + n, s.got[1].Load() + n}
	limit := time.Now().Add(20 * time.Second)
	for s.got[0].Load() < want[0] || s.got[1].Load() < want[1] {
		if time.Now().After(limit) {
			w.Fatalf("traffic has stopped: got %d and %d; %s\n%s", s.got[0].Load(), s.got[1].Load(), w.drops(), w.seen.text())
		}
		<-time.After(time.Millisecond)
	}
}

// look lets traffic pass and tells whether these chains of headers, and no others, are on the wire.
func (w *world) look(s *stream, what string, want ...string) {
	w.Helper()
	w.pass(s, 30)
	w.seen.clear()
	w.pass(s, 50)
	for range 200 { // the capture may be behind, and one direction
		missing := slices.ContainsFunc(want, func(c string) bool { return w.seen.count(c) < 5 })
		if !missing {
			break
		}
		w.pass(s, 5)
	}
	got := w.seen.chains()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("%s:\n%swant %q; %s", what, w.seen.text(), want, w.drops())
	}
}

// see waits until a chain of headers was on the wire so often.
func (w *world) see(what string, n int) {
	w.Helper()
	for range 5000 {
		if w.seen.count(what) >= n {
			return
		}
		<-time.After(time.Millisecond)
	}
	w.Errorf("not %d times %q:\n%s%s", n, what, w.seen.text(), w.drops())
}

// stop ends the traffic and gives what was lost on the way to each end.
func (s *stream) stop() (sent [2]int64, lost [2]int64) {
	select {
	case <-s.done:
	default:
		close(s.done)
		for _, c := range s.ends {
			c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // and again while something comes
		}
	}
	s.wg.Wait()
	for i := range s.ends {
		s.ends[i].Close()
		sent[i] = s.sent[i].Load()
		lost[i] = s.sent[1-i].Load() - s.got[i].Load()
	}
	return sent, lost
}

// capture counts the chains of headers of what comes in at the router.
type capture struct {
	mu     sync.Mutex
	counts map[string]int
	order  []string
	since  time.Time // what came before does not count
}

func newCapture(t *testing.T, ns *netns) *capture {
	c := &capture{counts: map[string]int{}}
	fd := -1
	var err error
	if e := ns.do(func() {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(binary.BigEndian.Uint16([]byte{byte(unix.ETH_P_IPV6 & 0xff), unix.ETH_P_IPV6 >> 8})))
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf, oob := make([]byte, 3000), make([]byte, 200)
		for {
			n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, 0)
			select {
			case <-stop:
				return
			default:
			}
			if a, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && a.Pkttype != unix.PACKET_OUTGOING {
				c.add(chain(buf[:n]), stamp(oob[:oobn]))
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done; unix.Close(fd) })
	return c
}

// stamp is when a packet came.
func stamp(oob []byte) time.Time {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(list) == 0 || len(list[0].Data) < 16 {
		return time.Time{}
	}
	return time.Unix(int64(host.Uint64(list[0].Data)), int64(host.Uint64(list[0].Data[8:])))
}

func (c *capture) add(what string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if what == "" || at.Before(c.since) {
		return
	}
	if c.counts[what] == 0 {
		c.order = append(c.order, what)
	}
	c.counts[what]++
}

// clear forgets what was seen.
func (c *capture) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.order, c.since = map[string]int{}, nil, time.Now()
}

// text lists what was seen.
func (c *capture) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, what := range c.order {
		fmt.Fprintf(&b, "%6d %s\n", c.counts[what], what)
	}
	return b.String()
}

func (c *capture) chains() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

func (c *capture) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[what]
}

// chain writes the headers of an IPv6 packet: "COA1>CN hao=HOA 17". Neighbour discovery is "".
func chain(b []byte) string {
	if len(b) < 40 || b[0]>>4 != 6 {
		return ""
	}
	addr := func(b []byte) string { return wNames.Replace(netip.AddrFrom16([16]byte(b[:16])).String()) }
	out := addr(b[8:]) + ">" + addr(b[24:])
	next, rest := b[6], b[40:]
	for len(rest) >= 8 {
		size := 8 * (int(rest[1]) + 1)
		switch {
		case next == 43 && len(rest) >= size && size >= 24:
			out += fmt.Sprintf(" route%d=%s", rest[2], addr(rest[8:]))
		case next == 60 && len(rest) >= size && size >= 24:
			out += " hao=" + addr(rest[size-16:])
		case next == 51 && len(rest) >= 4*(int(rest[1])+2):
			out, size = out+" ah", 4*(int(rest[1])+2)
		case next == 58 && (rest[0] >= 133 && rest[0] <= 137 || rest[0] == 143):
			return ""
		case next == 0 && len(rest) >= size:
		case next == 50:
			return out + " esp"
		default:
			return out + fmt.Sprintf(" %d", next)
		}
		next, rest = rest[0], rest[size:]
	}
	return out + fmt.Sprintf(" %d", next)
}
