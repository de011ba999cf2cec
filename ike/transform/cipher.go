package transform

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// gcmSalt is the length of the salt after the key of AES-GCM (RFC 5282 §7.1,
// RFC 4106 §8.1) and of ChaCha20-Poly1305 (RFC 7634 §2).
const gcmSalt = 4

// Protector seals and opens SK payloads in one direction: with a combined-mode
// cipher, or with a cipher and an integrity algorithm.
type Protector struct {
	aead cipher.AEAD
	salt [gcmSalt]byte
	sep  *separate // nil with a combined-mode cipher
}

const (
	ivLen  = 8  // explicit IV of both combined-mode ciphers (RFC 5282 §3, RFC 7634 §2)
	icvLen = 16 // and their tag
)

// Protector returns the protection for one direction with SK_e (and SK_a,
// empty for combined-mode ciphers).
func (s Suite) Protector(enc, auth []byte) (*Protector, error) {
	n, m, err := s.keyLens()
	if err != nil {
		return nil, err
	}
	if len(enc) != n || len(auth) != m {
		return nil, fmt.Errorf("%w: keys of %d and %d octets", ErrInvalid, len(enc), len(auth))
	}
	p := new(Protector)
	if !s.Encr.Combined() {
		p.sep, err = newSeparate(s.Encr, s.Integ, enc, auth)
		return p, err
	}
	key := enc[:n-gcmSalt]
	copy(p.salt[:], enc[n-gcmSalt:])
	if s.Encr == ChaCha20Poly1305 {
		p.aead, err = chacha20poly1305.New(key)
		return p, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	p.aead, err = cipher.NewGCM(block)
	return p, err
}

// SealedLen is the length of the SK payload's body for n octets of payloads.
func (p *Protector) SealedLen(n int) int {
	if p.sep != nil {
		return p.sep.sealedLen(n)
	}
	return ivLen + n + 1 + icvLen
}

// Seal appends the body of an SK payload to msg, which ends with the generic
// header of that payload and whose length fields count the body already. iv
// must never be used twice: it counts the messages of this direction.
func (p *Protector) Seal(msg, plain []byte, iv uint64) []byte {
	if p.sep != nil {
		return p.sep.seal(msg, plain, iv)
	}
	aad := msg[:len(msg):len(msg)]
	var nonce [gcmSalt + ivLen]byte
	copy(nonce[:], p.salt[:])
	binary.BigEndian.PutUint64(nonce[gcmSalt:], iv)
	padded := append(append(make([]byte, 0, len(plain)+1), plain...), 0) // pad length 0
	out := append(make([]byte, 0, len(msg)+p.SealedLen(len(plain))), msg...)
	out = append(out, nonce[gcmSalt:]...)
	return p.aead.Seal(out, nonce[:], padded, aad)
}

// Open checks and decrypts the body of the SK payload that begins at offset in
// msg and ends with it. It returns the payloads inside. msg is not changed.
func (p *Protector) Open(msg []byte, offset int) ([]byte, error) {
	if offset < 0 || offset > len(msg) {
		return nil, fmt.Errorf("%w: short SK payload", ErrIntegrity)
	}
	if p.sep != nil {
		return p.sep.open(msg, offset)
	}
	if len(msg)-offset < ivLen+1+icvLen {
		return nil, fmt.Errorf("%w: short SK payload", ErrIntegrity)
	}
	body := msg[offset:]
	var nonce [gcmSalt + ivLen]byte
	copy(nonce[:], p.salt[:])
	copy(nonce[gcmSalt:], body[:ivLen])
	plain, err := p.aead.Open(nil, nonce[:], body[ivLen:], msg[:offset])
	if err != nil {
		return nil, ErrIntegrity
	}
	return unpad(plain)
}

// unpad takes padding and pad length off what was authenticated. The padding's
// content is the sender's affair (RFC 7296 §3.14).
func unpad(plain []byte) ([]byte, error) {
	pad := int(plain[len(plain)-1])
	if pad+1 > len(plain) {
		return nil, fmt.Errorf("%w: padding", ErrIntegrity)
	}
	return plain[:len(plain)-1-pad], nil
}
