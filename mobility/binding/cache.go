package binding

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
)

// DeleteTimeout is MAX_DELETE_BCE_TIMEOUT (RFC 6275 §12): how long a home agent
// keeps an entry that was deleted.
const DeleteTimeout = 10 * time.Second

// ErrFull says that the cache holds as many valid entries as it may. Nothing is
// ever evicted: a home registration stays until it expires (RFC 6275 §10.3.1).
var ErrFull = errors.New("mobility/binding: cache is full")

// ErrAddress says that an address is not of IPv6.
var ErrAddress = errors.New("mobility/binding: not an address of IPv6")

// Entry is a binding (RFC 6275 §9.1).
type Entry struct {
	Home, CareOf netip.Addr
	Seq          uint16               // of the last accepted Binding Update
	Flags        mobility.UpdateFlags // of it; H marks a home registration
	Lifetime     mobility.Units       // granted
	Expires      time.Time            // of the binding, or of the entry when it is Deleted
	Deleted      bool                 // kept only to know Seq
	Tag          uint32               // the owner's
}

// HomeRegistration tells whether we are the home agent for the entry.
func (e Entry) HomeRegistration() bool { return e.Flags.Has(mobility.FlagHome) }

// packed is an Entry without pointers; expires is in nanoseconds of Unix time.
type packed struct {
	home, careOf [16]byte
	expires      int64
	tag          uint32
	heapPos      uint32 // in Cache.heap
	seq, flags   uint16
	lifetime     uint16
	state        uint8
}

const (
	slotFree    = 0
	slotValid   = 1
	slotDeleted = 2
)

// Cache is a binding cache. Use New.
type Cache struct {
	slab  []packed
	free  []uint32 // slots of slab that hold nothing
	table []uint32 // slot+1 by hash of the home address; 0: empty
	heap  []uint32 // slots by expiry, the earliest first
	seed  uint64
	max   int
	valid int
}

// New makes a cache that takes max valid entries (0: no limit). seed makes the
// places of the entries unpredictable for those who choose home addresses.
func New(max int, seed uint64) *Cache { return &Cache{max: max, seed: seed} }

// SetMax changes the limit. Entries above it stay.
func (c *Cache) SetMax(max int) { c.max = max }

// Len is the number of valid entries; Deleted that of the others.
func (c *Cache) Len() int     { return c.valid }
func (c *Cache) Deleted() int { return len(c.heap) - c.valid }

// Lookup finds the entry of a home address, a deleted one too.
func (c *Cache) Lookup(home netip.Addr) (Entry, bool) {
	if !home.Is6() {
		return Entry{}, false
	}
	key := home.As16()
	_, slot, ok := c.find(&key)
	if !ok {
		return Entry{}, false
	}
	return c.slab[slot].entry(), true
}

// Room tells whether one more valid entry may be put.
func (c *Cache) Room() bool { return c.max <= 0 || c.valid < c.max }

// Put adds the entry or replaces the one of its home address. A valid entry that
// is new, or was deleted, needs room: ErrFull.
func (c *Cache) Put(e Entry) error {
	if !e.Home.Is6() || !e.CareOf.Is6() {
		return ErrAddress
	}
	p := packed{home: e.Home.As16(), careOf: e.CareOf.As16(), expires: e.Expires.UnixNano(), tag: e.Tag,
		seq: e.Seq, flags: uint16(e.Flags), lifetime: uint16(e.Lifetime), state: slotValid}
	if e.Deleted {
		p.state = slotDeleted
	}
	_, slot, found := c.find(&p.home)
	was := uint8(slotFree)
	if found {
		was = c.slab[slot].state
	}
	if p.state == slotValid && was != slotValid && !c.Room() {
		return ErrFull
	}
	if !found {
		slot = c.alloc()
		c.insert(&p.home, slot)
		p.heapPos = c.push(slot)
	} else {
		p.heapPos = c.slab[slot].heapPos
	}
	c.slab[slot] = p
	c.fix(p.heapPos)
	c.count(was, -1)
	c.count(p.state, 1)
	return nil
}

// Delete marks the entry of a home address as deleted until the time given
// (RFC 6275 §10.3.2). It tells whether there was a valid one.
func (c *Cache) Delete(home netip.Addr, seq uint16, until time.Time) bool {
	if !home.Is6() {
		return false
	}
	key := home.As16()
	_, slot, ok := c.find(&key)
	if !ok || c.slab[slot].state != slotValid {
		return false
	}
	p := &c.slab[slot]
	p.state, p.seq, p.lifetime, p.expires = slotDeleted, seq, 0, until.UnixNano()
	c.fix(p.heapPos)
	c.valid--
	return true
}

// Remove takes an entry out at once, valid or deleted.
func (c *Cache) Remove(home netip.Addr) bool {
	if !home.Is6() {
		return false
	}
	key := home.As16()
	at, slot, ok := c.find(&key)
	if !ok {
		return false
	}
	c.remove(at, slot)
	return true
}

// Deadline is when the next entry expires; zero where there is none.
func (c *Cache) Deadline() time.Time {
	if len(c.heap) == 0 {
		return time.Time{}
	}
	return time.Unix(0, c.slab[c.heap[0]].expires)
}

// Expire takes out one entry whose time has come and returns it; call it until ok
// is false.
func (c *Cache) Expire(now time.Time) (e Entry, ok bool) {
	if len(c.heap) == 0 {
		return Entry{}, false
	}
	slot := c.heap[0]
	if c.slab[slot].expires > now.UnixNano() {
		return Entry{}, false
	}
	e = c.slab[slot].entry()
	at, _, _ := c.find(&c.slab[slot].home)
	c.remove(at, slot)
	return e, true
}

// Page gives up to max entries to each, beginning at the cursor, 0 for the first
// page, and returns the cursor of the next page, 0 at the end. Entries that come
// or go between two pages may be missed; none is given twice.
func (c *Cache) Page(cursor, max int, each func(Entry)) (next int) {
	for i := cursor; i < len(c.slab); i++ {
		if c.slab[i].state == slotFree {
			continue
		}
		if max--; max < 0 {
			return i
		}
		each(c.slab[i].entry())
	}
	return 0
}

func (p *packed) entry() Entry {
	return Entry{Home: netip.AddrFrom16(p.home), CareOf: netip.AddrFrom16(p.careOf), Seq: p.seq,
		Flags: mobility.UpdateFlags(p.flags), Lifetime: mobility.Units(p.lifetime),
		Expires: time.Unix(0, p.expires), Deleted: p.state == slotDeleted, Tag: p.tag}
}

func (c *Cache) count(state uint8, n int) {
	if state == slotValid {
		c.valid += n
	}
}

func (c *Cache) alloc() uint32 {
	if n := len(c.free); n > 0 {
		slot := c.free[n-1]
		c.free = c.free[:n-1]
		return slot
	}
	c.slab = append(c.slab, packed{})
	return uint32(len(c.slab) - 1)
}

// remove takes out the entry in slot, which stands in the table at place at.
func (c *Cache) remove(at int, slot uint32) {
	c.count(c.slab[slot].state, -1)
	c.cut(at)
	c.pop(c.slab[slot].heapPos)
	c.slab[slot] = packed{}
	c.free = append(c.free, slot)
}
