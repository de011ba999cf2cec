package optimise

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// chance is a source of randomness that is the same each time.
func chance(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// correspondent is a correspondent node in miniature (RFC 6275 §9), for one mobile node.
type correspondent struct {
	addr   netip.Addr
	kcn    rr.Kcn
	nonces rr.Nonces
	random io.Reader
	static *rr.Kbm
	ipsec  bool
	most   mobility.Units // lifetime granted; 0: what is asked for

	careOf netip.Addr // of the binding
	since  time.Time
	agreed netip.Addr // what the mobile node was told that it is
	until  time.Time
	seq    uint16
	known  bool // seq is
	bus    int  // valid ones
}

func newCorrespondent(addr netip.Addr, seed uint64) *correspondent {
	c := &correspondent{addr: addr, random: chance(seed)}
	c.kcn, _ = rr.NewKcn(c.random)
	return c
}

func (c *correspondent) bound(now time.Time) bool { return c.careOf.IsValid() && c.until.After(now) }

// restart forgets everything.
func (c *correspondent) restart() {
	c.kcn, _ = rr.NewKcn(c.random)
	c.nonces, c.careOf, c.known = rr.Nonces{}, netip.Addr{}, false
}

func encode(b mobility.Body, o ...mobility.Option) []byte {
	m := mobility.Message{Body: b, Options: o}
	data, err := m.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	return data
}

// take answers a message, as the mobile node will receive the answer; false where there is none.
func (c *correspondent) take(now time.Time, mh host.MH) (host.MH, bool) {
	var m mobility.Message
	if m.Decode(mh.Data) != nil || mh.Dst != c.addr {
		return host.MH{}, false
	}
	index, nonce, _ := c.nonces.Current(now, c.random)
	switch b := m.Body.(type) {
	case mobility.HomeTestInit:
		return host.MH{Src: c.addr, Dst: mh.Src, Data: encode(mobility.HomeTest{NonceIndex: index, Cookie: b.Cookie, Token: c.kcn.HomeToken(mh.Src, nonce)})}, true
	case mobility.CareOfTestInit:
		return host.MH{Src: c.addr, Dst: mh.Src, Data: encode(mobility.CareOfTest{NonceIndex: index, Cookie: b.Cookie, Token: c.kcn.CareOfToken(mh.Src, nonce)})}, true
	case mobility.BindingUpdate:
		return c.update(now, mh, &m, b)
	}
	return host.MH{}, false
}

func (c *correspondent) update(now time.Time, mh host.MH, m *mobility.Message, b mobility.BindingUpdate) (host.MH, bool) {
	careOf := mh.CareOf
	if a, ok := m.Options.AlternateCareOf(); ok {
		careOf = a
	}
	signed := careOf
	if b.Lifetime == 0 {
		signed = mh.Src
	}
	key, status, ok := c.key(now, mh.Src, signed, m, b.Lifetime == 0)
	if !ok || status == 0 && !c.ipsec && !key.Verify(signed, c.addr, mh.Data) {
		return host.MH{}, false
	}
	seq := b.Seq
	switch {
	case status != 0:
	case c.known && !mobility.SequenceAfter(c.seq, b.Seq):
		status, seq = mobility.StatusSequence, c.seq
	case b.Lifetime == 0:
		c.careOf, c.seq, c.known = netip.Addr{}, b.Seq, true
	default:
		if careOf != c.careOf {
			c.since = now
		}
		c.careOf, c.seq, c.known, c.until = careOf, b.Seq, true, now.Add(b.Lifetime.Duration())
		c.bus++
	}
	return c.answer(mh, mobility.BindingAck{Status: status, Seq: seq, Lifetime: b.Lifetime}, key, signed), true
}

// key is what the update has to be proved with.
func (c *correspondent) key(now time.Time, home, careOf netip.Addr, m *mobility.Message, deletes bool) (k rr.Kbm, st mobility.Status, ok bool) {
	if c.ipsec {
		return k, 0, true
	}
	if c.static != nil {
		return *c.static, 0, true
	}
	n, ok := m.Options.NonceIndices()
	if !ok {
		return k, 0, false
	}
	h, okH := c.nonces.Find(now, n.Home)
	o, okC := c.nonces.Find(now, n.CareOf)
	switch {
	case !okH && !okC && !deletes:
		return k, mobility.StatusExpiredNonces, true
	case !okH:
		return k, mobility.StatusExpiredHomeNonce, true
	case deletes:
		return rr.DeleteKey(c.kcn.HomeToken(home, h)), 0, true
	case !okC:
		return k, mobility.StatusExpiredCareOfNonce, true
	}
	return rr.Key(c.kcn.HomeToken(home, h), c.kcn.CareOfToken(careOf, o)), 0, true
}

// answer makes a Binding Acknowledgement for the update in mh.
func (c *correspondent) answer(mh host.MH, a mobility.BindingAck, key rr.Kbm, careOf netip.Addr) host.MH {
	out := host.MH{Src: c.addr, Dst: mh.Src, RouteHeader: mh.CareOf.IsValid() || c.ipsec && careOf != mh.Src}
	if c.most > 0 {
		a.Lifetime = min(a.Lifetime, c.most)
	}
	if nonceExpired(a.Status) || c.ipsec {
		out.Data = encode(a)
		return out
	}
	out.Data = encode(a, mobility.Authorization{Authenticator: make([]byte, rr.AuthenticatorLen)})
	if err := key.Sign(careOf, c.addr, out.Data); err != nil {
		panic(err)
	}
	return out
}
