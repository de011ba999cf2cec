package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// cookieJar makes cookies that prove that a source address is not forged,
// without any state for the source (§2.6).
type cookieJar struct {
	secret  [2][32]byte // the current one and the one before
	version uint8
	until   time.Time
}

const (
	cookieLife = 60 * time.Second
	cookieLen  = 1 + 24
)

func (m *Machine) cookie(version uint8, remote netip.AddrPort, spiI uint64, ni []byte) []byte {
	mac := hmac.New(sha256.New, m.cookies.secret[version&1][:])
	a := remote.Addr().As16()
	mac.Write(a[:])
	var b [10]byte
	binary.BigEndian.PutUint64(b[:], spiI)
	binary.BigEndian.PutUint16(b[8:], remote.Port())
	mac.Write(b[:])
	mac.Write(ni)
	return append([]byte{version}, mac.Sum(nil)[:cookieLen-1]...)
}

// cookieFor is the cookie that a source must show now. ok is false without randomness.
func (m *Machine) cookieFor(remote netip.AddrPort, spiI uint64, ni []byte) (c []byte, ok bool) {
	j := &m.cookies
	if !m.now.Before(j.until) {
		j.version++
		if !m.random(j.secret[j.version&1][:]) {
			j.version--
			return nil, false
		}
		if m.now.Sub(j.until) > cookieLife && !m.random(j.secret[(j.version+1)&1][:]) {
			return nil, false
		}
		j.until = m.now.Add(cookieLife)
	}
	return m.cookie(j.version, remote, spiI, ni), true
}

// cookieGood checks a cookie of the current secret or the one before.
func (m *Machine) cookieGood(c *message.Notify, remote netip.AddrPort, spiI uint64, ni []byte) bool {
	if c == nil || len(c.Data) != cookieLen || m.cookies.until.IsZero() {
		return false
	}
	v := c.Data[0]
	if v != m.cookies.version && v != m.cookies.version-1 {
		return false
	}
	return hmac.Equal(c.Data, m.cookie(v, remote, spiI, ni))
}
