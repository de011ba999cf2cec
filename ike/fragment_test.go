package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// small makes both sides cut everything into small pieces.
func small(s *setup) { s.mnCfg.FragmentSize, s.haCfg.FragmentSize = 256, 256 }

// TestFragmentsOnALossyNetwork: everything that an IKE SA does, in small pieces of which many
// get lost, come twice and out of order.
func TestFragmentsOnALossyNetwork(t *testing.T) {
	for seed := uint64(0); seed < 20; seed++ {
		w, mn, ha := pair(t, seed, func(s *setup) {
			small(s)
			s.mnCfg.Retransmit.Tries, s.mnCfg.Retransmit.ConnectTries = 20, 20
			s.haCfg.Retransmit = s.mnCfg.Retransmit
		})
		w.loss, w.dup, w.jitter = 0.2, 0.2, 30*time.Millisecond
		mn.initiate(mhWant(), payloadWant())
		if !w.run(3*time.Minute, func() bool { return len(find[ChildUp](mn)) == 2 && len(find[ChildUp](ha)) == 2 }) {
			t.Fatalf("seed %d: not up%s%s", seed, mn.dump(), ha.dump())
		}
		a, b := one[SAUp](mn).SA, one[SAUp](ha).SA
		mn.step(RekeyChild{a, mn.byName("payload").SPIIn})
		w.run(3*time.Minute, nil)
		ha.step(RekeySA{b})
		w.run(3*time.Minute, nil)
		mn.step(RekeyChild{one[SARekeyed](mn).New, mn.byName("mh").SPIIn})
		w.run(3*time.Minute, nil)
		agree(t, mn, ha, 2)
		if st := ha.m.Stats(); st.Reassembled < 4 || st.Fragments < 2*st.Reassembled {
			t.Errorf("seed %d: %+v", seed, st)
		}
		for _, s := range w.sent {
			if len(s.Data) > 256-52 && message.ExchangeType(s.Data[18]) != message.IKESAInit {
				t.Fatalf("a datagram of %d octets", len(s.Data))
			}
		}
	}
}

// TestFragmentsNotAgreed: unless both say so, nothing is cut, and what comes in pieces is dropped.
func TestFragmentsNotAgreed(t *testing.T) {
	for _, off := range []string{"mn", "ha"} {
		w, mn, ha := pair(t, 3, func(s *setup) {
			small(s)
			if off == "mn" {
				s.mnCfg.FragmentSize = -1
			} else {
				s.haCfg.FragmentSize = -1
			}
		})
		a, b := connect(t, w, mn, ha)
		for _, s := range w.sent {
			if s.Data[16] == byte(message.TypeSKF) {
				t.Fatal("a fragment")
			}
		}
		s := mn.m.sas[a]
		s.fragments, s.fragmentSize = true, 256
		for _, d := range pieces(s, message.Informational, []message.Body{body(message.TypeVendor, zeros(900)...)}) {
			ha.step(Datagram{Local: s.remote, Remote: s.local, Data: d})
		}
		if p := ha.m.sas[b]; p.recvID != s.sendID-1 || p.parts != nil {
			t.Error("fragments were taken")
		}
	}
}

// pieces are the datagrams of the mobile node's next request.
func pieces(s *sa, x message.ExchangeType, ps []message.Body) [][]byte {
	data := s.pack(x, s.sendID, false, ps)
	s.sendID++
	var out [][]byte
	for len(data) > 0 {
		var d []byte
		d, data = next(data)
		out = append(out, d)
	}
	return out
}

// sealed is one fragment with any numbers and content.
func sealed(s *sa, id uint32, first message.PayloadType, number, total uint16, plain []byte) []byte {
	h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSKF, Exchange: message.Informational, ID: id}
	if s.initiator {
		h.Flags |= message.FlagInitiator
	}
	n := s.outP.SealedLen(len(plain))
	msg := h.Append(nil, message.HeaderLen+message.FragmentHeaderLen+n)
	s.ivOut++
	return s.outP.Seal(message.AppendSKFHeader(msg, first, number, total, n), plain, s.ivOut)
}

// established is a pair that takes fragments, and how to give the home agent a datagram.
func established(t *testing.T) (w *world, s, peer *sa, ha *node, give func([]byte) int) {
	w, mn, ha := pair(t, 5, small)
	a, b := connect(t, w, mn, ha)
	s, peer = mn.m.sas[a], ha.m.sas[b]
	return w, s, peer, ha, func(d []byte) int {
		from := len(w.sent)
		ha.step(Datagram{Local: s.remote, Remote: s.local, Data: d})
		return len(w.sent) - from
	}
}

// TestFragmentOrders: in whatever order, with whatever repetitions, the request is answered
// once; later fragment 1 alone has the answer sent again (RFC 7383 §2.6.1).
func TestFragmentOrders(t *testing.T) {
	for seed := range 30 {
		w, s, peer, ha, give := established(t)
		ds := pieces(s, message.Informational, []message.Body{body(message.TypeVendor, zeros(700)...)})
		if len(ds) < 4 {
			t.Fatalf("%d pieces", len(ds))
		}
		order := slices.Concat(ds, ds[:seed%len(ds)])
		w.r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		seen, answers, before := map[string]bool{}, 0, ha.m.Stats().Reassembled
		for _, d := range order {
			seen[string(d)] = true
			n := give(d)
			switch complete := len(seen) == len(ds); {
			case !complete && n != 0:
				t.Fatal("an answer before all was there")
			case complete && answers == 0 && n != 1:
				t.Fatalf("%d answers to the whole", n)
			case answers > 0 && n != 0 && !bytes.Equal(d, ds[0]):
				t.Fatal("an answer to another fragment than the first")
			case answers > 0 && n != 1 && bytes.Equal(d, ds[0]):
				t.Fatal("no answer to the first fragment again")
			default:
				answers += n
			}
		}
		if peer.parts != nil || peer.recvID != s.sendID || ha.m.Stats().Reassembled != before+1 {
			t.Fatalf("%+v", ha.m.Stats())
		}
	}
}

// TestFragmentsCutAnew: a sender that tries a smaller size starts over; pieces of the two sizes
// are never mixed, and the larger pieces that are late do not count (§2.5.2).
func TestFragmentsCutAnew(t *testing.T) {
	_, s, peer, _, give := established(t)
	ps := []message.Body{body(message.TypeVendor, zeros(700)...)}
	s.fragmentSize = 512
	large := pieces(s, message.Informational, ps)
	s.fragmentSize, s.sendID = 256, s.sendID-1
	fine := pieces(s, message.Informational, ps)
	if len(large) >= len(fine) {
		t.Fatal("not cut smaller")
	}
	for _, d := range large[:len(large)-1] {
		give(d)
	}
	for i, d := range fine {
		want := 0
		if i == len(fine)-1 {
			want = 1
		}
		if i > 0 && give(large[len(large)-1]) != 0 {
			t.Fatal("completed by a piece of another size")
		}
		if n := give(d); n != want {
			t.Fatalf("piece %d of %d: %d answers", i, len(fine), n)
		}
	}
	if give(large[0]) != 1 || give(large[1]) != 0 || peer.recvID != s.sendID {
		t.Error("the repetition in the other size is not known")
	}
}

// TestFragmentBombs: what a peer can make us keep is bounded, and the IKE SA stands unless the
// peer itself, by its own key, has sent too much.
func TestFragmentBombs(t *testing.T) {
	_, s, peer, ha, give := established(t)
	id := peer.recvID
	t.Run("numbers", func(t *testing.T) {
		for _, c := range []struct{ number, total uint16 }{{0, 0}, {0, 3}, {4, 3}, {65535, 65534}, {1, 65535}, {65535, 65535}, {1, maxFragments + 1}, {2, 0}} {
			if give(sealed(s, id, 0, c.number, c.total, zeros(10))) != 0 || peer.parts != nil {
				t.Errorf("%d of %d is kept", c.number, c.total)
			}
		}
	})
	t.Run("not authentic", func(t *testing.T) {
		d := sealed(s, id, message.TypeVendor, 1, 3, zeros(100))
		for i := range d {
			bad := slices.Clone(d)
			bad[i] ^= 1
			give(bad)
			if peer.parts != nil {
				t.Fatalf("octet %d is not protected", i)
			}
		}
		for n := range d { // cut short
			bad := slices.Clone(d[:n])
			if n >= message.HeaderLen {
				binary.BigEndian.PutUint32(bad[24:], uint32(n))
			}
			give(bad)
		}
		if peer.parts != nil {
			t.Fatal("a cut one is kept")
		}
	})
	t.Run("other exchanges and IDs", func(t *testing.T) {
		for _, other := range []uint32{id - 1, id + 1, 0, 1 << 31} {
			give(sealed(s, other, 0, 2, 3, zeros(10)))
		}
		if peer.parts != nil {
			t.Error("kept")
		}
	})
	t.Run("twice with other content", func(t *testing.T) {
		give(sealed(s, id, 0, 2, 3, bytes.Repeat([]byte{1}, 10)))
		give(sealed(s, id, 0, 2, 3, bytes.Repeat([]byte{2}, 10)))
		give(sealed(s, id, 0, 2, 2, bytes.Repeat([]byte{2}, 10))) // of a smaller set
		if a := peer.parts; a == nil || len(a.parts) != 1 || a.total != 3 || a.parts[0].plain[0] != 1 {
			t.Errorf("%+v", peer.parts)
		}
	})
	t.Run("never the last one", func(t *testing.T) {
		for total := uint16(4); total <= maxFragments; total++ {
			for number := uint16(2); number <= total; number++ {
				give(sealed(s, id, 0, number, total, nil))
			}
			if n := len(peer.parts.parts); n > maxFragments {
				t.Fatalf("%d are kept", n)
			}
		}
		ha.w.run(fragmentTimeout+time.Second, nil)
		if peer.parts != nil || peer.state != stateUp {
			t.Error("kept for ever")
		}
	})
	t.Run("too much", func(t *testing.T) {
		for number := uint16(1); number < 100; number++ {
			give(sealed(s, id, message.NoNext, number, 100, zeros(1200)))
			if peer.parts != nil && peer.parts.size > maxAssembled {
				t.Fatal("above the limit")
			}
		}
		if peer.state != stateClosing || len(find[SADown](ha)) != 1 || len(ha.kernel) != 0 {
			t.Error("the IKE SA stands", peer.state)
		}
	})
}

// TestFragmentBombBeforeAuthentication: somebody who has done IKE_SA_INIT, and no more, gets
// little, and only for the time of a half-open IKE SA.
func TestFragmentBombBeforeAuthentication(t *testing.T) {
	for _, octets := range []int{1, 500} {
		w, mn, ha := pair(t, 5, small)
		mn.hold = true
		mn.initiate(mhWant())
		w.run(time.Second, nil)
		s := mn.m.sas[SAID(binary.BigEndian.Uint64(w.sent[0].Data))]
		for number := uint16(2); number <= maxFragments; number++ {
			d := sealed(s, 1, 0, number, maxFragments, zeros(octets))
			d[18] = byte(message.IKEAuth)
			ha.step(Datagram{Local: s.remote, Remote: s.local, Data: d}) // the exchange is protected
			h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSKF, Exchange: message.IKEAuth, ID: 1, Flags: message.FlagInitiator}
			n := s.outP.SealedLen(octets)
			s.ivOut++
			d = s.outP.Seal(message.AppendSKFHeader(h.Append(nil, message.HeaderLen+8+n), 0, number, maxFragments, n), zeros(octets), s.ivOut)
			ha.step(Datagram{Local: s.remote, Remote: s.local, Data: d})
			for _, p := range ha.m.sas {
				if p.parts != nil && p.parts.size > maxAssembledEarly {
					t.Fatal("above the limit")
				}
			}
		}
		if n := len(find[Refused](ha)); n != octets/500 {
			t.Errorf("%d octets each: refused %d times", octets, n)
		}
		w.run(time.Minute, nil)
		if len(ha.m.sas)+len(ha.m.timers) != 0 {
			t.Error("something is left")
		}
	}
}

// TestFragmentSizes: sizes by family and configuration, and what is refused.
func TestFragmentSizes(t *testing.T) {
	for size, ok := range map[int]bool{-1: true, 0: true, 1: false, 255: false, 256: true, 65535: true, 65536: false} {
		c := Config{Conns: []Conn{mnConn()}, FragmentSize: size}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%d: %v", size, err)
		}
	}
	for _, c := range []struct {
		remote string
		size   uint16
		want   int
	}{{haA, 0, 1228}, {"192.0.2.1", 0, 544}, {haA, 1400, 1348}, {"192.0.2.1", 1400, 1368}} {
		s := &sa{remote: ap(c.remote), fragmentSize: c.size}
		if got := s.room(); got != c.want {
			t.Errorf("%s %d: %d, want %d", c.remote, c.size, got, c.want)
		}
	}
}

// TestSplit: pieces of every length of payload, by every limit, are the whole again.
func TestSplit(t *testing.T) {
	_, s, peer, _, _ := established(t)
	for size := uint16(256); size < 400; size += 13 {
		for n := 0; n < 2000; n += 37 {
			s.fragmentSize = size
			inner := make([]byte, n)
			for i := range inner {
				inner[i] = byte(i * n)
			}
			h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSK, Exchange: message.Informational, Flags: message.FlagInitiator}
			data := s.split(h, message.TypeVendor, inner)
			if fits := message.HeaderLen+4+s.outP.SealedLen(n) <= s.room(); fits != (data == nil) {
				t.Fatalf("%d octets in %d: cut is %v", n, size, data != nil)
			}
			var got []byte
			for number := 1; len(data) > 0; number++ {
				var d []byte
				d, data = next(data)
				g, err := message.ParseHeader(d)
				if err != nil || len(d) > s.room() {
					t.Fatal(err, len(d))
				}
				p, err := message.Parse(g, d)
				if err != nil || p.SKF == nil || int(p.SKF.Number) != number || (number == 1) != (p.SKF.Inner == message.TypeVendor) {
					t.Fatalf("%v %+v", err, p)
				}
				plain, err := peer.in.Open(d, p.SKF.Offset)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, plain...)
			}
			if len(got) > 0 && !bytes.Equal(got, inner) {
				t.Fatal("not the same")
			}
		}
	}
}

// FuzzFragments gives an IKE SA authentic fragments of any numbers, sizes and order.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{1, 3, 10, 2, 3, 20, 3, 3, 5})
	f.Add([]byte{1, 1, 0, 2, 128, 255, 0, 0, 0, 9, 2, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, mn, ha := pair(t, 5, small)
		mn.initiate(mhWant())
		w.run(time.Second, nil)
		ups := find[SAUp](mn)
		if len(ups) != 1 {
			t.Skip()
		}
		s := mn.m.sas[ups[0].SA]
		for ; len(b) >= 3; b = b[3:] {
			d := sealed(s, s.sendID, message.PayloadType(b[2]), uint16(b[0]), uint16(b[1]), bytes.Repeat(b[:1], int(b[2])*8))
			ha.step(Datagram{Local: s.remote, Remote: s.local, Data: d})
			for _, p := range ha.m.sas {
				if p.parts != nil && (p.parts.size > maxAssembled || len(p.parts.parts) >= int(p.parts.total)) {
					t.Fatal(fmt.Sprint("bounds: ", p.parts.size, len(p.parts.parts)))
				}
			}
		}
	})
}
