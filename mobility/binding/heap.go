package binding

// The heap of slots, the earliest expiry first. Each entry knows its place, so
// that a refresh moves it without a search.

func (c *Cache) push(slot uint32) uint32 {
	c.heap = append(c.heap, slot)
	return uint32(len(c.heap) - 1)
}

// pop takes out the slot at place pos.
func (c *Cache) pop(pos uint32) {
	last := uint32(len(c.heap) - 1)
	moved := c.heap[last]
	c.heap = c.heap[:last]
	if pos == last {
		return
	}
	c.heap[pos] = moved
	c.slab[moved].heapPos = pos
	c.fix(pos)
}

// fix restores the order after the expiry of the entry at place pos changed.
func (c *Cache) fix(pos uint32) {
	slot := c.heap[pos]
	key := c.slab[slot].expires
	for pos > 0 { // up
		parent := (pos - 1) / 2
		if c.slab[c.heap[parent]].expires <= key {
			break
		}
		c.place(pos, c.heap[parent])
		pos = parent
	}
	for n := uint32(len(c.heap)); 2*pos+1 < n; { // down
		child := 2*pos + 1
		if child+1 < n && c.slab[c.heap[child+1]].expires < c.slab[c.heap[child]].expires {
			child++
		}
		if c.slab[c.heap[child]].expires >= key {
			break
		}
		c.place(pos, c.heap[child])
		pos = child
	}
	c.place(pos, slot)
}

func (c *Cache) place(pos, slot uint32) {
	c.heap[pos] = slot
	c.slab[slot].heapPos = pos
}
