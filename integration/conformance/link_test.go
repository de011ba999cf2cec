package conformance

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mip6/mip6/integration/vm"
)

// bare is a Wire to a node on which nothing runs but its kernel.
type bare struct {
	link  *link
	nodes []netip.Addr
}

func (b *bare) Send(p []byte) error                     { return b.link.transmit(nodeMAC[:], p) }
func (b *bare) Next(limit time.Duration) ([]byte, bool) { return b.link.next(limit) }
func (b *bare) Sleep(d time.Duration)                   { time.Sleep(d) }
func (b *bare) Now() time.Time                          { return time.Now() }
func (b *bare) Nodes() []netip.Addr                     { return b.nodes }
func (b *bare) Log() string                             { return "" }

// TestLink is the link and the Tester without mip6d: the kernel's own answers.
func TestLink(t *testing.T) {
	if os.Getenv(vm.EnvKernel) == "" {
		t.Skip("makes network namespaces: go run ./integration/cmd/vmtest ./integration/conformance")
	}
	l, err := newLink(link0, link0b)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	b := &bare{l, []netip.Addr{eui64(link0, nodeMAC), eui64(link0b, nodeMAC)}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.settle(ctx, b.nodes); err != nil {
		t.Fatal(err)
	}
	m := mobile(NewTester(t, b))
	m.plain(netip.Addr{})
	m.CN = m.Node.Second
	m.plain(netip.Addr{})
	// No reply to a wrong checksum.
	p := echoRequest(m.Home, m.CN, netip.Addr{}, 0x4bad, 1)
	p.Sum = -1
	mark := m.mark()
	m.Send(p)
	m.Silent(mark, "a reply", func() { m.plain(netip.Addr{}) }, func(v View) bool { return v.icmp(129) })
}
