package kernel

import (
	"testing"

	"github.com/mip6/mip6/mobility/protect"
)

// on and off switch route optimization between a node and a correspondent, in the order in which
// signalling leads to it; meanwhile waits for traffic.
func switchOn(mn, cn *wHost, a, b protect.Path, meanwhile func()) (protect.Path, protect.Path) {
	a = mn.change(a, func(x *protect.Path) { x.Accept, x.Ack = true, true })
	b = cn.change(b, func(x *protect.Path) { x.RemoteCareOf = a.CareOf })
	meanwhile()
	return mn.change(a, func(x *protect.Path) { x.Direct, x.Ack = true, false }), b
}

func switchOff(mn, cn *wHost, a, b protect.Path, meanwhile func()) (protect.Path, protect.Path) {
	a = mn.change(a, func(x *protect.Path) { x.Direct = false })
	meanwhile()
	b = cn.change(b, func(x *protect.Path) { *x = protect.Path{Local: x.Local, Remote: x.Remote} })
	meanwhile()
	return mn.change(a, func(x *protect.Path) { x.Accept = false }), b
}

// TestSwitch switches between the tunnel and the direct path under traffic: nothing is lost.
func TestSwitch(t *testing.T) {
	w := newWorld(t, "ha", "cn", "mn")
	ha, cn, mn := w.hosts["ha"], w.hosts["cn"], w.hosts["mn"]
	ha.start()
	cn.start()
	mn.start()
	mn.away()
	s := w.newStream(mn, cn)
	w.pass(s, 100)
	a, b := mn.path(wCN), cn.path(mn.addr)
	wait := func() { w.pass(s, 20) }
	t.Log("\n" + w.seen.text())
	for range 10 {
		a, b = switchOn(mn, cn, a, b, wait)
		w.pass(s, 50)
		w.seen.clear()
		w.pass(s, 50)
		if n := w.seen.count("COA1>HA esp") + w.seen.count("HA>COA1 esp"); n > 0 || w.seen.count("COA1>CN hao=HOA 17") == 0 || w.seen.count("CN>COA1 route2=HOA 17") == 0 {
			t.Fatalf("on:\n%s", w.seen.text())
		}
		a, b = switchOff(mn, cn, a, b, wait)
		w.pass(s, 50)
	}
	sent, lost := s.stop()
	t.Logf("sent %v, lost %v; %s", sent, lost, w.drops())
	if lost != [2]int64{} {
		t.Errorf("%d packets lost to the node, %d to the correspondent", lost[0], lost[1])
	}
}
