package transform

import "fmt"

// Encryption algorithms that are implemented (RFC 8247 §2.1, RFC 8221 §5).
// AES-GCM and ChaCha20-Poly1305 protect integrity too; the others want an
// integrity algorithm beside them. 3DES is for peers of the past only.
var (
	TripleDES        = Encr{3, 0}
	AES128CBC        = Encr{12, 128}
	AES192CBC        = Encr{12, 192}
	AES256CBC        = Encr{12, 256}
	AES128CTR        = Encr{13, 128}
	AES192CTR        = Encr{13, 192}
	AES256CTR        = Encr{13, 256}
	AES128GCM16      = Encr{20, 128}
	AES192GCM16      = Encr{20, 192}
	AES256GCM16      = Encr{20, 256}
	ChaCha20Poly1305 = Encr{28, 0}
)

// Identifiers of ciphers with several key lengths.
const (
	idCBC = 12
	idCTR = 13
	idGCM = 20
)

// encrInfo is what there is to know of a cipher.
type encrInfo struct {
	e     Encr
	name  string // strongSwan's word
	linux string // the kernel's, for ESP
	key   int    // octets, without the salt
	salt  int    // octets of keying material behind the key: salt or nonce
	iv    int    // octets of the IV in each message
	block int    // what is encrypted is padded to a multiple of it
	icv   int    // octets of a combined-mode cipher's tag; 0 for the others
	ike   string // name in Wireshark's ikev2_decryption_table; empty: it knows none
	esp   string // name in Wireshark's esp_sa
}

// The salts are those of RFC 4106 §8.1 (and 5282 §7.1), RFC 7634 §2 and RFC
// 3686 §5.1 (and 5930 §2.3), which calls it nonce.
var encrs = func() (list []encrInfo) {
	for i, bits := range []int{128, 192, 256} {
		n := bits / 8
		list = append(list,
			encrInfo{[]Encr{AES128GCM16, AES192GCM16, AES256GCM16}[i], fmt.Sprintf("aes%dgcm16", bits), "rfc4106(gcm(aes))", n, 4, 8, 1, 16,
				fmt.Sprintf("AES-GCM-%d with 16 octet ICV [RFC5282]", bits), "AES-GCM with 16 octet ICV [RFC4106]"},
			encrInfo{[]Encr{AES128CBC, AES192CBC, AES256CBC}[i], fmt.Sprintf("aes%d", bits), "cbc(aes)", n, 0, 16, 16, 0,
				fmt.Sprintf("AES-CBC-%d [RFC3602]", bits), "AES-CBC [RFC3602]"},
			encrInfo{[]Encr{AES128CTR, AES192CTR, AES256CTR}[i], fmt.Sprintf("aes%dctr", bits), "rfc3686(ctr(aes))", n, 4, 8, 1, 0,
				fmt.Sprintf("AES-CTR-%d [RFC5930]", bits), "AES-CTR [RFC3686]"},
		)
	}
	return append(list,
		encrInfo{ChaCha20Poly1305, "chacha20poly1305", "rfc7539esp(chacha20,poly1305)", 32, 4, 8, 1, 16,
			"", "ChaCha20 with Poly1305 [RFC7634]"},
		encrInfo{TripleDES, "3des", "cbc(des3_ede)", 24, 0, 8, 8, 0, "3DES [RFC2451]", "TripleDES-CBC [RFC2451]"},
	)
}()

func (e Encr) info() (encrInfo, bool) {
	for i := range encrs {
		if encrs[i].e == e {
			return encrs[i], true
		}
	}
	return encrInfo{}, false
}

// KeyLen is the length of the keying material in octets, with the salt that
// stands behind the key; 0 if the algorithm is not implemented.
func (e Encr) KeyLen() int {
	n, _ := e.info()
	return n.key + n.salt
}

func (e Encr) keyLen() (int, error) {
	if n := e.KeyLen(); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%w: %s", ErrUnsupported, e)
}

// Combined says whether the cipher protects integrity too (RFC 5282, RFC 7634).
func (e Encr) Combined() bool { return e.ICVBits() != 0 }

// ICVBits is the length of a combined-mode cipher's integrity check value in
// bits; 0 for a cipher without.
func (e Encr) ICVBits() int {
	n, _ := e.info()
	return 8 * n.icv
}

// Linux is the algorithm's name in the kernel's XFRM, for ESP; empty if it is
// not implemented.
func (e Encr) Linux() string {
	n, _ := e.info()
	return n.linux
}

func (e Encr) String() string {
	if e == (Encr{}) {
		return nameNone
	}
	if n, ok := e.info(); ok {
		return n.name
	}
	return fmt.Sprintf("encr%d/%d", e.ID, e.KeyBits)
}

// Wireshark is the name of the cipher in Wireshark's ikev2_decryption_table;
// empty for one that is not there, as ChaCha20-Poly1305 is not.
func (e Encr) Wireshark() string {
	n, _ := e.info()
	return n.ike
}

// WiresharkESP is the name in Wireshark's esp_sa of a cipher that Linux calls
// so; empty for one that is not known.
func WiresharkESP(linux string) string {
	for i := range encrs {
		if encrs[i].linux == linux {
			return encrs[i].esp
		}
	}
	return ""
}
