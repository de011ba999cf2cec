package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Echo is one echo request and what became of it.
type Echo struct {
	Seq  int
	Sent time.Time
	RTT  time.Duration // zero: no answer (yet)
	Err  error         // the request could not be sent
}

// Pinger sends an ICMPv6 echo request each interval and remembers all.
type Pinger struct {
	fd     int
	id     uint16
	to     netip.Addr
	cancel context.CancelFunc // sends no more
	end    atomic.Bool        // hears no more
	sender sync.WaitGroup
	done   sync.WaitGroup // the receiver
	mu     sync.Mutex
	echoes []Echo
}

// lastAnswer is how long a pinger waits at most for answers when it has sent its last
// request: on a busy machine they take a while.
const lastAnswer = time.Second

// Ping starts a pinger in a host. from is the source address; the zero Addr leaves
// it to the kernel. A source that the host does not have yet is no error: sending
// fails, and is recorded, until it is there.
func (l *Lab) Ping(host string, from, to netip.Addr, interval time.Duration) (*Pinger, error) {
	p := &Pinger{to: to}
	err := l.Host(host).Do(func() (err error) {
		p.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, fmt.Errorf("lab: ping on %s: %w", host, err)
	}
	if err := p.prepare(from); err != nil {
		unix.Close(p.fd)
		return nil, fmt.Errorf("lab: ping from %v on %s: %w", from, host, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.sender.Add(1)
	p.done.Add(1)
	go p.send(ctx, from, interval)
	go p.receive()
	return p, nil
}

// prepare sets the socket up: echo replies only, an identifier of its own (the
// descriptor's number differs between the pingers of a process).
func (p *Pinger) prepare(from netip.Addr) error {
	p.id = uint16(os.Getpid()<<6) ^ uint16(p.fd)
	var filter [8]uint32 // a set bit blocks that type (RFC 3542 §3.2)
	for i := range filter {
		filter[i] = ^uint32(0)
	}
	filter[int(ipv6.ICMPTypeEchoReply)>>5] &^= 1 << (uint(ipv6.ICMPTypeEchoReply) & 31)
	if err := unix.SetsockoptICMPv6Filter(p.fd, unix.SOL_ICMPV6, 1, &unix.ICMPv6Filter{Data: filter}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return err
	}
	if !from.IsValid() {
		return nil
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1); err != nil {
		return err
	}
	return unix.Bind(p.fd, &unix.SockaddrInet6{Addr: from.As16()})
}

func (p *Pinger) send(ctx context.Context, from netip.Addr, interval time.Duration) {
	defer p.sender.Done()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for seq := 0; ; seq++ {
		body := &icmp.Echo{ID: int(p.id), Seq: seq & 0xffff, Data: binary.BigEndian.AppendUint64(nil, uint64(seq))}
		msg, err := (&icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: body}).Marshal(nil) // the kernel fills in the checksum
		p.mu.Lock()
		p.echoes = append(p.echoes, Echo{Seq: seq, Sent: time.Now()})
		p.mu.Unlock()
		if err == nil {
			err = unix.Sendto(p.fd, msg, 0, &unix.SockaddrInet6{Addr: p.to.As16()})
		}
		if err != nil {
			p.mu.Lock()
			p.echoes[seq].Err = err
			p.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *Pinger) receive() {
	defer p.done.Done()
	buf := make([]byte, 2048)
	for !p.end.Load() { // the answers to other pingers of this host come here too, without end
		n, _, err := unix.Recvfrom(p.fd, buf, 0)
		now := time.Now()
		if err != nil {
			continue // the time-out, or an ICMP error of an earlier packet
		}
		if n < 16 || binary.BigEndian.Uint16(buf[4:]) != p.id {
			continue
		}
		seq := binary.BigEndian.Uint64(buf[8:])
		p.mu.Lock()
		if seq < uint64(len(p.echoes)) && p.echoes[seq].RTT == 0 {
			p.echoes[seq].RTT = now.Sub(p.echoes[seq].Sent)
		}
		p.mu.Unlock()
	}
}

// Stop goes on for grace, then sends no more, waits a last time for answers and gives all echoes.
func (p *Pinger) Stop(grace time.Duration) Echoes {
	time.Sleep(grace)
	p.cancel()
	p.sender.Wait()
	for end := time.Now(); time.Since(end) < lastAnswer; time.Sleep(10 * time.Millisecond) {
		if p.Echoes().Between(end.Add(-lastAnswer), end.Add(lastAnswer)).Lost() == 0 {
			break
		}
	}
	p.end.Store(true)
	p.done.Wait()
	unix.Close(p.fd)
	return p.Echoes()
}

// Echoes are all echoes so far, in the order of sending.
func (p *Pinger) Echoes() Echoes {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(Echoes(nil), p.echoes...)
}

// Echoes are the records of a pinger.
type Echoes []Echo

// Between are the echoes sent in [from, to).
func (e Echoes) Between(from, to time.Time) Echoes {
	var out Echoes
	for _, x := range e {
		if !x.Sent.Before(from) && x.Sent.Before(to) {
			out = append(out, x)
		}
	}
	return out
}

// Lost counts the echoes without an answer.
func (e Echoes) Lost() int {
	n := 0
	for _, x := range e {
		if x.RTT == 0 {
			n++
		}
	}
	return n
}

// Outage is the longest row of lost echoes: the time from its first one's sending
// to the sending of the next one that was answered, zero without loss. end is when
// that one was sent; the zero time (and the outage counted to the last echo) if none
// came after.
func (e Echoes) Outage() (outage time.Duration, start, end time.Time) {
	for i := 0; i < len(e); i++ {
		if e[i].RTT != 0 {
			continue
		}
		j := i
		for j < len(e) && e[j].RTT == 0 {
			j++
		}
		var until time.Time
		d := e[len(e)-1].Sent.Sub(e[i].Sent)
		if j < len(e) {
			until = e[j].Sent
			d = until.Sub(e[i].Sent)
		}
		if d >= outage {
			outage, start, end = d, e[i].Sent, until
		}
		i = j
	}
	return outage, start, end
}

// WaitAnswer waits for an answer to an echo sent after t.
func (p *Pinger) WaitAnswer(ctx context.Context, t time.Time, limit time.Duration) error {
	return poll(ctx, limit, fmt.Sprintf("echo reply from %v", p.to), func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := len(p.echoes) - 1; i >= 0 && p.echoes[i].Sent.After(t); i-- {
			if p.echoes[i].RTT != 0 {
				return nil
			}
		}
		return errNotYet
	})
}
