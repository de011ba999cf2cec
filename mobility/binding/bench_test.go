package binding

import (
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// A million entries must not cost more than the table is made for.
func TestPackedSize(t *testing.T) {
	if n := unsafe.Sizeof(packed{}); n > 56 {
		t.Errorf("an entry has %d octets", n)
	}
}

const many = 1 << 20

func BenchmarkInsert(b *testing.B) {
	c := New(0, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = c.Put(entry(uint32(i), time.Duration(i%4096)*time.Second))
	}
}

func BenchmarkLookup(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := New(0, 1)
	for i := range uint32(many) {
		_ = c.Put(entry(i, time.Duration(i%4096)*time.Second))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		if _, ok := c.Lookup(addr(i * 2654435761 % many)); !ok {
			b.Fatal("lost")
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "B/entry")
	runtime.KeepAlive(c)
}

func BenchmarkRefresh(b *testing.B) {
	c := New(0, 1)
	for i := range uint32(many) {
		_ = c.Put(entry(i, time.Duration(i%4096)*time.Second))
	}
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		_ = c.Put(entry(i*2654435761%many, time.Duration(4096+i%4096)*time.Second))
	}
}

// A cycle of garbage collection with a million entries alive.
func BenchmarkCollect(b *testing.B) {
	c := New(0, 1)
	for i := range uint32(many) {
		_ = c.Put(entry(i, time.Hour))
	}
	for b.Loop() {
		runtime.GC()
	}
	runtime.KeepAlive(c)
}
