package ha

import (
	"net/netip"
	"runtime"
	"testing"
)

// crowd is a machine with many bindings, restored as after a crash.
func crowd(b *testing.B, n int) *Machine {
	cfg := testConfig()
	cfg.Nodes, cfg.RestartRate = nil, 1
	m, err := New(cfg, 1)
	if err != nil {
		b.Fatal(err)
	}
	shape := served(b, nil)
	shape.step(bu(words{"from": "coa1"}))
	rec := shape.m.record(shape.m.nodes[0])
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = rec
		recs[i].Home, recs[i].Slot = nth(i), uint32(i)
		recs[i].ReqIDs = m.reqIDs(&node{index: uint32(i)})
		recs[i].Expires = epoch.AddDate(1, 0, 0)
	}
	m.Step(epoch, Restored{Records: recs}, nil)
	m.Step(epoch, Start{}, nil)
	for len(m.restart.put) > 0 {
		answer(m, m.Tick(epoch, nil))
	}
	return m
}

func nth(i int) netip.Addr {
	a := cast["ha"].As16()
	a[8], a[12], a[13], a[14], a[15] = 1, byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
	return netip.AddrFrom16(a)
}

// answer answers everything, with success.
func answer(m *Machine, acts []Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case Xfrm:
			answer(m, m.Step(epoch, XfrmDone{ID: a.ID}, nil))
		case Host:
			m.Step(epoch, HostDone{ID: a.ID}, nil)
		}
	}
}

// A refresh, from the Binding Update to the Binding Acknowledgement.
func BenchmarkRefresh(b *testing.B) { updates(b, func(i int) netip.Addr { return cast["coa1"] }) }

// A move, with its migration.
func BenchmarkMove(b *testing.B) {
	coa := []netip.Addr{cast["coa2"], cast["coa1"]}
	updates(b, func(i int) netip.Addr { return coa[i&1] })
}

func updates(b *testing.B, careOf func(round int) netip.Addr) {
	const n = 20_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := crowd(b, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		round := i / n
		ev := bu(words{"seq": itoa(uint16(round + 2))})
		ev.MH.Src, ev.MH.CareOf = nth(i%n), careOf(round)
		answer(m, m.Step(epoch, ev, nil))
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/node")
	if m.cache.Len() != n {
		b.Fatal("bindings were lost")
	}
}

func itoa(n uint16) string {
	var out [5]byte
	i := len(out)
	for ok := true; ok; ok = n > 0 {
		i--
		out[i] = byte('0' + n%10)
		n /= 10
	}
	return string(out[i:])
}
