package ike

import (
	"testing"
	"time"
)

// BenchmarkHandshake is a whole handshake with its first child, both sides,
// keyring included.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name string
		make func() (*world, *node, *node)
	}{
		{"psk", func() (*world, *node, *node) { return pair(b, 1, nil) }},
		{"cert", func() (*world, *node, *node) { return certPair(b, nil) }},
		{"mlkem", func() (*world, *node, *node) { return pair(b, 1, hybrid(b, hybrid768, "")) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, mn, ha := c.make()
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				mn.initiate(mhWant())
				w.run(80*time.Millisecond, nil)
				mn.log, ha.log, w.sent = nil, nil, nil
			}
			if int(ha.m.Stats().Handshakes) < b.N {
				b.Errorf("%d of %d", ha.m.Stats().Handshakes, b.N)
			}
		})
	}
}
