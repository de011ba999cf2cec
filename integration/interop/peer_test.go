package interop

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// ip runs the ip command, of iproute2.
func ip(t testing.TB, line string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v %s", line, err, out)
	}
	return string(out)
}

// listen opens a UDP socket in a network namespace.
func listen(netns string, at netip.AddrPort) (sock *net.UDPConn, err error) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
	f, err := os.Open("/run/netns/" + netns)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return net.ListenUDP("udp6", net.UDPAddrFromAddrPort(at))
}

// peer is the IKE machine on a socket, with the SAs put in by ip xfrm. Its
// goroutine owns the machine.
type peer struct {
	t         testing.TB
	netns     string
	keys      *pki.Keyring
	authorise func(ike.Authorise) ike.Authorised
	events    chan ike.Event
	told      chan ike.Action // what the owner of the policy is told
	stop      chan struct{}
	done      chan struct{}
	// Messages in fragments (RFC 7383): the pieces.
	fragmentsIn, fragmentsOut atomic.Int64
}

// isFragment looks at the first payload of an IKE message.
func isFragment(data []byte) bool { return len(data) > 16 && data[16] == byte(message.TypeSKF) }

func newPeer(t testing.TB, netns string, at netip.AddrPort, cfg ike.Config, keys *pki.Keyring, authorise func(ike.Authorise) ike.Authorised) *peer {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var sock *net.UDPConn
	opened := make(chan error)
	go func() {
		var err error
		sock, err = listen(netns, at)
		opened <- err
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, netns: netns, keys: keys, authorise: authorise, events: make(chan ike.Event, 256),
		told: make(chan ike.Action, 256), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := sock.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if isFragment(b[:n]) {
				p.fragmentsIn.Add(1)
			}
			select {
			case p.events <- ike.Datagram{Local: at, Remote: from, Data: append([]byte(nil), b[:n]...)}:
			case <-p.stop:
				return
			}
		}
	}()
	go p.run(ike.New(cfg, rand.Reader), sock)
	t.Cleanup(func() {
		close(p.stop)
		<-p.done
	})
	return p
}

func (p *peer) run(m *ike.Machine, sock *net.UDPConn) {
	defer close(p.done)
	defer sock.Close()
	timer := time.NewTimer(time.Hour)
	for {
		if d := m.Deadline(); !d.IsZero() {
			timer.Reset(time.Until(d))
		}
		var out []ike.Action
		select {
		case <-p.stop:
			return
		case e := <-p.events:
			out = m.Step(time.Now(), e, nil)
		case <-timer.C:
			out = m.Tick(time.Now(), nil)
		}
		for len(out) > 0 {
			a := out[0]
			out = out[1:]
			if s, ok := a.(ike.Send); ok {
				if isFragment(s.Data) {
					p.fragmentsOut.Add(1)
				}
				if _, err := sock.WriteToUDPAddrPort(s.Data, s.Remote); err != nil {
					p.t.Errorf("send: %v", err)
				}
			} else if e := p.task(a); e != nil {
				out = m.Step(time.Now(), e, out)
			}
		}
	}
}

// task does what an executor would, or tells the test.
func (p *peer) task(a ike.Action) ike.Event {
	switch a := a.(type) {
	case ike.Prove:
		proof, err := p.keys.Prove(a.Request)
		return ike.Proved{ID: a.ID, Proof: proof, Err: err}
	case ike.VerifyPeer:
		who, err := p.keys.Verify(a.Request)
		return ike.PeerVerified{ID: a.ID, Peer: who, Err: err}
	case ike.Encapsulate:
		ct, shared, err := a.Method.Encapsulate(a.Public)
		return ike.Encapsulated{ID: a.ID, Ciphertext: ct, Shared: shared, Err: err}
	case ike.Authorise:
		r := p.authorise(a)
		r.ID = a.ID
		return r
	case ike.AllocSPI:
		var b [4]byte
		_, err := rand.Read(b[:])
		return ike.SPIAllocated{ID: a.ID, SPI: binary.BigEndian.Uint32(b[:]) | 1<<31, Err: err}
	case ike.Install:
		c := a.Child
		err := p.put(c, c.RemoteAddr, c.LocalAddr, c.SPIIn, c.KeyIn, c.AuthIn)
		if err == nil {
			err = p.put(c, c.LocalAddr, c.RemoteAddr, c.SPIOut, c.KeyOut, c.AuthOut)
		}
		if err != nil {
			p.t.Error(err)
		}
		return ike.Installed{ID: a.ID, Err: err}
	case ike.Uninstall:
		c := a.Child
		p.del(c.Proto, c.RemoteAddr, c.LocalAddr, c.SPIIn)
		if c.SPIOut != 0 {
			p.del(c.Proto, c.LocalAddr, c.RemoteAddr, c.SPIOut)
		}
		return nil
	}
	p.told <- a
	return nil
}

var protoNames = map[uint8]string{ike.ESP: "esp", ike.AH: "ah"}

func (p *peer) put(c ike.Child, src, dst netip.Addr, spi uint32, key, auth []byte) error {
	alg := []string{"auth-trunc", c.Integ.Linux(), "0x" + hex.EncodeToString(auth), fmt.Sprint(c.Integ.ICVBits())}
	switch {
	case c.Proto == ike.AH:
	case c.Encr.Combined():
		alg = []string{"aead", c.Encr.Linux(), "0x" + hex.EncodeToString(key), fmt.Sprint(c.Encr.ICVBits())}
	default:
		alg = append(alg, "enc", c.Encr.Linux(), "0x"+hex.EncodeToString(key))
	}
	line := fmt.Sprintf("-n %s xfrm state add src %v dst %v proto %s spi %#x reqid %d mode %v replay-window 32",
		p.netns, src, dst, protoNames[c.Proto], spi, c.ReqID, c.Mode)
	if c.ESN {
		line += " flag esn"
	}
	out, err := exec.Command("ip", append(strings.Fields(line), alg...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s %v: %v %s", line, alg[:2], err, out)
	}
	return nil
}

// del takes an SA out; a larval one was never put.
func (p *peer) del(proto uint8, src, dst netip.Addr, spi uint32) {
	line := fmt.Sprintf("-n %s xfrm state delete src %v dst %v proto %s spi %#x", p.netns, src, dst, protoNames[proto], spi)
	_ = exec.Command("ip", strings.Fields(line)...).Run()
}

// await takes what the machine tells until it is a T.
func await[T ike.Action](t testing.TB, p *peer, what string) T {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case a := <-p.told:
			if v, ok := a.(T); ok {
				return v
			}
			switch a := a.(type) {
			case ike.Refused, ike.ChildRefused:
				t.Fatalf("waiting for %s: %T %+v", what, a, a)
			}
		case <-limit:
			var zero T
			t.Fatalf("waiting for %s: no %T", what, zero)
		}
	}
}
