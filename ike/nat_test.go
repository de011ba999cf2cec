package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// natBox translates address and port of what comes from inside, as a masquerade does:
// mappings end when they are not used for a while, and answers come through them only.
type natBox struct {
	inside   map[netip.Addr]bool
	outside  netip.Addr
	port     uint16 // of the next mapping
	lifetime time.Duration
	maps     []*natMap
}

type natMap struct {
	in, peer netip.AddrPort
	out      netip.AddrPort
	used     time.Time
}

func newNAT(outside string, inside ...string) *natBox {
	b := &natBox{inside: map[netip.Addr]bool{}, outside: netip.MustParseAddr(outside), port: 20000, lifetime: 30 * time.Second}
	for _, a := range inside {
		b.inside[netip.MustParseAddr(a)] = true
	}
	return b
}

// pass is what leaves the box for what comes to it; false: it is dropped.
func (b *natBox) pass(now time.Time, s Send) (Send, bool) {
	b.maps = slices.DeleteFunc(b.maps, func(m *natMap) bool { return now.Sub(m.used) > b.lifetime })
	if b.inside[s.Local.Addr()] {
		for _, m := range b.maps {
			if m.in == s.Local && m.peer == s.Remote {
				m.used, s.Local = now, m.out
				return s, true
			}
		}
		b.port++
		m := &natMap{s.Local, s.Remote, netip.AddrPortFrom(b.outside, b.port), now}
		b.maps = append(b.maps, m)
		s.Local = m.out
		return s, true
	}
	if s.Remote.Addr() != b.outside {
		return s, !b.inside[s.Remote.Addr()]
	}
	for _, m := range b.maps {
		if m.out == s.Remote && m.peer == s.Local {
			s.Remote = m.in
			return s, true
		}
	}
	return s, false
}

// rebind forgets all mappings: the box was started again, with another address maybe.
func (b *natBox) rebind(outside string) {
	b.maps, b.outside = nil, netip.MustParseAddr(outside)
}

// remapped does to the SAs what the databases do.
func (n *node) remapped(a Remapped) {
	for _, c := range a.Children {
		k, ok := n.kernel[c.SPIIn]
		if !ok {
			n.w.t.Errorf("%s: child %#x is remapped and not there", n.name, c.SPIIn)
		}
		k.RemoteAddr, k.RemotePort, k.Remote = c.RemoteAddr, c.RemotePort, c.Remote
		n.kernel[c.SPIIn] = k
	}
}

const (
	private  = "10.0.0.2"
	private6 = "fd00::2"
	public   = "192.0.2.1"
	public6  = "2001:db8:9::1"
	server   = "198.51.100.1"
	server6  = "2001:db8:5::1"
)

func natWant(local, remote string, mode Mode) ChildWant {
	l, r := netip.MustParseAddr(local), netip.MustParseAddr(remote)
	return ChildWant{Name: "payload", Mode: mode, ReqID: 2,
		Local: pfx(netip.PrefixFrom(l, l.BitLen()).String(), 17), Remote: pfx(netip.PrefixFrom(r, r.BitLen()).String(), 17)}
}

// natPair is a client and a server that are not mobile, with a NAT between them where
// there is a box.
func natPair(t *testing.T, box *natBox, change func(*setup)) (*world, *node, *node) {
	w := newWorld(t, 5)
	w.nat = box
	s := setup{mnCfg: Config{Conns: []Conn{mnConn()}}, haCfg: Config{Conns: []Conn{haConn()}}}
	s.mnKey, s.haKey = pskRing(t, mnID, haID, "a secret of both"), pskRing(t, haID, mnID, "a secret of both")
	if change != nil {
		change(&s)
	}
	c := w.node("client", s.mnCfg, s.mnKey, private, private6)
	srv := w.node("server", s.haCfg, s.haKey, server, server6)
	named := func(a Authorise) Authorised {
		return Authorised{Name: "payload", ReqID: 7, Local: a.Local, Remote: a.Remote}
	}
	c.narrow, srv.narrow = named, named
	return w, c, srv
}

func (n *node) call(local, remote string, wants ...ChildWant) {
	n.step(Initiate{Req: 42, Conn: "mip6", Local: ap(local), Remote: ap(remote), Children: wants})
}

func box4() *natBox { return newNAT(public, private) }

func (n *node) only(t *testing.T) SAInfo {
	t.Helper()
	l := n.m.Snapshot()
	if len(l) != 1 || l[0].State != "established" {
		t.Fatalf("%s: %+v%s", n.name, l, n.dump())
	}
	return l[0]
}

// TestNATFloats: through a NAT IKE goes to port 4500 with IKE_AUTH, ESP into UDP, for
// IPv4 and IPv6, and both ends know which of them is behind it.
func TestNATFloats(t *testing.T) {
	for _, a := range []struct{ private, public, server string }{{private, public, server}, {private6, public6, server6}} {
		w, c, s := natPair(t, newNAT(a.public, a.private), nil)
		c.call(a.private, a.server, natWant(a.private, a.server, Tunnel))
		w.run(time.Second, nil)
		ci, si := c.only(t), s.only(t)
		if !ci.NATDetected || !si.NATDetected {
			t.Fatalf("not detected: %v %v", ci.NATDetected, si.NATDetected)
		}
		for i, x := range w.sent {
			if h, err := message.ParseHeader(x.Data); err != nil || (h.Exchange == message.IKESAInit) != (i < 2) {
				t.Fatalf("message %d: %v %v", i, h.Exchange, err)
			}
			want := uint16(500)
			if i >= 2 {
				want = 4500
			}
			if x.Local.Port() != want {
				t.Errorf("message %d leaves from %v", i, x.Local)
			}
		}
		if got := si.Remote; got.Addr().String() != a.public || got.Port() != 20002 {
			t.Errorf("the server speaks to %v", got)
		}
		ck, sk := c.byName("payload"), s.byName("payload")
		if ck.LocalPort != 4500 || ck.RemotePort != 4500 || ck.LocalAddr.String() != a.private || ck.RemoteAddr.String() != a.server {
			t.Errorf("the client's child: %+v", ck)
		}
		if sk.LocalPort != 4500 || sk.RemotePort != 20002 || sk.RemoteAddr.String() != a.public {
			t.Errorf("the server's child: %+v", sk)
		}
		for _, k := range []struct {
			n *node
			c Child
		}{{c, ck}, {s, sk}} {
			if got := k.n.kernel[k.c.SPIIn]; got.LocalPort != k.c.LocalPort || got.RemotePort != k.c.RemotePort {
				t.Errorf("%s: installed with ports %d and %d", k.n.name, got.LocalPort, got.RemotePort)
			}
		}
	}
}

// TestNATPolicies: no NAT, forced encapsulation by either end, and a side that does not
// want to know.
func TestNATPolicies(t *testing.T) {
	for _, x := range []struct {
		name           string
		client, server NAT
		box            *natBox
		udp            bool
	}{
		{"no NAT", NATAuto, NATAuto, nil, false},
		{"forced by the client", NATForce, NATAuto, nil, true},
		{"forced by the server", NATAuto, NATForce, nil, true},
		{"forced by both", NATForce, NATForce, nil, true},
		{"client off", NATOff, NATForce, nil, false},
		{"server off", NATForce, NATOff, nil, false},
		{"client off behind a NAT", NATOff, NATAuto, box4(), false},
		{"server off, client behind a NAT", NATAuto, NATOff, box4(), false},
	} {
		w, c, s := natPair(t, x.box, func(u *setup) { u.mnCfg.Conns[0].NAT, u.haCfg.Conns[0].NAT = x.client, x.server })
		c.call(private, server, natWant(private, server, Tunnel))
		w.run(time.Second, nil)
		c.only(t)
		s.only(t)
		want := uint16(0)
		if x.udp {
			want = 4500
		}
		if a, b := c.byName("payload"), s.byName("payload"); a.LocalPort != want || a.RemotePort != want || b.LocalPort != want || b.RemotePort != want {
			t.Errorf("%s: ports %d %d, %d %d", x.name, a.LocalPort, a.RemotePort, b.LocalPort, b.RemotePort)
		}
		if last := w.sent[len(w.sent)-1]; (last.Local.Port() == 4500) != x.udp {
			t.Errorf("%s: IKE ends on %v", x.name, last.Local)
		}
		// A NAT that only one end pretends needs no sign of life.
		w.run(2*time.Minute, nil)
		if n := len(find[Keepalive](c)) + len(find[Keepalive](s)); n != 0 {
			t.Errorf("%s: %d keepalives", x.name, n)
		}
	}
}

// TestNATPolicyOfResponder: before the peer is known all connections that fit have a say.
func TestNATPolicyOfResponder(t *testing.T) {
	for _, x := range []struct {
		all  []NAT
		want NAT
	}{{[]NAT{NATOff, NATOff}, NATOff}, {[]NAT{NATOff, NATAuto}, NATAuto}, {[]NAT{NATAuto, NATForce, NATOff}, NATForce}, {nil, NATOff}} {
		var conns []*Conn
		for _, n := range x.all {
			conns = append(conns, &Conn{NAT: n})
		}
		if got := policyOf(conns); got != x.want {
			t.Errorf("%v: %v, want %v", x.all, got, x.want)
		}
	}
}

// TestNATKeepalives: the end behind the NAT keeps the mapping alive, the other is quiet;
// without them the server could not ask for anything after the mapping's end.
func TestNATKeepalives(t *testing.T) {
	w, c, s := natPair(t, box4(), nil)
	c.call(private, server, natWant(private, server, Tunnel))
	w.run(time.Second, nil)
	w.run(10*time.Minute, nil)
	if n := len(find[Keepalive](c)); n != 30 || c.m.Stats().Keepalives != 30 {
		t.Errorf("%d keepalives in ten minutes", n)
	}
	if n := len(find[Keepalive](s)); n != 0 {
		t.Errorf("the server sends %d", n)
	}
	k := find[Keepalive](c)[0]
	if k.Local != netip.MustParseAddrPort(private+":4500") || k.Remote != netip.MustParseAddrPort(server+":4500") {
		t.Errorf("%+v", k)
	}
	s.step(RekeyChild{s.only(t).SA, s.byName("payload").SPIIn})
	w.run(time.Second, nil)
	if n := c.m.Stats().ChildRekeys; n != 1 {
		t.Errorf("%d rekeys by the server", n)
	}
	// They go on after a rekey of the IKE SA, which keeps port and ends.
	c.step(RekeySA{c.only(t).SA})
	w.run(time.Minute, nil)
	if n := len(find[Keepalive](c)); n < 32 || c.only(t).Local.Port() != 4500 || s.only(t).Remote.Port() == 4500 {
		t.Errorf("%d keepalives after a rekey, %v", n, c.only(t).Local)
	}
}

func TestNATNoKeepalives(t *testing.T) {
	w, c, s := natPair(t, box4(), func(u *setup) { u.mnCfg.Conns[0].Keepalive = -1 })
	c.call(private, server, natWant(private, server, Tunnel))
	w.run(2*time.Minute, nil)
	if n := len(find[Keepalive](c)); n != 0 {
		t.Errorf("%d keepalives", n)
	}
	s.step(Probe{s.only(t).SA})
	if w.run(5*time.Minute, nil); len(find[SADown](s)) != 1 {
		t.Error("the mapping is over, and the server reaches the client")
	}
}

// TestNATTransport: transport mode through a NAT is between the addresses that each end
// sees (§2.23.1), on rekeys by either end as well.
func TestNATTransport(t *testing.T) {
	w, c, s := natPair(t, box4(), nil)
	c.call(private, server, natWant(private, server, Transport))
	w.run(time.Second, nil)
	a := one[Authorise](s)
	if a.Remote[0].Start.String() != public || a.OriginalRemote[0].Start.String() != private || a.Local[0].Start.String() != server {
		t.Fatalf("asked for %v, originally %v", a.Remote, a.OriginalRemote)
	}
	check := func(when string) {
		t.Helper()
		ck, sk := c.byName("payload"), s.byName("payload")
		if ck.Proxy || sk.Proxy || ck.Mode != Transport || sk.Mode != Transport || ck.SPIIn != sk.SPIOut || ck.SPIOut != sk.SPIIn {
			t.Errorf("%s: %+v %+v", when, ck, sk)
		}
		if ck.LocalAddr.String() != private || ck.Local[0].Start.String() != private || ck.RemoteAddr.String() != server || ck.Remote[0].Start.String() != server {
			t.Errorf("%s: client %v %v", when, ck.Local, ck.Remote)
		}
		if sk.RemoteAddr.String() != public || sk.Remote[0].Start.String() != public || sk.LocalAddr.String() != server {
			t.Errorf("%s: server %v %v", when, sk.Local, sk.Remote)
		}
		if ck.RemotePort != 4500 || sk.RemotePort != 20002 || sk.LocalPort != 4500 {
			t.Errorf("%s: ports %d %d %d", when, ck.RemotePort, sk.RemotePort, sk.LocalPort)
		}
	}
	check("at first")
	c.step(RekeyChild{c.only(t).SA, c.byName("payload").SPIIn})
	w.run(time.Second, nil)
	check("rekeyed by the client")
	s.step(RekeyChild{s.only(t).SA, s.byName("payload").SPIIn})
	w.run(time.Second, nil)
	check("rekeyed by the server")
	if n := c.m.Stats().ChildRekeys; n != 2 {
		t.Errorf("%d rekeys", n)
	}
}

// TestNATTransportBothBehind: the client's and the server's end are translated, so both
// addresses are substituted at both ends.
func TestNATTransportBothBehind(t *testing.T) {
	const front = "203.0.113.5" // the server's, forwarded to it
	w, c, s := natPair(t, box4(), nil)
	w.nat = nil
	outer := box4()
	w.drop = func(from *node, x Send) bool {
		if from == c {
			y, _ := outer.pass(w.now, x)
			if y.Remote.Addr().String() != front {
				t.Fatalf("to %v", y.Remote)
			}
			w.post(w.now.Add(w.delay), s, Datagram{Local: netip.AddrPortFrom(netip.MustParseAddr(server), y.Remote.Port()), Remote: y.Local, Data: slices.Clone(x.Data)})
			return true
		}
		x.Local = netip.AddrPortFrom(netip.MustParseAddr(front), x.Local.Port())
		if y, ok := outer.pass(w.now, x); ok {
			w.post(w.now.Add(w.delay), c, Datagram{Local: y.Remote, Remote: y.Local, Data: slices.Clone(x.Data)})
		}
		return true
	}
	c.call(private, front, natWant(private, front, Transport))
	w.run(time.Second, nil)
	ck, sk := c.byName("payload"), s.byName("payload")
	if ck.Remote[0].Start.String() != front || ck.Local[0].Start.String() != private || ck.Proxy {
		t.Errorf("client: %v %v", ck.Local, ck.Remote)
	}
	if sk.Local[0].Start.String() != server || sk.Remote[0].Start.String() != public || sk.Proxy {
		t.Errorf("server: %v %v", sk.Local, sk.Remote)
	}
	// Both are behind a NAT: neither follows the other's address, which would be an attacker's means (§2.23).
	outer.rebind("192.0.2.77")
	c.step(Probe{c.only(t).SA})
	w.run(time.Second, nil)
	if n := s.m.Stats().Mappings; n != 0 {
		t.Errorf("followed %d times", n)
	}
}

// TestNATTunnelInstead: a server that wants tunnel mode gets the selectors as they
// were sent, and the client that asked for transport mode does without.
func TestNATTunnelInstead(t *testing.T) {
	w, c, s := natPair(t, box4(), nil)
	s.narrow = func(a Authorise) Authorised {
		return Authorised{Name: "payload", ReqID: 7, Mode: Tunnel, Local: a.OriginalLocal, Remote: a.OriginalRemote}
	}
	c.call(private, server, natWant(private, server, Transport))
	w.run(time.Second, nil)
	if up := one[ChildUp](s).Child; up.Remote[0].Start.String() != private || up.Mode != Tunnel {
		t.Errorf("%+v", up)
	}
	if r := one[ChildRefused](c); r.Reason != "the peer does not agree to transport mode" {
		t.Errorf("%+v", r)
	}
}

// TestNATMobile: Mobile IPv6's children keep protocol 50 and their addresses through a
// NAT, and the IKE SA is moved by Moved alone.
func TestNATMobile(t *testing.T) {
	w, mn, ha := pair(t, 8, func(u *setup) { u.mnCfg.Conns[0].Mobile, u.haCfg.Conns[0].Mobile = true, true })
	w.nat = newNAT(public6, coa1, coa2)
	mn.initiate(mhWant(), payloadWant())
	w.run(time.Second, nil)
	if ha.only(t).Remote.Port() != 20002 || mn.only(t).Local.Port() != 4500 {
		t.Fatalf("IKE does not pass: %v", ha.only(t).Remote)
	}
	for _, n := range []*node{mn, ha} {
		for _, name := range []string{"mh", "payload"} {
			if c := n.byName(name); c.LocalPort != 0 || c.RemotePort != 0 {
				t.Errorf("%s: %s is in UDP: %+v", n.name, name, c)
			}
		}
	}
	if c := ha.byName("mh"); c.RemoteAddr.String() != hoaA || !c.Proxy {
		t.Errorf("the home address was substituted: %+v", c)
	}
	w.nat.rebind("2001:db8:9::2")
	mn.step(Probe{mn.only(t).SA})
	w.run(time.Second, nil)
	ha.step(Mapped{SPI: ha.byName("payload").SPIIn, Dst: netip.MustParseAddr(haA), Remote: ap("2001:db8:9::2")})
	if n := ha.m.Stats().Mappings; n != 0 {
		t.Errorf("followed %d times", n)
	}
	// A move keeps the port that IKE has changed to.
	mn.step(Moved{SA: mn.only(t).SA, Local: ap(coa2)})
	if l := mn.only(t).Local; l != netip.AddrPortFrom(netip.MustParseAddr(coa2), 4500) {
		t.Errorf("moved to %v", l)
	}
}

// TestNATProxy: a transport child between other addresses than IKE's is refused UDP
// encapsulation, whatever the connection is for.
func TestNATProxy(t *testing.T) {
	w, mn, ha := pair(t, 8, nil)
	w.nat = newNAT(public6, coa1)
	ha.narrow = func(a Authorise) Authorised {
		if a.Remote[0].Start.String() != public6 {
			t.Errorf("asked for %v", a.Remote)
		}
		return Authorised{Name: "mh", ReqID: 7, Local: a.OriginalLocal, Remote: a.OriginalRemote}
	}
	mn.initiate(mhWant())
	w.run(time.Second, nil)
	for _, by := range []*node{nil, mn, ha} {
		if by != nil {
			by.step(RekeyChild{by.only(t).SA, by.byName("mh").SPIIn})
			w.run(time.Second, nil)
		}
		agree(t, mn, ha, 1)
		if c := mn.byName("mh"); !c.Proxy || c.LocalPort != 0 || c.LocalAddr.String() != hoaA {
			t.Errorf("%+v", c)
		}
	}
	if n := mn.m.Stats().ChildRekeys; n != 2 {
		t.Errorf("%d rekeys", n)
	}
}

// TestNATAH: AH cannot pass, and is refused at either end.
func TestNATAH(t *testing.T) {
	offers := offersAH(t, "sha256")
	w, c, s := natPair(t, box4(), func(u *setup) { u.mnCfg.Conns[0].AH, u.haCfg.Conns[0].AH = offers, offers })
	want := natWant(private, server, Tunnel)
	c.call(private, server, want)
	w.run(time.Second, nil)
	want.Proto, want.Name = AH, "ah"
	c.step(CreateChild{Req: 5, SA: c.only(t).SA, Want: want})
	w.run(time.Second, nil)
	if r := one[ChildRefused](c); r.Reason != noAH || r.ByPeer {
		t.Errorf("%+v", r)
	}
	c.only(t)
	s.only(t)
	c.m.up(c.only(t).SA).nat = natState{} // one that knows nothing of NATs asks all the same
	c.step(CreateChild{Req: 6, SA: c.only(t).SA, Want: want})
	w.run(time.Second, nil)
	if r := find[ChildRefused](c); len(r) != 2 || !r[1].ByPeer || r[1].Notify != message.NoProposalChosen {
		t.Errorf("%+v", r)
	}
}

// TestFloatWithoutNAT: a peer may change to port 4500 by its own wish, as those with
// MOBIKE do. It is answered there, without UDP encapsulation, and asked there.
func TestFloatWithoutNAT(t *testing.T) {
	w, c, s := natPair(t, nil, nil)
	w.drop = func(from *node, x Send) bool {
		h, err := message.ParseHeader(x.Data)
		if from != c || err != nil || h.Exchange == message.IKESAInit {
			return false
		}
		up := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 4500) }
		w.post(w.now.Add(w.delay), s, Datagram{Local: up(x.Remote), Remote: up(x.Local), Data: slices.Clone(x.Data)})
		return true
	}
	c.call(private, server, natWant(private, server, Tunnel))
	w.run(time.Second, nil)
	if i := s.only(t); i.Local.Port() != 4500 || i.Remote.Port() != 4500 || i.NATDetected {
		t.Errorf("%v %v %v", i.Local, i.Remote, i.NATDetected)
	}
	if k := s.byName("payload"); k.LocalPort != 0 || k.RemotePort != 0 {
		t.Errorf("%+v", k)
	}
	from := len(w.sent)
	s.step(Probe{s.only(t).SA})
	w.run(time.Second, nil)
	if x := w.sent[from]; x.Local.Port() != 4500 || x.Remote.Port() != 4500 {
		t.Errorf("asked at %v", x.Remote)
	}
	s.step(Moved{SA: s.only(t).SA, Remote: ap(public)})
	if r := s.only(t).Remote; r != netip.MustParseAddrPort(public+":4500") {
		t.Errorf("moved to %v", r)
	}
}

// TestNATHostileHashes: hashes of the wrong length, a flood of them, and one kind without
// the other (CVE class: a comparison that trusts lengths).
func TestNATHostileHashes(t *testing.T) {
	h := message.Header{SPIi: 1}
	local, remote := ap(server), ap(public)
	good := natHash(1, 0, remote)
	own := natHash(1, 0, local)
	body := func(t message.NotifyType, data []byte) message.Notify { return message.Notify{Type: t, Data: data} }
	src, dst := message.NATDetectionSource, message.NATDetectionDestination
	flood := []message.Notify{body(dst, own)}
	for range 10000 {
		flood = append(flood, body(src, good[:19]))
	}
	for i, x := range []struct {
		n    []message.Notify
		want natState
	}{
		{nil, natState{told: true}},
		{[]message.Notify{body(src, good), body(dst, own)}, natState{told: true, heard: true}},
		{[]message.Notify{body(src, nil), body(src, good), body(dst, own)}, natState{told: true, heard: true}},
		{[]message.Notify{body(src, nil), body(dst, own)}, natState{told: true, heard: true, remote: true}},
		{[]message.Notify{body(src, append(slices.Clone(good), 0)), body(dst, own[:19])}, natState{told: true, heard: true, remote: true, local: true}},
		{[]message.Notify{body(src, good)}, natState{told: true}},
		{[]message.Notify{body(dst, nil)}, natState{told: true, local: true}},
		{flood, natState{told: true, heard: true, remote: true}},
		{append(flood, body(src, good)), natState{told: true, heard: true}},
	} {
		got := natState{told: true}
		got.hear(&message.Payloads{Notifies: x.n}, h, local, remote)
		if got != x.want || got.traverse() != (x.want.heard && x.want.found()) {
			t.Errorf("%d: %+v, want %+v", i, got, x.want)
		}
	}
}
