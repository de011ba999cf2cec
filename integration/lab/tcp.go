package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is one TCP connection that carries data in one direction.
type Stream struct {
	client, server *net.TCPConn
	sender         *net.TCPConn
	stop           atomic.Bool
	done           sync.WaitGroup
	mu             sync.Mutex
	progress       []progress
	sendErr        error
	recvErr        error
}

// progress is the number of bytes that had arrived at a time.
type progress struct {
	at    time.Time
	bytes int64
}

// StreamReport is what a stream did.
type StreamReport struct {
	Bytes       int64         // that arrived
	Survived    bool          // neither end saw an error, and data still flowed at the end
	Stall       time.Duration // the longest time without a byte arriving
	StallStart  time.Time
	Retransmits uint32 // segments, in the connection's life
	MSS         uint32 // of the sender
	PathMTU     uint32 // as the sender's kernel knows it
	Err         error  // the first error of either end
}

// Stream connects from a host's address to another's (the client dials), and sends
// data from the client to the server, or with down from the server to the client:
// full-size segments, at most bytesPerSecond (zero: without limit).
func (l *Lab) Stream(ctx context.Context, fromHost string, from netip.Addr, toHost string, to netip.Addr, port uint16, down bool, bytesPerSecond int) (*Stream, error) {
	s := &Stream{}
	var ln net.Listener
	freebind := func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1) })
		if cerr != nil {
			return cerr
		}
		return err
	}
	err := l.Host(toHost).Do(func() (err error) {
		lc := net.ListenConfig{Control: freebind}
		lc.SetMultipathTCP(false)
		ln, err = lc.Listen(ctx, "tcp6", netip.AddrPortFrom(to, port).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", toHost, err)
	}
	defer ln.Close()
	// The listener is gone when this returns, or when the context ends.
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	err = l.Host(fromHost).Do(func() error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: freebind, Timeout: 30 * time.Second}
		d.SetMultipathTCP(false)
		c, err := d.DialContext(ctx, "tcp6", netip.AddrPortFrom(to, port).String())
		if err == nil {
			s.client = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", fromHost, err)
	}
	c, ok := <-accepted
	if !ok {
		s.client.Close()
		return nil, fmt.Errorf("lab: %s: the connection was not accepted", toHost)
	}
	s.server = c.(*net.TCPConn)
	receiver := s.server
	s.sender = s.client
	if down {
		s.sender, receiver = s.server, s.client
	}
	s.done.Add(2)
	go s.send(bytesPerSecond)
	go s.receive(receiver)
	return s, nil
}

func (s *Stream) send(rate int) {
	defer s.done.Done()
	buf := make([]byte, 16<<10)
	start, sent := time.Now(), int64(0)
	for !s.stop.Load() {
		s.sender.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := s.sender.Write(buf)
		sent += int64(n)
		if err != nil {
			if !s.stop.Load() {
				s.mu.Lock()
				s.sendErr = err
				s.mu.Unlock()
			}
			return
		}
		if rate > 0 {
			due := start.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
			}
		}
	}
}

func (s *Stream) receive(c *net.TCPConn) {
	defer s.done.Done()
	buf := make([]byte, 64<<10)
	s.mu.Lock()
	s.progress = append(s.progress, progress{time.Now(), 0})
	s.mu.Unlock()
	for {
		n, err := c.Read(buf)
		s.mu.Lock()
		if n > 0 {
			last := s.progress[len(s.progress)-1]
			s.progress = append(s.progress, progress{time.Now(), last.bytes + int64(n)})
		}
		if err != nil && err != io.EOF && !s.stop.Load() {
			s.recvErr = err
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Bytes are the bytes that arrived so far.
func (s *Stream) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.progress) == 0 {
		return 0
	}
	return s.progress[len(s.progress)-1].bytes
}

// WaitProgress waits until n more bytes arrived than now.
func (s *Stream) WaitProgress(ctx context.Context, n int64, limit time.Duration) error {
	want := s.Bytes() + n
	return poll(ctx, limit, "progress of the TCP stream", func() error {
		if s.Bytes() < want {
			return errNotYet
		}
		return nil
	})
}

// Stall is the longest time within [from, to) in which no byte arrived.
func (s *Stream) Stall(from, to time.Time) (longest time.Duration, start time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := from
	look := func(at time.Time) {
		if d := at.Sub(last); d > longest {
			longest, start = d, last
		}
		last = at
	}
	for _, p := range s.progress {
		if p.at.After(from) && p.at.Before(to) {
			look(p.at)
		}
	}
	look(to)
	return longest, start
}

// Stop ends the stream and reports. Survived asks that the last byte arrived less
// than a second before.
func (s *Stream) Stop() StreamReport {
	now := time.Now()
	var r StreamReport
	r.Retransmits, r.MSS, r.PathMTU = s.info()
	s.mu.Lock()
	first, last := now, now.Add(-time.Hour)
	if n := len(s.progress); n > 0 {
		first, last, r.Bytes = s.progress[0].at, s.progress[n-1].at, s.progress[n-1].bytes
	}
	r.Err = s.sendErr
	if r.Err == nil {
		r.Err = s.recvErr
	}
	s.mu.Unlock()
	r.Survived = r.Err == nil && r.Bytes > 0 && now.Sub(last) < time.Second
	r.Stall, r.StallStart = s.Stall(first, now)
	s.stop.Store(true)
	s.sender.SetWriteDeadline(now)
	for _, c := range []*net.TCPConn{s.client, s.server} {
		c.SetLinger(0) // no FIN that waits for a node that is gone
		c.Close()
	}
	s.done.Wait()
	return r
}

// info asks the sender's kernel.
func (s *Stream) info() (retransmits, mss, pmtu uint32) {
	raw, err := s.sender.SyscallConn()
	if err != nil {
		return 0, 0, 0
	}
	raw.Control(func(fd uintptr) {
		if ti, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			retransmits, mss, pmtu = ti.Total_retrans, ti.Snd_mss, ti.Pmtu
		}
	})
	return retransmits, mss, pmtu
}
