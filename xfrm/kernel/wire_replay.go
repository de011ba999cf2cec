package kernel

import "github.com/mip6/mip6/xfrm"

// longReplay tells whether the state of the window needs the long structure.
func longReplay(r xfrm.Replay) bool { return r.ESN || r.Window > 32 }

// replayAttr appends the replay state: the short form for windows up to 32
// packets, else the bitmap form with 64-bit numbers.
func (m *message) replayAttr(s xfrm.SA) {
	r := s.Replay
	switch {
	case s.Mode == xfrm.RouteOpt:
	case longReplay(r):
		words := (int(min(r.Packets(), 4096)) + 31) / 32
		b := m.attr(attrReplayESN, sizeReplayESN+4*words)
		host.PutUint32(b, uint32(words))
		host.PutUint32(b[4:], uint32(r.OSeq))
		host.PutUint32(b[8:], uint32(r.Seq))
		host.PutUint32(b[12:], uint32(r.OSeq>>32))
		host.PutUint32(b[16:], uint32(r.Seq>>32))
		host.PutUint32(b[20:], min(r.Packets(), 4096))
		for i := 0; i < words && i < len(r.Bitmap); i++ {
			host.PutUint32(b[sizeReplayESN+4*i:], r.Bitmap[i])
		}
	case r.OSeq != 0 || r.Seq != 0:
		b := m.attr(attrReplay, sizeReplay)
		host.PutUint32(b, uint32(r.OSeq))
		host.PutUint32(b[4:], uint32(r.Seq))
		if len(r.Bitmap) > 0 {
			host.PutUint32(b[8:], r.Bitmap[0])
		}
	}
}

// getReplayESN reads a struct xfrm_replay_state_esn; as many words of the bitmap
// count as are there.
func getReplayESN(r *xfrm.Replay, v []byte) {
	if len(v) < sizeReplayESN {
		return
	}
	words := min(uint64(host.Uint32(v)), uint64(len(v)-sizeReplayESN)/4)
	r.OSeq = uint64(host.Uint32(v[12:]))<<32 | uint64(host.Uint32(v[4:]))
	r.Seq = uint64(host.Uint32(v[16:]))<<32 | uint64(host.Uint32(v[8:]))
	r.Window = host.Uint32(v[20:])
	r.Bitmap = make([]uint32, words)
	for i := range r.Bitmap {
		r.Bitmap[i] = host.Uint32(v[sizeReplayESN+4*i:])
	}
}

// resize gives a replay state another window. The kernel numbers the bits of a
// long window by its size, so another size counts all behind the last number as
// received: late packets are lost, none is taken twice.
func resize(r xfrm.Replay, window uint32) xfrm.Replay {
	before := longReplay(r)
	same := r.Window == window
	r.Window = window
	if after := longReplay(r); same || !before && !after {
		return r
	}
	r.Bitmap = make([]uint32, (window+31)/32)
	for i := range r.Bitmap {
		r.Bitmap[i] = ^uint32(0)
	}
	return r
}

// skipOSeq adds skip to the number of the last packet sent, where there was one.
func skipOSeq(typ uint16, v []byte, skip uint32) {
	switch {
	case typ == attrReplay && len(v) >= sizeReplay && host.Uint32(v) != 0:
		host.PutUint32(v, host.Uint32(v)+skip)
	case typ == attrReplayESN && len(v) >= sizeReplayESN:
		n := uint64(host.Uint32(v[12:]))<<32 | uint64(host.Uint32(v[4:]))
		if n == 0 {
			return
		}
		n += uint64(skip)
		host.PutUint32(v[4:], uint32(n))
		host.PutUint32(v[12:], uint32(n>>32))
	}
}
