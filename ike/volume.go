package ike

import (
	"fmt"
	"math"
	"math/bits"
)

// Volume is how much a child may carry: from Rekey on it is rekeyed, at Hard it
// ends. Zero: no limit.
type Volume struct{ Rekey, Hard uint64 }

// withDefaults has the end follow the rekey by a tenth, where it is not said.
func (v Volume) withDefaults() Volume {
	if v.Rekey != 0 && v.Hard == 0 {
		v.Hard = v.Rekey + max(v.Rekey/10, 1)
	}
	return v
}

func (v Volume) validate(of string) error {
	if v.Hard != 0 && v.Rekey >= v.Hard {
		return fmt.Errorf("the hard limit in %s must be above the one for a rekey", of)
	}
	return nil
}

// maxSequence is where sequence numbers of 32 bits end (RFC 4303 §3.3.3): the
// kernel sends nothing behind, and raises no alarm before.
const maxSequence = math.MaxUint32

// limits are the volumes of a new pair, the rekey a random part earlier, so that
// the two ends rarely begin together.
func (m *Machine) limits(c *Conn, esn bool) (bytes, packets Volume) {
	bytes, packets = c.ChildBytes, c.ChildPackets
	if end := uint64(maxSequence); !esn && (packets.Hard == 0 || packets.Hard > end) {
		packets.Hard = end
		if packets.Rekey == 0 || packets.Rekey >= end {
			packets.Rekey = end - end/10
		}
	}
	bytes.Rekey, packets.Rekey = m.jitteredCount(bytes.Rekey, c.Jitter), m.jitteredCount(packets.Rekey, c.Jitter)
	return bytes, packets
}

// jitteredCount takes a random part off n, at most a part of 1.
func (m *Machine) jitteredCount(n uint64, part float64) uint64 {
	var b [8]byte
	if n == 0 || part <= 0 || !m.random(b[:]) {
		return n
	}
	var r uint64
	for _, x := range b {
		r = r<<8 | uint64(x)
	}
	most := uint64(float64(n) * part)
	if most >= n {
		most = n - 1
	}
	off, _ := bits.Mul64(most, r) // most times a number below 1
	return n - off
}
