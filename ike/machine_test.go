package ike

import (
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// connect sets the main case up: IKE SA, transport child, tunnel child.
func connect(t testing.TB, w *world, mn, ha *node) (SAID, SAID) {
	t.Helper()
	mn.initiate(mhWant(), payloadWant())
	if !w.run(2*time.Minute, func() bool { return len(find[ChildUp](mn)) == 2 && len(find[ChildUp](ha)) == 2 }) {
		t.Fatalf("no two children%s%s\n%+v\n%+v", mn.dump(), ha.dump(), mn.m.Stats(), ha.m.Stats())
	}
	return one[SAUp](mn).SA, one[SAUp](ha).SA
}

func TestPSKHandshakeWithTwoChildren(t *testing.T) {
	w, mn, ha := pair(t, 1, nil)
	connect(t, w, mn, ha)
	agree(t, mn, ha, 2)
	up := one[SAUp](ha)
	if up.Peer.ID != mnID || up.Conn != "mip6" || up.Initiator || up.NATDetected {
		t.Errorf("responder's SAUp %+v", up)
	}
	if got := one[SAUp](mn); got.Req != 42 || !got.Initiator || got.SPIi != up.SPIi || got.SPIr != up.SPIr {
		t.Errorf("initiator's SAUp %+v", got)
	}
	for _, c := range find[ChildUp](mn) {
		want := map[string]struct {
			mode  Mode
			local string
			proxy bool
		}{"mh": {Transport, hoaA, true}, "payload": {Tunnel, coa1, false}}[c.Child.Name]
		if c.Child.Mode != want.mode || c.Child.LocalAddr.String() != want.local || c.Child.Proxy != want.proxy {
			t.Errorf("child %+v", c.Child)
		}
		if c.Child.KeyIn != nil || c.Child.KeyOut != nil {
			t.Error("ChildUp carries keys")
		}
	}
	if len(w.sent) != 6 {
		t.Errorf("%d messages, want 6", len(w.sent))
	}
	for _, s := range mn.m.Snapshot() {
		if s.State != "established" || len(s.Children) != 2 || s.PeerID != haID {
			t.Errorf("snapshot %+v", s)
		}
	}
	for i, s := range w.sent {
		h, err := message.ParseHeader(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		if want := uint32(i / 2); h.ID != want {
			t.Errorf("message %d has ID %d", i, h.ID)
		}
	}
}

// patient repeats the messages of a handshake as often as others.
func patient(s *setup) { s.mnCfg.Retransmit.ConnectTries, s.haCfg.Retransmit.ConnectTries = 7, 7 }

func TestHandshakeOverBadNetwork(t *testing.T) {
	for seed := uint64(0); seed < 60; seed++ {
		w, mn, ha := pair(t, seed, patient)
		w.loss, w.dup, w.jitter = 0.2, 0.2, 800*time.Millisecond
		connect(t, w, mn, ha)
		agree(t, mn, ha, 2)
	}
}
