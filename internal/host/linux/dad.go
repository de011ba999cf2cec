package linux

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// ndNonce is the option that tells our own solicitations, should the link loop
// them back to us (RFC 7527 §4.1).
const ndNonce mobility.NDOptionType = 14

// probeKey is what a probe asks about.
type probeKey struct {
	ifIndex int
	addr    netip.Addr
}

// probe is one running duplicate address detection.
type probe struct {
	nonce [6]byte
	found chan struct{} // closed once somebody has the address
	once  sync.Once
}

func (p *probe) duplicate() { p.once.Do(func() { close(p.found) }) }

// prober runs the probes of a host over one socket, which is there only as long
// as there are probes.
type prober struct {
	mu     sync.Mutex
	sock   *socket
	probes map[probeKey][]*probe
	groups map[probeKey]int // probes by solicited-node group
}

// ProbeDAD implements host.Host: it solicits the address from the unspecified
// one, Options.DADTransmits times, Options.DADInterval apart, and waits as long
// after the last one (RFC 4862 §5.4). Probes of many addresses run side by side.
func (h *Host) ProbeDAD(ctx context.Context, ifIndex int, addr netip.Addr) error {
	if !addr.Is6() || addr.Is4In6() || addr.IsMulticast() || addr.IsUnspecified() {
		return fmt.Errorf("linux: %v is not an IPv6 unicast address", addr)
	}
	addr = addr.WithZone("")
	p := &probe{found: make(chan struct{})}
	if _, err := rand.Read(p.nonce[:]); err != nil {
		return err
	}
	key := probeKey{ifIndex, addr}
	if err := h.startProbe(key, p); err != nil {
		return err
	}
	defer h.endProbe(key, p)
	ns := mobility.NeighborSolicitation{
		Target:  addr,
		Options: mobility.NDOptions{mobility.RawNDOption{Type: ndNonce, Data: p.nonce[:]}},
	}
	for range h.opts.DADTransmits {
		if err := h.sendND(ifIndex, netip.IPv6Unspecified(), mobility.SolicitedNode(addr), ns); err != nil {
			return err
		}
		if err := h.waitProbe(ctx, p); err != nil {
			return fmt.Errorf("%w: %v", err, addr)
		}
	}
	return nil
}

// waitProbe waits one interval; nil means that nobody answered.
func (h *Host) waitProbe(ctx context.Context, p *probe) error {
	t := time.NewTimer(h.opts.DADInterval)
	defer t.Stop()
	select {
	case <-p.found:
		return host.ErrDuplicate
	case <-ctx.Done():
		return ctx.Err()
	case <-h.closed:
		return ErrClosed
	case <-t.C:
		return nil
	}
}

// startProbe adds a probe, and first the socket and the group where needed.
func (h *Host) startProbe(key probeKey, p *probe) error {
	d := &h.prober
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := h.open(); err != nil {
		return err
	}
	if d.sock == nil {
		err := h.ns.Do(func() (err error) {
			d.sock, err = openICMP("duplicate address detection", mobility.ICMPNeighborSol, mobility.ICMPNeighborAdv)
			return err
		})
		if err != nil {
			return err
		}
		go d.read(d.sock)
	}
	group := probeKey{key.ifIndex, mobility.SolicitedNode(key.addr)}
	if d.groups[group] == 0 {
		// Best effort: memory for groups is limited for each socket. Without the group
		// answers still come, to all nodes, but not each probe of another node.
		d.sock.control(func(fd int) error { return membership(fd, unix.IPV6_JOIN_GROUP, group) })
	}
	d.groups[group]++
	d.probes[key] = append(d.probes[key], p)
	return nil
}

func (h *Host) endProbe(key probeKey, p *probe) {
	d := &h.prober
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.probes[key]
	for i, o := range of {
		if o == p {
			of = append(of[:i:i], of[i+1:]...)
			break
		}
	}
	if d.probes[key] = of; len(of) == 0 {
		delete(d.probes, key)
	}
	group := probeKey{key.ifIndex, mobility.SolicitedNode(key.addr)}
	if d.groups[group]--; d.groups[group] == 0 {
		delete(d.groups, group)
		d.sock.control(func(fd int) error { return membership(fd, unix.IPV6_LEAVE_GROUP, group) })
	}
	if len(d.probes) == 0 {
		d.sock.close() // ends its reader
		d.sock = nil
	}
}

func membership(fd, what int, group probeKey) error {
	return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, what,
		&unix.IPv6Mreq{Multiaddr: group.addr.As16(), Interface: uint32(group.ifIndex)})
}

// read hands what neighbours say to the probes, until the socket is closed.
func (d *prober) read(s *socket) {
	buf, oob := make([]byte, 2048), make([]byte, 256)
	for {
		p, err := s.receive(buf, oob)
		if err != nil && transient(err) {
			continue
		}
		if err != nil {
			return
		}
		d.hear(readICMP(p))
	}
}

// hear ends the probes that m answers (RFC 4862 §5.4.3, §5.4.4): an
// advertisement of the address, or another node's own probe for it. A
// solicitation with a source address is somebody looking for the address.
func (d *prober) hear(m icmpPacket) {
	if m.hopLimit != mobility.NDHopLimit {
		return
	}
	msg, err := mobility.DecodeICMP(m.data)
	if err != nil {
		return
	}
	switch msg := msg.(type) {
	case mobility.NeighborAdvertisement:
		d.found(probeKey{m.ifIndex, msg.Target}, nil)
	case mobility.NeighborSolicitation:
		if _, linkLayer := mobility.FindNDOption[mobility.SourceLinkLayer](msg.Options); linkLayer ||
			!m.src.IsUnspecified() || m.dst != mobility.SolicitedNode(msg.Target) {
			return // RFC 4861 §7.1.1
		}
		var nonce []byte
		for _, o := range msg.Options {
			if r, ok := o.(mobility.RawNDOption); ok && r.Type == ndNonce {
				nonce = r.Data
			}
		}
		d.found(probeKey{m.ifIndex, msg.Target}, nonce)
	}
}

// found ends the probes for an address as duplicate, unless nonce is that of one of ours.
func (d *prober) found(key probeKey, nonce []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.probes[key] {
		if string(nonce) == string(p.nonce[:]) {
			return
		}
	}
	for _, p := range d.probes[key] {
		p.duplicate()
	}
}
