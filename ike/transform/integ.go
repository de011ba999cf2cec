package transform

import "fmt"

// Integrity algorithms (RFC 8247 §2.3, RFC 8221 §6); the numbers are those of
// transform type 3. SHA-1 is for peers of the past only.
const (
	IntegHMACSHA1   Integ = 2
	IntegAESCMAC    Integ = 8
	IntegHMACSHA256 Integ = 12
	IntegHMACSHA384 Integ = 13
	IntegHMACSHA512 Integ = 14
)

// integInfo is what there is to know of an integrity algorithm.
type integInfo struct {
	i          Integ
	name       string // strongSwan's word
	linux      string
	key        int // octets; with HMAC that of the hash (RFC 4868 §2.1.1)
	icv        int // bits
	prf        PRF // the function of the same make
	inTheTable string
	inESP      string
}

// HMAC-SHA2 is cut to half the hash (RFC 4868 §2.6), the others to 96 bits (RFC
// 2404, RFC 4494). Wireshark does not know AES-CMAC-96: it is told the length.
var integs = []integInfo{
	{IntegHMACSHA256, "sha256", "hmac(sha256)", 32, 128, PRFHMACSHA256, "HMAC_SHA2_256_128 [RFC4868]", "HMAC-SHA-256-128 [RFC4868]"},
	{IntegHMACSHA384, "sha384", "hmac(sha384)", 48, 192, PRFHMACSHA384, "HMAC_SHA2_384_192 [RFC4868]", "HMAC-SHA-384-192 [RFC4868]"},
	{IntegHMACSHA512, "sha512", "hmac(sha512)", 64, 256, PRFHMACSHA512, "HMAC_SHA2_512_256 [RFC4868]", "HMAC-SHA-512-256 [RFC4868]"},
	{IntegAESCMAC, "aescmac", "cmac(aes)", 16, 96, PRFAESCMAC, "ANY 96-bits of Authentication [No Checking]", "ANY 96 bit authentication [no checking]"},
	{IntegHMACSHA1, "sha1", "hmac(sha1)", 20, 96, PRFHMACSHA1, "HMAC_SHA1_96 [RFC2404]", "HMAC-SHA-1-96 [RFC2404]"},
}

func (a Integ) info() integInfo {
	for _, n := range integs {
		if n.i == a {
			return n
		}
	}
	return integInfo{}
}

// KeyLen is the length of the key in octets; 0 if the algorithm is not implemented.
func (a Integ) KeyLen() int { return a.info().key }

// ICVBits is the length of the integrity check value in bits; 0 if the
// algorithm is not implemented.
func (a Integ) ICVBits() int { return a.info().icv }

// Linux is the algorithm's name in the kernel's XFRM, whose truncation is
// ICVBits; empty if it is not implemented.
func (a Integ) Linux() string { return a.info().linux }

// sum is the integrity check value of data; nil for an algorithm that is not
// implemented.
func (a Integ) sum(key, data []byte) []byte {
	n := a.info()
	if n.key == 0 {
		return nil
	}
	return n.prf.Sum(key, data)[:n.icv/8]
}

func (a Integ) String() string {
	if a == 0 {
		return nameNone
	}
	if n := a.info(); n.name != "" {
		return n.name
	}
	return fmt.Sprintf("integ%d", uint16(a))
}

// Wireshark is the name of the algorithm in Wireshark's ikev2_decryption_table.
func (a Integ) Wireshark() string {
	if a == 0 {
		return "NONE [RFC4306]"
	}
	if n := a.info(); n.inTheTable != "" {
		return n.inTheTable
	}
	return a.String()
}

// WiresharkESPAuth is the name in Wireshark's esp_sa of an integrity algorithm
// that Linux calls so; empty for one that is not known.
func WiresharkESPAuth(linux string) string {
	for _, n := range integs {
		if n.linux == linux {
			return n.inESP
		}
	}
	return ""
}
