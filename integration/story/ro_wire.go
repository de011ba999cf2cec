package story

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// Types of Mobility Header messages (RFC 6275 §6.1).
const (
	mhHoTI = iota + 1
	mhCoTI
	mhHoT
	mhCoT
	mhBU
	mhBA
	mhBE
)

const icmpParameterProblem = 4

// pair are the two ends whose packets the steps of route optimization look at.
type pair struct{ home, cn netip.Addr }

func (s *story) pair() pair { return pair{s.plan.HoA, s.plan.CN} }

// up and down know the data that goes directly, with the home address in an option or
// in a routing header, ESP and AH of the pair among it.
func (x pair) up(p lab.Seen) bool {
	return p.HomeAddr == x.home && p.Dst == x.cn && p.Proto != protoMH
}

func (x pair) down(p lab.Seen) bool {
	return p.Type2 == x.home && p.Src == x.cn && p.Proto != protoMH
}

func (x pair) direct(p lab.Seen) bool { return x.up(p) || x.down(p) }

// bare knows data between the two as they address each other, as it is behind the agent.
func (x pair) bare(p lab.Seen) bool {
	return !p.HomeAddr.IsValid() && !p.Type2.IsValid() && (p.Src == x.home && p.Dst == x.cn || p.Src == x.cn && p.Dst == x.home)
}

// mh knows the messages of a type between the correspondent and the node, wherever the
// node's home address stands.
func (x pair) mh(typ uint8) func(lab.Seen) bool {
	return func(p lab.Seen) bool {
		return p.Proto == protoMH && p.Type == typ && (p.Src == x.cn || p.Dst == x.cn)
	}
}

// tunnelled knows ESP between a care-of address and the agent that is not signalling
// with the agent: payload, and what of the home test goes that way.
func (s *story) tunnelled(up bool) func(lab.Seen) bool {
	return func(p lab.Seen) bool {
		if p.Proto != protoESP || p.HomeAddr.IsValid() || p.Type2.IsValid() {
			return false
		}
		return up && p.Dst == s.plan.HA || !up && p.Src == s.plan.HA
	}
}

// fields of captured messages.

func cookieOf(p lab.Seen) string {
	at := 8 // HoTI, CoTI: two octets reserved before it; HoT, CoT: the nonce index
	if len(p.MH) < at+8 {
		return ""
	}
	return string(p.MH[at : at+8])
}

func nonceOf(p lab.Seen) uint16 { // HoT and CoT
	if len(p.MH) < 8 {
		return 0
	}
	return binary.BigEndian.Uint16(p.MH[6:])
}

func tokenOf(p lab.Seen) []byte { // HoT and CoT
	if len(p.MH) < 24 {
		return nil
	}
	return p.MH[16:24]
}

func seqOf(p lab.Seen) uint16 { // BU at 6, BA at 8
	at := 6
	if p.Type == mhBA {
		at = 8
	}
	if len(p.MH) < at+2 {
		return 0
	}
	return binary.BigEndian.Uint16(p.MH[at:])
}

func lifetimeOf(p lab.Seen) time.Duration { // BU and BA, both at 10
	if len(p.MH) < 12 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint16(p.MH[10:])) * 4 * time.Second
}

func statusOf(p lab.Seen) int { // BA and BE
	if len(p.MH) < 7 {
		return -1
	}
	return int(p.MH[6])
}

// options are the mobility options of a BU or BA by type, with where each one's data is.
func options(mh []byte) map[byte][2]int {
	all := map[byte][2]int{}
	for at := 12; at < len(mh); {
		if mh[at] == 0 {
			at++
			continue
		}
		if at+1 >= len(mh) || at+2+int(mh[at+1]) > len(mh) {
			break
		}
		all[mh[at]] = [2]int{at + 2, at + 2 + int(mh[at+1])}
		at += 2 + int(mh[at+1])
	}
	return all
}

const (
	optCareOf = 3
	optNonces = 4
	optAuth   = 5
)

// nonces are the indices of a BU.
func noncesOf(p lab.Seen) (home, careOf uint16, ok bool) {
	o, ok := options(p.MH)[optNonces]
	if !ok || o[1]-o[0] != 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(p.MH[o[0]:]), binary.BigEndian.Uint16(p.MH[o[0]+2:]), true
}

// kbm is the binding management key of two tokens (RFC 6275 §5.2.5).
func kbm(home, careOf []byte) []byte {
	h := sha1.Sum(append(append([]byte(nil), home...), careOf...))
	return h[:]
}

// authenticator is what belongs into a message's authorization data (§6.2.7): over the
// care-of address, the correspondent and the message, its checksum taken as zero, up to the option's data.
func authenticator(key []byte, careOf, cn netip.Addr, mh []byte, at int) []byte {
	m := hmac.New(sha1.New, key)
	c, n := careOf.As16(), cn.As16()
	m.Write(c[:])
	m.Write(n[:])
	m.Write(mh[:4])
	m.Write([]byte{0, 0})
	m.Write(mh[6:at])
	return m.Sum(nil)[:12]
}

// proved tells whether a captured message carries the right authenticator.
func proved(p lab.Seen, key []byte, careOf, cn netip.Addr) error {
	o, ok := options(p.MH)[optAuth]
	if !ok || o[1]-o[0] != 12 || o[1] != len(p.MH) {
		return fmt.Errorf("no binding authorization data as the last option")
	}
	if want := authenticator(key, careOf, cn, p.MH, o[0]); !hmac.Equal(want, p.MH[o[0]:o[1]]) {
		return fmt.Errorf("the authenticator is %x, by computation %x", p.MH[o[0]:o[1]], want)
	}
	return nil
}

// careOfIn is the care-of address of a host's `ro` state, or the zero Addr without one.
func (s *story) careOfIn(ctx context.Context, host, proto string, src, dst netip.Addr) (netip.Addr, error) {
	all, err := s.states(ctx, host)
	for _, x := range all {
		if x.Proto != proto || x.Src != src || x.Dst != dst {
			continue
		}
		_, text, _ := strings.Cut(x.Text, "coa ")
		f := strings.Fields(text)
		if len(f) > 0 {
			return netip.ParseAddr(f[0])
		}
	}
	return netip.Addr{}, err
}

// waitDirect waits until both kernels send the pair's packets directly, with this
// care-of address.
func (s *story) waitDirect(ctx context.Context, careOf netip.Addr, limit time.Duration) error {
	return s.waitPath(ctx, careOf, careOf, limit)
}

// waitTunnel waits until neither kernel does.
func (s *story) waitTunnel(ctx context.Context, limit time.Duration) error {
	return s.waitPath(ctx, netip.Addr{}, netip.Addr{}, limit)
}

func (s *story) waitPath(ctx context.Context, up, down netip.Addr, limit time.Duration) error {
	hoa, cn := s.plan.HoA, s.plan.CN
	what := "packets by the tunnel"
	if up.IsValid() {
		what = "packets directly from " + up.String()
	}
	return wait(ctx, limit, what, func() error {
		a, err := s.careOfIn(ctx, lab.MN, "hao", hoa, cn)
		if err != nil {
			return err
		}
		b, err := s.careOfIn(ctx, lab.CN, "route2", cn, hoa)
		if err != nil {
			return err
		}
		if a != up || b != down {
			return notYet(fmt.Errorf("the node's kernel has %v, the correspondent's %v", a, b))
		}
		return nil
	})
}

// settle waits until what was on the wire by now is in the capture files.
func settle(ctx context.Context) error {
	at := time.Now()
	return wait(ctx, 5*time.Second, "captures", func() error {
		if time.Since(at) < 250*time.Millisecond { // a block of the ring is written after 50 ms
			return errNotYet
		}
		return nil
	})
}
