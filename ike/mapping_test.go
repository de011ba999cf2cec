package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// natUp is a client behind a NAT with its server, and one child of the mode.
func natUp(t *testing.T, mode Mode) (*world, *node, *node) {
	w, c, s := natPair(t, box4(), nil)
	c.call(private, server, natWant(private, server, mode))
	w.run(time.Second, nil)
	c.only(t)
	s.only(t)
	return w, c, s
}

// TestRebinding: when the NAT was started again the server follows the client's next
// message, its children too, and reaches the client where it is.
func TestRebinding(t *testing.T) {
	for _, outside := range []string{public, "192.0.2.99"} {
		for _, mode := range []Mode{Tunnel, Transport} {
			w, c, s := natUp(t, mode)
			old := s.only(t).Remote
			w.nat.rebind(outside)
			c.step(Probe{c.only(t).SA})
			w.run(time.Second, nil)
			r := one[Remapped](s)
			if r.Old != old || r.New != netip.MustParseAddrPort(outside+":20003") || len(r.Children) != 1 {
				t.Fatalf("%+v", r)
			}
			k := s.byName("payload")
			if k.RemotePort != 20003 || k.RemoteAddr.String() != outside || s.kernel[k.SPIIn].RemotePort != 20003 {
				t.Errorf("the child: %+v", k)
			}
			if mode == Transport && (k.Remote[0].Start.String() != outside || k.Proxy) {
				t.Errorf("its selectors: %v", k.Remote)
			}
			for _, by := range []*node{s, c} {
				by.step(RekeyChild{by.only(t).SA, by.byName("payload").SPIIn})
				w.run(10*time.Second, nil)
			}
			if n := s.m.Stats(); n.Timeouts != 0 || n.ChildRekeys != 2 || n.Mappings != 1 {
				t.Errorf("%+v", n)
			}
			if k := s.byName("payload"); k.RemotePort != 20003 {
				t.Errorf("after rekeys: %+v", k)
			}
		}
	}
}

// TestRebindingWhileAsking: a request of the server's own, which the old mapping
// swallows, goes on to the new one, also when the answer is what tells of it.
func TestRebindingWhileAsking(t *testing.T) {
	w, c, s := natUp(t, Tunnel)
	w.nat.rebind(public)
	s.step(RekeyChild{s.only(t).SA, s.byName("payload").SPIIn})
	w.run(time.Second, nil)
	c.step(Probe{c.only(t).SA})
	w.run(20*time.Second, nil)
	if n := s.m.Stats(); n.ChildRekeys != 1 || n.Timeouts != 0 {
		t.Errorf("%+v", n)
	}
	// The pair that was installed meanwhile has the new port.
	if k := s.byName("payload"); k.RemotePort != 20003 || s.kernel[k.SPIIn].RemotePort != 20003 {
		t.Errorf("%+v", k)
	}
	// An answer from a new port is followed too.
	w.drop = func(from *node, x Send) bool {
		if from == c {
			w.nat.rebind(public)
		}
		return false
	}
	s.step(Probe{s.only(t).SA})
	w.run(time.Second, nil)
	if r := find[Remapped](s); len(r) != 2 || r[1].New.Port() != 20004 {
		t.Errorf("%+v", r)
	}
}

// TestRebindingWhileInstalling: what is being installed while the peer's end changes is
// put in again with the right ports.
func TestRebindingWhileInstalling(t *testing.T) {
	w, c, s := natUp(t, Tunnel)
	s.hold = true
	c.step(RekeyChild{c.only(t).SA, c.byName("payload").SPIIn})
	w.run(50*time.Millisecond, nil)
	for len(find[Remapped](s)) == 0 && len(s.held) > 0 {
		if _, ok := s.held[0].(Installed); ok {
			s.step(Mapped{SPI: s.byName("payload").SPIIn, Dst: netip.MustParseAddr(server), Remote: netip.MustParseAddrPort(public + ":3333")})
			w.nat.maps[len(w.nat.maps)-1].out = netip.MustParseAddrPort(public + ":3333")
		}
		ev := s.held[0]
		s.held = s.held[1:]
		s.step(ev)
	}
	for len(s.held) > 0 {
		ev := s.held[0]
		s.held = s.held[1:]
		s.step(ev)
	}
	s.hold = false
	w.run(20*time.Second, nil)
	if k := s.byName("payload"); k.RemotePort != 3333 || s.kernel[k.SPIIn].RemotePort != 3333 || len(s.kernel) != 1 {
		t.Errorf("%+v%s", k, s.dump())
	}
}

// TestMappedByESP: the databases tell of a new mapping before IKE has anything to say.
func TestMappedByESP(t *testing.T) {
	w, c, s := natUp(t, Tunnel)
	k := s.byName("payload")
	at := netip.MustParseAddrPort("192.0.2.50:7777")
	dst := netip.MustParseAddr(server)
	for _, e := range []Mapped{
		{SPI: k.SPIIn + 1, Dst: dst, Remote: at},                                        // no such SA
		{SPI: k.SPIOut, Dst: dst, Remote: at},                                           // not an inbound one
		{SPI: k.SPIIn, Dst: netip.MustParseAddr(public), Remote: at},                    // not ours
		{SPI: k.SPIIn, Dst: dst},                                                        // nowhere
		{SPI: k.SPIIn, Dst: dst, Remote: netip.AddrPortFrom(at.Addr(), 0)},              // no port
		{SPI: k.SPIIn, Dst: dst, Remote: netip.MustParseAddrPort("[2001:db8::7]:4500")}, // another family
		{SPI: k.SPIIn, Dst: dst, Remote: s.only(t).Remote},                              // as it is
		{SPI: c.byName("payload").SPIIn, Dst: netip.MustParseAddr(private), Remote: at}, // the peer's
	} {
		s.step(e)
		c.step(e)
		if len(find[Remapped](s))+len(find[Remapped](c)) != 0 {
			t.Fatalf("%+v is followed", e)
		}
	}
	s.step(Mapped{SPI: k.SPIIn, Dst: dst, Remote: at})
	r := one[Remapped](s)
	if r.New != at || s.only(t).Remote != at || r.Children[0].RemotePort != 7777 || r.Children[0].RemoteAddr != at.Addr() {
		t.Errorf("%+v", r)
	}
	if len(r.Children[0].KeyIn) != 0 {
		t.Error("keys are in the action")
	}
	_ = w
}

// TestMappingFlaps: who makes true packets arrive from changing places is heard once in
// a while only.
func TestMappingFlaps(t *testing.T) {
	w, _, s := natUp(t, Tunnel)
	k := s.byName("payload")
	for i := range 1000 {
		s.step(Mapped{SPI: k.SPIIn, Dst: netip.MustParseAddr(server), Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(1000+i))})
		w.run(10*time.Millisecond, nil)
	}
	if n := s.m.Stats(); n.Mappings != 5 || n.MappingsHeld != 995 || len(find[Remapped](s)) != 5 {
		t.Errorf("%d followed, %d not", n.Mappings, n.MappingsHeld)
	}
}

// TestSpoofedSource: old, repeated and broken messages from elsewhere move nothing: not an
// answered request, not the one under way, not an answer that was heard (CVE class: an
// unauthenticated change of addresses).
func TestSpoofedSource(t *testing.T) {
	w, c, s := natUp(t, Tunnel)
	evil := netip.MustParseAddrPort("203.0.113.66:666")
	at := netip.MustParseAddrPort(server + ":4500")
	var fromClient [][]byte
	w.drop = func(from *node, x Send) bool {
		if from == c {
			fromClient = append(fromClient, slices.Clone(x.Data))
		}
		return false
	}
	c.step(Probe{c.only(t).SA})
	w.run(time.Second, nil)
	s.step(Probe{s.only(t).SA}) // its answer is the client's last message
	w.run(time.Second, nil)
	c.step(RekeyChild{c.only(t).SA, c.byName("payload").SPIIn})
	w.run(2*time.Millisecond, nil)
	want := s.only(t).Remote
	fresh := fromClient[len(fromClient)-1]
	for _, msg := range fromClient[:len(fromClient)-1] {
		s.step(Datagram{Local: at, Remote: evil, Data: slices.Clone(msg)})
	}
	broken := slices.Clone(fresh)
	broken[len(broken)-1] ^= 1
	s.step(Datagram{Local: at, Remote: evil, Data: broken})
	s.step(Datagram{Local: at, Remote: evil, Data: fresh[:len(fresh)-1]})
	future := slices.Clone(fresh)
	future[23] += 5 // the message ID
	s.step(Datagram{Local: at, Remote: evil, Data: future})
	w.run(20*time.Second, nil)
	s.step(Datagram{Local: at, Remote: evil, Data: slices.Clone(fresh)}) // answered by now
	if got := s.only(t).Remote; got != want || len(find[Remapped](s)) != 0 {
		t.Errorf("the server speaks to %v, not to %v", got, want)
	}
	if s.m.Stats().ChildRekeys != 1 || c.m.Stats().ChildRekeys != 1 {
		t.Error("the rekey went wrong")
	}
	// The client is behind the NAT: it follows nobody, were the message ever so true.
	var fromServer []byte
	w.drop = func(from *node, x Send) bool {
		if from == s {
			fromServer = slices.Clone(x.Data)
			return true
		}
		return false
	}
	s.step(Probe{s.only(t).SA})
	c.step(Datagram{Local: netip.MustParseAddrPort(private + ":4500"), Remote: evil, Data: fromServer})
	w.run(time.Millisecond, nil)
	if got := c.only(t).Remote; got != at || len(find[Remapped](c)) != 0 {
		t.Errorf("the client speaks to %v", got)
	}
}

// TestNoNATNoFollowing: without a NAT a true message from elsewhere is answered there,
// and moves nothing.
func TestNoNATNoFollowing(t *testing.T) {
	w, c, s := natPair(t, nil, nil)
	c.call(private, server, natWant(private, server, Tunnel))
	w.run(time.Second, nil)
	var msg []byte
	w.drop = func(from *node, x Send) bool { msg = x.Data; return true }
	c.step(Probe{c.only(t).SA})
	want, evil := s.only(t).Remote, netip.MustParseAddrPort("203.0.113.66:666")
	from := len(w.sent)
	s.step(Datagram{Local: ap(server), Remote: evil, Data: slices.Clone(msg)})
	if got := s.only(t).Remote; got != want || len(find[Remapped](s)) != 0 {
		t.Errorf("moved to %v", got)
	}
	if len(w.sent) != from+1 || w.sent[from].Remote != evil {
		t.Errorf("the answer went elsewhere (§2.11)")
	}
}
