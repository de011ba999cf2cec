package couple

import (
	"context"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// natChild is a child of a peer behind a NAT.
func natChild(mode ike.Mode) ike.Child {
	local, remote := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("192.0.2.1")
	return ike.Child{
		SA: 7, Conn: "c", Name: "x", Proto: ike.ESP, Mode: mode, ReqID: 9, SPIIn: 0x1111, SPIOut: 0x2222,
		LocalAddr: local, RemoteAddr: remote, LocalPort: 4500, RemotePort: 20001,
		Local:  []message.Selector{message.PrefixSelector(only(local), 0)},
		Remote: []message.Selector{message.PrefixSelector(only(remote), 0)},
		Encr:   transform.AES128GCM16, KeyIn: make([]byte, 20), KeyOut: []byte("another key of twenty"[:20]), Hard: time.Hour,
	}
}

// apply gives the actions' operations to a database.
func apply(t *testing.T, b xfrm.Backend, acts []Action) {
	t.Helper()
	for _, a := range acts {
		if x, ok := a.(Xfrm); ok {
			for i, err := range b.Apply(context.Background(), x.Ops) {
				if err != nil {
					t.Errorf("%+v: %v", x.Ops[i], err)
				}
			}
		}
	}
}

func sas(t *testing.T, b xfrm.Backend) map[xfrm.SPI]xfrm.SA {
	t.Helper()
	out := map[xfrm.SPI]xfrm.SA{}
	if err := b.Dump(context.Background(), xfrm.Filter{SAs: true}, func(o xfrm.Object) error {
		if s, ok := o.(xfrm.SA); ok {
			out[s.SPI] = s
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// Both SAs of a child in UDP encapsulation have the ports, each from its own point of
// view, follow the peer's mapping, and are found when they go.
func TestEncapsulatedChild(t *testing.T) {
	for _, next := range []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:20002"), netip.MustParseAddrPort("192.0.2.7:20003")} {
		n := New(Config{IKE: ike.New(ike.Config{}, rand.Reader), ReplayWindow: 64})
		db := xfrmtest.New()
		c := natChild(ike.Tunnel)
		apply(t, db, n.install(ike.Install{ID: 1, Child: c}, nil))
		n.childUp(0, c, nil)
		check := func(peer netip.AddrPort) {
			t.Helper()
			all := sas(t, db)
			in, out := all[0x1111], all[0x2222]
			if in.Src != peer.Addr() || in.Encap == nil || *in.Encap != (xfrm.Encap{SrcPort: peer.Port(), DstPort: 4500}) {
				t.Errorf("inbound: %v %+v", in.Src, in.Encap)
			}
			if out.Dst != peer.Addr() || out.Encap == nil || *out.Encap != (xfrm.Encap{SrcPort: 4500, DstPort: peer.Port()}) {
				t.Errorf("outbound: %v %+v", out.Dst, out.Encap)
			}
			if len(all) != 2 || string(out.AEAD.Key) != string(c.KeyOut) {
				t.Errorf("%d SAs", len(all))
			}
		}
		old := netip.AddrPortFrom(c.RemoteAddr, c.RemotePort)
		check(old)
		c.RemoteAddr, c.RemotePort = next.Addr(), next.Port()
		apply(t, db, n.remapped(ike.Remapped{SA: 7, Conn: "c", Old: old, New: next, Children: []ike.Child{c}}, nil))
		check(next)
		if s := n.sas[7]; s.remote != next.Addr() || s.children[0].RemotePort != next.Port() {
			t.Errorf("what is known: %v %+v", s.remote, s.children[0])
		}
		apply(t, db, n.uninstall(c, nil))
		if left := sas(t, db); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	}
}

// Without ports there is no encapsulation: ESP and AH are protocols of their own.
func TestNoEncapsulation(t *testing.T) {
	n := New(Config{IKE: ike.New(ike.Config{}, rand.Reader), ReplayWindow: 64})
	db := xfrmtest.New()
	c := natChild(ike.Transport)
	c.LocalPort, c.RemotePort = 0, 0
	apply(t, db, n.install(ike.Install{ID: 1, Child: c}, nil))
	for spi, s := range sas(t, db) {
		if s.Encap != nil {
			t.Errorf("%v: %+v", spi, s.Encap)
		}
	}
}

// An outbound SA that is held back when the mapping changes is put with the new one.
func TestRemapHeld(t *testing.T) {
	n := New(Config{IKE: ike.New(ike.Config{}, rand.Reader), ReplayWindow: 64})
	db := xfrmtest.New()
	n.now = time.Unix(1_800_000_000, 0)
	h := n.home(netip.MustParseAddr("2001:db8::100"))
	h.know(9)
	first, c := natChild(ike.Transport), natChild(ike.Transport)
	c.SPIIn, c.SPIOut = 0x3333, 0x4444
	apply(t, db, n.install(ike.Install{ID: 1, Child: first}, nil))
	h.installed[0].held = nil // it sends
	apply(t, db, n.install(ike.Install{ID: 2, Child: c, Replaces: []uint32{first.SPIIn}}, nil))
	if h.installed[1].held == nil {
		t.Fatal("nothing is held")
	}
	old, next := netip.AddrPortFrom(c.RemoteAddr, c.RemotePort), netip.MustParseAddrPort("192.0.2.7:20003")
	first.RemoteAddr, first.RemotePort = next.Addr(), next.Port()
	c.RemoteAddr, c.RemotePort = next.Addr(), next.Port()
	apply(t, db, n.remapped(ike.Remapped{SA: 7, Conn: "c", Old: old, New: next, Children: []ike.Child{first, c}}, nil))
	if _, there := sas(t, db)[0x4444]; there {
		t.Error("it was put too early")
	}
	n.now = n.now.Add(time.Minute)
	apply(t, db, n.reap(nil))
	for spi, s := range sas(t, db) {
		if want := next.Addr(); s.Src != want && s.Dst != want || s.Encap.SrcPort != next.Port() && s.Encap.DstPort != next.Port() {
			t.Errorf("%v: %v→%v %+v", spi, s.Src, s.Dst, s.Encap)
		}
	}
	if len(sas(t, db)) != 4 {
		t.Errorf("%d SAs", len(sas(t, db)))
	}
}

// natLink is a client's IKE machine behind a NAT, by hand, and a Node as the server.
type natLink struct {
	t      *testing.T
	now    time.Time
	client *ike.Machine
	node   *Node
	keys   *pki.Keyring
	db     xfrm.Backend
	spi    uint32
	inside netip.Addr
	out    netip.AddrPort // the client's mapping, by its port for 4500
	work   []func()
}

func (l *natLink) fromClient(acts []ike.Action) {
	for _, a := range acts {
		var ev ike.Event
		switch a := a.(type) {
		case ike.Send:
			from := netip.AddrPortFrom(l.out.Addr(), l.out.Port()+a.Local.Port())
			l.work = append(l.work, func() {
				l.fromNode(l.node.Step(l.now, FromIKE{Event: ike.Datagram{Local: a.Remote, Remote: from, Data: a.Data}}, nil))
			})
		case ike.Prove:
			p, err := l.keys.Prove(a.Request)
			ev = ike.Proved{ID: a.ID, Proof: p, Err: err}
		case ike.VerifyPeer:
			p, err := l.keys.Verify(a.Request)
			ev = ike.PeerVerified{ID: a.ID, Peer: p, Err: err}
		case ike.Authorise:
			ev = ike.Authorised{ID: a.ID, Name: "x", ReqID: 9, Local: a.Local, Remote: a.Remote}
		case ike.AllocSPI:
			l.spi++
			ev = ike.SPIAllocated{ID: a.ID, SPI: l.spi}
		case ike.Install:
			ev = ike.Installed{ID: a.ID}
		}
		if ev != nil {
			l.work = append(l.work, func() { l.fromClient(l.client.Step(l.now, ev, nil)) })
		}
	}
}

func (l *natLink) fromNode(acts []Action) {
	for _, a := range acts {
		var ev Event
		switch a := a.(type) {
		case IKE:
			switch x := a.Action.(type) {
			case ike.Send:
				to := netip.AddrPortFrom(l.inside, x.Remote.Port()-l.out.Port())
				l.work = append(l.work, func() {
					l.fromClient(l.client.Step(l.now, ike.Datagram{Local: to, Remote: x.Local, Data: x.Data}, nil))
				})
			case ike.Prove:
				p, err := l.keys.Prove(x.Request)
				ev = FromIKE{Event: ike.Proved{ID: x.ID, Proof: p, Err: err}}
			case ike.VerifyPeer:
				p, err := l.keys.Verify(x.Request)
				ev = FromIKE{Event: ike.PeerVerified{ID: x.ID, Peer: p, Err: err}}
			}
		case AllocSPI:
			spi, err := l.db.AllocSPI(context.Background(), a.Want)
			ev = SPIDone{Token: a.Token, SPI: spi, Err: err}
		case Xfrm:
			errs := l.db.Apply(context.Background(), a.Ops)
			if err := firstErr(errs); err != nil {
				l.t.Errorf("%+v: %v", a.Ops, err)
			}
			ev = Done{Token: a.Token, Kind: XfrmDone, Errs: errs}
		}
		if ev != nil {
			l.work = append(l.work, func() { l.fromNode(l.node.Step(l.now, ev, nil)) })
		}
	}
}

func (l *natLink) settle() {
	for len(l.work) > 0 {
		f := l.work[0]
		l.work = l.work[1:]
		f()
	}
}

// What the databases see of a peer's new mapping reaches IKE, and what IKE makes of it the
// databases: both SAs of the child.
func TestMappingReachesBoth(t *testing.T) {
	r := newRig(t)
	server := netip.MustParseAddr("198.51.100.9")
	l := &natLink{t: t, now: epoch, keys: r.keys[true], db: xfrmtest.New(), spi: 0xc00, inside: netip.MustParseAddr("10.0.0.2"),
		out: netip.MustParseAddrPort("192.0.2.1:20000"), client: ike.New(config("mn", "ha"), rand.Reader)}
	l.node = New(Config{IKE: ike.New(config("ha", "mn"), rand.Reader), ReplayWindow: 64})
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 500) }
	ts := func(a netip.Addr) []message.Selector { return []message.Selector{message.PrefixSelector(only(a), 0)} }
	want := ike.ChildWant{Name: "x", Mode: ike.Transport, ReqID: 9, Local: ts(l.inside), Remote: ts(server)}
	l.fromClient(l.client.Step(l.now, ike.Initiate{Req: 1, Conn: "c", Local: at(l.inside), Remote: at(server), Children: []ike.ChildWant{want}}, nil))
	l.settle()
	sa := l.node.cfg.IKE.Snapshot()
	if len(sa) != 1 || sa[0].State != "established" || sa[0].Remote.Port() != 24500 {
		t.Fatalf("%+v", sa)
	}
	// No role here answers for a child; this one is the node's own wish.
	want.Local, want.Remote = ts(server), ts(l.out.Addr())
	l.node.tellIKE(ike.CreateChild{Req: 2, SA: sa[0].SA, Want: want})
	l.fromNode(l.node.pump(nil))
	l.settle()
	in := xfrm.ID{Dst: server, Proto: xfrm.ESP}
	for spi, s := range sas(t, l.db) {
		if s.Dst == server {
			in.SPI = spi
		}
		if s.Encap == nil || s.Encap.SrcPort+s.Encap.DstPort != 4500+24500 {
			t.Errorf("%v: %+v", spi, s.Encap)
		}
	}
	next := netip.MustParseAddrPort("192.0.2.7:31000")
	l.fromNode(l.node.Step(l.now, FromXfrm{Event: xfrm.Mapping{ID: in, New: next}}, nil))
	l.settle()
	all := sas(t, l.db)
	for spi, s := range all {
		if s.Encap.SrcPort+s.Encap.DstPort != 4500+31000 || s.Src != next.Addr() && s.Dst != next.Addr() {
			t.Errorf("%v after the new mapping: %v→%v %+v", spi, s.Src, s.Dst, s.Encap)
		}
	}
	if len(all) != 2 || l.node.cfg.IKE.Snapshot()[0].Remote != next {
		t.Errorf("%d SAs, IKE speaks to %v", len(all), l.node.cfg.IKE.Snapshot()[0].Remote)
	}
	// Keepalives are for the sockets.
	k := ike.Keepalive{SA: 3, Local: at(server), Remote: next}
	if out := l.node.doIKE(k, nil); len(out) != 1 || out[0] != (IKE{k}) {
		t.Errorf("%+v", out)
	}
}
