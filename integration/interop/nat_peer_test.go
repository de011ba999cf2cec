package interop

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/host/linux"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/kernel"
)

// inside runs f on a thread that is in a network namespace and ends with it.
func inside(t testing.TB, netns string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		h, err := os.Open("/run/netns/" + netns)
		if err == nil {
			if err = unix.Setns(int(h.Fd()), unix.CLONE_NEWNET); err == nil {
				err = f()
			}
			h.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// station is the IKE machine with the sockets and the databases of production, and a
// policy owner that allows what is asked for and puts the policies of its children in.
type station struct {
	t      testing.TB
	netns  string
	ports  *linux.IKEPorts
	db     *kernel.Backend
	keys   *pki.Keyring
	events chan ike.Event
	told   chan ike.Action
	stop   context.CancelFunc
	done   chan struct{}
}

func newStation(t testing.TB, netns string, cfg ike.Config, keys *pki.Keyring) *station {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &station{t: t, netns: netns, keys: keys, events: make(chan ike.Event, 256), told: make(chan ike.Action, 1024), done: make(chan struct{})}
	inside(t, netns, func() (err error) {
		if s.ports, err = linux.ListenIKEPorts(0, 0); err == nil {
			s.db, err = kernel.Open(kernel.Options{})
		}
		return err
	})
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	for _, sock := range s.ports.Sockets() {
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, local, remote, _, err := sock.Read(buf)
				if err != nil {
					return
				}
				s.post(ctx, ike.Datagram{Local: local, Remote: remote, Data: append([]byte(nil), buf[:n]...)})
			}
		}()
	}
	go s.db.Watch(ctx, func(e xfrm.Event) {
		if m, ok := e.(xfrm.Mapping); ok {
			s.post(ctx, ike.Mapped{SPI: uint32(m.ID.SPI), Dst: m.ID.Dst, Remote: m.New})
		}
	})
	go s.run(ctx, ike.New(cfg, rand.Reader))
	t.Cleanup(func() {
		stop()
		s.ports.Close()
		<-s.done
		s.db.Close()
	})
	return s
}

func (s *station) post(ctx context.Context, e ike.Event) {
	select {
	case s.events <- e:
	case <-ctx.Done():
	}
}

func (s *station) run(ctx context.Context, m *ike.Machine) {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	for {
		if d := m.Deadline(); !d.IsZero() {
			timer.Reset(time.Until(d))
		}
		var out []ike.Action
		select {
		case <-ctx.Done():
			return
		case e := <-s.events:
			out = m.Step(time.Now(), e, nil)
		case <-timer.C:
			out = m.Tick(time.Now(), nil)
		}
		for len(out) > 0 {
			a := out[0]
			out = out[1:]
			if e := s.task(ctx, a); e != nil {
				out = append(out, m.Step(time.Now(), e, nil)...)
			}
		}
	}
}

func (s *station) apply(ctx context.Context, ops ...xfrm.Op) error {
	for i, err := range s.db.Apply(ctx, ops) {
		if err != nil {
			s.t.Errorf("%s: %T: %v", s.netns, ops[i], err)
			return err
		}
	}
	return nil
}

func (s *station) task(ctx context.Context, a ike.Action) ike.Event {
	switch a := a.(type) {
	case ike.Send:
		if err := s.ports.Write(a.Data, a.Local, a.Remote); err != nil {
			s.t.Logf("%s: %v", s.netns, err) // an address may be gone for a moment
		}
		return nil
	case ike.Keepalive:
		if err := s.ports.Keepalive(a.Local, a.Remote); err != nil {
			s.t.Errorf("%s: %v", s.netns, err)
		}
	case ike.Prove:
		proof, err := s.keys.Prove(a.Request)
		return ike.Proved{ID: a.ID, Proof: proof, Err: err}
	case ike.VerifyPeer:
		who, err := s.keys.Verify(a.Request)
		return ike.PeerVerified{ID: a.ID, Peer: who, Err: err}
	case ike.Authorise:
		s.told <- a
		return ike.Authorised{ID: a.ID, Name: "child", ReqID: 7, Local: a.Local, Remote: a.Remote}
	case ike.AllocSPI:
		spi, err := s.db.AllocSPI(ctx, xfrm.SA{Src: a.Src, Dst: a.Dst, Proto: xfrm.ESP, Mode: modeOf(a.Mode), ReqID: xfrm.ReqID(a.ReqID)})
		return ike.SPIAllocated{ID: a.ID, SPI: uint32(spi), Err: err}
	case ike.Install:
		c := a.Child
		err := s.apply(ctx, xfrm.PutSA{SA: saOf(c, true)}, xfrm.PutSA{SA: saOf(c, false)})
		s.demand(c)
		return ike.Installed{ID: a.ID, Err: err}
	case ike.Uninstall:
		c := a.Child
		ops := []xfrm.Op{xfrm.DelSA{ID: saOf(c, true).ID()}}
		if c.SPIOut != 0 {
			ops = append(ops, xfrm.DelSA{ID: saOf(c, false).ID()})
		}
		s.apply(ctx, ops...)
		return nil
	case ike.Remapped:
		for _, c := range a.Children {
			in, out := saOf(c, true), saOf(c, false)
			was := out.ID()
			was.Dst = a.Old.Addr()
			s.apply(ctx, xfrm.Remap{ID: in.ID(), Src: in.Src, Dst: in.Dst, Encap: *in.Encap},
				xfrm.Remap{ID: was, Src: out.Src, Dst: out.Dst, Encap: *out.Encap})
			s.demand(c)
		}
	}
	s.told <- a
	return nil
}

func modeOf(m ike.Mode) xfrm.Mode {
	if m == ike.Transport {
		return xfrm.Transport
	}
	return xfrm.Tunnel
}

// saOf is one SA of a child.
func saOf(c ike.Child, in bool) xfrm.SA {
	sa := xfrm.SA{Proto: xfrm.ESP, Mode: modeOf(c.Mode), ReqID: xfrm.ReqID(c.ReqID), Replay: xfrm.Replay{Window: 64, ESN: c.ESN},
		Src: c.LocalAddr, Dst: c.RemoteAddr, SPI: xfrm.SPI(c.SPIOut), AEAD: xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: c.KeyOut, ICVBits: 128}}
	src, dst := c.LocalPort, c.RemotePort
	if in {
		sa.Src, sa.Dst, sa.SPI, sa.AEAD.Key = c.RemoteAddr, c.LocalAddr, xfrm.SPI(c.SPIIn), c.KeyIn
		src, dst = dst, src
	}
	if src != 0 {
		sa.Encap = &xfrm.Encap{SrcPort: src, DstPort: dst}
	}
	return sa
}

// demand has the packets of a child's selectors protected by it.
func (s *station) demand(c ike.Child) {
	local, remote := c.Local[0].String(), c.Remote[0].String()
	for dir, x := range map[string][4]any{
		"out": {local, remote, c.LocalAddr, c.RemoteAddr}, "in": {remote, local, c.RemoteAddr, c.LocalAddr},
		"fwd": {remote, local, c.RemoteAddr, c.LocalAddr},
	} {
		line := fmt.Sprintf("-n %s xfrm policy update src %v dst %v dir %s tmpl src %v dst %v proto esp reqid %d mode %v", s.netns, x[0], x[1], dir, x[2], x[3], c.ReqID, c.Mode)
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			s.t.Errorf("ip %s: %v %s", line, err, out)
		}
	}
}

// hear takes what the machine tells until it is a T.
func hear[T ike.Action](t testing.TB, s *station, what string) T {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case a := <-s.told:
			if v, ok := a.(T); ok {
				return v
			}
			switch a := a.(type) {
			case ike.Refused, ike.ChildRefused:
				t.Fatalf("%s: waiting for %s: %T %+v", s.netns, what, a, a)
			}
		case <-limit:
			var zero T
			t.Fatalf("%s: waiting for %s: no %T", s.netns, what, zero)
		}
	}
}

func hostSelector(a string) []message.Selector {
	x := netip.MustParseAddr(a)
	return []message.Selector{message.PrefixSelector(netip.PrefixFrom(x, x.BitLen()), 0)}
}
