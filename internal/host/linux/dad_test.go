package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

func TestProbeDAD(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	b.ip(fmt.Sprintf("addr add %v/64 dev vb nodad", dupAddr))
	h := a.open(Options{DADInterval: 300 * time.Millisecond, DADTransmits: 2})
	i := a.index("va")
	c := b.capture("vb")
	ctx := context.Background()
	if err := h.ProbeDAD(ctx, i, dupAddr); !errors.Is(err, host.ErrDuplicate) {
		t.Errorf("an address in use: %v", err)
	}
	p, m := icmpOf(t, c.wait("the probe", icmpType(mobility.ICMPNeighborSol)))
	if ns := m.(mobility.NeighborSolicitation); p.Src != netip.IPv6Unspecified() || p.Dst != mobility.SolicitedNode(dupAddr) || ns.Target != dupAddr {
		t.Errorf("probe %+v of %+v", ns, p)
	} else if _, ok := mobility.FindNDOption[mobility.SourceLinkLayer](ns.Options); ok {
		t.Error("a link-layer option from the unspecified address")
	}

	// Many at once: all free but one, none waits for another.
	start := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, 200)
	for n := range errs {
		wg.Go(func() {
			v := freeAddr.As16()
			v[12], v[14] = 1, byte(n)
			addr := netip.AddrFrom16(v)
			if n == 77 {
				addr = dupAddr
			}
			errs[n] = h.ProbeDAD(ctx, i, addr)
		})
	}
	wg.Wait()
	for n, err := range errs {
		if n == 77 != errors.Is(err, host.ErrDuplicate) || n != 77 && err != nil {
			t.Errorf("probe %d: %v", n, err)
		}
	}
	if d := time.Since(start); d < 600*time.Millisecond || d > patience { // one after the other: 120 s
		t.Errorf("two transmissions 300 ms apart took %v", d)
	}
	if err := h.ProbeDAD(ctx, 99, freeAddr); !errors.Is(err, host.ErrNoLink) {
		t.Errorf("on no link: %v", err)
	}
	h.Close()
	noGoroutines(t)
}

// Another node that probes for the same address; and what is not such a probe.
func TestProbeDADCollision(t *testing.T) {
	a, b := pair(t)
	up(t, a, b)
	i, j := a.index("va"), b.index("vb")
	c := b.capture("vb")
	probe := func(d time.Duration) (*Host, context.CancelFunc, chan error, []byte) {
		h := a.open(Options{DADInterval: d})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.ProbeDAD(ctx, i, freeAddr) }()
		return h, cancel, done, c.wait("the probe", icmpType(mobility.ICMPNeighborSol))
	}
	group := mobility.SolicitedNode(freeAddr)
	ns := mobility.NeighborSolicitation{Target: freeAddr}

	_, cancel, done, _ := probe(time.Hour)
	c.send(j, ndPacket(t, netip.IPv6Unspecified(), group, 255, ns))
	if err := <-done; !errors.Is(err, host.ErrDuplicate) {
		t.Errorf("another one's probe: %v", err)
	}
	cancel()

	_, cancel, done, frame := probe(700 * time.Millisecond)
	c.send(j, frame[14:])                                                         // our own, looped back by the link
	c.send(j, ndPacket(t, netip.IPv6Unspecified(), group, 64, ns))                // routed
	c.send(j, ndPacket(t, netip.MustParseAddr("fe80::b"), group, 255, ns))        // somebody looks for it
	c.send(j, ndPacket(t, netip.MustParseAddr("fe80::b"), mobility.AllNodes, 255, // another address
		mobility.NeighborAdvertisement{Target: dupAddr}))
	if err := <-done; err != nil {
		t.Errorf("no collision, but %v", err)
	}
	cancel()

	_, cancel, done, _ = probe(time.Hour)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	h, cancel, done, _ := probe(time.Hour)
	defer cancel()
	h.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
