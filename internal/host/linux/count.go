package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// counters are the packet counters of a Host.
type counters struct {
	mu    sync.Mutex
	nft   *nft
	err   error // why there is none
	ready bool  // the table is there
	names map[addrPair]string
}

type addrPair struct{ src, dst netip.Addr }

// open makes the socket, in the namespace of the calling thread. That the kernel has no nf_tables
// is told where a counter is asked for.
func (c *counters) open() {
	c.nft, c.err = openNFT()
	c.names = map[addrPair]string{}
}

func (c *counters) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nft != nil {
		c.nft.s.close()
		c.nft = nil
	}
	c.err = ErrClosed
}

// put begins to count from zero.
func (c *counters) put(p addrPair) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.names[p]; there {
		return nil
	}
	if c.err != nil {
		return noCounter(c.err)
	}
	var ms []nftMessage
	if !c.ready {
		ms = countTableMessages()
	}
	name := counterName(p)
	ms = append(ms, counterMessages(unix.NFT_MSG_NEWOBJ, unix.NFT_MSG_NEWSETELEM, p, name)...)
	if err := c.nft.batch(ms...); err != nil {
		if !c.ready && errors.Is(err, unix.ENOENT) { // what it does not find is none of ours
			return fmt.Errorf("%w: %w: nf_tables without counters in maps (nft_objref): %w", host.ErrNoCounter, ErrFeature, err)
		}
		return noCounter(err)
	}
	c.ready, c.names[p] = true, name
	return nil
}

func (c *counters) del(p addrPair) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, there := c.names[p]
	if !there || c.nft == nil {
		return nil
	}
	ms := counterMessages(unix.NFT_MSG_DELOBJ, unix.NFT_MSG_DELSETELEM, p, name)
	ms[0], ms[1] = ms[1], ms[0] // an object in use stays
	if err := c.nft.batch(ms...); err != nil {
		return place("delete a packet counter", err)
	}
	delete(c.names, p)
	return nil
}

// count reads a counter.
func (c *counters) count(p addrPair) (packets uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, there := c.names[p]
	switch {
	case c.err != nil:
		return 0, noCounter(c.err)
	case !there:
		return 0, fmt.Errorf("%w: none from %v to %v", host.ErrNoCounter, p.src, p.dst)
	}
	attrs, err := c.nft.get(nftMessage{unix.NFT_MSG_GETOBJ, 0, counterObject(name, false)})
	if err != nil {
		return 0, noCounter(err)
	}
	packets, ok := parseCounter(attrs)
	if !ok {
		return 0, fmt.Errorf("%w: no number in the kernel's answer", host.ErrNoCounter)
	}
	return packets, nil
}

// noCounter makes an error one of ours.
func noCounter(err error) error {
	var e *nftError
	if errors.As(err, &e) && e.err == unix.EPERM && e.at > 0 {
		// The batch was let in, so it is not about our privileges.
		return fmt.Errorf("%w: %w: table %s of another program", host.ErrNoCounter, ErrForeign, countTable)
	}
	if errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", host.ErrNoCounter, place("nf_tables", err))
}

// Count implements host.Host.
func (h *Host) Count(ctx context.Context, src, dst netip.Addr) (packets uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return h.counters.count(addrPair{src.WithZone(""), dst.WithZone("")})
}

func (h *Host) putCounter(o host.PutCounter) error {
	for _, a := range []netip.Addr{o.Src, o.Dst} {
		if !a.Is6() || a.Is4In6() {
			return fmt.Errorf("linux: count packets from %v to %v: no IPv6 addresses", o.Src, o.Dst)
		}
	}
	return h.counters.put(addrPair{o.Src.WithZone(""), o.Dst.WithZone("")})
}

func (h *Host) delCounter(o host.DelCounter) error {
	return h.counters.del(addrPair{o.Src.WithZone(""), o.Dst.WithZone("")})
}
