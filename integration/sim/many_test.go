package sim

import (
	"testing"
	"time"

	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/xfrm"
)

// TestManyAtOnce: two hundred nodes appear in the same instant, and all are bound.
func TestManyAtOnce(t *testing.T) {
	const nodes = 200
	w := world(t, Options{Seed: 15, Nodes: nodes})
	w.Jitter = 5 * time.Millisecond
	w.Run(6 * time.Second)
	for _, h := range w.Nodes() {
		if !w.Registered(h) {
			t.Errorf("%s: %v", h.Name, h.MN.Info().State)
		}
	}
	settled(t, w)
	if s := w.Agent().HA.Summary(); s.Bindings != nodes {
		t.Errorf("%+v", s)
	}
}

// TestRekeys: keys are renewed again and again by their lifetimes; payload does not notice.
func TestRekeys(t *testing.T) {
	w := bound(t, Options{Seed: 16, Conn: fastLives})
	h := w.Node(0)
	m := w.Measure(h)
	old := text(h)
	w.Run(10 * time.Minute)
	if !fresh(h, old) {
		t.Error("the same SPIs after ten minutes")
	}
	if s := h.IKE.Stats(); s.ChildRekeys+w.Agent().IKE.Stats().ChildRekeys < 20 {
		t.Errorf("%+v", s)
	}
	if m.Up.Longest > 0 || m.Down.Longest > 0 {
		t.Errorf("up %v (%v), down %v (%v)", m.Up.Longest, m.Up.Why, m.Down.Longest, m.Down.Why)
	}
	if _, ok := w.RunUntil(time.Minute, func() bool { return w.Check() == nil }); !ok {
		settled(t, w)
	}
	if st := h.IKE.Stats(); st.Handshakes != 1 {
		t.Errorf("%d IKE SAs were made", st.Handshakes)
	}
}

// TestForeignMigrate: another program migrates the node's SAs; IKE follows, without a message.
func TestForeignMigrate(t *testing.T) {
	w := bound(t, Options{Seed: 17})
	h := w.Node(0)
	to := h.iface(second)
	w.Attach(h, second, link(w, "b"))
	registered(t, w, h, 5*time.Second)
	w.Run(3 * time.Second)
	messages := w.Count.IKE
	careOf := h.MN.Info().CareOf
	other := h.iface(wlan).addrs[0].Prefix.Addr()
	if careOf == other {
		t.Fatal("the node did not prefer the newer link")
	}
	for _, dir := range []xfrm.Dir{xfrm.Out, xfrm.In} {
		f := flow{src: h.Home, dst: Correspondent, proto: protoUDP}
		if dir == xfrm.In {
			f.src, f.dst = f.dst, f.src
		}
		p := policy(h.db(), dir, f)
		mv := xfrm.Move{OldSrc: careOf, OldDst: Agent, NewSrc: other, NewDst: Agent,
			Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: p.Templates[0].ReqID}
		if dir == xfrm.In {
			mv.OldSrc, mv.OldDst, mv.NewSrc, mv.NewDst = mv.OldDst, mv.OldSrc, mv.NewDst, mv.NewSrc
		}
		h.apply([]xfrm.Op{xfrm.Migrate{Migration: xfrm.Migration{Policy: p.ID(), Moves: []xfrm.Move{mv},
			Endpoints: &xfrm.Endpoints{Local: other, Remote: Agent}}}})
	}
	w.Run(time.Second)
	if got := h.IKE.Snapshot()[0].Local.Addr(); got != other {
		t.Errorf("IKE is at %v, want %v", got, other)
	}
	if w.Count.IKE != messages {
		t.Errorf("%d messages of IKE", w.Count.IKE-messages)
	}
	_ = to
}

// TestStopLeavesNothing stops everyone in every situation: databases and hosts are empty.
func TestStopLeavesNothing(t *testing.T) {
	for name, prepare := range map[string]func(w *World){
		"registered": func(w *World) { w.Run(10 * time.Second) },
		"keying":     func(w *World) { w.Run(1050 * time.Millisecond) },
		"detection":  func(w *World) { w.Run(1500 * time.Millisecond) },
		"moved": func(w *World) {
			w.Run(10 * time.Second)
			w.Attach(w.Node(0), wlan, link(w, "b"))
			w.Run(1100 * time.Millisecond)
		},
		"home": func(w *World) {
			w.Run(10 * time.Second)
			w.Attach(w.Node(0), wlan, link(w, "home"))
			w.Run(5 * time.Second)
		},
		"returning": func(w *World) {
			w.Run(10 * time.Second)
			w.Attach(w.Node(0), wlan, link(w, "home"))
			w.Run(45 * time.Millisecond)
		},
		"nowhere": func(w *World) {
			w.Run(10 * time.Second)
			w.Detach(w.Node(0), wlan)
			w.Run(time.Second)
		},
		"rekeying": func(w *World) {
			w.Run(10 * time.Second)
			w.Node(0).Post(couple.Rekey{SPI: w.Node(0).SPIs()[0]})
			w.Run(15 * time.Millisecond)
		},
		"restarted": func(w *World) {
			w.Run(10 * time.Second)
			crash(w, "both")
			restart(w, "both")
			w.Run(time.Millisecond)
		},
	} {
		for _, first := range []int{0, 1} {
			t.Run(name, func(t *testing.T) {
				w := world(t, Options{Seed: 18})
				prepare(w)
				w.Hosts[first].Stop()
				w.Run(30 * time.Millisecond)
				w.Hosts[1-first].Stop()
				w.Run(5 * time.Second)
				for _, h := range w.Hosts {
					if !h.Stopped {
						t.Errorf("%s has not stopped", h.Name)
					}
				}
				w.Run(larvalTime)
				for _, h := range w.Hosts {
					db := h.db()
					if len(db.SAs)+len(db.Policies) != 0 {
						t.Errorf("%s has left %+v", h.Name, *db)
					}
					if s := h.leftOvers(); s != "" {
						t.Errorf("%s has left %s", h.Name, s)
					}
					if len(h.mnRecs)+len(h.haRecs) != 0 {
						t.Errorf("%s: records %+v %+v", h.Name, h.mnRecs, h.haRecs)
					}
				}
				for _, f := range w.Faults() {
					t.Error(f)
				}
			})
		}
	}
}
