package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// XfrmMessage is one message that the kernel sent to its XFRM multicast groups, in
// the words of this package's own decoder: nothing of it comes from the code under
// test. It is one line of JSON in the monitor's file.
type XfrmMessage struct {
	Time     time.Time  `json:"time"`
	Type     string     `json:"type"` // newsa, delsa, expire, newpolicy, migrate, …
	Seq      uint32     `json:"seq,omitempty"`
	PID      uint32     `json:"pid,omitempty"`
	Dir      string     `json:"dir,omitempty"`      // policies and migrate: in, out, fwd
	Selector *XfrmSel   `json:"selector,omitempty"` // policies, migrate, acquire, report
	SA       *XfrmSA    `json:"sa,omitempty"`
	Moves    []XfrmMove `json:"moves,omitempty"`     // migrate
	KM       *XfrmAddrs `json:"kmaddress,omitempty"` // migrate: local and remote
	Priority uint32     `json:"priority,omitempty"`  // policies
	Sub      bool       `json:"sub,omitempty"`       // policy type SUB
	Coaddr   string     `json:"coaddr,omitempty"`
	Hard     bool       `json:"hard,omitempty"` // expire
	Raw      []byte     `json:"raw"`            // the message without the netlink header
}

// XfrmSel is a selector.
type XfrmSel struct {
	Src     string `json:"src"` // prefix
	Dst     string `json:"dst"`
	Proto   uint8  `json:"proto,omitempty"`
	SPort   uint16 `json:"sport,omitempty"`
	DPort   uint16 `json:"dport,omitempty"`
	IfIndex int32  `json:"ifindex,omitempty"`
}

// XfrmSA names a state.
type XfrmSA struct {
	Src   string `json:"src,omitempty"`
	Dst   string `json:"dst"`
	SPI   uint32 `json:"spi"`
	Proto uint8  `json:"proto"`
	ReqID uint32 `json:"reqid,omitempty"`
	Mode  uint8  `json:"mode,omitempty"`
}

// XfrmMove is one struct xfrm_user_migrate.
type XfrmMove struct {
	OldSrc string `json:"old_src"`
	OldDst string `json:"old_dst"`
	NewSrc string `json:"new_src"`
	NewDst string `json:"new_dst"`
	Proto  uint8  `json:"proto"`
	Mode   uint8  `json:"mode"`
	ReqID  uint32 `json:"reqid"`
}

// XfrmAddrs is struct xfrm_user_kmaddress.
type XfrmAddrs struct {
	Local  string `json:"local"`
	Remote string `json:"remote"`
}

// XfrmMonitor records all XFRM multicast messages of a host.
type XfrmMonitor struct {
	fd   int
	stop atomic.Bool
	done chan struct{}
	mu   sync.Mutex
	all  []XfrmMessage
	err  error
}

// xfrmGroups are XFRMNLGRP_ACQUIRE (1) to XFRMNLGRP_MAPPING (8), as the bits of bind,
// without XFRMNLGRP_AEVENTS (5): with a listener the kernel tells every few packets
// how far a replay window is.
const xfrmGroups = 0xff &^ (1 << 4)

// MonitorXfrm starts a monitor of everything but replay events; each message is a line of JSON in HOST-xfrm.jsonl of
// the lab's folder.
func (l *Lab) MonitorXfrm(host string) (*XfrmMonitor, error) {
	m := &XfrmMonitor{done: make(chan struct{})}
	err := l.Host(host).Do(func() (err error) {
		m.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_XFRM)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: XFRM monitor on %s: %w", host, err)
	}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(m.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) },
		func() error {
			return unix.SetsockoptTimeval(m.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
		},
		func() error {
			return unix.Bind(m.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: xfrmGroups})
		},
	} {
		if err := step(); err != nil {
			unix.Close(m.fd)
			return nil, fmt.Errorf("lab: XFRM monitor on %s: %w", host, err)
		}
	}
	f, err := os.Create(l.path(host + "-xfrm.jsonl"))
	if err != nil {
		unix.Close(m.fd)
		return nil, err
	}
	go m.run(f)
	return m, nil
}

func (m *XfrmMonitor) run(f io.WriteCloser) {
	defer close(m.done)
	enc := json.NewEncoder(f)
	buf := make([]byte, 1<<20)
	for {
		n, _, err := unix.Recvfrom(m.fd, buf, 0)
		now := time.Now()
		switch {
		case err == nil:
			for _, x := range decodeXfrm(now, buf[:n]) {
				m.mu.Lock()
				m.all = append(m.all, x)
				m.mu.Unlock()
				m.fail(enc.Encode(x))
			}
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			if m.stop.Load() {
				m.fail(f.Close())
				unix.Close(m.fd)
				return
			}
		default: // ENOBUFS among them: messages were lost, which a check must know
			m.fail(fmt.Errorf("lab: XFRM monitor: %w", err))
		}
	}
}

func (m *XfrmMonitor) fail(err error) {
	m.mu.Lock()
	m.err = errors.Join(m.err, err)
	m.mu.Unlock()
}

// Messages are those so far.
func (m *XfrmMonitor) Messages() []XfrmMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]XfrmMessage(nil), m.all...)
}

// Migrations are the migrate messages in [from, to).
func (m *XfrmMonitor) Migrations(from, to time.Time) []XfrmMessage {
	var out []XfrmMessage
	for _, x := range m.Messages() {
		if x.Type == "migrate" && !x.Time.Before(from) && x.Time.Before(to) {
			out = append(out, x)
		}
	}
	return out
}

// Stop ends the monitor when nothing more comes and gives all messages. An error
// tells that some were lost.
func (m *XfrmMonitor) Stop() ([]XfrmMessage, error) {
	m.stop.Store(true)
	<-m.done
	return m.all, m.err
}
