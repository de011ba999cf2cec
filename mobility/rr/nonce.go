package rr

import (
	"encoding/binary"
	"io"
	"time"
)

const (
	// MaxNonceLifetime and MaxTokenLifetime are those of RFC 6275 §12. The
	// difference is how long one nonce is given out (§5.2.2), so that a token
	// is good for at least MaxTokenLifetime.
	MaxNonceLifetime = 240 * time.Second
	MaxTokenLifetime = 210 * time.Second

	nonceInterval = MaxNonceLifetime - MaxTokenLifetime
	nonceCount    = int(MaxNonceLifetime / nonceInterval)
)

// Nonce is a nonce of the length that RFC 6275 §5.2.2 recommends.
type Nonce [8]byte

// Nonces are the nonces of a correspondent that are still good, the same for
// all mobile nodes (§5.2.2). The zero value is ready. It is plain data: a copy
// goes on from where the original was.
type Nonces struct {
	Ring [nonceCount]struct {
		Nonce Nonce
		Since time.Time // its first use
	}
	Last uint16 // index of the newest nonce; it stands at Last modulo nonceCount
	Used bool   // there is one
}

// Current is the nonce to make tokens with, and its index. A new one is read
// from random where the last is older than 30 s. The first index is random, so
// that indices from before a restart are seldom taken for new ones.
func (n *Nonces) Current(now time.Time, random io.Reader) (index uint16, nonce Nonce, err error) {
	if s := n.slot(n.Last); n.Used && now.Sub(n.Ring[s].Since) < nonceInterval && !now.Before(n.Ring[s].Since) {
		return n.Last, n.Ring[s].Nonce, nil
	}
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, Nonce{}, err
	}
	if n.Used {
		n.Last++
	} else {
		n.Last, n.Used = binary.BigEndian.Uint16(b[8:]), true
	}
	s := n.slot(n.Last)
	n.Ring[s].Nonce, n.Ring[s].Since = Nonce(b[:8]), now
	return n.Last, n.Ring[s].Nonce, nil
}

// Find is the nonce of an index, false where it is older than MaxNonceLifetime
// or was never given out (§5.2.2, §9.5.1: status 136, 137 or 138).
func (n *Nonces) Find(now time.Time, index uint16) (Nonce, bool) {
	e := n.Ring[n.slot(index)]
	if !n.Used || int(n.Last-index) >= nonceCount || e.Since.IsZero() || now.Sub(e.Since) >= MaxNonceLifetime {
		return Nonce{}, false
	}
	return e.Nonce, true
}

func (n *Nonces) slot(index uint16) int { return int(index) % nonceCount }
