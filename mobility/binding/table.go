package binding

import (
	"encoding/binary"
	"math/bits"
)

// The table is open addressing with linear probing, at most three quarters full;
// entries are cut out by moving their followers back, so there are no tombstones.

const minTable = 16

// hash mixes the home address with the seed by two wide multiplications.
func (c *Cache) hash(key *[16]byte) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(key[:8])^c.seed^0xa0761d6478bd642f,
		binary.LittleEndian.Uint64(key[8:])^0xe7037ed1a0b428db)
	hi, lo = bits.Mul64(hi^lo^c.seed, 0x8ebc6af09c88c6e3)
	return hi ^ lo
}

// find returns the place in the table and the slot of a home address. Where it is
// not there, at is the place where it would go, or -1 without a table.
func (c *Cache) find(key *[16]byte) (at int, slot uint32, ok bool) {
	if len(c.table) == 0 {
		return -1, 0, false
	}
	mask := uint64(len(c.table) - 1)
	for i := c.hash(key) & mask; ; i = (i + 1) & mask {
		s := c.table[i]
		if s == 0 {
			return int(i), 0, false
		}
		if c.slab[s-1].home == *key {
			return int(i), s - 1, true
		}
	}
}

// insert enters a slot under a home address that is not there.
func (c *Cache) insert(key *[16]byte, slot uint32) {
	if 4*(len(c.heap)+1) > 3*len(c.table) {
		c.grow()
	}
	at, _, _ := c.find(key)
	c.table[at] = slot + 1
}

func (c *Cache) grow() {
	old := c.table
	c.table = make([]uint32, max(minTable, 2*len(old)))
	mask := uint64(len(c.table) - 1)
	for _, s := range old {
		if s == 0 {
			continue
		}
		i := c.hash(&c.slab[s-1].home) & mask
		for c.table[i] != 0 {
			i = (i + 1) & mask
		}
		c.table[i] = s
	}
}

// cut empties place at and moves back those behind it that may stand nearer to
// their own place.
func (c *Cache) cut(at int) {
	mask := uint64(len(c.table) - 1)
	hole := uint64(at)
	for i := (hole + 1) & mask; c.table[i] != 0; i = (i + 1) & mask {
		own := c.hash(&c.slab[c.table[i]-1].home) & mask
		if (i-own)&mask >= (i-hole)&mask {
			c.table[hole] = c.table[i]
			hole = i
		}
	}
	c.table[hole] = 0
}
