package kernel

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/xfrm"
)

// espSuites are all that IKE negotiates for ESP, in its own words.
func espSuites() (out []transform.Suite) {
	for _, e := range []transform.Encr{transform.AES128GCM16, transform.AES192GCM16, transform.AES256GCM16, transform.ChaCha20Poly1305} {
		out = append(out, transform.Suite{Encr: e})
	}
	plain := []transform.Encr{transform.AES128CBC, transform.AES192CBC, transform.AES256CBC, transform.AES128CTR, transform.AES192CTR, transform.AES256CTR, transform.TripleDES}
	integs := []transform.Integ{transform.IntegHMACSHA256, transform.IntegHMACSHA384, transform.IntegHMACSHA512, transform.IntegAESCMAC, transform.IntegHMACSHA1}
	for i, e := range plain {
		out = append(out, transform.Suite{Encr: e, Integ: integs[i%len(integs)]})
	}
	for i, a := range integs {
		out = append(out, transform.Suite{Encr: plain[(i+1)%len(plain)], Integ: a})
	}
	return out
}

// keyed gives an SA keys of the lengths that IKE derives.
func keyed(sa xfrm.SA, s transform.Suite) xfrm.SA {
	key := func(n int) (b []byte) {
		for i := range n {
			b = append(b, byte(i)*7+byte(sa.SPI)+1)
		}
		return b
	}
	sa.AEAD, sa.Crypt, sa.Auth = xfrm.AEAD{}, xfrm.Crypt{}, xfrm.Auth{}
	if s.Encr.Combined() {
		sa.AEAD = xfrm.AEAD{Name: s.Encr.Linux(), Key: key(s.Encr.KeyLen()), ICVBits: s.Encr.ICVBits()}
		return sa
	}
	sa.Crypt = xfrm.Crypt{Name: s.Encr.Linux(), Key: key(s.Encr.KeyLen())}
	sa.Auth = xfrm.Auth{Name: s.Integ.Linux(), Key: key(s.Integ.KeyLen()), TruncBits: s.Integ.ICVBits()}
	return sa
}

// TestCiphers: the kernel knows each by IKE's name and key length, gives it back as it was put, and
// packets pass.
func TestCiphers(t *testing.T) {
	h := newTwoHosts(t)
	for i, s := range espSuites() {
		t.Run(fmt.Sprintf("%d-%s", i+1, s), func(t *testing.T) {
			h := *h
			h.T = t
			tun := newTunnel()
			tun.up.SPI, tun.down.SPI = xfrm.SPI(0x6000+2*i), xfrm.SPI(0x6001+2*i)
			tun.up, tun.down = keyed(tun.up, s), keyed(tun.down, s)
			tun.up.Replay.ESN, tun.down.Replay.ESN = i%2 == 0, i%2 == 0
			h.setUp(tun)
			h.mustPass(s.String())
			for _, b := range []*Backend{h.nodeB, h.agentB} {
				for _, want := range []xfrm.SA{tun.up, tun.down} {
					got, ok := h.dumpSA(b, want.ID())
					if !ok || !got.SameKeys(want) || got.Stats.Packets == 0 || got.Stats.IntegrityFailures != 0 {
						t.Errorf("put %+v, found %+v", want, got)
					}
				}
			}
			h.apply(h.nodeB, xfrm.DelSA{ID: tun.up.ID()}, xfrm.DelSA{ID: tun.down.ID()})
			h.apply(h.agentB, xfrm.DelSA{ID: tun.up.ID()}, xfrm.DelSA{ID: tun.down.ID()})
		})
	}
}

// TestWrongKeys: one octet of the integrity key differs, and nothing passes.
func TestWrongKeys(t *testing.T) {
	h := newTwoHosts(t)
	tun := newTunnel()
	s := transform.Suite{Encr: transform.AES128CBC, Integ: transform.IntegAESCMAC}
	tun.up, tun.down = keyed(tun.up, s), keyed(tun.down, s)
	h.setUp(tun)
	h.mustPass("before")
	bad := tun.up
	bad.Auth.Key = bytes.Clone(bad.Auth.Key)
	bad.Auth.Key[3] ^= 1
	h.apply(h.agentB, xfrm.PutSA{SA: bad})
	if _, ok := h.roundTrip(peer, 20*time.Millisecond); ok {
		t.Error("a packet with another key passes")
	}
	if got, ok := h.dumpSA(h.agentB, bad.ID()); !ok || got.Stats.IntegrityFailures == 0 {
		t.Errorf("%+v", got)
	}
}
