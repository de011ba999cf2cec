package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// Message types and sizes of the Mobility Header in these tests (RFC 6275 §6.1).
const (
	homeTestInit, homeTest, bindingUpdate, bindingAck = 1, 3, 5, 6
)

// mhMessage makes a Mobility Header with this type and a mark in its last octet.
func mhMessage(typ, mark byte) []byte {
	size := 16
	if typ == homeTest {
		size = 24
	}
	b := make([]byte, size)
	b[0], b[1], b[2] = 59, byte(size/8-1), typ
	b[size-1] = mark
	return b
}

// checksum fills in the checksum over the pseudo-header, at this place.
func checksum(b []byte, at int, proto byte, src, dst netip.Addr) []byte {
	s, d := src.As16(), dst.As16()
	sum := uint32(len(b)) + uint32(proto)
	for _, part := range [][]byte{s[:], d[:], b} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum))
	return b
}

// forge sends a packet from the router as if from wire to wire: with a type 2 routing header to final
// and a home address option of home, where these are set.
func (w *world) forge(src, dst, home, final netip.Addr, proto byte, payload []byte) {
	w.Helper()
	from, to := src, dst
	if home.IsValid() {
		from = home
	}
	if final.IsValid() {
		to = final
	}
	body := checksum(payload, map[byte]int{135: 4, 17: 6}[proto], proto, from, to)
	next := proto
	wrap := func(head []byte, typ byte) { body, next = append(head, body...), typ }
	if home.IsValid() {
		a := home.As16()
		wrap(append([]byte{next, 2, 1, 2, 0, 0, 201, 16}, a[:]...), 60)
	}
	if final.IsValid() {
		a := final.As16()
		wrap(append([]byte{next, 2, 2, 1, 0, 0, 0, 0}, a[:]...), 43)
	}
	s, d := src.As16(), dst.As16()
	p := append([]byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), next, 64}, append(append(s[:], d[:]...), body...)...)
	var err error
	if e := w.router.do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err == nil {
			err = unix.Sendto(fd, p, 0, &unix.SockaddrInet6{Addr: d})
			unix.Close(fd)
		}
	}); e != nil || err != nil {
		w.Fatal(e, err)
	}
}

// listener takes Mobility Headers to a host's address.
type listener struct {
	h *wHost
	c *net.IPConn
}

func (h *wHost) listenMH() *listener {
	h.w.Helper()
	var c *net.IPConn
	var err error
	if e := h.do(func() { c, err = net.ListenIP("ip6:135", &net.IPAddr{IP: h.addr.AsSlice()}) }); e != nil || err != nil {
		h.w.Fatal(e, err)
	}
	h.w.Cleanup(func() { c.Close() })
	return &listener{h: h, c: c}
}

// send sends a message the ordinary way, through the host's policies.
func (l *listener) send(to netip.Addr, typ, mark byte) {
	l.h.w.Helper()
	if _, err := l.c.WriteTo(mhMessage(typ, mark), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		l.h.w.Fatal(err)
	}
}

// takes tells whether the message with this mark comes. Where it should not, one that must come is
// waited for behind it.
func (l *listener) takes(mark, behind byte) bool {
	l.h.w.Helper()
	l.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 200)
	for {
		n, _, err := l.c.ReadFrom(buf)
		if err != nil {
			l.h.w.Fatalf("%v; %s\n%s", err, l.h.w.drops(), l.h.w.seen.text())
		}
		switch buf[n-1] {
		case mark:
			return true
		case behind:
			return false
		}
	}
}

// TestMobilityHeaders: which Mobility Headers a node and a correspondent accept, and how they are sent.
func TestMobilityHeaders(t *testing.T) {
	for _, answers := range []bool{false, true} {
		testMobilityHeaders(t, answers)
	}
}

func testMobilityHeaders(t *testing.T, answers bool) {
	w := newWorld(t, "ha", "cn", "mn")
	ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
	mn.plan.Answers = answers
	for _, h := range []*wHost{ha, cn, mn} {
		h.start()
	}
	mn.away()
	// What is to the home address comes to the node's link too, as an attacker there would send it.
	toNode := func(f func()) {
		w.router.ip("-6 route add " + mn.addr.String() + "/128 via " + mn.link)
		f()
		w.router.ip("-6 route del " + mn.addr.String() + "/128 via " + mn.link)
	}
	none := netip.Addr{}
	coa := mn.careOf[0]
	node, peer := mn.listenMH(), cn.listenMH()
	mark := byte(1)
	// at the node: try sends the message in question, behind it goes one by the tunnel.
	check := func(what string, want bool, try func(mark byte)) {
		t.Helper()
		mark += 2
		try(mark)
		<-time.After(5 * time.Millisecond) // the long way round must not be the shorter one
		peer.send(mn.addr, homeTest, mark+1)
		if got := node.takes(mark, mark+1); got != want {
			t.Errorf("answers=%v: %s: accepted %v; %s", answers, what, got, w.drops())
		}
	}
	plain := func(m byte) {
		toNode(func() { w.forge(wCN, mn.addr, none, none, 135, mhMessage(homeTest, m)) })
	}
	routed := func(m byte) { w.forge(wCN, coa, none, mn.addr, 135, mhMessage(bindingAck, m)) }
	tunnelled := func(m byte) { peer.send(mn.addr, homeTest, m) }

	check("Home Test by the tunnel", true, tunnelled)
	check("Home Test outside the tunnel", false, plain)
	check("acknowledgement directly, none awaited", false, routed)
	x := mn.path(wCN)
	x = mn.change(x, func(x *protect.Path) { x.Accept, x.Ack = true, true })
	check("acknowledgement directly", true, routed)
	check("Home Test by the tunnel while an acknowledgement is awaited", true, tunnelled)
	x = mn.change(x, func(x *protect.Path) { x.Direct, x.Ack = true, false })
	check("acknowledgement directly, after it was awaited", false, routed)
	check("Home Test outside the tunnel, path direct", false, plain)
	check("Home Test by the tunnel, path direct", true, tunnelled)
	mn.change(x, func(x *protect.Path) { *x = mn.path(wCN) })

	// A peer that is mobile too binds here: its Binding Update comes by the agent, with its option. Where
	// we are nobody's correspondent there is no state for it.
	other := wNodes["mn2"]
	check("Binding Update of a mobile peer by the tunnel", answers, func(m byte) {
		w.forge(other[1], mn.addr, other[0], none, 135, mhMessage(bindingUpdate, m))
	})
	check("Binding Update of a mobile peer outside the tunnel", false, func(m byte) {
		toNode(func() { w.forge(other[1], mn.addr, other[0], none, 135, mhMessage(bindingUpdate, m)) })
	})

	w.seen.clear()
	node.send(wCN, homeTestInit, 1)
	if !peer.takes(1, 0) {
		t.Error("no Home Test Init")
	}
	w.see("COA1>HA esp", 1)
	if w.seen.count("COA1>CN hao=HOA 135") > 0 {
		t.Errorf("Home Test Init:\n%s", w.seen.text())
	}

	// At the correspondent: a Binding Update comes from any care-of address, data does not.
	for i, from := range []netip.Addr{coa, mn.careOf[1]} {
		w.forge(from, wCN, mn.addr, none, 135, mhMessage(bindingUpdate, byte(10+i)))
		if !peer.takes(byte(10+i), 0) {
			t.Error("no Binding Update")
		}
	}
	events := cn.events()
	udp := []byte{0x13, 0x88, 0x13, 0x88, 0, 8, 0, 0}
	w.forge(coa, wCN, mn.addr, none, 17, udp)
	for {
		select {
		case ev := <-events:
			r, ok := ev.(xfrm.Report)
			if !ok {
				continue
			}
			if r.Proto != xfrm.HAO || r.CareOf != coa || r.Sel.Src.Addr() != mn.addr || r.Sel.Dst.Addr() != wCN {
				t.Errorf("report %+v", r)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("no report; %s", w.drops())
		}
		break
	}
}

// TestProtectedBinding: with an SA between home address and correspondent the Binding Update and its
// acknowledgement go under it, before data goes directly; without it none is accepted.
func TestProtectedBinding(t *testing.T) {
	for _, proto := range []xfrm.Proto{xfrm.ESP, xfrm.AH} {
		w := newWorld(t, "ha", "cn", "mn")
		ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
		for _, h := range []*wHost{ha, cn, mn} {
			h.start()
		}
		mn.away()
		node, peer := mn.listenMH(), cn.listenMH()
		id := protect.PathReqID(protect.Node, 7)
		for _, h := range []*wHost{mn, cn} {
			h.apply(xfrm.PutSA{SA: testSA(mn.addr, wCN, proto, xfrm.Transport, 0x7001, id)},
				xfrm.PutSA{SA: testSA(wCN, mn.addr, proto, xfrm.Transport, 0x7002, id)})
		}
		name := map[xfrm.Proto]string{xfrm.ESP: " esp", xfrm.AH: " ah 135"}[proto]
		set := func(x *protect.Path) { x.Protect, x.ReqID = proto, id }
		a, b := mn.change(mn.path(wCN), set), cn.change(cn.path(mn.addr), set)
		a = mn.change(a, func(x *protect.Path) { x.Accept, x.Ack = true, true })
		w.forge(mn.careOf[0], wCN, mn.addr, netip.Addr{}, 135, mhMessage(bindingUpdate, 1))
		<-time.After(5 * time.Millisecond)
		node.send(wCN, bindingUpdate, 2)
		if peer.takes(1, 2) {
			t.Error("a Binding Update without its SA was accepted")
		}
		b = cn.change(b, func(x *protect.Path) { x.RemoteCareOf = mn.careOf[0] })
		w.forge(wCN, mn.careOf[0], netip.Addr{}, mn.addr, 135, mhMessage(bindingAck, 3))
		<-time.After(5 * time.Millisecond)
		peer.send(mn.addr, bindingAck, 4)
		if node.takes(3, 4) {
			t.Error("an acknowledgement without its SA was accepted")
		}
		a = mn.change(a, func(x *protect.Path) { x.Direct, x.Ack = true, false })
		node.send(wCN, bindingUpdate, 5) // a refresh
		peer.takes(5, 0)
		peer.send(mn.addr, bindingAck, 6)
		node.takes(6, 0)
		w.see("COA1>CN hao=HOA"+name, 2)
		w.see("CN>COA1 route2=HOA"+name, 2)
		_, _ = a, b
	}
}
