package couple

import (
	"bytes"
	"testing"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/xfrm"
)

// TestKeyed: an SA has its algorithms in the kernel's words (net/xfrm/xfrm_algo.c), with the salt in
// the key of the cipher, and exactly those of its protocol.
func TestKeyed(t *testing.T) {
	for text, want := range map[string]struct {
		aead, crypt, auth string
		key, icv          int
	}{
		"aes128gcm16":       {"rfc4106(gcm(aes))", "", "", 20, 128},
		"aes256gcm16":       {"rfc4106(gcm(aes))", "", "", 36, 128},
		"chacha20poly1305":  {"rfc7539esp(chacha20,poly1305)", "", "", 36, 128},
		"aes128-sha256":     {"", "cbc(aes)", "hmac(sha256)", 16, 128},
		"aes256-sha384":     {"", "cbc(aes)", "hmac(sha384)", 32, 192},
		"aes256ctr-sha512":  {"", "rfc3686(ctr(aes))", "hmac(sha512)", 36, 256},
		"aes192ctr-aescmac": {"", "rfc3686(ctr(aes))", "cmac(aes)", 28, 96},
		"3des-sha1":         {"", "cbc(des3_ede)", "hmac(sha1)", 24, 96},
		"sha256":            {"", "", "hmac(sha256)", 0, 128},
		"aescmac":           {"", "", "cmac(aes)", 0, 96},
	} {
		proto, parse := xfrm.ESP, transform.ParseOffer
		if want.key == 0 {
			proto, parse = xfrm.AH, transform.ParseAHOffer
		}
		o, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		c := ike.Child{Proto: uint8(proto)}
		if len(o.Encr) > 0 {
			c.Encr = o.Encr[0]
		}
		if len(o.Integ) > 0 {
			c.Integ = o.Integ[0]
		}
		key, auth := bytes.Repeat([]byte{1}, c.Encr.KeyLen()), bytes.Repeat([]byte{2}, c.Integ.KeyLen())
		if len(key) != want.key {
			t.Errorf("%s: key of %d octets", text, len(key))
		}
		sa := xfrm.SA{Proto: proto}
		keyed(&sa, c, key, auth)
		if sa.AEAD.Name != want.aead || sa.Crypt.Name != want.crypt || sa.Auth.Name != want.auth ||
			sa.AEAD.ICVBits+sa.Auth.TruncBits != want.icv || !bytes.Equal(append(sa.AEAD.Key, sa.Crypt.Key...), key) || !bytes.Equal(sa.Auth.Key, auth) {
			t.Errorf("%s: %+v %+v %+v", text, sa.AEAD, sa.Crypt, sa.Auth)
		}
	}
}
