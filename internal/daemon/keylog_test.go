package daemon

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/xfrm"
)

func TestKeyLog(t *testing.T) {
	ikeFile, espFile := filepath.Join(t.TempDir(), "ike"), filepath.Join(t.TempDir(), "esp")
	k, err := openKeyLog(ikeFile, espFile, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []transform.Suite{
		{Encr: transform.AES256GCM16}, {Encr: transform.AES128CBC, Integ: transform.IntegHMACSHA256},
		{Encr: transform.ChaCha20Poly1305}, {Encr: transform.TripleDES, Integ: transform.IntegAESCMAC},
	} {
		a := ike.Keys{SPIi: 1, SPIr: 2, SKei: []byte{3}, SKer: []byte{4}, Encr: s.Encr, Integ: s.Integ,
			WiresharkEnc: s.Encr.Wireshark(), WiresharkInt: s.Integ.Wireshark()}
		if s.Integ != 0 {
			a.SKai, a.SKar = []byte{5}, []byte{6}
		}
		k.ikeSA(a)
	}
	six, four := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	for _, sa := range []xfrm.SA{
		{Proto: xfrm.ESP, Dst: six, SPI: 0x100, AEAD: xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: []byte{1, 2}}},
		{Proto: xfrm.ESP, Dst: four, SPI: 0x101, Crypt: xfrm.Crypt{Name: "cbc(aes)", Key: []byte{3}}, Auth: xfrm.Auth{Name: "hmac(sha256)", Key: []byte{4}}},
		{Proto: xfrm.ESP, Dst: six, SPI: 0x102, Crypt: xfrm.Crypt{Name: "rfc3686(ctr(aes))", Key: []byte{5}}, Auth: xfrm.Auth{Name: "cmac(aes)", Key: []byte{6}}},
		{Proto: xfrm.AH, Dst: six, SPI: 0x103, Auth: xfrm.Auth{Name: "hmac(sha256)", Key: []byte{7}}},
		{Proto: xfrm.ESP, Dst: six, SPI: 0x104}, // larval
		{Proto: xfrm.ESP, Dst: six, SPI: 0x105, AEAD: xfrm.AEAD{Name: "rfc7539esp(chacha20,poly1305)", Key: []byte{8}}},
	} {
		k.espSA(sa)
	}
	k.close()
	for file, want := range map[string]string{
		ikeFile: `0000000000000001,0000000000000002,03,04,"AES-GCM-256 with 16 octet ICV [RFC5282]",,,"NONE [RFC4306]"
0000000000000001,0000000000000002,03,04,"AES-CBC-128 [RFC3602]",05,06,"HMAC_SHA2_256_128 [RFC4868]"
# 0000000000000001,0000000000000002,03,04,"chacha20poly1305",,,"NONE [RFC4306]"
0000000000000001,0000000000000002,03,04,"3DES [RFC2451]",,,"ANY 96-bits of Authentication [No Checking]"
`,
		espFile: `"IPv6","*","*","0x00000100","AES-GCM with 16 octet ICV [RFC4106]","0x0102","NULL",""
"IPv4","*","*","0x00000101","AES-CBC [RFC3602]","0x03","HMAC-SHA-256-128 [RFC4868]","0x04"
"IPv6","*","*","0x00000102","AES-CTR [RFC3686]","0x05","ANY 96 bit authentication [no checking]","0x06"
# "IPv6","*","*","0x00000105","ChaCha20 with Poly1305 [RFC7634]","0x08","NULL",""
`,
	} {
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, want)
		}
	}
	for _, name := range []string{ikeFile, espFile} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(name, err)
		}
	}
}
