package transform

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// separate protects with a cipher and an integrity algorithm of its own:
// encrypt, then authenticate (RFC 7296 §3.14).
type separate struct {
	block  cipher.Block
	ivs    cipher.Block // makes IVs of CBC out of a count
	ctr    bool         // counter mode (RFC 5930), else CBC
	nonce  [4]byte      // of counter mode
	integ  Integ
	auth   []byte
	iv     int
	icv    int
	padded int // what is encrypted has a multiple of so many octets
}

func newSeparate(e Encr, a Integ, enc, auth []byte) (*separate, error) {
	n, _ := e.info()
	p := &separate{ctr: e.ID == idCTR, integ: a, auth: bytes.Clone(auth), iv: n.iv, icv: a.ICVBits() / 8, padded: n.block}
	var err error
	copy(p.nonce[:], enc[n.key:])
	if e == TripleDES {
		p.block, err = des.NewTripleDESCipher(enc[:n.key])
	} else {
		p.block, err = aes.NewCipher(enc[:n.key])
	}
	if err == nil && !p.ctr {
		p.ivs, err = ivCipher(enc)
	}
	return p, err
}

// ivCipher makes a cipher of a key that is used for nothing else. What it
// makes of a count nobody foretells, as CBC demands of an IV (RFC 7296 §3.14;
// NIST SP 800-38A, appendix C), and no random source is needed for each message.
func ivCipher(enc []byte) (cipher.Block, error) {
	m := hmac.New(sha256.New, enc)
	m.Write([]byte("initialization vectors of CBC"))
	return aes.NewCipher(m.Sum(nil)[:16])
}

func (p *separate) sealedLen(n int) int {
	n++ // pad length
	return p.iv + (n+p.padded-1)/p.padded*p.padded + p.icv
}

func (p *separate) seal(msg, plain []byte, count uint64) []byte {
	total := p.sealedLen(len(plain))
	out := append(make([]byte, 0, len(msg)+total), msg...)
	var iv [aes.BlockSize]byte
	if p.ctr {
		binary.BigEndian.PutUint64(iv[:], count) // unique is enough (RFC 5930 §2)
	} else {
		binary.BigEndian.PutUint64(iv[8:], count)
		p.ivs.Encrypt(iv[:], iv[:])
	}
	out = append(out, iv[:p.iv]...)
	at := len(out)
	out = append(out, plain...)
	end := len(msg) + total - p.icv
	pad := end - len(out) - 1
	out = out[:end]
	out[end-1] = byte(pad) // those before are zero
	p.crypt(out[at:], iv[:p.iv], true)
	return append(out, p.integ.sum(p.auth, out)...)
}

// open authenticates all from the first octet of the message on, in constant
// time, before it decrypts anything: padding is no oracle then.
func (p *separate) open(msg []byte, offset int) ([]byte, error) {
	body := len(msg) - offset - p.iv - p.icv
	if body < 1 || body%p.padded != 0 {
		return nil, fmt.Errorf("%w: SK payload of %d octets", ErrIntegrity, len(msg)-offset)
	}
	end := len(msg) - p.icv
	if subtle.ConstantTimeCompare(p.integ.sum(p.auth, msg[:end]), msg[end:]) != 1 {
		return nil, ErrIntegrity
	}
	plain := bytes.Clone(msg[offset+p.iv : end])
	p.crypt(plain, msg[offset:offset+p.iv], false)
	return unpad(plain)
}

// crypt works in place.
func (p *separate) crypt(b, iv []byte, encrypt bool) {
	switch {
	case p.ctr: // nonce, IV, block counter from 1 (RFC 5930 §2.3, RFC 3686 §4)
		var c [aes.BlockSize]byte
		copy(c[:], p.nonce[:])
		copy(c[4:], iv)
		c[aes.BlockSize-1] = 1
		cipher.NewCTR(p.block, c[:]).XORKeyStream(b, b)
	case encrypt:
		cipher.NewCBCEncrypter(p.block, iv).CryptBlocks(b, b)
	default:
		cipher.NewCBCDecrypter(p.block, iv).CryptBlocks(b, b)
	}
}
