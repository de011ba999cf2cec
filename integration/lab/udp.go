package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Datagrams is a stream of numbered UDP packets in one direction.
type Datagrams struct {
	tx, rx   int // sockets
	stop     atomic.Bool
	done     sync.WaitGroup
	mu       sync.Mutex
	sent     []time.Time
	received []time.Time // by sequence number; zero: not
	extra    int         // duplicates
}

// Datagrams starts to send perSecond packets of size bytes of payload (at least 8)
// from one host's address to another's.
func (l *Lab) Datagrams(fromHost string, from netip.Addr, toHost string, to netip.Addr, port uint16, perSecond, size int) (*Datagrams, error) {
	d := &Datagrams{tx: -1, rx: -1}
	open := func(host string, at netip.Addr, port uint16) (fd int, err error) {
		err = l.Host(host).Do(func() error {
			fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return os.NewSyscallError("socket", err)
		})
		if err != nil {
			return -1, err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1); err != nil {
			return fd, err
		}
		return fd, os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet6{Addr: at.As16(), Port: int(port)}))
	}
	var err error
	if d.rx, err = open(toHost, to, port); err == nil {
		d.tx, err = open(fromHost, from, 0)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(d.rx, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	}
	if err == nil { // a receiver that has to wait for the processor loses nothing
		err = unix.SetsockoptInt(d.rx, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("lab: UDP %v to %v: %w", from, to, err)
	}
	d.done.Add(2)
	go d.send(to, port, perSecond, max(size, 8))
	go d.receive()
	return d, nil
}

func (d *Datagrams) send(to netip.Addr, port uint16, perSecond, size int) {
	defer d.done.Done()
	buf := make([]byte, size)
	dst := &unix.SockaddrInet6{Addr: to.As16(), Port: int(port)}
	start := time.Now()
	gap := time.Second / time.Duration(perSecond)
	for seq := 0; !d.stop.Load(); seq++ {
		// Paced by the clock, not by the ticks: a late wake-up is made up for.
		if wait := time.Until(start.Add(time.Duration(seq) * gap)); wait > 0 {
			time.Sleep(wait)
		}
		binary.BigEndian.PutUint64(buf, uint64(seq))
		d.mu.Lock()
		d.sent, d.received = append(d.sent, time.Now()), append(d.received, time.Time{})
		d.mu.Unlock()
		unix.Sendto(d.tx, buf, 0, dst) // one that cannot be sent is one that is lost
	}
}

func (d *Datagrams) receive() {
	defer d.done.Done()
	buf := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(d.rx, buf, 0)
		now := time.Now()
		if err != nil {
			if d.stop.Load() {
				return
			}
			continue
		}
		if n < 8 {
			continue
		}
		seq := binary.BigEndian.Uint64(buf)
		d.mu.Lock()
		switch {
		case seq >= uint64(len(d.received)):
		case d.received[seq].IsZero():
			d.received[seq] = now
		default:
			d.extra++
		}
		d.mu.Unlock()
	}
}

// Count are the packets sent in [from, to) and those of them that did not arrive
// (yet).
func (d *Datagrams) Count(from, to time.Time) (sent, lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, at := range d.sent {
		if at.Before(from) || !at.Before(to) {
			continue
		}
		sent++
		if d.received[i].IsZero() {
			lost++
		}
	}
	return sent, lost
}

// SentIn tells whether a packet was sent in [from, to).
func (d *Datagrams) SentIn(from, to time.Time) bool {
	sent, _ := d.Count(from, to)
	return sent > 0
}

// Stop ends the stream: the sender at once, the receiver when nothing came for 50 ms.
func (d *Datagrams) Stop() (sent, lost, duplicates int) {
	d.stop.Store(true)
	d.done.Wait()
	d.close()
	sent, lost = d.Count(time.Time{}, time.Now().Add(time.Hour))
	return sent, lost, d.extra
}

func (d *Datagrams) close() {
	for _, fd := range []int{d.tx, d.rx} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
