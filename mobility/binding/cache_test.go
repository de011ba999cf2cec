package binding

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mip6/mip6/mobility"
)

var epoch = time.Unix(1_700_000_000, 0)

func addr(n uint32) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8,
		12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
}

func entry(n uint32, life time.Duration) Entry {
	return Entry{Home: addr(n), CareOf: addr(n + 1<<24), Seq: uint16(n), Flags: mobility.FlagHome | mobility.FlagAck,
		Lifetime: mobility.UnitsOf(life), Expires: epoch.Add(life), Tag: n}
}

func TestPutLookupRemove(t *testing.T) {
	c := New(0, 7)
	e := entry(1, time.Minute)
	if _, ok := c.Lookup(e.Home); ok {
		t.Fatal("found in an empty cache")
	}
	if err := c.Put(e); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Lookup(e.Home); !ok || got != e {
		t.Fatalf("got %+v, want %+v", got, e)
	}
	if !e.HomeRegistration() {
		t.Error("HA-10.3.1-18: H is not kept")
	}
	e.CareOf, e.Seq = addr(99), 0xffff
	if err := c.Put(e); err != nil || c.Len() != 1 {
		t.Fatalf("replace: %v, %d entries", err, c.Len())
	}
	if got, _ := c.Lookup(e.Home); got != e {
		t.Fatalf("got %+v, want %+v", got, e)
	}
	if !c.Remove(e.Home) || c.Remove(e.Home) || c.Len() != 0 || !c.Deadline().IsZero() {
		t.Fatal("remove")
	}
}

func TestNotIPv6(t *testing.T) {
	c := New(0, 0)
	v4 := netip.MustParseAddr("192.0.2.1")
	if err := c.Put(Entry{Home: v4, CareOf: addr(1)}); !errors.Is(err, ErrAddress) {
		t.Errorf("home address of IPv4: %v", err)
	}
	if err := c.Put(Entry{Home: addr(1)}); !errors.Is(err, ErrAddress) {
		t.Errorf("no care-of address: %v", err)
	}
	if _, ok := c.Lookup(netip.Addr{}); ok || c.Remove(v4) || c.Delete(v4, 1, epoch) {
		t.Error("found what cannot be there")
	}
}

// HA-10.3.2-3: a deleted entry stays for its time, and then goes.
func TestDelete(t *testing.T) {
	c := New(1, 7)
	e := entry(1, time.Hour)
	_ = c.Put(e)
	until := epoch.Add(DeleteTimeout)
	if !c.Delete(e.Home, 77, until) || c.Delete(e.Home, 78, until) {
		t.Fatal("delete once")
	}
	got, ok := c.Lookup(e.Home)
	if !ok || !got.Deleted || got.Seq != 77 || c.Len() != 0 || c.Deleted() != 1 {
		t.Fatalf("deleted entry: %+v %v, %d valid, %d deleted", got, ok, c.Len(), c.Deleted())
	}
	if c.Deadline() != until {
		t.Errorf("deadline %v, want %v", c.Deadline(), until)
	}
	if _, ok := c.Expire(until.Add(-1)); ok {
		t.Error("expired early")
	}
	if got, ok := c.Expire(until); !ok || got.Home != e.Home || !got.Deleted {
		t.Errorf("expire: %+v %v", got, ok)
	}
	if _, ok := c.Lookup(e.Home); ok || c.Deleted() != 0 {
		t.Error("still there")
	}
}

// HA-10.3.1-17: no eviction before expiry.
func TestFull(t *testing.T) {
	c := New(2, 7)
	for n := range uint32(2) {
		if err := c.Put(entry(n, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Put(entry(2, time.Minute)); !errors.Is(err, ErrFull) || c.Room() {
		t.Fatalf("third entry: %v", err)
	}
	if err := c.Put(entry(1, time.Hour)); err != nil {
		t.Errorf("refresh in a full cache: %v", err)
	}
	c.Delete(addr(0), 1, epoch.Add(DeleteTimeout))
	if err := c.Put(entry(2, time.Minute)); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
	if err := c.Put(entry(0, time.Minute)); !errors.Is(err, ErrFull) {
		t.Errorf("a deleted entry comes back into a full cache: %v", err)
	}
	c.SetMax(0)
	if err := c.Put(entry(0, time.Minute)); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

func TestPage(t *testing.T) {
	c := New(0, 3)
	for n := range uint32(100) {
		_ = c.Put(entry(n, time.Minute))
	}
	for n := uint32(0); n < 100; n += 3 {
		c.Remove(addr(n))
	}
	var got []uint32
	cursor, pages := 0, 0
	for {
		cursor = c.Page(cursor, 7, func(e Entry) { got = append(got, e.Tag) })
		if pages++; cursor == 0 {
			break
		}
	}
	slices.Sort(got)
	if len(got) != 66 || pages != 10 || len(slices.Compact(got)) != 66 {
		t.Fatalf("%d entries in %d pages", len(got), pages)
	}
}

// The cache against a plain map, in a random sequence of operations.
func TestAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := New(0, r.Uint64())
	model := map[netip.Addr]Entry{}
	now := epoch
	for range 60_000 {
		n := r.Uint32N(300)
		switch r.IntN(6) {
		case 0, 1, 2:
			e := entry(n, time.Duration(r.IntN(500))*time.Second)
			e.Expires = now.Add(time.Duration(r.IntN(500)) * time.Second)
			if err := c.Put(e); err != nil {
				t.Fatal(err)
			}
			model[e.Home] = e
		case 3:
			_, had := model[addr(n)]
			if c.Remove(addr(n)) != had {
				t.Fatal("remove differs")
			}
			delete(model, addr(n))
		case 4:
			until := now.Add(DeleteTimeout)
			e, had := model[addr(n)]
			if c.Delete(addr(n), 5, until) != (had && !e.Deleted) {
				t.Fatal("delete differs")
			}
			if had && !e.Deleted {
				e.Deleted, e.Seq, e.Lifetime, e.Expires = true, 5, 0, until
				model[addr(n)] = e
			}
		case 5:
			now = now.Add(time.Duration(r.IntN(20)) * time.Second)
			expireAll(t, c, model, now)
		}
		got, ok := c.Lookup(addr(n))
		want, had := model[addr(n)]
		if ok != had || ok && got != want {
			t.Fatalf("got %+v %v, want %+v %v", got, ok, want, had)
		}
	}
	if c.Len()+c.Deleted() != len(model) {
		t.Fatalf("%d entries, want %d", c.Len()+c.Deleted(), len(model))
	}
}

func expireAll(t *testing.T, c *Cache, model map[netip.Addr]Entry, now time.Time) {
	t.Helper()
	last := time.Time{}
	for {
		e, ok := c.Expire(now)
		if !ok {
			break
		}
		if e.Expires.Before(last) {
			t.Fatal("expiry is out of order")
		}
		if last = e.Expires; model[e.Home] != e {
			t.Fatalf("expired %+v, want %+v", e, model[e.Home])
		}
		delete(model, e.Home)
	}
	for _, e := range model {
		if !e.Expires.After(now) {
			t.Fatalf("not expired: %+v", e)
		}
	}
}
