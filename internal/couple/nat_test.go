package couple

import (
	"context"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
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
